//! The map of the data device. Its index entries stand in a tree, with a small write-back cache in front.

use dmlab_units::{DataBlock, Errno};

use super::{Counts, Which};
use crate::store::{Later, value_bytes};
use crate::{Rule, Store, Tree};
use dmlab_formats::index::IndexEntry;
use dmlab_formats::space_map_root::SpaceMapRoot;

/// Number of a bitmap to where it is.
const INDEX: Tree = Tree { value_size: 16, rule: Rule::None, meaning: "index_tree_node" };
/// Places of the cache.
const SLOTS: usize = 64;

#[derive(Clone, Copy)]
struct Slot {
    index: u64,
    entry: IndexEntry,
    is_dirty: bool,
}

pub(crate) struct DataMap {
    pub(crate) counts: Counts,
    slots: [Option<Slot>; SLOTS],
    /// Blocks taken less blocks freed in this transaction.
    net_taken: i64,
}

fn slot_of(index: u64) -> usize {
    (index.wrapping_mul(4_294_967_291) as u32 as usize) % SLOTS
}

impl DataMap {
    pub(crate) fn open(root: SpaceMapRoot) -> DataMap {
        DataMap { counts: Counts::open(root), slots: [None; SLOTS], net_taken: 0 }
    }

    /// Blocks free, as far as they can be told: what was freed since the commit counts although it can't be taken.
    pub(crate) fn nr_free(&self) -> u64 {
        let (nr_blocks, nr_allocated) = self.counts.committed;
        nr_blocks.saturating_sub(nr_allocated).saturating_add_signed(-self.net_taken)
    }
}

impl Store {
    pub(crate) async fn load_data_entry(&mut self, index: u64) -> Result<IndexEntry, Errno> {
        let at = slot_of(index);
        if let Some(slot) = self.data.slots[at] {
            if slot.index == index {
                return Ok(slot.entry);
            }
            if slot.is_dirty {
                self.insert_data_entry(slot.index, slot.entry).await?;
            }
        }
        self.data.slots[at] = None;
        let root = self.data.counts.bitmap_root;
        let entry = self.lookup::<IndexEntry>(INDEX, root, index).await?.ok_or(Errno::ENODATA)?;
        self.data.slots[at] = Some(Slot { index, entry, is_dirty: false });
        Ok(entry)
    }

    pub(crate) async fn save_data_entry(&mut self, index: u64, entry: IndexEntry) -> Result<(), Errno> {
        let at = slot_of(index);
        if let Some(slot) = self.data.slots[at]
            && slot.index != index
            && slot.is_dirty
        {
            self.insert_data_entry(slot.index, slot.entry).await?;
        }
        self.data.slots[at] = Some(Slot { index, entry, is_dirty: true });
        Ok(())
    }

    /// Puts an entry into the tree.
    pub(crate) fn insert_data_entry(
        &mut self,
        index: u64,
        entry: IndexEntry,
    ) -> Later<'_, Result<(), Errno>> {
        Box::pin(async move {
            let root = self.data.counts.bitmap_root;
            let (root, _) = self.insert(INDEX, root, index, &value_bytes(entry)).await?;
            self.data.counts.bitmap_root = root;
            Ok(())
        })
    }

    /// Takes a data block, or `None` when none can be had before the next commit.
    ///
    /// # Errors
    /// What reading or changing the map says.
    pub async fn allocate_data(&mut self) -> Result<Option<DataBlock>, Errno> {
        let begin = self.data.counts.begin;
        let mut found = self.find_free(Which::Data, begin).await?;
        if found.is_none() {
            found = self.find_free(Which::Data, 0).await?;
        }
        let Some(block) = found else { return Ok(None) };
        self.data.counts.begin = block + 1;
        self.increment_data(block, block + 1).await?;
        Ok(Some(DataBlock(block)))
    }

    /// One parent more for each data block of a range.
    ///
    /// # Errors
    /// What reading or changing the map says.
    pub fn increment_data(&mut self, begin: u64, end: u64) -> Later<'_, Result<(), Errno>> {
        Box::pin(async move {
            let taken = self.count_up(Which::Data, begin, end).await?;
            self.data.net_taken += taken as i64;
            Ok(())
        })
    }

    /// One parent less for each data block of a range.
    ///
    /// # Errors
    /// What reading or changing the map says; EINVAL for a block that has none.
    pub fn decrement_data(&mut self, begin: u64, end: u64) -> Later<'_, Result<(), Errno>> {
        Box::pin(async move {
            let freed = self.count_down(Which::Data, begin, end).await?;
            self.data.net_taken -= freed as i64;
            Ok(())
        })
    }

    /// How many mappings refer to a data block.
    ///
    /// # Errors
    /// What reading the map says.
    pub async fn data_count(&mut self, block: DataBlock) -> Result<u32, Errno> {
        self.count(Which::Data, block.0).await
    }

    pub(crate) async fn commit_data_map(&mut self) -> Result<(), Errno> {
        for at in 0..SLOTS {
            if let Some(slot) = self.data.slots[at]
                && slot.is_dirty
            {
                self.insert_data_entry(slot.index, slot.entry).await?;
                self.data.slots[at] = Some(Slot { is_dirty: false, ..slot });
            }
        }
        self.data.counts.committed();
        self.data.net_taken = 0;
        Ok(())
    }

    /// Makes the map of a data device without any block.
    pub(crate) async fn create_data_map(&mut self) -> Result<(), Errno> {
        let bitmap_root = self.empty_tree(INDEX).await?;
        let ref_count_root = self.empty_tree(super::counts::OVERFLOW).await?;
        self.data = DataMap::open(SpaceMapRoot { bitmap_root, ref_count_root, ..SpaceMapRoot::default() });
        Ok(())
    }
}
