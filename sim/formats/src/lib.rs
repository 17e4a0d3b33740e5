//! What targets keep on disk, and nothing else: no device, no allocation of blocks, no log. The targets write these
//! bytes; tools, judges and tests read them without the code that wrote them.
//!
//! Each module begins with the layout it encodes and decodes. Integers are little-endian.
//!
//! The persistent-data formats share their blocks of 4096 bytes. Each kind begins with a checksum and keeps its own block
//! number, so that a block which was written to the wrong place, or only in part, is found out (kernel/thin-metadata.md). A
//! [`Validator`] is what there is to know for that of one kind, as a value:
//!
//! ```text
//! kind               validator                     salt        0       4           8               then
//! thin superblock    thin::SUPERBLOCK              160774      csum    flags u32   blocknr u64     see `thin`
//! B-tree node        btree_node::NODE              121107      csum    flags       blocknr         see `btree_node`
//! index block        index::INDEX                  160478      csum    padding     blocknr         255 index entries
//! bitmap             bitmap::BITMAP                240779      csum    unused      blocknr         16320 counts of 2 bits
//! array block        array::ARRAY_BLOCK            595846735   csum    room u32    entries, size   16 blocknr u64, see `array`
//! ```
#![forbid(unsafe_code)]

pub mod array;
pub mod bitmap;
pub mod btree_node;
pub mod index;
pub mod log_writes;
pub mod mirror_log;
pub mod snapshot_store;
pub mod space_map_root;
pub mod thin;
mod validator;

pub use validator::{CheckError, Magic, Problem, Validator};

/// Bytes of a metadata block.
pub const BLOCK_SIZE: usize = 4096;
/// Sectors of a metadata block.
pub const BLOCK_SECTORS: u64 = BLOCK_SIZE as u64 / 512;
/// A metadata block.
pub type Block = [u8; BLOCK_SIZE];

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
