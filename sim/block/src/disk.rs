//! Disks: where bios end.

mod chunk_memory;
mod file;
mod medium;
mod mmap;
mod ram;
mod sparse;
#[cfg(test)]
mod tests;

pub use file::FileDisk;
pub(crate) use file::{errno_of, punch_hole, read_or_zeros};
pub(crate) use medium::{Medium, serve};
pub use mmap::MmapDisk;
pub use ram::{RamDisk, WriteCache};
pub use sparse::SparseMemory;
