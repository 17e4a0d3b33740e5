//! Random sequences of pool operations, run on a real Linux and here, that must leave the same metadata, byte for byte.
//!
//! A [`Sequence`] is text: a header line, then a line for each step. [`generate`] makes one from a seed, `script`
//! turns it into shell for the reference machine. What came of it there, a [`Recording`], stands below it in
//! `golden/thin-sequences`; the test `thin_sequences` replays every recorded sequence and compares.
//!
//! **Pinned commits.** A pool commits once a second by itself, and where that second falls is chance. So every step
//! here ends with a commit of its own: a message, a flush after writes, a status. Where several changes must share a
//! transaction (a burst of writes, a discard that is passed down) a written and flushed block goes before: the
//! worker's second starts anew with that commit.

mod generate;
mod script;
mod text;

pub use generate::generate;
pub use script::{Job, job};
pub use text::{ParseError, parse_all};

/// Blocks that every thin device is long: more than any pool has.
pub const THIN_BLOCKS: u64 = 1 << 21;
/// Writes of a grouped fill between two flushes.
pub const GROUP: u64 = 64;
/// Bytes of a partial write.
pub const PART: u64 = 4096;

/// A pool, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its name; for a generated one the seed.
    pub name: String,
    /// Sectors of a data block.
    pub block_size: u64,
    /// Blocks of the metadata device.
    pub metadata_blocks: u64,
    /// Blocks of the data device.
    pub data_blocks: u64,
    /// Features of the pool's table.
    pub features: Vec<String>,
    /// One after the other.
    pub steps: Vec<Step>,
}

/// One step. Steps that the kernel refuses are meant: which ones it refuses is part of the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Message `create_thin`.
    Create(u64),
    /// Message `create_snap`: the new device, then its origin.
    Snap(u64, u64),
    /// Message `delete`.
    Delete(u64),
    /// The device `tID` is made and resumed.
    On(u64),
    /// It is removed.
    Off(u64),
    /// Reads and writes of thin devices, by one program that never closes them in between.
    Io(Vec<(u64, Io)>),
    /// Message `reserve_metadata_snap`.
    Hold,
    /// Message `release_metadata_snap`.
    Release,
    /// Message `set_transaction_id`.
    TransId(u64, u64),
    /// The pool is suspended.
    Suspend,
    /// And resumed.
    Resume,
    /// A new table with other features is loaded and resumed.
    Reload(Vec<String>),
    /// The data device and the pool's table grow to this many blocks.
    GrowData(u64),
    /// The metadata device grows to this many blocks.
    GrowMetadata(u64),
    /// Every thin device and the pool are removed, and the pool is made again.
    Reopen,
    /// The pool's status, which commits.
    Status,
}

/// One access of a thin device, in data blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// So many whole blocks in one write, then a flush.
    Write(u64, u64),
    /// A whole block, and no flush.
    Unsynced(u64),
    /// The first bytes of a block, then a flush.
    Part(u64),
    /// A discard of so many blocks.
    Trim(u64, u64),
    /// A flush.
    Sync,
    /// Whole blocks in a scattered order.
    Fill(Fill),
}

/// Blocks `first + (i * stride) % modulus` for `i` below `count`, each written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Lowest block.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Distance from one to the next.
    pub stride: u64,
    /// Blocks lie below this, counted from the first.
    pub modulus: u64,
    /// A flush after every [`GROUP`] writes instead of after each.
    pub is_grouped: bool,
}

impl Fill {
    /// The blocks, each with whether a flush follows.
    pub fn blocks(self) -> impl Iterator<Item = (u64, bool)> {
        (0..self.count).map(move |i| {
            let block = self.first + i.wrapping_mul(self.stride) % self.modulus;
            (block, !self.is_grouped || i % GROUP == GROUP - 1 || i + 1 == self.count)
        })
    }
}

/// What a sequence left behind on the reference machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Numbers of the steps that were refused, from 0.
    pub failed: Vec<usize>,
    /// Status of each active thin device in order of ids, then of the pool.
    pub status: Vec<String>,
    /// SHA-256 of the metadata device after the pool was removed, in hexadecimal.
    pub sha256: String,
}

/// Folder of the recordings in this repository.
pub fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/thin-sequences")
}
