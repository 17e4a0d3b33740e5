//! A pool as a stream: how dump, restore and repair hand it to one another.

use dmlab_formats::thin::Mapping;
use dmlab_units::{DataBlock, Sectors, ThinBlock, ThinId};

/// What a pool is besides its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The snapshot clock.
    pub time: u32,
    /// The user's transaction id.
    pub transaction: u64,
    /// Flags of the superblock; bit 0 is needs_check.
    pub flags: u32,
    /// The format's version.
    pub version: u32,
    /// Size of a data block.
    pub data_block_size: Sectors,
    /// Data blocks there are.
    pub nr_data_blocks: u64,
}

/// A thin device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub id: ThinId,
    /// Mappings it says it has.
    pub mapped_blocks: u64,
    /// The pool's transaction id when it was made.
    pub transaction: u64,
    /// The snapshot clock when it was made.
    pub creation_time: u32,
    /// The snapshot clock when it was last part of a snapshot.
    pub snap_time: u32,
}

/// Blocks that are mapped one after the other, at one time of the snapshot clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First virtual block.
    pub begin: ThinBlock,
    /// First data block.
    pub data: DataBlock,
    /// How many.
    pub length: u64,
    /// When they were mapped.
    pub time: u32,
}

impl Run {
    /// Takes the mapping that follows, if it follows.
    pub fn extend(&mut self, block: ThinBlock, mapping: Mapping) -> bool {
        let follows = self.begin.0.checked_add(self.length) == Some(block.0)
            && self.data.0.checked_add(self.length) == Some(mapping.block.0)
            && self.time == mapping.time;
        self.length += u64::from(follows);
        follows
    }
}

/// Mappings in the order of virtual blocks, gathered into runs.
#[derive(Debug, Default)]
pub struct Runs(Option<Run>);

impl Runs {
    /// Takes the next mapping; gives the run that it ends.
    pub fn push(&mut self, block: ThinBlock, mapping: Mapping) -> Option<Run> {
        if let Some(run) = &mut self.0
            && run.extend(block, mapping)
        {
            return None;
        }
        self.0.replace(Run { begin: block, data: mapping.block, length: 1, time: mapping.time })
    }

    /// The last run.
    pub fn finish(&mut self) -> Option<Run> {
        self.0.take()
    }
}

/// Why a sink takes no more.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Takes a pool: the pool, then each device and its runs, then the end.
pub trait Sink {
    /// The pool begins.
    ///
    /// # Errors
    /// Why it can't be taken.
    fn pool(&mut self, pool: &Pool) -> Result<(), SinkError>;
    /// A device begins.
    ///
    /// # Errors
    /// Why it can't be taken.
    fn device(&mut self, device: &Device) -> Result<(), SinkError>;
    /// Mappings of the device.
    ///
    /// # Errors
    /// Why they can't be taken.
    fn run(&mut self, run: &Run) -> Result<(), SinkError>;
    /// The device ends.
    ///
    /// # Errors
    /// Why it can't be taken.
    fn end_device(&mut self) -> Result<(), SinkError>;
    /// The pool ends.
    ///
    /// # Errors
    /// Why it can't be taken.
    fn end_pool(&mut self) -> Result<(), SinkError>;
}
