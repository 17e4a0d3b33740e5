//! Finds the trees of a pool whose superblock, or whose roots, are lost: by looking at every block.
//!
//! A root has no parent but the superblock, and nothing in it says how old it is; freed blocks keep their content, so
//! the roots of earlier transactions are there as well. What tells is agreement: a details tree and a mapping tree with
//! the same devices, each device with as many mappings as its details say. Linux never writes into the state of the
//! last commit, so that state and the one before it always agree; of several that do, the one with the latest times is
//! taken, then, while the device's end was never written (allocation goes forward and wraps), the one highest up, then
//! the one with most mappings.

use crate::counts::MetaCounts;
use crate::entries::entries;
use crate::metadata::{Metadata, read_checked, usable_blocks};
use crate::survey::OpenError;
use crate::walk::{Forest, Tree, sound};
use dmlab_formats::BLOCK_SIZE;
use dmlab_formats::btree_node::{NODE, Node};
use dmlab_formats::thin::DeviceDetails;
use dmlab_units::MetaBlock;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Levels that a tree can have: 126 to the 9th is more than there are data blocks, twice over.
const DEPTH_MAX: usize = 20;
const THIN_ID_MAX: u64 = (1 << 24) - 1;

/// Roots that were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roots {
    pub(crate) mapping_root: MetaBlock,
    pub(crate) details_root: MetaBlock,
    /// Devices whose mappings agree with their details.
    pub(crate) nr_agreeing: u64,
    /// All devices.
    pub(crate) nr_devices: u64,
}

/// What a block looks like.
#[derive(Clone, Copy)]
enum Look {
    Leaf { value_size: usize, may_be_top: bool },
    Internal { first_child: MetaBlock },
}

/// The best pair of roots, if there is one; it must agree with `mapping_root` or `details_root` where one is known to be
/// sound.
pub(crate) fn find_roots<M: Metadata + ?Sized>(
    metadata: &M,
    known_mapping_root: Option<MetaBlock>,
    known_details_root: Option<MetaBlock>,
) -> Result<Option<Roots>, OpenError> {
    let nr_blocks = usable_blocks(metadata);
    let looks: HashMap<MetaBlock, Look> = (1..nr_blocks)
        .into_par_iter()
        .map_init(
            || Box::new([0; BLOCK_SIZE]),
            |buffer, block| look(metadata, MetaBlock(block), buffer).map(|look| (MetaBlock(block), look)),
        )
        .flatten()
        .collect();
    let leaf_of = |block: MetaBlock| {
        let mut at = block;
        for _ in 0..DEPTH_MAX {
            match looks.get(&at)? {
                Look::Internal { first_child } => at = *first_child,
                Look::Leaf { value_size, may_be_top } => return Some((*value_size, *may_be_top)),
            }
        }
        None
    };
    let (mut details_blocks, mut top_blocks) = (Vec::new(), Vec::new());
    for &block in looks.keys() {
        match leaf_of(block) {
            Some((24, _)) => details_blocks.push(block),
            Some((8, true)) => top_blocks.push(block),
            _ => {}
        }
    }
    if let Some(known) = known_details_root {
        details_blocks.retain(|&block| block == known);
    }
    if let Some(known) = known_mapping_root {
        top_blocks.retain(|&block| block == known);
    }
    details_blocks.sort_unstable();
    top_blocks.sort_unstable();

    let counts = MetaCounts::new(nr_blocks);
    let details = Forest::walk(metadata, Tree::Details, &details_blocks, &counts, |_, _| ());
    let tops = Forest::walk(metadata, Tree::Devices, &top_blocks, &counts, |_, _| ());
    let mut by_ids: BTreeMap<Vec<u64>, (Vec<Details>, Vec<Top>)> = BTreeMap::new();
    for root in details_blocks {
        if details.shape(root).is_some_and(|shape| !shape.is_flawed) {
            let all: Vec<(u64, DeviceDetails)> =
                entries(metadata, &details, root).map_err(OpenError::Changed)?;
            let ids = all.iter().map(|&(id, _)| id).collect();
            by_ids.entry(ids).or_default().0.push((root, all));
        }
    }
    let mut bottoms = Vec::new();
    for root in top_blocks {
        if tops.shape(root).is_some_and(|shape| !shape.is_flawed) {
            let all: Vec<(u64, MetaBlock)> = entries(metadata, &tops, root).map_err(OpenError::Changed)?;
            let ids: Vec<u64> = all.iter().map(|&(id, _)| id).collect();
            if let Some(slot) = by_ids.get_mut(&ids) {
                bottoms.extend(all.iter().map(|&(_, root)| root));
                slot.1.push((root, all));
            }
        }
    }
    let mappings = Forest::walk(metadata, Tree::Mappings, &bottoms, &counts, |_, _| ());
    let has_wrapped = nr_blocks > 1 && !is_zero(metadata, MetaBlock(nr_blocks - 1));
    Ok(best(&by_ids, &mappings, has_wrapped))
}

