//! A pool in numbers: what it holds, how full its trees are, how much is shared.

use crate::counts::DataCounts;
use crate::entries::for_each_leaf;
use crate::lost::ReadError;
use crate::map::Sharing;
use crate::metadata::{BlockError, Metadata};
use crate::survey::{OpenError, Scope, Survey, View, Which};
use crate::walk::Forest;
use dmlab_formats::thin::{Mapping, Superblock};
use dmlab_units::{DataBlock, MetaBlock};
use std::collections::HashSet; // tidy: never iterated

/// Nodes of a tree, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeStatistics {
    /// Internal nodes.
    pub nr_internal: u64,
    /// Leaves.
    pub nr_leaves: u64,
    /// Entries of leaves, each leaf once.
    pub nr_entries: u64,
    /// Room for entries in those leaves.
    pub room: u64,
    /// Levels of the deepest tree, 1 for a single leaf.
    pub depth: u32,
    /// Nodes with more than one parent.
    pub nr_shared: u64,
}

impl TreeStatistics {
    /// How full the leaves are, in percent.
    pub fn fill_percent(&self) -> f64 {
        if self.room == 0 { 0.0 } else { self.nr_entries as f64 * 100.0 / self.room as f64 }
    }
}

/// A pool in numbers.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Its superblock.
    pub superblock: Superblock,
    /// Devices.
    pub nr_devices: u64,
    /// Mappings, each device's own count added up.
    pub nr_mappings: u64,
    /// Data blocks that something maps.
    pub nr_data_used: u64,
    /// Those that more than one device maps, or one device more than once.
    pub nr_data_shared: u64,
    /// Data blocks that the space map says are in use.
    pub nr_data_allocated: u64,
    /// Metadata blocks that the space map says are in use.
    pub nr_metadata_allocated: u64,
    /// Top level of the mapping tree.
    pub devices: TreeStatistics,
    /// Mappings of all devices.
    pub mappings: TreeStatistics,
    /// Details.
    pub details: TreeStatistics,
}

/// Reads a pool and counts.
///
/// # Errors
/// Metadata that can't be opened, or of which a part can't be read.
pub fn statistics<M: Metadata + ?Sized>(metadata: &M, which: Which) -> Result<Statistics, ReadError> {
    let survey = Survey::new(metadata, Scope::Mappings)?;
    let view = survey.view(which)?;
    survey.expect_whole(view)?;
    let tree = |forest: &Forest, roots: &[MetaBlock]| tree_statistics(&survey, forest, roots);
    let roots: Vec<MetaBlock> = view.roots.values().copied().collect();
    let mappings = tree(&survey.mappings, &roots);
    let (nr_data_used, nr_data_shared) = data_blocks(&survey, view).map_err(OpenError::Changed)?;
    let below = |root: &MetaBlock| survey.mappings.shape(*root).map_or(0, |shape| shape.nr_entries);
    Ok(Statistics {
        superblock: view.superblock.clone(),
        nr_devices: roots.len() as u64,
        nr_mappings: roots.iter().map(below).sum(),
        nr_data_used,
        nr_data_shared,
        nr_data_allocated: survey.live.superblock.data_space_map.nr_allocated,
        nr_metadata_allocated: survey.live.superblock.metadata_space_map.nr_allocated,
        devices: tree(&survey.devices, &[view.superblock.mapping_root]),
        details: tree(&survey.details, &[view.superblock.details_root]),
        mappings,
    })
}

/// Data blocks of a view that are mapped, and those of them that are shared.
fn data_blocks<M: Metadata + ?Sized>(survey: &Survey<'_, M>, view: &View) -> Result<(u64, u64), BlockError> {
    let sharing = Sharing::new(survey, view)?;
    let nr_blocks = survey.data_counts.nr_blocks();
    let (used, shared) = (DataCounts::new(nr_blocks), DataCounts::new(nr_blocks));
    let mut seen = HashSet::new();
    for &root in view.roots.values() {
        for_each_leaf(survey.metadata, &survey.mappings, root, |leaf, entries: &[(u64, Mapping)]| {
            if !seen.insert(leaf) {
                return;
            }
            for (_, mapping) in entries {
                used.add(mapping.block);
                if sharing.is_shared(leaf, mapping.block) {
                    shared.add(mapping.block);
                }
            }
        })?;
    }
    let nr_marked =
        |marks: &DataCounts| (0..nr_blocks).filter(|&block| marks.get(DataBlock(block)) > 0).count() as u64;
    Ok((nr_marked(&used), nr_marked(&shared)))
}

fn tree_statistics<M: Metadata + ?Sized>(
    survey: &Survey<'_, M>,
    forest: &Forest,
    roots: &[MetaBlock],
) -> TreeStatistics {
    let mut statistics = TreeStatistics::default();
    for block in forest.blocks() {
        let Some(shape) = forest.shape(block) else { continue };
        if forest.is_leaf(block) {
            statistics.nr_leaves += 1;
            statistics.nr_entries += shape.nr_entries;
            statistics.room += u64::from(forest.max_entries(block));
        } else {
            statistics.nr_internal += 1;
        }
        statistics.nr_shared += u64::from(survey.meta_counts.get(block) > 1);
    }
    let depth = |root: &MetaBlock| forest.shape(*root).map_or(0, |shape| shape.height + 1);
    statistics.depth = roots.iter().map(depth).max().unwrap_or(0);
    statistics
}
