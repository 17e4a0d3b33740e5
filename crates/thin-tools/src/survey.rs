//! Everything that metadata says, read once.

use crate::counts::{DataCounts, MetaCounts};
use crate::entries::entries;
use crate::metadata::{BlockError, Metadata, read_checked, usable_blocks};
use crate::problem::Problem;
use crate::walk::{Forest, Tree};
use dmlab_formats::BLOCK_SIZE;
use dmlab_formats::bitmap::BITMAP_ENTRIES;
use dmlab_formats::thin::{DeviceDetails, Mapping, SUPERBLOCK, Superblock};
use dmlab_units::{MetaBlock, ThinBlock, ThinId};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Mappings beyond the data device that are named; more are only counted.
const NAMED_BEYOND: usize = 1000;

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Which devices there are.
    Devices,
    /// Their mappings as well.
    Mappings,
}

/// Which of the pool's two states a tool shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The pool as it is.
    #[default]
    Live,
    /// Its metadata snapshot.
    Snapshot,
}

/// Why metadata can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No superblock.
    #[error("the superblock can't be used: {0}")]
    Superblock(BlockError),
    /// A snapshot was asked for.
    #[error("the pool holds no metadata snapshot (message reserve_metadata_snap makes one)")]
    NoSnapshot,
    /// The snapshot's superblock.
    #[error("the metadata snapshot's superblock at block {0} can't be used: {1}")]
    Snapshot(MetaBlock, BlockError),
    /// A block that was sound a moment ago.
    #[error("the metadata changed while it was read, is the pool active? ({0})")]
    Changed(BlockError),
}

/// The pool as one superblock shows it.
#[derive(Clone, Debug)]
pub struct View {
    /// The superblock, or its copy in a metadata snapshot.
    pub superblock: Superblock,
    /// The root of each device's mappings.
    pub roots: BTreeMap<ThinId, MetaBlock>,
    /// What is known of each device.
    pub details: BTreeMap<ThinId, DeviceDetails>,
}

/// All trees of mappings and details, read.
pub struct Survey<'m, M: ?Sized> {
    /// What was read.
    pub metadata: &'m M,
    /// How much of it.
    pub scope: Scope,
    /// The pool as it is.
    pub live: View,
    /// Its metadata snapshot, if it holds one that can be read.
    pub snapshot: Option<View>,
    /// Top level of the mapping trees.
    pub devices: Forest,
    /// Details.
    pub details: Forest,
    /// Mappings of all devices; empty in the scope of devices.
    pub mappings: Forest,
    /// Parents of metadata blocks, as far as they were walked.
    pub meta_counts: MetaCounts,
    /// Mappings of data blocks.
    pub data_counts: DataCounts,
    /// What was noticed on the way, besides what is wrong with nodes.
    pub problems: Vec<Problem>,
}

/// Reads a superblock at `block`: 0, or where a metadata snapshot is.
///
/// # Errors
/// Why it is none.
pub fn read_superblock<M: Metadata + ?Sized>(
    metadata: &M,
    block: MetaBlock,
) -> Result<Superblock, BlockError> {
    let mut buffer = Box::new([0; BLOCK_SIZE]);
    read_checked(metadata, &SUPERBLOCK, block, &mut buffer)?;
    Ok(Superblock::decode(&buffer))
}

/// Walks the mappings below `roots` and counts the data blocks that they name; blocks beyond the last are problems.
fn mapped<M: Metadata + ?Sized>(
    metadata: &M,
    roots: &[MetaBlock],
    meta_counts: &MetaCounts,
    (data_counts, nr_data_blocks): (&DataCounts, u64),
    problems: &mut Vec<Problem>,
) -> Forest {
    let beyond = Mutex::new(Vec::new());
    let mappings = Forest::walk(metadata, Tree::Mappings, roots, meta_counts, |leaf, node| {
        for i in 0..node.len() {
            let mapping: Mapping = node.value(i);
            if !data_counts.add(mapping.block) {
                let mut beyond = beyond.lock().unwrap_or_else(PoisonError::into_inner);
                if beyond.len() < NAMED_BEYOND {
                    let (block, data) = (ThinBlock(node.key(i)), mapping.block);
                    beyond.push(Problem::Beyond { leaf, block, data, nr_blocks: nr_data_blocks });
                }
            }
        }
    });
    problems.extend(beyond.into_inner().unwrap_or_else(PoisonError::into_inner));
    mappings
}

