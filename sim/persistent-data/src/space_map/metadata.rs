//! The map of the metadata device itself.
//!
//! An operation on it can need more blocks (a bitmap's shadow), which is an operation on it. The outermost operation
//! runs at once; those asked for meanwhile are queued and run after it, in order, until the queue is empty. A block
//! that is allocated meanwhile is chosen at once, and only its count waits.

use std::collections::VecDeque;
use std::future::ready;

use dmlab_formats::bitmap::BITMAP_ENTRIES;
use dmlab_formats::index::{INDEX, IndexBlock, IndexEntry, MAX_INDEX_ENTRIES};
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_units::MetaBlock;

use super::Counts;
use super::counts::{self, LowLevelMap};
use crate::{BoxFuture, PdError, PdErrorKind, TransactionManager};

/// Operations that may wait; the kernel's ring has as many places.
const MAX_WAITING: usize = 1024;

/// A change of the counts of a range of blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Up(u64, u64),
    Down(u64, u64),
}

/// A mark, whether it was reached, and what to call then.
struct LowWater {
    mark: u64,
    is_reached: bool,
    tell: Box<dyn Fn() + Send + Sync>,
}

/// The references to each block of the metadata device. It is a part of the [`TransactionManager`], which changes it.
pub struct MetadataSpaceMap {
    counts: Counts,
    index: IndexBlock,
    is_index_changed: bool,
    is_busy: bool,
    waiting: VecDeque<Change>,
    /// Blocks taken in this transaction, whatever was freed.
    taken: u64,
    /// Called when an allocation leaves this many blocks free or fewer, once until there are more again.
    low_water: Option<LowWater>,
    /// While the map is made or grows: blocks simply follow one another, and nothing is counted.
    bootstrap: Option<u64>,
}

