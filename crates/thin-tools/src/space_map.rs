//! Space maps: read, and compared with what is really in use.

use crate::counts::MetaCounts;
use crate::entries::entries;
use crate::metadata::{Metadata, read_checked};
use crate::problem::{Problem, SpaceMapKind};
use crate::survey::OpenError;
use crate::walk::{Forest, Tree};
use dmlab_formats::BLOCK_SIZE;
use dmlab_formats::bitmap::{BITMAP, BITMAP_ENTRIES, Bitmap};
use dmlab_formats::index::{INDEX, IndexBlock, IndexEntry, MAX_INDEX_ENTRIES};
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_units::MetaBlock;
use rayon::prelude::*;

/// A space map as it is stored.
pub struct SpaceMap {
    /// Which one.
    pub kind: SpaceMapKind,
    /// Its root in the superblock.
    pub root: SpaceMapRoot,
    /// Its bitmaps.
    pub index: Vec<IndexEntry>,
    /// Counts above 2, by block.
    pub overflow: Vec<(u64, u32)>,
    /// The tree of index entries; only the data space map has one.
    pub index_tree: Option<Forest>,
    /// The tree of counts above 2.
    pub overflow_tree: Forest,
}

impl SpaceMap {
    /// Reads index and overflow tree, and counts the metadata blocks that the map is made of in `counts`. Damage goes
    /// to `problems`.
    ///
    /// # Errors
    /// Metadata that changes while it is read.
    pub fn read<M: Metadata + ?Sized>(
        metadata: &M,
        kind: SpaceMapKind,
        root: SpaceMapRoot,
        counts: &MetaCounts,
        problems: &mut Vec<Problem>,
    ) -> Result<SpaceMap, OpenError> {
        counts.add(root.bitmap_root);
        counts.add(root.ref_count_root);
        let wanted = root.nr_blocks.div_ceil(BITMAP_ENTRIES);
        let (index_tree, index) = match kind {
            SpaceMapKind::Data => {
                let roots = [root.bitmap_root];
                let tree = Forest::walk(metadata, Tree::DataIndex, &roots, counts, |_, _| ());
                note_losses(&tree, root.bitmap_root, problems);
                let stored: Vec<(u64, IndexEntry)> =
                    entries(metadata, &tree, root.bitmap_root).map_err(OpenError::Changed)?;
                let is_whole = stored.iter().enumerate().all(|(i, (key, _))| *key == i as u64);
                if (stored.len() as u64 != wanted || !is_whole) && problems.iter().all(|p| !p.hides_counts())
                {
                    problems.push(Problem::NrBitmaps { map: kind, found: stored.len() as u64, wanted });
                }
                (Some(tree), stored.into_iter().map(|(_, entry)| entry).collect())
            }
            SpaceMapKind::Metadata => (None, read_index_block(metadata, root, wanted, problems)),
        };
        for entry in &index {
            counts.add(entry.bitmap);
        }
        let tree = match kind {
            SpaceMapKind::Data => Tree::DataOverflow,
            SpaceMapKind::Metadata => Tree::MetadataOverflow,
        };
        let overflow_tree = Forest::walk(metadata, tree, &[root.ref_count_root], counts, |_, _| ());
        note_losses(&overflow_tree, root.ref_count_root, problems);
        let overflow = entries(metadata, &overflow_tree, root.ref_count_root).map_err(OpenError::Changed)?;
        Ok(SpaceMap { kind, root, index, overflow, index_tree, overflow_tree })
    }

    fn overflow_of(&self, block: u64) -> Option<u32> {
        let at = self.overflow.binary_search_by_key(&block, |&(block, _)| block).ok()?;
        Some(self.overflow[at].1)
    }

    /// Compares every count, and every sum, with what is in use.
    ///
    /// `wanted` gives a block's true count; `is_clear` may say that no block of a bitmap is in use at all.
    pub fn compare<M: Metadata + ?Sized>(
        &self,
        metadata: &M,
        wanted: impl Fn(u64) -> u64 + Sync,
        is_clear: impl Fn(u64) -> bool + Sync,
    ) -> Vec<Problem> {
        let compare = |buffer: &mut Box<[u8; BLOCK_SIZE]>, (index, entry): (usize, &IndexEntry)| {
            let mut found = Found::new(self.kind, index as u64);
            if let Err(why) = read_checked(metadata, &BITMAP, entry.bitmap, buffer) {
                let index = index as u64;
                found.problems.push(Problem::Bitmap { map: self.kind, index, block: entry.bitmap, why });
                return found;
            }
            self.compare_bitmap(entry, Bitmap::new(buffer), &mut found, &wanted, is_clear(index as u64));
            found
        };
        let bitmaps: Vec<Found> =
            self.index.par_iter().enumerate().map_init(|| Box::new([0; BLOCK_SIZE]), compare).collect();
        let nr_allocated: u64 = bitmaps.iter().map(|found| found.nr_allocated).sum();
        let is_whole = bitmaps.iter().all(|found| found.is_read);
        let mut problems: Vec<Problem> = bitmaps.into_iter().flat_map(|found| found.problems).collect();
        if is_whole && nr_allocated != self.root.nr_allocated {
            let found = self.root.nr_allocated;
            problems.push(Problem::NrAllocated { map: self.kind, found, wanted: nr_allocated });
        }
        problems
    }

