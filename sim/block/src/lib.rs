//! Bios, block devices, queue limits, disks, loop devices and the page cache.
#![forbid(unsafe_code)]

mod disk;
mod limits;

pub use disk::{RamDisk, SparseMemory, WriteCache};
pub use limits::{
    Alignment, Features, PAGE_SIZE, QueueLimits, UNLIMITED_SECTORS, is_valid_logical_block_size,
};
