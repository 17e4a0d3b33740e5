//! Is this metadata what it should be?
//!
//! Checked are the superblock's fields, all trees, details against mappings, and both space maps count by count:
//! more than Debian's `thin_check` 0.9 does, which looks neither at the data space map's counts nor at sums
//! ([`Problem::passes_thin_check`] says which findings are only ours). What other sound writers do is no finding: it is
//! a remark.

use crate::metadata::{Metadata, MetadataMut};
use crate::problem::{Problem, SpaceMapKind};
use crate::space_map::SpaceMap;
use crate::survey::{OpenError, Scope, Survey, View, read_superblock};
use crate::walk::Tree;
use dmlab_formats::thin::{NEEDS_CHECK, SUPERBLOCK, Superblock};
use dmlab_formats::{BLOCK_SECTORS, BLOCK_SIZE};
use dmlab_units::{DataBlock, MetaBlock, Sectors, ThinId};
use std::io;

/// Data block sizes that Linux takes, in sectors.
pub(crate) const DATA_BLOCK_SIZE_MIN: u64 = 128;
pub(crate) const DATA_BLOCK_SIZE_MAX: u64 = 2_097_152;

/// How much to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// Only the superblock.
    pub super_block_only: bool,
    /// Not the mappings, and hence no counts.
    pub skip_mappings: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The superblock, when it can be read.
    pub superblock: Option<Superblock>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
    /// Harmless sums as other sound writers leave them ([`Problem::is_remark`]).
    pub remarks: Vec<Problem>,
    /// Devices that were found.
    pub nr_devices: u64,
    /// Mappings that were found, those of a shared subtree once for each device.
    pub nr_mappings: u64,
    /// Nodes of the mapping tree that were read.
    pub nr_nodes: u64,
    /// Whether the space maps were compared: not when trees are damaged, or mappings were left out.
    pub counts_compared: bool,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether all that is wrong can be mended without loss by [`fix_leaks`](crate::fix_leaks).
    pub fn has_only_leaks(&self) -> bool {
        self.problems.iter().all(Problem::is_leak)
    }

    /// Devices that lost mappings, or all that is known of them.
    pub fn damaged_devices(&self) -> Vec<ThinId> {
        let mut devices: Vec<ThinId> = self
            .problems
            .iter()
            .filter_map(|problem| match problem {
                Problem::Node { device: Some(id), loss, .. } if loss.keys.is_some() => Some(*id),
                Problem::NoDetails(id) | Problem::NoMappings(id) => Some(*id),
                _ => None,
            })
            .collect();
        devices.sort_unstable();
        devices.dedup();
        devices
    }
}

/// Checks metadata.
///
/// # Errors
/// Metadata that changes while it is read. A lost superblock is no error but a
/// finding.
pub fn check<M: Metadata + ?Sized>(metadata: &M, options: CheckOptions) -> Result<Report, OpenError> {
    let mut report = Report::default();
    let superblock = match read_superblock(metadata, MetaBlock(0)) {
        Ok(superblock) => superblock,
        Err(why) => {
            report.problems.push(Problem::Superblock(why));
            return Ok(report);
        }
    };
    check_fields(&superblock, metadata.nr_blocks(), &mut report.problems);
    report.superblock = Some(superblock.clone());
    if options.super_block_only {
        return Ok(report);
    }
    let scope = if options.skip_mappings { Scope::Devices } else { Scope::Mappings };
    let survey = Survey::with_superblock(metadata, superblock, scope)?;
    inspect(&survey, scope, &mut report)?;
    Ok(report)
}

/// Checks all that a survey read, and the space maps. Gives the space maps, data first.
pub(crate) fn inspect<M: Metadata + ?Sized>(
    survey: &Survey<'_, M>,
    scope: Scope,
    report: &mut Report,
) -> Result<[SpaceMap; 2], OpenError> {
    let problems = &mut report.problems;
    problems.extend(survey.problems.iter().cloned());
    for view in [Some(&survey.live), survey.snapshot.as_ref()].into_iter().flatten() {
        check_view(survey, view, scope, problems);
    }
    report.nr_devices = survey.live.roots.len() as u64;
    report.nr_nodes = survey.mappings.nr_nodes() as u64;
    let below = |root: &MetaBlock| survey.mappings.shape(*root).map_or(0, |shape| shape.nr_entries);
    report.nr_mappings = survey.live.roots.values().map(below).sum();

    let superblock = &survey.live.superblock;
    let mut read = |kind, root| SpaceMap::read(survey.metadata, kind, root, &survey.meta_counts, problems);
    let data = read(SpaceMapKind::Data, superblock.data_space_map)?;
    let metadata = read(SpaceMapKind::Metadata, superblock.metadata_space_map)?;
    if scope == Scope::Mappings && !problems.iter().any(Problem::hides_counts) {
        problems.extend(data.compare(
            survey.metadata,
            |block| survey.data_counts.get(DataBlock(block)),
            |bitmap| survey.data_counts.is_clear(bitmap),
        ));
        let count = |block| survey.meta_counts.get(MetaBlock(block));
        problems.extend(metadata.compare(survey.metadata, count, |_| false));
        report.counts_compared = true;
    }
    report.remarks.extend(problems.extract_if(.., |problem| problem.is_remark()));
    // A node that a snapshot of the metadata shares is found twice.
    let mut seen: Vec<Problem> = Vec::new();
    if survey.snapshot.is_some() {
        problems.retain(|problem| {
            let is_node = matches!(problem, Problem::Node { .. });
            let is_new = !is_node || !seen.contains(problem);
            if is_node && is_new {
                seen.push(problem.clone());
            }
            is_new
        });
    }
    Ok([data, metadata])
}

