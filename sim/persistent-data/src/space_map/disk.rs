//! The map of another device than the metadata's. Its index entries stand in a tree, with a small write-back cache in front.

use std::ops::Range;

use dmlab_formats::index::IndexEntry;
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_units::DataBlock;

use super::Counts;
use super::counts::{self, LowLevelMap};
use crate::transaction_manager::runs;
use crate::{PdError, PdErrorKind, Plain, TransactionManager, Tree};

/// Places of the cache.
const SLOTS: usize = 64;

/// The tree from a bitmap's number to where it is.
fn index_tree() -> Tree<Plain<IndexEntry>> {
    Tree::plain("index_tree_node")
}

#[derive(Clone, Copy)]
struct Slot {
    index: u64,
    entry: IndexEntry,
    is_dirty: bool,
}

/// The references to each block of a device whose metadata are kept on another one.
pub struct DiskSpaceMap {
    counts: Counts,
    slots: [Option<Slot>; SLOTS],
    /// Blocks taken less blocks freed in this transaction.
    net_taken: i64,
}

fn slot_of(index: u64) -> usize {
    (index.wrapping_mul(4_294_967_291) as u32 as usize) % SLOTS
}

/// A map while it is used: its own blocks are the transaction manager's.
struct InUse<'a> {
    map: &'a mut DiskSpaceMap,
    tm: &'a mut TransactionManager,
}

impl LowLevelMap for InUse<'_> {
    fn tm(&mut self) -> &mut TransactionManager {
        self.tm
    }

    fn counts(&self) -> &Counts {
        &self.map.counts
    }

    fn counts_mut(&mut self) -> &mut Counts {
        &mut self.map.counts
    }

    async fn load_entry(&mut self, index: u64) -> Result<IndexEntry, PdError> {
        let at = slot_of(index);
        if let Some(slot) = self.map.slots[at] {
            if slot.index == index {
                return Ok(slot.entry);
            }
            if slot.is_dirty {
                self.map.write_entry(self.tm, slot).await?;
            }
        }
        self.map.slots[at] = None;
        let root = self.map.counts.bitmap_root;
        let entry = index_tree().lookup(self.tm, root, index).await?;
        let entry = entry.ok_or(PdErrorKind::NotFound.at(root).with_key(index))?;
        self.map.slots[at] = Some(Slot { index, entry, is_dirty: false });
        Ok(entry)
    }

    async fn save_entry(&mut self, index: u64, entry: IndexEntry) -> Result<(), PdError> {
        let at = slot_of(index);
        if let Some(slot) = self.map.slots[at]
            && slot.index != index
            && slot.is_dirty
        {
            self.map.write_entry(self.tm, slot).await?;
        }
        self.map.slots[at] = Some(Slot { index, entry, is_dirty: true });
        Ok(())
    }
}

impl DiskSpaceMap {
    /// The map that `root`, from the superblock, leads to.
    pub fn open(root: SpaceMapRoot) -> DiskSpaceMap {
        DiskSpaceMap { counts: Counts::open(root), slots: [None; SLOTS], net_taken: 0 }
    }

    /// Makes the map of a device without any block.
    ///
    /// # Errors
    /// `NoSpace`.
    pub async fn create(tm: &mut TransactionManager) -> Result<DiskSpaceMap, PdError> {
        let bitmap_root = index_tree().empty(tm).await?;
        let ref_count_root = counts::overflow().empty(tm).await?;
        Ok(DiskSpaceMap::open(SpaceMapRoot { bitmap_root, ref_count_root, ..SpaceMapRoot::default() }))
    }

    fn used<'a>(&'a mut self, tm: &'a mut TransactionManager) -> InUse<'a> {
        InUse { map: self, tm }
    }

    /// What the superblock must keep to open the map again, after [`DiskSpaceMap::commit`].
    pub fn root(&self) -> SpaceMapRoot {
        self.counts.root()
    }

    /// Blocks that it counts.
    pub fn nr_blocks(&self) -> u64 {
        self.counts.nr_blocks
    }

    /// Blocks that it counted at the last commit.
    pub fn nr_blocks_committed(&self) -> u64 {
        self.counts.committed.0
    }

    /// Blocks free, as far as they can be told: what was freed since the commit counts although it can't be taken.
    pub fn nr_free(&self) -> u64 {
        let (nr_blocks, nr_allocated) = self.counts.committed;
        nr_blocks.saturating_sub(nr_allocated).saturating_add_signed(-self.net_taken)
    }

