//! The map of the metadata device itself.
//!
//! An operation on it can need more blocks (a bitmap's shadow), which is an operation on it. The outermost operation
//! runs at once; those asked for meanwhile are queued and run after it, in order, until the queue is empty. A block
//! that is allocated meanwhile is chosen at once, and only its count waits.

use std::collections::VecDeque;

use dmlab_units::{Errno, MetaBlock};

use super::{Counts, Which};
use crate::Store;
use crate::store::Later;
use dmlab_formats::bitmap::{BITMAP, BITMAP_ENTRIES};
use dmlab_formats::index::{INDEX, IndexBlock, IndexEntry, MAX_INDEX_ENTRIES};
use dmlab_formats::space_map_root::SpaceMapRoot;

/// Operations that may wait; the kernel's ring has as many places.
const MAX_WAITING: usize = 1024;

#[derive(Clone, Copy, Debug)]
enum Change {
    Up(u64, u64),
    Down(u64, u64),
}

/// A mark, whether it was reached, and whom to tell.
pub(crate) struct LowWater {
    pub(crate) mark: u64,
    pub(crate) is_reached: bool,
    pub(crate) tell: Box<dyn Fn() + Send + Sync>,
}

pub(crate) struct MetadataMap {
    pub(crate) counts: Counts,
    index: IndexBlock,
    is_index_changed: bool,
    is_busy: bool,
    waiting: VecDeque<Change>,
    /// Blocks taken in this transaction, whatever was freed.
    taken: u64,
    /// Called when an allocation leaves this many blocks free or fewer, once until there are more again.
    pub(crate) low_water: Option<LowWater>,
    /// While the map is made or grows: blocks simply follow one another, and nothing is counted.
    pub(crate) bootstrap: Option<u64>,
}

impl MetadataMap {
    /// A map that does not exist yet: blocks are taken from `first` on, and not counted.
    pub(crate) fn bootstrapping(first: u64) -> MetadataMap {
        MetadataMap {
            counts: Counts::default(),
            index: IndexBlock::default(),
            is_index_changed: false,
            is_busy: false,
            waiting: VecDeque::new(),
            taken: 0,
            low_water: None,
            bootstrap: Some(first),
        }
    }

    pub(crate) fn open(root: SpaceMapRoot, index: IndexBlock) -> MetadataMap {
        let counts = Counts::open(root);
        MetadataMap { counts, index, bootstrap: None, ..MetadataMap::bootstrapping(0) }
    }

    pub(crate) fn entry(&self, index: u64) -> Result<IndexEntry, Errno> {
        self.index.entries.get(index as usize).copied().ok_or(Errno::EINVAL)
    }

    pub(crate) fn save_entry(&mut self, index: u64, entry: IndexEntry) -> Result<(), Errno> {
        *self.index.entries.get_mut(index as usize).ok_or(Errno::EINVAL)? = entry;
        self.is_index_changed = true;
        Ok(())
    }

    /// What queued operations will add to a block's count.
    pub(crate) fn waiting_change(&self, block: MetaBlock) -> i64 {
        let covers = |begin: u64, end: u64| i64::from((begin..end).contains(&block.0));
        let change = |change: &Change| match *change {
            Change::Up(begin, end) => covers(begin, end),
            Change::Down(begin, end) => -covers(begin, end),
        };
        self.waiting.iter().map(change).sum()
    }

    /// Blocks free as of the last commit and not taken since: what was freed since is not counted.
    pub(crate) fn nr_free(&self) -> u64 {
        let (nr_blocks, nr_allocated) = self.counts.committed;
        nr_blocks.saturating_sub(nr_allocated).saturating_sub(self.taken)
    }
}

impl Store {
    /// Chooses a block and counts it.
    pub(crate) async fn allocate_metadata(&mut self) -> Result<MetaBlock, Errno> {
        if let Some(next) = &mut self.metadata.bootstrap {
            let block = *next;
            if block == self.metadata.counts.nr_blocks {
                return Err(Errno::ENOSPC);
            }
            *next += 1;
            return Ok(MetaBlock(block));
        }
        let begin = self.metadata.counts.begin;
        let mut found = self.find_free(Which::Metadata, begin).await?;
        if found.is_none() {
            found = self.find_free(Which::Metadata, 0).await?;
        }
        let Some(block) = found else {
            self.blocks.log("space map metadata", "unable to allocate new metadata block");
            return Err(Errno::ENOSPC);
        };
        self.metadata.counts.begin = block + 1;
        self.change_metadata(Change::Up(block, block + 1)).await?;
        self.metadata.taken += 1;
        let free = self.metadata.nr_free();
        if let Some(low) = &mut self.metadata.low_water {
            let was_reached = std::mem::replace(&mut low.is_reached, free <= low.mark);
            if low.is_reached && !was_reached {
                (low.tell)();
            }
        }
        Ok(MetaBlock(block))
    }

    /// One parent more for each metadata block of a range.
    ///
    /// # Errors
    /// EINVAL beyond the device, ENOSPC, ENOMEM when too much is queued.
    pub async fn increment_metadata(&mut self, begin: u64, end: u64) -> Result<(), Errno> {
        self.change_metadata(Change::Up(begin, end)).await
    }

    /// One parent less for each metadata block of a range.
    ///
    /// # Errors
    /// As [`Store::increment_metadata`], and EINVAL for a block that has none.
    pub async fn decrement_metadata(&mut self, begin: u64, end: u64) -> Result<(), Errno> {
        self.change_metadata(Change::Down(begin, end)).await
    }

