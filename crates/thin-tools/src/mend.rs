//! Mends what can be mended without loss: counts that are too high, and sums.
//!
//! The trees are sound, so what is in use is known exactly; the space maps are rewritten in place from it. A crash in
//! the middle leaves counts that are partly mended, which the next run mends: nothing that is in use is ever counted
//! as free.

use crate::build::{fill_bitmap, lay_out};
use crate::check::{Report, check_fields_of, inspect, write_superblock};
use crate::metadata::{Metadata, MetadataMut, read_checked};
use crate::problem::Problem;
use crate::space_map::SpaceMap;
use crate::survey::{OpenError, Scope, Survey};
use crate::walk::Forest;
use dmlab_formats::bitmap::BITMAP;
use dmlab_formats::btree_node::{INTERNAL_VALUE_SIZE, NODE, NodeMut, Value, max_entries};
use dmlab_formats::index::{INDEX, IndexBlock, IndexEntry};
use dmlab_formats::thin::NEEDS_CHECK;
use dmlab_formats::{BLOCK_SIZE, Block, Validator};
use dmlab_units::{DataBlock, MetaBlock};
use std::collections::BTreeSet;
use std::io;

/// Why metadata can't be mended in place.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// More is wrong than leaks.
    #[error("more is wrong than leaks, `repair` makes new metadata of what survives: {0}")]
    Damaged(Box<Problem>),
    /// The system's.
    #[error("writing metadata: {0}")]
    Io(#[from] io::Error),
}

/// Corrects counts that are too high and sums that are wrong, and clears the needs-check flag. Gives what was wrong.
///
/// # Errors
/// When more is wrong than that; nothing is written then.
pub fn fix_leaks<M: MetadataMut>(metadata: &mut M) -> Result<Vec<Problem>, MendError> {
    let survey = Survey::new(&*metadata, Scope::Mappings)?;
    let mut report = Report::default();
    check_fields_of(&survey, &mut report);
    let [data, meta] = inspect(&survey, Scope::Mappings, &mut report)?;
    if let Some(problem) = report.problems.iter().find(|problem| !problem.is_leak()) {
        return Err(MendError::Damaged(Box::new(problem.clone())));
    }
    report.problems.append(&mut report.remarks);
    let mut superblock = survey.live.superblock.clone();
    if !report.problems.is_empty() {
        let data_counts = survey.data_counts;
        let mut writes = Writes::new(survey.metadata);
        let mut freed = BTreeSet::new();
        let data_plan = plan(&data, |block| data_counts.get(DataBlock(block)));
        writes.overflow_tree(&data.overflow_tree, &data_plan.overflow, &mut freed)?;
        writes.bitmaps(&data, &data_plan)?;
        if let Some(tree) = &data.index_tree {
            writes.index_tree(tree, data.root.bitmap_root, &data_plan.index)?;
        }
        superblock.data_space_map.nr_allocated = data_plan.nr_allocated;
        // What the overflow trees give up is free; which tells the metadata map's own tree, in two steps: its entries
        // don't depend on blocks that are used once.
        let counts = survey.meta_counts;
        let first = plan(&meta, |block| counts.get(MetaBlock(block)));
        writes.overflow_tree(&meta.overflow_tree, &first.overflow, &mut freed)?;
        let count = |block| if freed.contains(&MetaBlock(block)) { 0 } else { counts.get(MetaBlock(block)) };
        let meta_plan = plan(&meta, count);
        writes.bitmaps(&meta, &meta_plan)?;
        writes.index_block(meta.root.bitmap_root, &meta_plan.index)?;
        superblock.metadata_space_map.nr_allocated = meta_plan.nr_allocated;
        for (block, bytes) in writes.done {
            metadata.write(block, &bytes[..])?;
        }
        metadata.sync()?;
    } else if !superblock.needs_check() {
        return Ok(report.problems);
    }
    superblock.flags &= !NEEDS_CHECK;
    write_superblock(metadata, &superblock)?;
    Ok(report.problems)
}

/// A space map as it should be.
struct Plan {
    bitmaps: Vec<Box<Block>>,
    index: Vec<IndexEntry>,
    overflow: Vec<(u64, u32)>,
    nr_allocated: u64,
}

