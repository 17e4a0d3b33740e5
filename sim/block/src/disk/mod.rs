//! Disks: where bios end.

mod ram;
mod sparse;

pub use ram::{RamDisk, WriteCache};
pub use sparse::SparseMemory;
