//! Space maps: how many references each block has (kernel/thin-metadata.md#space-maps).
//!
//! Counts up to 2 stand in bitmaps, larger ones in an overflow tree. There are two kinds of map: the [`DiskSpaceMap`] of
//! another device, and the [`MetadataSpaceMap`] of the metadata device itself. The second changes while it is being used,
//! so what it is asked to do meanwhile is queued ([`metadata`]).

mod counts;
mod disk;
mod metadata;

pub use counts::FREED_BLOCK_REUSED;

use std::collections::HashSet; // tidy: never iterated

use dmlab_formats::bitmap::BITMAP_ENTRIES;
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_units::MetaBlock;

pub(crate) use counts::{bitmap_count, count};
pub use disk::DiskSpaceMap;
pub(crate) use metadata::Change;
pub use metadata::MetadataSpaceMap;

/// What both kinds of map have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    nr_blocks: u64,
    nr_allocated: u64,
    bitmap_root: MetaBlock,
    ref_count_root: MetaBlock,
    /// Allocation goes on from here.
    begin: u64,
    /// Size and blocks in use as of the last commit.
    committed: (u64, u64),
    /// Blocks that were in use at the last commit and are free now: not to be taken before the next.
    freed: HashSet<u64>, // tidy: never iterated
    /// Blocks that were free at the last commit and are in use now.
    fresh: HashSet<u64>, // tidy: never iterated
}

impl Counts {
    fn open(root: SpaceMapRoot) -> Counts {
        Counts {
            nr_blocks: root.nr_blocks,
            nr_allocated: root.nr_allocated,
            bitmap_root: root.bitmap_root,
            ref_count_root: root.ref_count_root,
            committed: (root.nr_blocks, root.nr_allocated),
            ..Counts::default()
        }
    }

    fn root(&self) -> SpaceMapRoot {
        SpaceMapRoot {
            nr_blocks: self.nr_blocks,
            nr_allocated: self.nr_allocated,
            bitmap_root: self.bitmap_root,
            ref_count_root: self.ref_count_root,
        }
    }

    fn taken(&mut self, number: u64) {
        // In metadata that is wrong the number may be anything.
        self.nr_allocated = self.nr_allocated.wrapping_add(1);
        // A block that was freed in this transaction and is taken again was in use at the commit all along.
        if !self.freed.remove(&number) {
            self.fresh.insert(number);
        }
    }

    fn given_back(&mut self, number: u64) {
        self.nr_allocated = self.nr_allocated.wrapping_sub(1);
        if !self.fresh.remove(&number) {
            self.freed.insert(number);
        }
    }

    fn committed(&mut self) {
        self.committed = (self.nr_blocks, self.nr_allocated);
        self.freed.clear();
        self.fresh.clear();
    }
}

/// Number of the bitmap that counts a block, and its entry there.
fn place(number: u64) -> (u64, u64) {
    (number / BITMAP_ENTRIES, number % BITMAP_ENTRIES)
}