fn plan(map: &SpaceMap, count: impl Fn(u64) -> u64) -> Plan {
    let mut plan = Plan { bitmaps: Vec::new(), index: Vec::new(), overflow: Vec::new(), nr_allocated: 0 };
    for (bitmap, old) in map.index.iter().enumerate() {
        let mut block = Box::new([0; BLOCK_SIZE]);
        let mut entry =
            fill_bitmap(bitmap as u64, map.root.nr_blocks, &count, &mut block, &mut plan.overflow);
        entry.bitmap = old.bitmap;
        plan.nr_allocated += dmlab_formats::bitmap::BITMAP_ENTRIES - u64::from(entry.nr_free);
        plan.bitmaps.push(block);
        plan.index.push(entry);
    }
    plan
}

/// Blocks to write, gathered so that nothing is written before all of it is known.
struct Writes<'m, M> {
    metadata: &'m M,
    done: Vec<(MetaBlock, Box<Block>)>,
}

impl<'m, M: Metadata> Writes<'m, M> {
    fn new(metadata: &'m M) -> Writes<'m, M> {
        Writes { metadata, done: Vec::new() }
    }

    fn put(&mut self, validator: &'static Validator, block: MetaBlock, mut bytes: Box<Block>) {
        validator.seal(block, &mut bytes);
        self.done.push((block, bytes));
    }

    fn read(&self, validator: &'static Validator, block: MetaBlock) -> io::Result<Box<Block>> {
        let mut bytes = Box::new([0; BLOCK_SIZE]);
        read_checked(self.metadata, validator, block, &mut bytes)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        Ok(bytes)
    }

    fn bitmaps(&mut self, map: &SpaceMap, plan: &Plan) -> io::Result<()> {
        for (entry, new) in map.index.iter().zip(&plan.bitmaps) {
            let old = self.read(&BITMAP, entry.bitmap)?;
            if old[16..] != new[16..] {
                let mut bytes = new.clone();
                bytes[..16].copy_from_slice(&old[..16]);
                self.put(&BITMAP, entry.bitmap, bytes);
            }
        }
        Ok(())
    }

    fn index_block(&mut self, block: MetaBlock, index: &[IndexEntry]) -> io::Result<()> {
        let mut bytes = self.read(&INDEX, block)?;
        let mut decoded = IndexBlock::decode(&bytes);
        decoded.entries[..index.len()].copy_from_slice(index);
        decoded.encode(&mut bytes);
        self.put(&INDEX, block, bytes);
        Ok(())
    }

    fn index_tree(&mut self, tree: &Forest, root: MetaBlock, index: &[IndexEntry]) -> io::Result<()> {
        let mut rest = index;
        for leaf in tree.leaves(root) {
            let mut bytes = self.read(&NODE, leaf)?;
            let mut node = NodeMut::new(&mut bytes);
            let (here, after) = rest.split_at(node.len().min(rest.len()));
            for (i, &entry) in here.iter().enumerate() {
                node.set_value(i, entry);
            }
            rest = after;
            self.put(&NODE, leaf, bytes);
        }
        Ok(())
    }

    /// Puts new entries into the blocks of a tree, the root staying the root. Blocks left over are freed.
    ///
    /// There are never too few blocks: entries only go away, and the new tree is as dense as can be.
    fn overflow_tree(
        &mut self,
        tree: &Forest,
        entries: &[(u64, u32)],
        freed: &mut BTreeSet<MetaBlock>,
    ) -> io::Result<()> {
        let mut blocks: Vec<MetaBlock> = tree.blocks().collect();
        // The first one walked is the root; it is placed last.
        blocks.reverse();
        let root = blocks.pop().ok_or(io::ErrorKind::InvalidData)?;
        let needed = nodes_for(entries.len());
        let mut nodes = Vec::new();
        let mut spare = blocks.into_iter();
        lay_out(entries, |_, bytes| {
            let is_root = nodes.len() + 1 == needed;
            let block = if is_root { Some(root) } else { spare.next() };
            let block = block.ok_or(io::ErrorKind::StorageFull)?;
            nodes.push((block, Box::new(*bytes)));
            Ok::<_, io::Error>(block)
        })?;
        freed.extend(spare);
        for (block, bytes) in nodes {
            self.put(&NODE, block, bytes);
        }
        Ok(())
    }
}

/// Nodes of an overflow tree of `entries`.
fn nodes_for(entries: usize) -> usize {
    let mut level = entries.div_ceil(max_entries(<u32 as Value>::SIZE)).max(1);
    let mut nodes = level;
    while level > 1 {
        level = level.div_ceil(max_entries(INTERNAL_VALUE_SIZE));
        nodes += level;
    }
    nodes
}
