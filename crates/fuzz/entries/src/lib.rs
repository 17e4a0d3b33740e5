//! Functions that take any bytes and must neither panic nor hang nor take much memory.
//!
//! libFuzzer drives them in crates/fuzz/fuzz_targets with bytes it steers by coverage. Where there is no nightly
//! compiler, [`mutate::Mutator`] makes bytes out of well-formed samples; CI does that for some seconds each.
#![forbid(unsafe_code)]

mod abi;
mod faults;
mod logs;
mod machine;
pub mod mutate;
mod partitions;
mod recordings;
mod shim;
mod snapshots;
mod tables;
mod thin;

/// One function to fuzz.
pub struct Entry {
    /// Its name, that of the libFuzzer target too.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Well-formed inputs to start from.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Largest input worth trying, in bytes.
    pub len_max: usize,
}

/// All of them.
pub const ENTRIES: &[Entry] = &[
    Entry { name: "ioctl_decode", run: abi::decode, samples: abi::samples, len_max: 4096 },
    Entry { name: "table_parse", run: tables::parse, samples: tables::samples, len_max: 1024 },
    Entry { name: "shim_protocol", run: shim::decode, samples: shim::samples, len_max: 4096 },
    Entry { name: "machine_ioctls", run: machine::ioctls, samples: machine::samples, len_max: 16384 },
    Entry { name: "thin_metadata", run: thin::metadata, samples: thin::metadata_samples, len_max: 512 },
    Entry { name: "replay_log", run: logs::replay_any, samples: logs::samples, len_max: 8192 },
    Entry { name: "snapshot_store", run: snapshots::store, samples: snapshots::samples, len_max: 20480 },
    Entry { name: "fault_rules", run: faults::parse, samples: faults::samples, len_max: 1024 },
    Entry { name: "partition_tables", run: partitions::scan, samples: partitions::samples, len_max: 20480 },
    Entry { name: "recording", run: recordings::replay_any, samples: recordings::samples, len_max: 16384 },
    Entry { name: "thin_messages", run: thin::messages, samples: thin::message_samples, len_max: 1024 },
];

/// The entry with this name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}
