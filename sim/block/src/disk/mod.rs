//! Disks: where bios end.

mod file;
mod medium;
mod mmap;
mod ram;
mod sparse;
#[cfg(test)]
mod tests;

pub use file::FileDisk;
pub use mmap::MmapDisk;
pub use ram::{RamDisk, WriteCache};
pub use sparse::SparseMemory;
