//! What the server needs of a simulated kernel. A machine gives it; tests of the server may bring a smaller one.

use std::sync::Arc;

use dmlab_block::{Caller, OpenMode, QueueLimits, UserMemory};
use dmlab_runtime::Runtime;
use dmlab_units::{DevT, Errno, Sectors};

/// A simulated kernel as its programs see it.
pub trait Kernel: Send + Sync {
    /// Its clock, log and uevents.
    fn runtime(&self) -> &Arc<Runtime>;
    /// Major number of mapped devices.
    fn dm_major(&self) -> u32;
    /// Every block device that has a node.
    fn devices(&self) -> Vec<Device>;
    /// Opens `/dev/mapper/control`.
    fn open_control(&self) -> Box<dyn Control>;
    /// Opens a block device.
    ///
    /// # Errors
    /// ENXIO when there is none, EBUSY when an exclusive open finds it claimed.
    fn open_block(&self, dev: DevT, mode: OpenMode) -> Result<Box<dyn Block>, Errno>;
    /// An ioctl on `/dev/loop-control`.
    ///
    /// # Errors
    /// As Linux's.
    fn loop_control(&self, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<i32, Errno>;
}

/// An open `/dev/mapper/control`.
pub trait Control: Send + Sync {
    /// One DM ioctl.
    ///
    /// # Errors
    /// As Linux's.
    fn ioctl(&self, caller: &dyn Caller, cmd: u32, memory: &mut dyn UserMemory) -> Result<i32, Errno>;
    /// Whether `poll` finds it readable.
    fn poll_ready(&self) -> bool;
}

/// An open block device. Dropping it closes it.
pub trait Block: Send + Sync {
    /// Reads at `pos`; 0 at the end.
    ///
    /// # Errors
    /// As `pread` on a block device.
    fn read_at(&self, pos: u64, into: &mut [u8], flags: Io) -> Result<usize, Errno>;
    /// Writes at `pos`.
    ///
    /// # Errors
    /// As `pwrite` on a block device.
    fn write_at(&self, pos: u64, from: &[u8], flags: Io) -> Result<usize, Errno>;
    /// `fsync`, or `fdatasync`.
    ///
    /// # Errors
    /// EIO once after a failed write-back.
    fn sync(&self, data_only: bool) -> Result<(), Errno>;
    /// `fallocate`.
    ///
    /// # Errors
    /// As Linux's.
    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<(), Errno>;
    /// An ioctl.
    ///
    /// # Errors
    /// As Linux's.
    fn ioctl(
        &self,
        caller: &dyn Caller,
        cmd: u32,
        arg: u64,
        memory: &mut dyn UserMemory,
    ) -> Result<i32, Errno>;
    /// Bytes.
    fn size(&self) -> u64;
    /// O_DIRECT: positions and lengths must be multiples of this.
    fn logical_block_size(&self) -> u64;
    /// O_DIRECT: memory must be aligned to this mask plus one.
    fn dma_alignment(&self) -> u64;
}

/// How one read or write is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Past the page cache.
    pub direct: bool,
    /// EAGAIN instead of waiting.
    pub nowait: bool,
    /// Durable when it returns.
    pub sync: bool,
}

/// A block device as `/sys` shows it.
#[derive(Clone)]
pub struct Device {
    /// Its number.
    pub dev: DevT,
    /// `dm-0`, `ram3`, `loop1`.
    pub name: String,
    /// Its size.
    pub size: Sectors,
    /// Whether it may only be read.
    pub read_only: bool,
    /// `diskseq`.
    pub disk_seq: u64,
    /// Its queue.
    pub limits: Arc<QueueLimits>,
    /// Devices on top of it.
    pub holders: Vec<DevT>,
    /// Devices under it.
    pub slaves: Vec<DevT>,
    /// The numbers of `stat`: reads, sectors, milliseconds, then the same of writes, discards (and flushes without sectors).
    pub stat: [u64; 11],
    /// What the device mapper knows of it.
    pub dm: Option<DmView>,
    /// What a bound loop device stands on.
    pub backing: Option<LoopView>,
}

/// The `dm` directory of a mapped device.
#[derive(Clone, Debug, Default)]
pub struct DmView {
    /// Its name.
    pub name: String,
    /// Its uuid, or nothing.
    pub uuid: String,
    /// Whether it is suspended.
    pub suspended: bool,
}

/// The `loop` directory of a bound loop device.
#[derive(Clone, Debug, Default)]
pub struct LoopView {
    /// Path of the file.
    pub path: Vec<u8>,
    /// Where in the file the device begins.
    pub offset: u64,
    /// How much of the file it shows; 0 = all.
    pub size_limit: u64,
    /// Whether it goes with its last user.
    pub autoclear: bool,
    /// Whether it does direct IO.
    pub dio: bool,
}
