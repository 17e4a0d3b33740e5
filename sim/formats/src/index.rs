//! Index entries: where each bitmap of a space map is, and what it has left.
//!
//! ```text
//! index block    0 csum u32   4 padding u32   8 blocknr u64   16 entries, 255 of them
//! index entry    0 bitmap's block u64   8 free entries u32   12 none free before u32
//! ```

use dmlab_units::MetaBlock;

use crate::{BLOCK_SIZE, Block, Validator, put_u32, put_u64, u32_at, u64_at};

/// The validator of the metadata space map's index block.
pub static INDEX: Validator = Validator {
    log_prefix: "space map common",
    failed: "index_check failed",
    ..Validator::new("index", 160_478)
};

/// Bytes of an index entry.
const ENTRY: usize = 16;
const HEADER: usize = 16;
/// Entries of the metadata space map's index block; hence 255 * 16320 metadata blocks at most.
pub const MAX_INDEX_ENTRIES: usize = (BLOCK_SIZE - HEADER) / ENTRY;

/// One bitmap of a space map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexEntry {
    /// Where it is.
    pub bitmap: MetaBlock,
    /// Entries of it that are 0, also those past the end of the device.
    pub nr_free: u32,
    /// No entry before this one is 0.
    pub none_free_before: u32,
}

impl IndexEntry {
    /// From 16 bytes.
    pub fn decode(bytes: &[u8]) -> IndexEntry {
        IndexEntry {
            bitmap: MetaBlock(u64_at(bytes, 0)),
            nr_free: u32_at(bytes, 8),
            none_free_before: u32_at(bytes, 12),
        }
    }

    /// Into 16 bytes.
    pub fn encode(&self, bytes: &mut [u8]) {
        put_u64(bytes, 0, self.bitmap.0);
        put_u32(bytes, 8, self.nr_free);
        put_u32(bytes, 12, self.none_free_before);
    }
}

/// The index block of the metadata space map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexBlock {
    /// The entries of the index; those of bitmaps that don't exist are zero.
    pub entries: [IndexEntry; MAX_INDEX_ENTRIES],
}

impl Default for IndexBlock {
    fn default() -> IndexBlock {
        IndexBlock { entries: [IndexEntry::default(); MAX_INDEX_ENTRIES] }
    }
}

impl IndexBlock {
    /// From a block.
    pub fn decode(block: &Block) -> IndexBlock {
        let mut index = IndexBlock::default();
        for (entry, bytes) in index.entries.iter_mut().zip(block[HEADER..].chunks_exact(ENTRY)) {
            *entry = IndexEntry::decode(bytes);
        }
        index
    }

    /// Into a block; all of it but checksum, padding and number is replaced.
    pub fn encode(&self, block: &mut Block) {
        for (entry, bytes) in self.entries.iter().zip(block[HEADER..].chunks_exact_mut(ENTRY)) {
            entry.encode(bytes);
        }
    }
}