/// Checks the superblock of a survey.
pub(crate) fn check_fields_of<M: Metadata + ?Sized>(survey: &Survey<'_, M>, report: &mut Report) {
    check_fields(&survey.live.superblock, survey.metadata.nr_blocks(), &mut report.problems);
}

/// Whether a pool can have data blocks of this size.
pub(crate) fn is_data_block_size(size: Sectors) -> bool {
    (DATA_BLOCK_SIZE_MIN..=DATA_BLOCK_SIZE_MAX).contains(&size.0)
        && size.0.is_multiple_of(DATA_BLOCK_SIZE_MIN)
}

fn check_fields(superblock: &Superblock, nr_blocks: u64, problems: &mut Vec<Problem>) {
    let mut field = |name, found, is_right: bool, wanted: String| {
        if !is_right {
            problems.push(Problem::Field { name, found, wanted });
        }
    };
    let size = superblock.data_block_size.0;
    field(
        "data block size (sectors)",
        size,
        is_data_block_size(superblock.data_block_size),
        format!("a multiple of {DATA_BLOCK_SIZE_MIN} up to {DATA_BLOCK_SIZE_MAX}"),
    );
    let size = superblock.metadata_block_size.0;
    field("metadata block size (sectors)", size, size == BLOCK_SECTORS, BLOCK_SECTORS.to_string());
    let counted = superblock.metadata_space_map.nr_blocks;
    field(
        "number of metadata blocks",
        counted,
        counted <= nr_blocks,
        format!("at most {nr_blocks}, the size of the metadata device"),
    );
    let flags = u64::from(superblock.incompat_flags);
    field("incompatible features", flags, flags == 0, "0: Linux refuses features it does not know".into());
    let flags = u64::from(superblock.compat_ro_flags);
    field("read-only compatible features", flags, flags == 0, "0: Linux would only read this pool".into());
}

pub(crate) fn check_view<M: Metadata + ?Sized>(
    survey: &Survey<'_, M>,
    view: &View,
    scope: Scope,
    problems: &mut Vec<Problem>,
) {
    let top = survey.devices.losses(view.superblock.mapping_root);
    let details = survey.details.losses(view.superblock.details_root);
    let lost = |losses: &[crate::walk::Loss], id: ThinId| {
        losses.iter().any(|loss| loss.keys.is_some_and(|(first, last)| (first..=last).contains(&id.0)))
    };
    for &id in view.roots.keys() {
        if !view.details.contains_key(&id) && !lost(&details, id) {
            problems.push(Problem::NoDetails(id));
        }
    }
    for &id in view.details.keys() {
        if !view.roots.contains_key(&id) && !lost(&top, id) {
            problems.push(Problem::NoMappings(id));
        }
    }
    let node = |tree, device| move |loss| Problem::Node { tree, device, loss };
    problems.extend(top.into_iter().map(node(Tree::Devices, None)));
    problems.extend(details.into_iter().map(node(Tree::Details, None)));
    if scope == Scope::Devices {
        return;
    }
    for (&id, &root) in &view.roots {
        let losses = survey.mappings.losses(root);
        let is_whole = losses.iter().all(|loss| loss.keys.is_none());
        problems.extend(losses.into_iter().map(node(Tree::Mappings, Some(id))));
        if let (true, Some(details), Some(shape)) =
            (is_whole, view.details.get(&id), survey.mappings.shape(root))
            && details.mapped_blocks != shape.nr_entries
        {
            let (found, wanted) = (details.mapped_blocks, shape.nr_entries);
            problems.push(Problem::MappedBlocks { device: id, found, wanted });
        }
    }
}

/// Clears the needs-check flag; true when it was set.
///
/// # Errors
/// The system's, and `InvalidData` when there is no superblock.
pub fn clear_needs_check<M: MetadataMut + ?Sized>(metadata: &mut M) -> io::Result<bool> {
    let mut superblock = read_superblock(metadata, MetaBlock(0))
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("superblock: {e}")))?;
    if !superblock.needs_check() {
        return Ok(false);
    }
    superblock.flags &= !NEEDS_CHECK;
    write_superblock(metadata, &superblock)?;
    Ok(true)
}

/// Writes the superblock, keeping what it does not name.
pub(crate) fn write_superblock<M: MetadataMut + ?Sized>(
    metadata: &mut M,
    superblock: &Superblock,
) -> io::Result<()> {
    let mut block = Box::new([0; BLOCK_SIZE]);
    metadata.read(MetaBlock(0), &mut block)?;
    superblock.encode(&mut block);
    SUPERBLOCK.seal(MetaBlock(0), &mut block);
    metadata.write(MetaBlock(0), &block[..])?;
    metadata.sync()
}