    fn compare_bitmap(
        &self,
        entry: &IndexEntry,
        bitmap: Bitmap<'_>,
        found: &mut Found,
        wanted: impl Fn(u64) -> u64,
        is_clear: bool,
    ) {
        found.is_read = true;
        let begin = found.index * BITMAP_ENTRIES;
        let end = BITMAP_ENTRIES.min(self.root.nr_blocks.saturating_sub(begin));
        let (mut nr_free, mut inside, mut hidden, mut first_free) = (0, 0, 0, None);
        let mut next = 0;
        while next < BITMAP_ENTRIES {
            let i = next;
            // Where nothing is in use, what is free is right: a small pool's bitmaps are mostly past its end.
            if i.is_multiple_of(32) && (i >= end || is_clear) && bitmap.are_32_free(i) {
                nr_free += 32;
                inside += end.saturating_sub(i).min(32) as u32;
                hidden += entry.none_free_before.saturating_sub(i as u32).min(32);
                first_free.get_or_insert(i as u32);
                next += 32;
                continue;
            }
            next += 1;
            let stored = bitmap.get(i);
            if stored == 0 {
                nr_free += 1;
                inside += u32::from(i < end);
                hidden += u32::from((i as u32) < entry.none_free_before);
                first_free.get_or_insert(i as u32);
            }
            if i >= end {
                // What is past the end of the device is nobody's.
                continue;
            }
            found.nr_allocated += u64::from(stored != 0);
            let block = begin + i;
            let wanted = if is_clear { 0 } else { wanted(block) };
            let count = if stored < 3 {
                u64::from(stored)
            } else if let Some(count) = self.overflow_of(block) {
                u64::from(count)
            } else {
                found.problems.push(Problem::NoOverflow { map: self.kind, block });
                continue;
            };
            if count != wanted {
                found.count(block, count, wanted);
            }
        }
        let (map, index) = (self.kind, found.index);
        // Linux counts what is past the device's end as free, other writers do not; nothing follows from either.
        if entry.nr_free != nr_free && entry.nr_free != inside {
            let found_here = entry.nr_free;
            found.problems.push(Problem::NrFree { map, index, found: found_here, wanted: nr_free, inside });
        }
        if let Some(first_free) = first_free
            && first_free < entry.none_free_before
        {
            let found_here = entry.none_free_before;
            found.problems.push(Problem::NoneFreeBefore {
                map,
                index,
                found: found_here,
                first_free,
                hidden,
            });
        }
    }
}

/// What one bitmap showed.
struct Found {
    kind: SpaceMapKind,
    index: u64,
    is_read: bool,
    nr_allocated: u64,
    problems: Vec<Problem>,
}

impl Found {
    fn new(kind: SpaceMapKind, index: u64) -> Found {
        Found { kind, index, is_read: false, nr_allocated: 0, problems: Vec::new() }
    }

    /// A wrong count; neighbours that are wrong alike make one problem.
    fn count(&mut self, block: u64, count: u64, should: u64) {
        if let Some(Problem::Count { begin, nr_blocks, found, wanted, .. }) = self.problems.last_mut()
            && *begin + *nr_blocks == block
            && (*found, *wanted) == (count, should)
        {
            *nr_blocks += 1;
            return;
        }
        let (map, found, wanted) = (self.kind, count, should);
        self.problems.push(Problem::Count { map, begin: block, nr_blocks: 1, found, wanted });
    }
}

fn note_losses(tree: &Forest, root: MetaBlock, problems: &mut Vec<Problem>) {
    let losses = tree.losses(root).into_iter();
    problems.extend(losses.map(|loss| Problem::Node { tree: tree.tree(), device: None, loss }));
}

fn read_index_block<M: Metadata + ?Sized>(
    metadata: &M,
    root: SpaceMapRoot,
    wanted: u64,
    problems: &mut Vec<Problem>,
) -> Vec<IndexEntry> {
    let map = SpaceMapKind::Metadata;
    let mut buffer = Box::new([0; BLOCK_SIZE]);
    if let Err(why) = read_checked(metadata, &INDEX, root.bitmap_root, &mut buffer) {
        problems.push(Problem::Bitmap { map, index: 0, block: root.bitmap_root, why });
        return Vec::new();
    }
    if wanted > MAX_INDEX_ENTRIES as u64 {
        problems.push(Problem::NrBitmaps { map, found: MAX_INDEX_ENTRIES as u64, wanted });
    }
    let entries = IndexBlock::decode(&buffer).entries;
    entries[..wanted.min(MAX_INDEX_ENTRIES as u64) as usize].to_vec()
}
