//! Criterion benches of the bio path, the ioctls and the disks: `cargo bench -p dmlab-benches`.
//!
//! Every bench that is compared with a budget runs beside a bare copy from the same random page, in the same process,
//! so that the machine it runs on cancels out. `docs/src/performance.md` holds the numbers and the budgets.
#![forbid(unsafe_code)]

mod thread_time;

pub use thread_time::{ThreadTime, criterion};

use std::sync::Arc;

use dmlab_abi::{Command, DmFlags, HEADER_SIZE, Header, TargetSpec, encode_load_payload};
use dmlab_machine::{BlockDevice, BootOptions, ControlFile, Kernel, Machine};
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{Bytes, DevT, Errno, Sector, Sectors};

/// A machine with an open control node.
pub struct Bench {
    /// The machine.
    pub machine: Machine,
    control: ControlFile,
}

impl Bench {
    /// A machine with RAM disks of 1 GiB whose first `filled` bytes are written.
    pub fn new(filled: Bytes) -> Bench {
        let bench = Bench::with_ram_disks(Bytes::gib(1));
        let machine = &bench.machine;
        let disk = machine.registry().get(DevT::new(1, 0)).expect("ram0 exists");
        let mut io = dmlab_block::SyncIo::default();
        let chunk = vec![0x5a; 1 << 20];
        for at in (0..filled.0).step_by(chunk.len()) {
            io.submit(&disk, dmlab_block::Bio::write(Sector(at / 512), &chunk)).expect("ram0 takes writes");
        }
        bench
    }

    /// A machine with RAM disks of this size.
    pub fn with_ram_disks(size: Bytes) -> Bench {
        let options = BootOptions { ram_disk_size: size, ..BootOptions::default() };
        let machine = Machine::boot(options).expect("the options are the default ones but for the size");
        Bench { control: machine.open_control(), machine }
    }

    /// Sends a request whose buffer is `buf`.
    ///
    /// # Errors
    /// The errno of the ioctl.
    pub fn ioctl(&self, command: Command, buf: &mut Vec<u8>) -> Result<i32, Errno> {
        self.control.ioctl(&Kernel(self.machine.registry()), command.request(), buf)
    }

    /// A request that names a device.
    pub fn named(&self, name: &str) -> Header {
        let mut header = Header::request([4, 0, 0], 512, DmFlags::empty());
        header.set_name(name.as_bytes()).expect("bench names are short");
        header
    }

    /// Creates, loads and resumes a device of one line.
    ///
    /// # Panics
    /// When the machine refuses: the bench is wrong.
    pub fn create(&self, name: &str, len: Sectors, kind: &str, params: &str) -> Arc<BlockDevice> {
        let mut buf = self.named(name).as_bytes().to_vec();
        self.ioctl(Command::DevCreate, &mut buf).expect("the name is free");
        let dev = Header::decode(&buf).ok().and_then(|h| h.dev()).expect("an answer names its device");
        self.load(name, len, kind, params);
        let mut buf = self.named(name).as_bytes().to_vec();
        self.ioctl(Command::DevSuspend, &mut buf).expect("the table fits");
        self.machine.registry().get(dev).expect("a resumed device has a disk")
    }

    /// Loads a table of one line.
    ///
    /// # Panics
    /// When the machine refuses: the bench is wrong.
    pub fn load(&self, name: &str, len: Sectors, kind: &str, params: &str) {
        let spec = TargetSpec { start: Sector(0), len, target_type: kind.into(), params: params.into() };
        let payload = encode_load_payload(&[spec]);
        let mut header = self.named(name);
        header.set_target_count(1);
        header.set_data_size((HEADER_SIZE + payload.len()) as u32);
        let mut buf = header.as_bytes().to_vec();
        buf.extend_from_slice(&payload);
        self.ioctl(Command::TableLoad, &mut buf).expect("the table is good");
    }
}

impl Bench {
    /// Sends a message to the target at sector 0 of a device.
    ///
    /// # Panics
    /// When the target refuses it.
    pub fn message(&self, name: &str, text: &str) {
        let mut header = self.named(name);
        header.set_data_start(HEADER_SIZE as u32);
        let mut buf = header.as_bytes().to_vec();
        buf.extend_from_slice(&[&0u64.to_le_bytes()[..], text.as_bytes(), &[0]].concat());
        let mut sized = header;
        sized.set_data_size(buf.len() as u32);
        buf[..HEADER_SIZE].copy_from_slice(sized.as_bytes());
        self.ioctl(Command::TargetMsg, &mut buf).expect("the target knows it");
    }
}

/// Random page-aligned sectors below `size`, the same in every run.
pub fn random_sectors(size: Bytes, count: usize) -> Vec<Sector> {
    let mut rng = Rng::new(1, Stream::Workload);
    (0..count).map(|_| Sector(rng.below(size.0 / 4096) * 8)).collect()
}
