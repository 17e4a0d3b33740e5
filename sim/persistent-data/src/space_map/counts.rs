//! Counting up and down, in either map.

use dmlab_runtime::Planted;
use dmlab_units::{Errno, MetaBlock};

use super::{Counts, Which, place};
use crate::store::value_bytes;
use crate::{Rule, Store, Tree};
use dmlab_formats::bitmap::{BITMAP, BITMAP_ENTRIES, Bitmap, BitmapMut};
use dmlab_formats::index::IndexEntry;

/// Counts that no bitmap can hold: block to count.
pub(super) const OVERFLOW: Tree = Tree { value_size: 4, rule: Rule::None, meaning: "count_tree_node" };

impl Store {
    pub(crate) fn counts(&self, which: Which) -> &Counts {
        match which {
            Which::Metadata => &self.metadata.counts,
            Which::Data => &self.data.counts,
        }
    }

    pub(crate) fn counts_mut(&mut self, which: Which) -> &mut Counts {
        match which {
            Which::Metadata => &mut self.metadata.counts,
            Which::Data => &mut self.data.counts,
        }
    }

    pub(crate) async fn load_entry(&mut self, which: Which, index: u64) -> Result<IndexEntry, Errno> {
        match which {
            Which::Metadata => self.metadata.entry(index),
            Which::Data => self.load_data_entry(index).await,
        }
    }

    async fn save_entry(&mut self, which: Which, index: u64, entry: IndexEntry) -> Result<(), Errno> {
        match which {
            Which::Metadata => self.metadata.save_entry(index, entry),
            Which::Data => self.save_data_entry(index, entry).await,
        }
    }

    /// How many parents a block has.
    pub(crate) async fn count(&mut self, which: Which, number: u64) -> Result<u32, Errno> {
        match self.bitmap_count(which, number).await? {
            3 => {
                let root = self.counts(which).ref_count_root;
                self.lookup::<u32>(OVERFLOW, root, number).await?.ok_or(Errno::ENODATA)
            }
            count => Ok(u32::from(count)),
        }
    }

    /// First block from `begin` on whose count is 0 and was 0 at the last commit.
    pub(crate) async fn find_free(&mut self, which: Which, begin: u64) -> Result<Option<u64>, Errno> {
        let nr_blocks = self.counts(which).nr_blocks;
        let reuses = self.blocks.device().runtime().has_planted(Planted::FreedBlockReused);
        let (first, mut bit) = place(if reuses { 0 } else { begin });
        for index in first..nr_blocks.div_ceil(BITMAP_ENTRIES) {
            let entry = self.load_entry(which, index).await?;
            let mut from = bit.max(u64::from(entry.none_free_before));
            bit = 0;
            if entry.nr_free == 0 {
                continue;
            }
            let end = (nr_blocks - index * BITMAP_ENTRIES).min(BITMAP_ENTRIES);
            self.blocks.load(entry.bitmap, &BITMAP).await?;
            let bitmap = Bitmap::new(self.blocks.get(entry.bitmap));
            while let Some(free) = bitmap.find_free(from, end) {
                let number = index * BITMAP_ENTRIES + free;
                if reuses || !self.counts(which).freed.contains(&number) {
                    return Ok(Some(number));
                }
                from = free + 1;
            }
        }
        Ok(None)
    }

