//! What survives damage.

use crate::build::BuildError;
use crate::dump::{DumpError, DumpOptions, dump_view};
use crate::metadata::{BlockError, Metadata, MetadataMut, usable_blocks};
use crate::restore::restore;
use crate::scan::find_roots;
use crate::stream::Sink;
use crate::survey::{OpenError, Scope, Survey, read_superblock};
use dmlab_formats::BLOCK_SECTORS;
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_formats::thin::{Superblock, THIN_VERSION};
use dmlab_units::{MetaBlock, Sectors, ThinId};

/// What a lost superblock said, told by the user; it goes before what a superblock says that is not lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The pool's transaction id.
    pub transaction: Option<u64>,
    /// Size of a data block.
    pub data_block_size: Option<Sectors>,
    /// Data blocks there are.
    pub nr_data_blocks: Option<u64>,
}

/// Why metadata can't be repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It can't be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The superblock is lost, and nothing else says this.
    #[error("the superblock is lost ({why}), so the {what} must be given: {how}")]
    NeedsOverride {
        /// What must be given.
        what: &'static str,
        /// How.
        how: &'static str,
        /// Why the superblock is lost.
        why: BlockError,
    },
    /// No tree of devices anywhere.
    #[error("nothing is left: no block is the root of a details tree that goes with a mapping tree")]
    NoRoots,
    /// Reading what survives.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// Writing the new metadata.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What was saved, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// Whether the superblock was lost.
    pub superblock_was_lost: bool,
    /// The roots that were found by looking at every block, if they had to be: mapping tree, details tree.
    pub found_roots: Option<(MetaBlock, MetaBlock)>,
    /// Devices that lost something, with the number of mappings that survive and the number there were.
    pub damaged: Vec<(ThinId, u64, u64)>,
    /// Devices of which only the mappings or only the details are left. They can't be saved.
    pub lost: Vec<ThinId>,
    /// Devices that are whole.
    pub nr_whole: u64,
}

/// Reads what survives into `sink`.
///
/// A superblock or a root that is lost is looked for in every block; without a superblock the transaction id and the
/// data block size must be told, and the number of data blocks, if not told, is taken to be just enough.
///
/// # Errors
/// When nothing survives, or something must be told.
pub fn salvage<M: Metadata + ?Sized>(
    metadata: &M,
    overrides: Overrides,
    sink: &mut dyn Sink,
) -> Result<Salvage, RepairError> {
    let mut salvage = Salvage::default();
    let mut superblock = match read_superblock(metadata, MetaBlock(0)) {
        Ok(superblock) => superblock,
        Err(why) => {
            salvage.superblock_was_lost = true;
            invented(metadata, overrides, why)?
        }
    };
    if let Some(transaction) = overrides.transaction {
        superblock.trans_id = transaction;
    }
    if let Some(size) = overrides.data_block_size {
        superblock.data_block_size = size;
    }
    if let Some(nr_blocks) = overrides.nr_data_blocks {
        superblock.data_space_map.nr_blocks = nr_blocks;
    }
    // A metadata snapshot is not carried over, as by any restore, and need not be read.
    superblock.held_root = MetaBlock(0);
    let mut survey = Survey::with_superblock(metadata, superblock.clone(), Scope::Mappings)?;
    let is_sound = |forest: &crate::walk::Forest, root| forest.shape(root).is_some();
    let top = Some(superblock.mapping_root).filter(|&root| is_sound(&survey.devices, root));
    let details = Some(superblock.details_root).filter(|&root| is_sound(&survey.details, root));
    if top.is_none() || details.is_none() {
        // With one root left, only what agrees with it is the same state of the pool.
        let roots = match find_roots(metadata, top, details)? {
            Some(roots) => roots,
            None => find_roots(metadata, None, None)?.ok_or(RepairError::NoRoots)?,
        };
        superblock.mapping_root = roots.mapping_root;
        superblock.details_root = roots.details_root;
        salvage.found_roots = Some((roots.mapping_root, roots.details_root));
        survey = Survey::with_superblock(metadata, superblock.clone(), Scope::Mappings)?;
        if salvage.superblock_was_lost {
            let times = survey.live.details.values().map(|d| d.creation_time.max(d.snapshotted_time));
            survey.live.superblock.time = times.max().unwrap_or(0);
        }
    }
    if salvage.superblock_was_lost && overrides.nr_data_blocks.is_none() {
        survey.live.superblock.data_space_map.nr_blocks = highest_block(&survey)?;
    }
    let view = &survey.live;
    for (&id, details) in &view.details {
        let Some(&root) = view.roots.get(&id) else {
            salvage.lost.push(id);
            continue;
        };
        let left = survey.mappings.shape(root).map_or(0, |shape| shape.nr_entries);
        if survey.mappings.shape(root).is_some_and(|shape| !shape.is_flawed) && left == details.mapped_blocks
        {
            salvage.nr_whole += 1;
        } else {
            salvage.damaged.push((id, left, details.mapped_blocks));
        }
    }
    salvage.lost.extend(view.roots.keys().filter(|id| !view.details.contains_key(id)));
    let options = DumpOptions { repair: true, ..DumpOptions::default() };
    dump_view(&survey, view, &options, sink)?;
    Ok(salvage)
}

