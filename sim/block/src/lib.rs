//! Bios, block devices, queue limits, disks, loop devices and the page cache.
// One exception, with its reason: mapping a file in `disk::mmap`.
#![deny(unsafe_code)]

mod disk;
mod limits;

pub use disk::{FileDisk, MmapDisk, RamDisk, SparseMemory, WriteCache};
pub use limits::{
    Alignment, Features, PAGE_SIZE, QueueLimits, UNLIMITED_SECTORS, is_valid_logical_block_size,
};
