//! The block layer: bios, block devices, queue limits, disks, loop devices and the page cache.
//!
//! A [`Bio`] is one piece of work for a device. It is moved, never shared: its holder sends it on or ends it,
//! exactly once. [`submit`] carries it down through any number of stacked devices in a loop, on the caller's thread
//! and without allocating; a device that must wait takes it as its own and ends it later.
// Two exceptions, with their reasons: mapping a file in `disk::mmap`, giving memory back to the host in `disk::chunk_memory`.
#![deny(unsafe_code)]

mod bio;
mod buffer;
mod buffer_errors;
mod cache;
mod caller;
mod device;
mod disk;
mod file;
mod intercept;
mod join;
mod limits;
mod loop_device;
mod partition;
mod registry;
mod stats;
mod status;
mod submit;
mod sync;
mod tag;
#[cfg(test)]
mod test_disk;

use dmlab_abi::Geometry;

pub use bio::{Bio, BioFlags, End, EndIo, FrameData, Op};
pub use buffer::{BioBuf, Part};
pub use caller::{Caller, CarriedMemory, Kernel, LoopBacking, UserMemory};
pub use device::{BlockDevice, DiskOps, Holder, OpenDevice, OpenMode, Redirect};
pub use disk::{FileDisk, MmapDisk, RamDisk, SparseMemory, WriteCache};
pub use file::{BlockFile, IoFlags};
pub use intercept::{Interceptor, Offered, clear_interceptor, set_interceptor};
pub use limits::{
    Alignment, Features, PAGE_SIZE, QueueLimits, UNLIMITED_SECTORS, is_valid_logical_block_size,
};
pub use loop_device::{DeviceBacking, FileBacking, LOOP_MAJOR, LoopAttributes, LoopControl, LoopDevice};
pub use partition::{EXTENDED_MAJOR, Partition, PartitionNames};
pub use registry::Registry;
pub use stats::DiskStats;
pub use status::BlkStatus;
pub use submit::{BioQueue, MAX_DEPTH, submit};
pub use sync::{IoFailed, SyncIo, read_async, read_bio_async, run_async, write_async};
pub use tag::{Meaning, Tag};
