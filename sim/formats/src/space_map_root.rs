//! Roots of space maps, as superblocks keep them.
//!
//! ```text
//! 0 blocks u64   8 allocated u64   16 bitmap root u64   24 reference count root u64
//! ```

use dmlab_units::MetaBlock;

use crate::{put_u64, u64_at};

/// Where a space map is and what it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceMapRoot {
    /// Blocks it counts.
    pub nr_blocks: u64,
    /// How many of them have a count above 0.
    pub nr_allocated: u64,
    /// The index block (metadata) or the tree of index entries (data).
    pub bitmap_root: MetaBlock,
    /// The tree of counts above 2.
    pub ref_count_root: MetaBlock,
}

impl SpaceMapRoot {
    /// Bytes of a root.
    pub const SIZE: usize = 32;

    /// From 32 bytes.
    pub fn decode(bytes: &[u8]) -> SpaceMapRoot {
        SpaceMapRoot {
            nr_blocks: u64_at(bytes, 0),
            nr_allocated: u64_at(bytes, 8),
            bitmap_root: MetaBlock(u64_at(bytes, 16)),
            ref_count_root: MetaBlock(u64_at(bytes, 24)),
        }
    }

    /// Into 32 bytes.
    pub fn encode(&self, bytes: &mut [u8]) {
        put_u64(bytes, 0, self.nr_blocks);
        put_u64(bytes, 8, self.nr_allocated);
        put_u64(bytes, 16, self.bitmap_root.0);
        put_u64(bytes, 24, self.ref_count_root.0);
    }
}