/// A superblock for a pool that lost its own; the roots are yet to be found.
fn invented<M: Metadata + ?Sized>(
    metadata: &M,
    overrides: Overrides,
    why: BlockError,
) -> Result<Superblock, RepairError> {
    let needs = |what, how| RepairError::NeedsOverride { what, how, why };
    let trans_id =
        overrides.transaction.ok_or_else(|| needs("pool's transaction id", "--transaction-id NUMBER"))?;
    let data_block_size =
        overrides.data_block_size.ok_or_else(|| needs("data block size", "--data-block-size SECTORS"))?;
    let nowhere = MetaBlock(u64::MAX);
    // Any number that no mapping is beyond; set right when they are known.
    let nr_blocks = usable_blocks(metadata) * dmlab_formats::bitmap::BITMAP_ENTRIES;
    let data_space_map =
        SpaceMapRoot { nr_blocks, nr_allocated: 0, bitmap_root: nowhere, ref_count_root: nowhere };
    Ok(Superblock {
        flags: 0,
        uuid: [0; 16],
        version: THIN_VERSION,
        time: 0,
        trans_id,
        held_root: MetaBlock(0),
        data_space_map,
        metadata_space_map: SpaceMapRoot::default(),
        mapping_root: nowhere,
        details_root: nowhere,
        data_block_size,
        metadata_block_size: Sectors(BLOCK_SECTORS),
        metadata_nr_blocks: usable_blocks(metadata),
        compat_flags: 0,
        compat_ro_flags: 0,
        incompat_flags: 0,
    })
}

/// One more than the highest data block that is mapped.
fn highest_block<M: Metadata + ?Sized>(survey: &Survey<'_, M>) -> Result<u64, OpenError> {
    let mut end = 0;
    for &root in survey.live.roots.values() {
        crate::entries::for_each_mapping(survey.metadata, &survey.mappings, root, |_, mapping| {
            end = end.max(mapping.block.0 + 1);
        })
        .map_err(OpenError::Changed)?;
    }
    Ok(end)
}

/// Writes new metadata to `out` of what survives in `metadata`.
///
/// # Errors
/// As [`salvage`]; and when `out` can't be written or is too small.
pub fn repair<M, W>(metadata: &M, overrides: Overrides, out: &mut W) -> Result<Salvage, RepairError>
where
    M: Metadata + ?Sized,
    W: MetadataMut + ?Sized,
{
    let mut sink = restore(out)?;
    salvage(metadata, overrides, &mut sink)
}
