//! A pool as a stream, from its metadata.

use crate::entries::for_each_leaf;
use crate::metadata::{BlockError, Metadata};
use crate::problem::Problem;
use crate::stream::{Device, Pool, Runs, Sink, SinkError};
use crate::survey::{OpenError, Scope, Survey, View, Which};
use crate::walk::{Loss, Tree};
use dmlab_formats::thin::{DeviceDetails, Mapping, Superblock};
use dmlab_units::{MetaBlock, ThinBlock, ThinId};

/// What to dump.
#[derive(Clone, Debug, Default)]
pub struct DumpOptions {
    /// The pool as it is, or its metadata snapshot.
    pub which: Which,
    /// Only these devices; all if empty.
    pub devices: Vec<ThinId>,
    /// What survives damage, instead of an error.
    pub repair: bool,
    /// Devices without their mappings.
    pub skip_mappings: bool,
}

/// Why a pool can't be dumped.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is damaged.
    #[error("the metadata is damaged, `--repair` dumps what survives: {0}")]
    Damaged(Box<Problem>),
    /// A block that was sound a moment ago.
    #[error("the metadata changed while it was read, is the pool active? ({0})")]
    Changed(BlockError),
    /// Whoever takes the dump does not.
    #[error("{0}")]
    Sink(SinkError),
}

/// Dumps metadata into `sink`.
///
/// With `repair`, what can't be reached is left out: devices whose details or whose place in the mapping tree is lost,
/// and lost ranges of mappings. Like Debian's `thin_dump` 0.9 a device's number of mappings is printed as its details
/// say it, not as counted.
///
/// # Errors
/// Damage, if not told to `repair`; nothing is written to the sink then but what came before the damaged device.
pub fn dump<M: Metadata + ?Sized>(
    metadata: &M,
    options: &DumpOptions,
    sink: &mut dyn Sink,
) -> Result<(), DumpError> {
    let scope = if options.skip_mappings { Scope::Devices } else { Scope::Mappings };
    let survey = Survey::new(metadata, scope)?;
    dump_view(&survey, survey.view(options.which)?, options, sink)
}

pub(crate) fn pool_of(superblock: &Superblock) -> Pool {
    Pool {
        time: superblock.time,
        transaction: superblock.trans_id,
        flags: superblock.flags,
        version: superblock.version,
        data_block_size: superblock.data_block_size,
        nr_data_blocks: superblock.data_space_map.nr_blocks,
    }
}

/// Dumps one view of what was surveyed.
pub(crate) fn dump_view<M: Metadata + ?Sized>(
    survey: &Survey<'_, M>,
    view: &View,
    options: &DumpOptions,
    sink: &mut dyn Sink,
) -> Result<(), DumpError> {
    let fail = |tree, device, losses: Vec<Loss>| {
        let loss = losses.into_iter().find(|loss| loss.keys.is_some());
        match loss {
            Some(loss) if !options.repair => {
                Err(DumpError::Damaged(Box::new(Problem::Node { tree, device, loss })))
            }
            _ => Ok(()),
        }
    };
    fail(Tree::Devices, None, survey.devices.losses(view.superblock.mapping_root))?;
    fail(Tree::Details, None, survey.details.losses(view.superblock.details_root))?;
    sink.pool(&pool_of(&view.superblock)).map_err(DumpError::Sink)?;
    for (&id, &root) in &view.roots {
        if !options.devices.is_empty() && !options.devices.contains(&id) {
            continue;
        }
        let Some(details) = view.details.get(&id) else {
            if options.repair {
                continue;
            }
            return Err(DumpError::Damaged(Box::new(Problem::NoDetails(id))));
        };
        if !options.skip_mappings {
            fail(Tree::Mappings, Some(id), survey.mappings.losses(root))?;
        }
        sink.device(&device_of(id, details)).map_err(DumpError::Sink)?;
        if !options.skip_mappings {
            dump_mappings(survey, root, sink)?;
        }
        sink.end_device().map_err(DumpError::Sink)?;
    }
    sink.end_pool().map_err(DumpError::Sink)
}

fn device_of(id: ThinId, details: &DeviceDetails) -> Device {
    Device {
        id,
        mapped_blocks: details.mapped_blocks,
        transaction: details.transaction_id,
        creation_time: details.creation_time,
        snap_time: details.snapshotted_time,
    }
}

fn dump_mappings<M: Metadata + ?Sized>(
    survey: &Survey<'_, M>,
    root: MetaBlock,
    sink: &mut dyn Sink,
) -> Result<(), DumpError> {
    let mut runs = Runs::default();
    let mut taken = Ok(());
    for_each_leaf(survey.metadata, &survey.mappings, root, |_, entries: &[(u64, Mapping)]| {
        for &(block, mapping) in entries {
            if let Some(run) = runs.push(ThinBlock(block), mapping)
                && taken.is_ok()
            {
                taken = sink.run(&run);
            }
        }
    })
    .map_err(DumpError::Changed)?;
    if let (Ok(()), Some(run)) = (&taken, runs.finish()) {
        taken = sink.run(&run);
    }
    taken.map_err(DumpError::Sink)
}