impl MetadataSpaceMap {
    /// A map that does not exist yet: blocks are taken from `first` on, and not counted.
    pub(crate) fn bootstrapping(first: u64) -> MetadataSpaceMap {
        MetadataSpaceMap {
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

    pub(crate) fn open(root: SpaceMapRoot, index: IndexBlock) -> MetadataSpaceMap {
        let counts = Counts::open(root);
        MetadataSpaceMap { counts, index, bootstrap: None, ..MetadataSpaceMap::bootstrapping(0) }
    }

    /// What the superblock must keep to open the map again, after [`TransactionManager::pre_commit`].
    pub fn root(&self) -> SpaceMapRoot {
        self.counts.root()
    }

    /// Blocks that it counts.
    pub fn nr_blocks(&self) -> u64 {
        self.counts.nr_blocks
    }

    /// Calls `tell` when an allocation leaves `mark` blocks or fewer, once until there are more again.
    pub fn set_low_water(&mut self, mark: u64, tell: impl Fn() + Send + Sync + 'static) {
        self.low_water = Some(LowWater { mark, is_reached: false, tell: Box::new(tell) });
    }

    /// Takes the mark over from another map of the same device.
    pub fn take_low_water(&mut self, other: &mut MetadataSpaceMap) {
        self.low_water = other.low_water.take();
    }

    fn entry(&self, index: u64) -> Result<IndexEntry, PdError> {
        self.index.entries.get(index as usize).copied().ok_or(PdErrorKind::BeyondMap.of_key(index))
    }

    fn save_entry(&mut self, index: u64, entry: IndexEntry) -> Result<(), PdError> {
        let place = self.index.entries.get_mut(index as usize);
        *place.ok_or(PdErrorKind::BeyondMap.of_key(index))? = entry;
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
    pub fn nr_free(&self) -> u64 {
        let (nr_blocks, nr_allocated) = self.counts.committed;
        nr_blocks.saturating_sub(nr_allocated).saturating_sub(self.taken)
    }
}

impl LowLevelMap for TransactionManager {
    fn tm(&mut self) -> &mut TransactionManager {
        self
    }

    fn counts(&self) -> &Counts {
        &self.space_map.counts
    }

    fn counts_mut(&mut self) -> &mut Counts {
        &mut self.space_map.counts
    }

    fn load_entry(&mut self, index: u64) -> impl Future<Output = Result<IndexEntry, PdError>> + Send {
        ready(self.space_map.entry(index))
    }

    fn save_entry(
        &mut self,
        index: u64,
        entry: IndexEntry,
    ) -> impl Future<Output = Result<(), PdError>> + Send {
        ready(self.space_map.save_entry(index, entry))
    }
}

impl TransactionManager {
    /// Chooses a block and counts it.
    pub(crate) async fn allocate(&mut self) -> Result<MetaBlock, PdError> {
        if let Some(next) = &mut self.space_map.bootstrap {
            let block = *next;
            if block == self.space_map.counts.nr_blocks {
                return Err(PdErrorKind::NoSpace.into());
            }
            *next += 1;
            return Ok(MetaBlock(block));
        }
        let begin = self.space_map.counts.begin;
        let mut found = counts::find_free(self, begin).await?;
        if found.is_none() {
            found = counts::find_free(self, 0).await?;
        }
        let Some(block) = found else {
            self.blocks.log("space map metadata", "unable to allocate new metadata block");
            return Err(PdErrorKind::NoSpace.into());
        };
        self.space_map.counts.begin = block + 1;
        self.change_counts(Change::Up(block, block + 1)).await?;
        self.space_map.taken += 1;
        let free = self.space_map.nr_free();
        if let Some(low) = &mut self.space_map.low_water {
            let was_reached = std::mem::replace(&mut low.is_reached, free <= low.mark);
            if low.is_reached && !was_reached {
                (low.tell)();
            }
        }
        Ok(MetaBlock(block))
    }

    /// Changes counts now, or after the change that is under way.
    pub(crate) async fn change_counts(&mut self, change: Change) -> Result<(), PdError> {
        if self.space_map.is_busy || self.space_map.bootstrap.is_some() {
            return self.queue(change);
        }
        self.space_map.is_busy = true;
        let result = self.apply(change).await;
        let result = self.apply_waiting(result).await;
        self.space_map.is_busy = false;
        result
    }

    /// Applies what is queued, in order, until nothing is; after an error the rest is dropped.
    async fn apply_waiting(&mut self, so_far: Result<(), PdError>) -> Result<(), PdError> {
        let mut result = so_far;
        while let Some(next) = self.space_map.waiting.pop_front() {
            let applied = self.apply(next).await;
            result = result.and(applied);
            if result.is_err() {
                self.space_map.waiting.clear();
            }
        }
        result
    }

    fn queue(&mut self, change: Change) -> Result<(), PdError> {
        if self.space_map.waiting.len() >= MAX_WAITING {
            self.blocks.log("space map metadata", "too many recursive allocations");
            return Err(PdErrorKind::TooManyWaiting.into());
        }
        self.space_map.waiting.push_back(change);
        Ok(())
    }

    fn apply(&mut self, change: Change) -> BoxFuture<'_, Result<(), PdError>> {
        Box::pin(async move {
            match change {
                Change::Up(begin, end) => counts::count_up(self, begin, end).await?,
                Change::Down(begin, end) => counts::count_down(self, begin, end).await?,
            };
            Ok(())
        })
    }

    /// Writes the index into a shadow of its block, if it changed. What the shadow itself changes is in it.
    pub(crate) async fn commit_space_map(&mut self) -> Result<(), PdError> {
        self.write_index().await?;
        self.space_map.counts.committed();
        self.space_map.taken = 0;
        Ok(())
    }

    async fn write_index(&mut self) -> Result<(), PdError> {
        if !self.space_map.is_index_changed {
            return Ok(());
        }
        let root = self.space_map.counts.bitmap_root;
        let (block, _) = self.shadow(root, &INDEX).await?;
        let index = self.space_map.index;
        index.encode(self.blocks.get_mut(block));
        self.space_map.counts.bitmap_root = block;
        self.space_map.is_index_changed = false;
        Ok(())
    }

    /// Makes the map of a device of `nr_blocks` on blocks from 1 on, block 0 being taken for the superblock.
    pub(crate) async fn create_space_map(&mut self, nr_blocks: u64) -> Result<(), PdError> {
        if nr_blocks > MAX_INDEX_ENTRIES as u64 * BITMAP_ENTRIES {
            self.blocks.log("space map common", "space map too large");
            return Err(PdErrorKind::TooLarge.into());
        }
        self.space_map = MetadataSpaceMap::bootstrapping(1);
        self.space_map.counts.bitmap_root = self.new_block(&INDEX).await?;
        self.space_map.counts.ref_count_root = counts::overflow().empty(self).await?;
        counts::extend(self, nr_blocks).await?;
        let used = self.space_map.bootstrap.take().unwrap_or_default();
        self.space_map.counts.begin = used;
        counts::count_up(self, 0, used).await.inspect_err(|_| {
            let text = "dm_sm_metadata_create: apply_bops failed";
            self.blocks.log("space map metadata", text);
        })?;
        self.write_index().await?;
        self.space_map.counts.committed();
        self.space_map.taken = 0;
        Ok(())
    }

    /// Grows the map by the blocks behind its end. New bitmaps come from the start of the new area. Counting them
    /// needs shadows of bitmaps and of the index, which come from there too and give up the blocks they replace;
    /// that is counted again, until nothing more is needed.
    ///
    /// # Errors
    /// `NoSpace`, or what reading and changing the map says.
    pub async fn grow(&mut self, nr_blocks: u64) -> Result<(), PdError> {
        let old = self.space_map.counts.nr_blocks;
        if nr_blocks <= old {
            return Ok(());
        }
        self.space_map.bootstrap = Some(old);
        let mut result = counts::extend(self, nr_blocks).await;
        let mut counted = old;
        while result.is_ok() {
            let used = self.space_map.bootstrap.unwrap_or(old);
            if used == counted {
                break;
            }
            result = self.count_grown(counted, used).await;
            counted = used;
        }
        let used = self.space_map.bootstrap.take().unwrap_or(old);
        self.space_map.counts.begin = used;
        self.space_map.waiting.clear();
        result
    }

    /// Counts the blocks from `begin` to `end` that were counted off while the map grew, and what they replace.
    async fn count_grown(&mut self, begin: u64, end: u64) -> Result<(), PdError> {
        self.queue(Change::Up(begin, end))?;
        self.apply_waiting(Ok(())).await?;
        self.write_index().await
    }
}
