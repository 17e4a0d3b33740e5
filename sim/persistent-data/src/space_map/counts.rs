//! Counting up and down, in a map of either kind.

use dmlab_formats::bitmap::{BITMAP, BITMAP_ENTRIES, Bitmap, BitmapMut};
use dmlab_formats::index::IndexEntry;
use dmlab_runtime::Planted;
use dmlab_units::MetaBlock;

use super::{Counts, place};
use crate::{PdError, PdErrorKind, Plain, TransactionManager, Tree};

/// A metadata block that was freed in a transaction is used again in the same one.
#[doc(hidden)]
pub static FREED_BLOCK_REUSED: Planted =
    Planted::new("a metadata block that was freed in a transaction is used again in the same one");

/// What counting needs of a map: its counts, and where its bitmaps are. Linux calls it `ll_disk`.
pub(crate) trait LowLevelMap: Send {
    /// The blocks that the map itself consists of.
    fn tm(&mut self) -> &mut TransactionManager;

    fn counts(&self) -> &Counts;

    fn counts_mut(&mut self) -> &mut Counts;

    fn load_entry(&mut self, index: u64) -> impl Future<Output = Result<IndexEntry, PdError>> + Send;

    fn save_entry(
        &mut self,
        index: u64,
        entry: IndexEntry,
    ) -> impl Future<Output = Result<(), PdError>> + Send;
}

/// The tree of counts that no bitmap can hold: block to count.
pub(super) fn overflow() -> Tree<Plain<u32>> {
    Tree::plain("count_tree_node")
}

/// The count in a bitmap, 0 to 3.
pub(crate) async fn bitmap_count<M: LowLevelMap>(map: &mut M, number: u64) -> Result<u8, PdError> {
    let (index, bit) = place(number);
    if number >= map.counts().nr_blocks {
        map.tm().blocks.log("space map common", "metadata block out of bounds");
        return Err(PdErrorKind::BeyondMap.of_key(number));
    }
    let entry = map.load_entry(index).await?;
    let blocks = &mut map.tm().blocks;
    blocks.load(entry.bitmap, &BITMAP).await?;
    Ok(Bitmap::new(blocks.get(entry.bitmap)).get(bit))
}

/// How many references a block has.
pub(crate) async fn count<M: LowLevelMap>(map: &mut M, number: u64) -> Result<u32, PdError> {
    match bitmap_count(map, number).await? {
        3 => {
            let root = map.counts().ref_count_root;
            let found = overflow().lookup(map.tm(), root, number).await?;
            found.ok_or(PdErrorKind::NotFound.at(root).with_key(number))
        }
        count => Ok(u32::from(count)),
    }
}

/// First block from `begin` on whose count is 0 and was 0 at the last commit.
pub(super) async fn find_free<M: LowLevelMap>(map: &mut M, begin: u64) -> Result<Option<u64>, PdError> {
    let nr_blocks = map.counts().nr_blocks;
    let reuses = map.tm().blocks.device().runtime().has_planted(&FREED_BLOCK_REUSED);
    let (first, mut bit) = place(if reuses { 0 } else { begin });
    for index in first..nr_blocks.div_ceil(BITMAP_ENTRIES) {
        let entry = map.load_entry(index).await?;
        let mut from = bit.max(u64::from(entry.none_free_before));
        bit = 0;
        if entry.nr_free == 0 {
            continue;
        }
        let end = (nr_blocks - index * BITMAP_ENTRIES).min(BITMAP_ENTRIES);
        map.tm().blocks.load(entry.bitmap, &BITMAP).await?;
        while let Some(free) = Bitmap::new(map.tm().blocks.get(entry.bitmap)).find_free(from, end) {
            let number = index * BITMAP_ENTRIES + free;
            if reuses || !map.counts().freed.contains(&number) {
                return Ok(Some(number));
            }
            from = free + 1;
        }
    }
    Ok(None)
}

/// Counts one reference more to each block of a range. Returns how many had none before.
pub(super) async fn count_up<M: LowLevelMap>(map: &mut M, begin: u64, end: u64) -> Result<u64, PdError> {
    let mut taken = 0;
    let mut number = begin;
    while number < end {
        let (index, first) = place(number);
        let last = (end - index * BITMAP_ENTRIES).min(BITMAP_ENTRIES);
        let mut entry = map.load_entry(index).await?;
        entry.bitmap = shadow_bitmap(map.tm(), entry.bitmap).await?;
        if end > map.counts().nr_blocks {
            return Err(PdErrorKind::BeyondMap.of_key(end - 1));
        }
        for bit in first..last {
            let block = index * BITMAP_ENTRIES + bit;
            match Bitmap::new(map.tm().blocks.get(entry.bitmap)).get(bit) {
                0 => {
                    set_bitmap(map.tm(), entry.bitmap, bit, 1);
                    map.counts_mut().taken(block);
                    taken += 1;
                    entry.nr_free = entry.nr_free.wrapping_sub(1);
                    if u64::from(entry.none_free_before) == bit {
                        entry.none_free_before = bit as u32 + 1;
                    }
                }
                1 => set_bitmap(map.tm(), entry.bitmap, bit, 2),
                2 => {
                    set_bitmap(map.tm(), entry.bitmap, bit, 3);
                    let root = map.counts().ref_count_root;
                    let (root, _) = overflow().insert(map.tm(), root, block, 3).await?;
                    map.counts_mut().ref_count_root = root;
                }
                _ => overflow_up(map, block).await?,
            }
        }
        map.save_entry(index, entry).await?;
        number = index * BITMAP_ENTRIES + last;
    }
    Ok(taken)
}