impl<'m, M: Metadata + ?Sized> Survey<'m, M> {
    /// Reads all that `scope` asks for.
    ///
    /// # Errors
    /// Without a superblock there is nothing to read. Other damage is no error here: it is in the forests.
    pub fn new(metadata: &'m M, scope: Scope) -> Result<Survey<'m, M>, OpenError> {
        let superblock = read_superblock(metadata, MetaBlock(0)).map_err(OpenError::Superblock)?;
        Survey::with_superblock(metadata, superblock, scope)
    }

    /// Reads all that `scope` asks for below the roots of a superblock that need not be the one in block 0.
    ///
    /// # Errors
    /// Metadata that changes while it is read.
    pub fn with_superblock(
        metadata: &'m M,
        superblock: Superblock,
        scope: Scope,
    ) -> Result<Survey<'m, M>, OpenError> {
        let meta_counts = MetaCounts::new(usable_blocks(metadata));
        let mut problems = Vec::new();
        // The superblock is its own parent.
        meta_counts.add(MetaBlock(0));
        let mut views = vec![View { superblock, roots: BTreeMap::new(), details: BTreeMap::new() }];
        let held = views[0].superblock.held_root;
        if held != MetaBlock(0) {
            meta_counts.add(held);
            match read_superblock(metadata, held) {
                Ok(superblock) => {
                    views.push(View { superblock, roots: BTreeMap::new(), details: BTreeMap::new() });
                }
                Err(why) => problems.push(Problem::SnapshotSuperblock { block: held, why }),
            }
        }
        let tops: Vec<MetaBlock> = views.iter().map(|view| view.superblock.mapping_root).collect();
        let details_roots: Vec<MetaBlock> = views.iter().map(|view| view.superblock.details_root).collect();
        tops.iter().chain(&details_roots).for_each(|&root| meta_counts.add(root));

        let roots = Mutex::new(Vec::new());
        let devices = Forest::walk(metadata, Tree::Devices, &tops, &meta_counts, |_, node| {
            let mut roots = roots.lock().unwrap_or_else(PoisonError::into_inner);
            for i in 0..node.len() {
                let root: MetaBlock = node.value(i);
                // A leaf that snapshots of the metadata share is one parent of its devices' roots.
                meta_counts.add(root);
                roots.push(root);
            }
        });
        let details = Forest::walk(metadata, Tree::Details, &details_roots, &meta_counts, |_, _| ());
        for view in &mut views {
            let top =
                entries(metadata, &devices, view.superblock.mapping_root).map_err(OpenError::Changed)?;
            view.roots = top.into_iter().map(|(id, root)| (ThinId(id), root)).collect();
            let all =
                entries(metadata, &details, view.superblock.details_root).map_err(OpenError::Changed)?;
            view.details = all.into_iter().map(|(id, details)| (ThinId(id), details)).collect();
        }

        // Each bitmap is a metadata block, so more data blocks than this can't be counted.
        let nr_data_blocks_max = usable_blocks(metadata) * BITMAP_ENTRIES;
        let nr_data_blocks = views[0].superblock.data_space_map.nr_blocks;
        if nr_data_blocks > nr_data_blocks_max {
            let wanted = format!("at most {nr_data_blocks_max}, for so much metadata");
            problems.push(Problem::Field { name: "number of data blocks", found: nr_data_blocks, wanted });
        }
        let data_counts = DataCounts::new(nr_data_blocks.min(nr_data_blocks_max));
        let mut roots = roots.into_inner().unwrap_or_else(PoisonError::into_inner);
        if scope == Scope::Devices {
            roots.clear();
        }
        let mappings = mapped(metadata, &roots, &meta_counts, (&data_counts, nr_data_blocks), &mut problems);
        let mut views = views.into_iter();
        let live = views.next().expect("the live view was put in first");
        let snapshot = views.next();
        Ok(Survey {
            metadata,
            scope,
            live,
            snapshot,
            devices,
            details,
            mappings,
            meta_counts,
            data_counts,
            problems,
        })
    }

    /// One of the pool's two states.
    ///
    /// # Errors
    /// When there is no metadata snapshot, or it can't be read.
    pub fn view(&self, which: Which) -> Result<&View, OpenError> {
        match which {
            Which::Live => Ok(&self.live),
            Which::Snapshot if self.live.superblock.held_root == MetaBlock(0) => Err(OpenError::NoSnapshot),
            Which::Snapshot => self.snapshot.as_ref().ok_or_else(|| {
                let block = self.live.superblock.held_root;
                let why = read_superblock(self.metadata, block).err();
                OpenError::Snapshot(block, why.unwrap_or(BlockError::Io(std::io::ErrorKind::InvalidData)))
            }),
        }
    }
}