type Details = (MetaBlock, Vec<(u64, DeviceDetails)>);
type Top = (MetaBlock, Vec<(u64, MetaBlock)>);

fn best(
    by_ids: &BTreeMap<Vec<u64>, (Vec<Details>, Vec<Top>)>,
    mappings: &Forest,
    has_wrapped: bool,
) -> Option<Roots> {
    let mut found = Vec::new();
    for (all_details, all_tops) in by_ids.values() {
        for (details_root, details) in all_details {
            for (mapping_root, top) in all_tops {
                let agrees = |((_, details), (_, root)): &(&(u64, DeviceDetails), &(u64, MetaBlock))| {
                    let shape = mappings.shape(*root);
                    shape.is_some_and(|s| !s.is_flawed && s.nr_entries == details.mapped_blocks)
                };
                let nr_agreeing = details.iter().zip(top).filter(agrees).count() as u64;
                let nr_devices = details.len() as u64;
                let roots = Roots {
                    mapping_root: *mapping_root,
                    details_root: *details_root,
                    nr_agreeing,
                    nr_devices,
                };
                let time = details.iter().map(|(_, d)| d.creation_time.max(d.snapshotted_time)).max();
                let transaction = details.iter().map(|(_, d)| d.transaction_id).max();
                let mapped: u64 = details.iter().fold(0, |sum, (_, d)| sum.saturating_add(d.mapped_blocks));
                // A pool with devices says more than the empty one that every pool once was. States that agree in all
                // are not told apart by their size: the last thing that happened may have been a deletion.
                let agreement = if nr_agreeing < nr_devices {
                    (0, nr_agreeing)
                } else {
                    (1 + u64::from(nr_devices > 0), 0)
                };
                let height = if has_wrapped { 0 } else { mapping_root.0.max(details_root.0) };
                let rank = (agreement, time, transaction, height, mapped, mapping_root.0, details_root.0);
                found.push((rank, roots));
            }
        }
    }
    found.into_iter().max_by_key(|(rank, _)| *rank).map(|(_, roots)| roots)
}

fn is_zero<M: Metadata + ?Sized>(metadata: &M, block: MetaBlock) -> bool {
    let mut buffer = Box::new([0; BLOCK_SIZE]);
    metadata.read(block, &mut buffer).is_ok() && buffer.iter().all(|&byte| byte == 0)
}

fn look<M: Metadata + ?Sized>(metadata: &M, block: MetaBlock, buffer: &mut [u8; BLOCK_SIZE]) -> Option<Look> {
    read_checked(metadata, &NODE, block, buffer).ok()?;
    let node = Node::new(buffer);
    if node.is_internal() {
        sound(Tree::Devices, node).ok()?;
        return Some(Look::Internal { first_child: node.value(0) });
    }
    let value_size = node.value_size();
    let tree = match value_size {
        8 => Tree::Devices,
        24 => Tree::Details,
        _ => return None,
    };
    sound(tree, node).ok()?;
    // A mapping is a data block times 2^24, so that only those to data block 0 look like a metadata block.
    let is_block = |i: usize| (1..usable_blocks(metadata)).contains(&node.value::<u64>(i));
    let may_be_top = value_size == 8
        && (0..node.len()).all(is_block)
        && node.len().checked_sub(1).is_none_or(|last| node.key(last) <= THIN_ID_MAX);
    Some(Look::Leaf { value_size, may_be_top })
}