/// Counts one reference less to each block of a range. Returns how many have none now.
pub(super) async fn count_down<M: LowLevelMap>(map: &mut M, begin: u64, end: u64) -> Result<u64, PdError> {
    let mut freed = 0;
    let mut number = begin;
    while number < end {
        let (index, first) = place(number);
        let last = (end - index * BITMAP_ENTRIES).min(BITMAP_ENTRIES);
        let mut entry = map.load_entry(index).await?;
        entry.bitmap = shadow_bitmap(map.tm(), entry.bitmap).await?;
        if end > map.counts().nr_blocks {
            return Err(PdErrorKind::BeyondMap.of_key(end - 1));
        }
        for bit in first..last {
            let block = index * BITMAP_ENTRIES + bit;
            match Bitmap::new(map.tm().blocks.get(entry.bitmap)).get(bit) {
                0 => {
                    map.tm().blocks.log("space map common", "unable to decrement block");
                    return Err(PdErrorKind::NotReferenced.of_key(block));
                }
                1 => {
                    set_bitmap(map.tm(), entry.bitmap, bit, 0);
                    map.counts_mut().given_back(block);
                    freed += 1;
                    entry.nr_free = entry.nr_free.wrapping_add(1);
                    entry.none_free_before = entry.none_free_before.min(bit as u32);
                }
                2 => set_bitmap(map.tm(), entry.bitmap, bit, 1),
                _ => {
                    if overflow_down(map, block).await? {
                        set_bitmap(map.tm(), entry.bitmap, bit, 2);
                    }
                }
            }
        }
        map.save_entry(index, entry).await?;
        number = index * BITMAP_ENTRIES + last;
    }
    Ok(freed)
}

/// Adds bitmaps for blocks up to `nr_blocks`.
pub(super) async fn extend<M: LowLevelMap>(map: &mut M, nr_blocks: u64) -> Result<(), PdError> {
    let old = map.counts().nr_blocks.div_ceil(BITMAP_ENTRIES);
    let new = nr_blocks.div_ceil(BITMAP_ENTRIES);
    map.counts_mut().nr_blocks = nr_blocks;
    for index in old..new {
        let bitmap = map.tm().new_block(&BITMAP).await?;
        let entry = IndexEntry { bitmap, nr_free: BITMAP_ENTRIES as u32, none_free_before: 0 };
        map.save_entry(index, entry).await?;
    }
    Ok(())
}

fn set_bitmap(tm: &mut TransactionManager, bitmap: MetaBlock, bit: u64, count: u8) {
    BitmapMut::new(tm.blocks.get_mut(bitmap)).set(bit, count);
}

async fn shadow_bitmap(tm: &mut TransactionManager, bitmap: MetaBlock) -> Result<MetaBlock, PdError> {
    let shadow = tm.shadow(bitmap, &BITMAP).await;
    Ok(shadow.inspect_err(|_| tm.blocks.log("space map common", "dm_tm_shadow_block() failed"))?.0)
}

async fn overflow_up<M: LowLevelMap>(map: &mut M, block: u64) -> Result<(), PdError> {
    let root = map.counts().ref_count_root;
    let (root, leaf, at) = overflow().shadow_path(map.tm(), root, block).await?;
    map.counts_mut().ref_count_root = root;
    let mut node = map.tm().node_mut(leaf);
    let count: u32 = node.value(at);
    node.set_value(at, count.wrapping_add(1));
    Ok(())
}

/// Returns whether the count fell to 2 and left the tree.
async fn overflow_down<M: LowLevelMap>(map: &mut M, block: u64) -> Result<bool, PdError> {
    let root = map.counts().ref_count_root;
    let (root, leaf, at) = overflow().shadow_path(map.tm(), root, block).await?;
    map.counts_mut().ref_count_root = root;
    let mut node = map.tm().node_mut(leaf);
    let count: u32 = node.value(at);
    if count > 3 {
        node.set_value(at, count - 1);
        return Ok(false);
    }
    let root = overflow().remove(map.tm(), root, block).await?;
    map.counts_mut().ref_count_root = root;
    Ok(true)
}