    /// Adds blocks up to `nr_blocks`, which are free.
    ///
    /// # Errors
    /// `NoSpace`, or what reading the map says.
    pub async fn extend(&mut self, tm: &mut TransactionManager, nr_blocks: u64) -> Result<(), PdError> {
        counts::extend(&mut self.used(tm), nr_blocks).await
    }

    /// Takes a block, or `None` when none can be had before the next commit.
    ///
    /// # Errors
    /// What reading or changing the map says.
    pub async fn allocate(&mut self, tm: &mut TransactionManager) -> Result<Option<DataBlock>, PdError> {
        let begin = self.counts.begin;
        let mut found = counts::find_free(&mut self.used(tm), begin).await?;
        if found.is_none() {
            found = counts::find_free(&mut self.used(tm), 0).await?;
        }
        let Some(block) = found else { return Ok(None) };
        self.counts.begin = block + 1;
        self.inc_range(tm, DataBlock(block)..DataBlock(block + 1)).await?;
        Ok(Some(DataBlock(block)))
    }

    /// How many references a block has.
    ///
    /// # Errors
    /// What reading the map says.
    pub async fn count(&mut self, tm: &mut TransactionManager, block: DataBlock) -> Result<u32, PdError> {
        counts::count(&mut self.used(tm), block.0).await
    }

    /// Counts one reference more to each block of a range.
    ///
    /// # Errors
    /// `BeyondMap`; what reading or changing the map says.
    pub async fn inc_range(
        &mut self,
        tm: &mut TransactionManager,
        blocks: Range<DataBlock>,
    ) -> Result<(), PdError> {
        let taken = counts::count_up(&mut self.used(tm), blocks.start.0, blocks.end.0).await?;
        self.net_taken += taken as i64;
        Ok(())
    }

    /// Counts one reference less to each block of a range.
    ///
    /// # Errors
    /// As [`DiskSpaceMap::inc_range`]; `NotReferenced` for a block that has none.
    pub async fn dec_range(
        &mut self,
        tm: &mut TransactionManager,
        blocks: Range<DataBlock>,
    ) -> Result<(), PdError> {
        let freed = counts::count_down(&mut self.used(tm), blocks.start.0, blocks.end.0).await?;
        self.net_taken -= freed as i64;
        Ok(())
    }

    /// Counts one reference more to each of some blocks, runs of consecutive ones together.
    ///
    /// # Errors
    /// As [`DiskSpaceMap::inc_range`].
    pub async fn inc_each(
        &mut self,
        tm: &mut TransactionManager,
        blocks: impl IntoIterator<Item = DataBlock>,
    ) -> Result<(), PdError> {
        for (begin, end) in runs(blocks.into_iter().map(|block| block.0)) {
            self.inc_range(tm, DataBlock(begin)..DataBlock(end)).await?;
        }
        Ok(())
    }

    /// Counts one reference less to each of some blocks, runs of consecutive ones together.
    ///
    /// # Errors
    /// As [`DiskSpaceMap::dec_range`].
    pub async fn dec_each(
        &mut self,
        tm: &mut TransactionManager,
        blocks: impl IntoIterator<Item = DataBlock>,
    ) -> Result<(), PdError> {
        for (begin, end) in runs(blocks.into_iter().map(|block| block.0)) {
            self.dec_range(tm, DataBlock(begin)..DataBlock(end)).await?;
        }
        Ok(())
    }

    /// Writes what the cache holds into the tree: the root is then what a commit may keep.
    ///
    /// # Errors
    /// `NoSpace`, or what reading the tree says.
    pub async fn commit(&mut self, tm: &mut TransactionManager) -> Result<(), PdError> {
        for at in 0..SLOTS {
            if let Some(slot) = self.slots[at]
                && slot.is_dirty
            {
                self.write_entry(tm, slot).await?;
                self.slots[at] = Some(Slot { is_dirty: false, ..slot });
            }
        }
        self.counts.committed();
        self.net_taken = 0;
        Ok(())
    }

    async fn write_entry(&mut self, tm: &mut TransactionManager, slot: Slot) -> Result<(), PdError> {
        let root = self.counts.bitmap_root;
        let (root, _) = index_tree().insert(tm, root, slot.index, slot.entry).await?;
        self.counts.bitmap_root = root;
        Ok(())
    }
}