    /// One parent more for each block of a range. Returns how many had none before.
    pub(crate) async fn count_up(&mut self, which: Which, begin: u64, end: u64) -> Result<u64, Errno> {
        let mut taken = 0;
        let mut number = begin;
        while number < end {
            let (index, first) = place(number);
            let last = (end - index * BITMAP_ENTRIES).min(BITMAP_ENTRIES);
            let mut entry = self.load_entry(which, index).await?;
            entry.bitmap = self.shadow_bitmap(entry.bitmap).await?;
            if end > self.counts(which).nr_blocks {
                return Err(Errno::EINVAL);
            }
            for bit in first..last {
                let block = index * BITMAP_ENTRIES + bit;
                match Bitmap::new(self.blocks.get(entry.bitmap)).get(bit) {
                    0 => {
                        BitmapMut::new(self.blocks.get_mut(entry.bitmap)).set(bit, 1);
                        self.counts_mut(which).taken(block);
                        taken += 1;
                        entry.nr_free = entry.nr_free.wrapping_sub(1);
                        if u64::from(entry.none_free_before) == bit {
                            entry.none_free_before = bit as u32 + 1;
                        }
                    }
                    1 => BitmapMut::new(self.blocks.get_mut(entry.bitmap)).set(bit, 2),
                    2 => {
                        BitmapMut::new(self.blocks.get_mut(entry.bitmap)).set(bit, 3);
                        let root = self.counts(which).ref_count_root;
                        let (root, _) = self.insert(OVERFLOW, root, block, &value_bytes(3u32)).await?;
                        self.counts_mut(which).ref_count_root = root;
                    }
                    _ => self.overflow_up(which, block).await?,
                }
            }
            self.save_entry(which, index, entry).await?;
            number = index * BITMAP_ENTRIES + last;
        }
        Ok(taken)
    }

    /// One parent less for each block of a range. Returns how many have none now.
    pub(crate) async fn count_down(&mut self, which: Which, begin: u64, end: u64) -> Result<u64, Errno> {
        let mut freed = 0;
        let mut number = begin;
        while number < end {
            let (index, first) = place(number);
            let last = (end - index * BITMAP_ENTRIES).min(BITMAP_ENTRIES);
            let mut entry = self.load_entry(which, index).await?;
            entry.bitmap = self.shadow_bitmap(entry.bitmap).await?;
            if end > self.counts(which).nr_blocks {
                return Err(Errno::EINVAL);
            }
            for bit in first..last {
                let block = index * BITMAP_ENTRIES + bit;
                match Bitmap::new(self.blocks.get(entry.bitmap)).get(bit) {
                    0 => {
                        self.blocks.log("space map common", "unable to decrement block");
                        return Err(Errno::EINVAL);
                    }
                    1 => {
                        BitmapMut::new(self.blocks.get_mut(entry.bitmap)).set(bit, 0);
                        self.counts_mut(which).given_back(block);
                        freed += 1;
                        entry.nr_free = entry.nr_free.wrapping_add(1);
                        entry.none_free_before = entry.none_free_before.min(bit as u32);
                    }
                    2 => BitmapMut::new(self.blocks.get_mut(entry.bitmap)).set(bit, 1),
                    _ => {
                        if self.overflow_down(which, block).await? {
                            BitmapMut::new(self.blocks.get_mut(entry.bitmap)).set(bit, 2);
                        }
                    }
                }
            }
            self.save_entry(which, index, entry).await?;
            number = index * BITMAP_ENTRIES + last;
        }
        Ok(freed)
    }

    async fn shadow_bitmap(&mut self, bitmap: MetaBlock) -> Result<MetaBlock, Errno> {
        let shadow = self.shadow(bitmap, &BITMAP).await;
        Ok(shadow.inspect_err(|_| self.blocks.log("space map common", "dm_tm_shadow_block() failed"))?.0)
    }

    async fn overflow_up(&mut self, which: Which, block: u64) -> Result<(), Errno> {
        let root = self.counts(which).ref_count_root;
        let (root, leaf, at) = self.shadow_path(OVERFLOW, root, block).await?;
        self.counts_mut(which).ref_count_root = root;
        let mut node = dmlab_formats::btree_node::NodeMut::new(self.blocks.get_mut(leaf));
        let count: u32 = node.value(at);
        node.set_value(at, count.wrapping_add(1));
        Ok(())
    }

    /// Returns whether the count fell to 2 and left the tree.
    async fn overflow_down(&mut self, which: Which, block: u64) -> Result<bool, Errno> {
        let root = self.counts(which).ref_count_root;
        let (root, leaf, at) = self.shadow_path(OVERFLOW, root, block).await?;
        self.counts_mut(which).ref_count_root = root;
        let mut node = dmlab_formats::btree_node::NodeMut::new(self.blocks.get_mut(leaf));
        let count: u32 = node.value(at);
        if count > 3 {
            node.set_value(at, count - 1);
            return Ok(false);
        }
        let root = self.remove(OVERFLOW, root, block).await?;
        self.counts_mut(which).ref_count_root = root;
        Ok(true)
    }
}
