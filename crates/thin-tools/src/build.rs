//! Writes trees and space maps from scratch: block after block, leaves first.

use crate::counts::DataCounts;
use crate::metadata::{MetadataMut, NR_BLOCKS_MAX};
use dmlab_formats::bitmap::{BITMAP, BITMAP_ENTRIES, BitmapMut};
use dmlab_formats::btree_node::{INTERNAL_VALUE_SIZE, NODE, NodeMut, Value, max_entries};
use dmlab_formats::index::{INDEX, IndexBlock, IndexEntry};
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_formats::thin::SUPERBLOCK;
use dmlab_formats::{BLOCK_SIZE, Block, Validator};
use dmlab_units::{DataBlock, MetaBlock};
use std::io;

/// Blocks gathered before they are written.
const BATCH: usize = 256;

/// Why metadata can't be written.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It does not fit.
    #[error("the metadata needs more than the {nr_blocks} blocks of the output")]
    NoSpace {
        /// Blocks of the output.
        nr_blocks: u64,
    },
    /// The system's.
    #[error("writing metadata: {0}")]
    Io(#[from] io::Error),
}

/// Writes blocks one after the other.
pub(crate) struct Builder<'w, W: ?Sized> {
    out: &'w mut W,
    nr_blocks: u64,
    next: u64,
    waiting: Vec<u8>,
}