    async fn change_metadata(&mut self, change: Change) -> Result<(), Errno> {
        if self.metadata.is_busy || self.metadata.bootstrap.is_some() {
            return self.queue(change);
        }
        self.metadata.is_busy = true;
        let result = self.apply(change).await;
        let result = self.apply_waiting(result).await;
        self.metadata.is_busy = false;
        result
    }

    /// Applies what is queued, in order, until nothing is; after an error the rest is dropped.
    async fn apply_waiting(&mut self, so_far: Result<(), Errno>) -> Result<(), Errno> {
        let mut result = so_far;
        while let Some(next) = self.metadata.waiting.pop_front() {
            let applied = self.apply(next).await;
            result = result.and(applied);
            if result.is_err() {
                self.metadata.waiting.clear();
            }
        }
        result
    }

    fn queue(&mut self, change: Change) -> Result<(), Errno> {
        if self.metadata.waiting.len() >= MAX_WAITING {
            self.blocks.log("space map metadata", "too many recursive allocations");
            return Err(Errno::ENOMEM);
        }
        self.metadata.waiting.push_back(change);
        Ok(())
    }

    fn apply(&mut self, change: Change) -> Later<'_, Result<(), Errno>> {
        Box::pin(async move {
            match change {
                Change::Up(begin, end) => self.count_up(Which::Metadata, begin, end).await?,
                Change::Down(begin, end) => self.count_down(Which::Metadata, begin, end).await?,
            };
            Ok(())
        })
    }

    /// Writes the index into a shadow of its block, if it changed. What the shadow itself changes is in it.
    pub(crate) async fn commit_metadata_map(&mut self) -> Result<(), Errno> {
        self.write_index().await?;
        self.metadata.counts.committed();
        self.metadata.taken = 0;
        Ok(())
    }

    async fn write_index(&mut self) -> Result<(), Errno> {
        if !self.metadata.is_index_changed {
            return Ok(());
        }
        let root = self.metadata.counts.bitmap_root;
        let (block, _) = self.shadow(root, &INDEX).await?;
        let index = self.metadata.index;
        index.encode(self.blocks.get_mut(block));
        self.metadata.counts.bitmap_root = block;
        self.metadata.is_index_changed = false;
        Ok(())
    }

    /// Makes the map of a device of `nr_blocks` on blocks from 1 on, block 0 being taken for the superblock.
    pub(crate) async fn create_metadata_map(&mut self, nr_blocks: u64) -> Result<(), Errno> {
        if nr_blocks > MAX_INDEX_ENTRIES as u64 * BITMAP_ENTRIES {
            self.blocks.log("space map common", "space map too large");
            return Err(Errno::EINVAL);
        }
        self.metadata = MetadataMap::bootstrapping(1);
        self.metadata.counts.bitmap_root = self.new_block(&INDEX).await?;
        self.metadata.counts.ref_count_root = self.empty_tree(super::counts::OVERFLOW).await?;
        self.extend_map(Which::Metadata, nr_blocks).await?;
        let used = self.metadata.bootstrap.take().unwrap_or_default();
        self.metadata.counts.begin = used;
        self.count_up(Which::Metadata, 0, used).await.inspect_err(|_| {
            let text = "dm_sm_metadata_create: apply_bops failed";
            self.blocks.log("space map metadata", text);
        })?;
        self.write_index().await?;
        self.metadata.counts.committed();
        self.metadata.taken = 0;
        Ok(())
    }

    /// Adds bitmaps for blocks up to `nr_blocks`.
    pub(crate) async fn extend_map(&mut self, which: Which, nr_blocks: u64) -> Result<(), Errno> {
        let old = self.counts(which).nr_blocks.div_ceil(BITMAP_ENTRIES);
        let new = nr_blocks.div_ceil(BITMAP_ENTRIES);
        self.counts_mut(which).nr_blocks = nr_blocks;
        for index in old..new {
            let bitmap = self.new_block(&BITMAP).await?;
            let entry = IndexEntry { bitmap, nr_free: BITMAP_ENTRIES as u32, none_free_before: 0 };
            match which {
                Which::Metadata => self.metadata.save_entry(index, entry)?,
                Which::Data => self.save_data_entry(index, entry).await?,
            }
        }
        Ok(())
    }

    /// Grows the map by the blocks behind its end. New bitmaps come from the start of the new area. Counting them
    /// needs shadows of bitmaps and of the index, which come from there too and give up the blocks they replace;
    /// that is counted again, until nothing more is needed.
    pub(crate) async fn grow_metadata_map(&mut self, nr_blocks: u64) -> Result<(), Errno> {
        let old = self.metadata.counts.nr_blocks;
        if nr_blocks <= old {
            return Ok(());
        }
        self.metadata.bootstrap = Some(old);
        let mut result = self.extend_map(Which::Metadata, nr_blocks).await;
        let mut counted = old;
        while result.is_ok() {
            let used = self.metadata.bootstrap.unwrap_or(old);
            if used == counted {
                break;
            }
            result = self.count_grown(counted, used).await;
            counted = used;
        }
        let used = self.metadata.bootstrap.take().unwrap_or(old);
        self.metadata.counts.begin = used;
        self.metadata.waiting.clear();
        result
    }

    /// Counts the blocks from `begin` to `end` that were counted off while the map grew, and what they replace.
    async fn count_grown(&mut self, begin: u64, end: u64) -> Result<(), Errno> {
        self.queue(Change::Up(begin, end))?;
        self.apply_waiting(Ok(())).await?;
        self.write_index().await
    }
}
