//! Bytes on a metadata device, and nothing else: no device, no allocation, no log.
//!
//! A metadata device is an array of 4096-byte blocks. There are four kinds; each begins with a checksum and keeps its
//! own block number at offset 8, so that a block which was written to the wrong place, or only in part, is found out
//! (kernel/thin-metadata.md#blocks-and-checksums). Integers are little-endian.
//!
//! ```text
//! kind         salt     0        4           8             then
//! superblock   160774   csum u32 flags u32   blocknr u64   see `superblock`
//! B-tree node  121107   csum     flags       blocknr       see `node`
//! index block  160478   csum     padding     blocknr       255 index entries
//! bitmap       240779   csum     unused      blocknr       16320 counts of 2 bits
//! ```

mod bitmap;
mod checksum;
mod index;
mod node;
mod root;
mod superblock;

pub use bitmap::{BITMAP_ENTRIES, Bitmap, BitmapMut};
pub use checksum::{CheckError, Kind, check, seal};
pub use index::{IndexBlock, IndexEntry, MAX_INDEX_ENTRIES};
pub use node::{DeviceDetails, INTERNAL_VALUE_SIZE, Mapping, Node, NodeMut, Value, max_entries};
pub use root::SpaceMapRoot;
pub use superblock::{NEEDS_CHECK, SUPERBLOCK_MAGIC, Superblock, THIN_VERSION};

/// Bytes of a metadata block.
pub const BLOCK_SIZE: usize = 4096;
/// Sectors of a metadata block.
pub const BLOCK_SECTORS: u64 = BLOCK_SIZE as u64 / 512;
/// A metadata block.
pub type Block = [u8; BLOCK_SIZE];

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