impl<'w, W: MetadataMut + ?Sized> Builder<'w, W> {
    /// Begins behind the superblock, which is cleared first: what is half written is no pool.
    pub(crate) fn new(out: &'w mut W) -> Result<Builder<'w, W>, BuildError> {
        let nr_blocks = out.nr_blocks().min(NR_BLOCKS_MAX);
        if nr_blocks == 0 {
            return Err(BuildError::NoSpace { nr_blocks });
        }
        out.write(MetaBlock(0), &[0; BLOCK_SIZE])?;
        out.sync()?;
        Ok(Builder { out, nr_blocks, next: 1, waiting: Vec::with_capacity(BATCH * BLOCK_SIZE) })
    }

    /// Blocks that may be used.
    pub(crate) fn nr_blocks(&self) -> u64 {
        self.nr_blocks
    }

    fn put(&mut self, validator: &'static Validator, block: &mut Block) -> Result<MetaBlock, BuildError> {
        let number = MetaBlock(self.next);
        if number.0 >= self.nr_blocks {
            return Err(BuildError::NoSpace { nr_blocks: self.nr_blocks });
        }
        validator.seal(number, block);
        self.waiting.extend_from_slice(block);
        self.next += 1;
        if self.waiting.len() >= BATCH * BLOCK_SIZE {
            self.flush()?;
        }
        Ok(number)
    }

    fn flush(&mut self) -> Result<(), BuildError> {
        let begin = MetaBlock(self.next - (self.waiting.len() / BLOCK_SIZE) as u64);
        self.out.write(begin, &self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    /// Writes a tree of entries whose keys ascend, and gives its root.
    pub(crate) fn tree<V: Value>(&mut self, entries: &[(u64, V)]) -> Result<MetaBlock, BuildError> {
        lay_out(entries, |validator, block| {
            debug_assert_eq!(validator, &NODE);
            self.put(validator, block)
        })
    }

    /// Writes the data space map.
    pub(crate) fn data_space_map(&mut self, counts: &DataCounts) -> Result<SpaceMapRoot, BuildError> {
        let nr_blocks = counts.nr_blocks();
        let (mut index, mut overflow) = (Vec::new(), Vec::new());
        let mut nr_allocated = 0;
        for bitmap in 0..nr_blocks.div_ceil(BITMAP_ENTRIES) {
            let mut block = Box::new([0; BLOCK_SIZE]);
            let count = |block| counts.get(DataBlock(block));
            let mut entry = fill_bitmap(bitmap, nr_blocks, count, &mut block, &mut overflow);
            nr_allocated += BITMAP_ENTRIES - u64::from(entry.nr_free);
            entry.bitmap = self.put(&BITMAP, &mut block)?;
            index.push((bitmap, entry));
        }
        let bitmap_root = self.tree(&index)?;
        let ref_count_root = self.tree(&overflow)?;
        Ok(SpaceMapRoot { nr_blocks, nr_allocated, bitmap_root, ref_count_root })
    }

    /// Writes the metadata space map, the last of all: every block written so far, and those of the map, are used once.
    pub(crate) fn metadata_space_map(&mut self) -> Result<SpaceMapRoot, BuildError> {
        let nr_bitmaps = self.nr_blocks.div_ceil(BITMAP_ENTRIES);
        let ref_count_root = self.tree::<u32>(&[])?;
        let nr_allocated = self.next + nr_bitmaps + 1;
        let mut index = IndexBlock::default();
        for bitmap in 0..nr_bitmaps {
            let mut block = Box::new([0; BLOCK_SIZE]);
            let count = |block| u64::from(block < nr_allocated);
            let mut entry = fill_bitmap(bitmap, self.nr_blocks, count, &mut block, &mut Vec::new());
            entry.bitmap = self.put(&BITMAP, &mut block)?;
            index.entries[bitmap as usize] = entry;
        }
        let mut block = Box::new([0; BLOCK_SIZE]);
        index.encode(&mut block);
        let bitmap_root = self.put(&INDEX, &mut block)?;
        Ok(SpaceMapRoot { nr_blocks: self.nr_blocks, nr_allocated, bitmap_root, ref_count_root })
    }

    /// Writes what waits, then the superblock `block`, each made durable.
    pub(crate) fn finish(mut self, block: &mut Block) -> Result<(), BuildError> {
        self.flush()?;
        self.out.sync()?;
        SUPERBLOCK.seal(MetaBlock(0), block);
        self.out.write(MetaBlock(0), block)?;
        Ok(self.out.sync()?)
    }
}

/// Fills a bitmap with counts; those above 2 also go to `overflow`. The entry still lacks its block.
pub(crate) fn fill_bitmap(
    bitmap: u64,
    nr_blocks: u64,
    count: impl Fn(u64) -> u64,
    block: &mut Block,
    overflow: &mut Vec<(u64, u32)>,
) -> IndexEntry {
    let begin = bitmap * BITMAP_ENTRIES;
    let end = BITMAP_ENTRIES.min(nr_blocks.saturating_sub(begin));
    let mut bits = BitmapMut::new(block);
    let (mut nr_used, mut first_free) = (0, None);
    for i in 0..end {
        match count(begin + i) {
            0 => {
                first_free.get_or_insert(i as u32);
                bits.set(i, 0);
                continue;
            }
            few @ 1..=2 => bits.set(i, few as u8),
            many => {
                bits.set(i, 3);
                // The format has no room for more; 4 billion owners of one block don't exist.
                overflow.push((begin + i, u32::try_from(many).unwrap_or(u32::MAX)));
            }
        }
        nr_used += 1;
    }
    for i in end..BITMAP_ENTRIES {
        bits.set(i, 0);
    }
    // Entries past the end of the device count as free.
    let none_free_before = first_free.unwrap_or(end as u32);
    IndexEntry { bitmap: MetaBlock(0), nr_free: (BITMAP_ENTRIES - nr_used) as u32, none_free_before }
}

/// Lays entries out as a tree, leaves first and the root last. `put` places each node and gives its number.
///
/// Entries are spread evenly over as few nodes as hold them, so that none is underfull.
pub(crate) fn lay_out<V: Value, E>(
    entries: &[(u64, V)],
    mut put: impl FnMut(&'static Validator, &mut Block) -> Result<MetaBlock, E>,
) -> Result<MetaBlock, E> {
    let mut buffer = Box::new([0; BLOCK_SIZE]);
    let mut level: Vec<(u64, MetaBlock)> = Vec::new();
    let mut place = |is_leaf: bool, size: usize, chunk: &mut dyn FnMut(&mut NodeMut<'_>)| {
        buffer.fill(0);
        let mut node = NodeMut::new(&mut buffer);
        node.format(is_leaf, size);
        chunk(&mut node);
        put(&NODE, &mut buffer)
    };
    for chunk in evenly(entries, max_entries(V::SIZE)) {
        let block = place(true, V::SIZE, &mut |node| fill_node(node, chunk))?;
        level.push((chunk.first().map_or(0, |&(key, _)| key), block));
    }
    while level.len() > 1 {
        let mut above = Vec::new();
        for chunk in evenly(&level, max_entries(INTERNAL_VALUE_SIZE)) {
            let block = place(false, INTERNAL_VALUE_SIZE, &mut |node| fill_node(node, chunk))?;
            above.push((chunk[0].0, block));
        }
        level = above;
    }
    Ok(level[0].1)
}

fn fill_node<V: Value>(node: &mut NodeMut<'_>, entries: &[(u64, V)]) {
    node.set_len(entries.len());
    for (i, &(key, value)) in entries.iter().enumerate() {
        node.set_key(i, key);
        node.set_value(i, value);
    }
}

/// Cuts `entries` into as few pieces of at most `max` as possible, all about equally long; one empty piece if it is empty.
fn evenly<T>(entries: &[T], max: usize) -> impl Iterator<Item = &[T]> {
    let pieces = entries.len().div_ceil(max).max(1);
    let len = entries.len();
    (0..pieces).map(move |i| &entries[len * i / pieces..len * (i + 1) / pieces])
}
