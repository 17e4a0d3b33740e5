//! From data blocks back to the devices that map them: `thin_rmap`.

use crate::entries::for_each_leaf;
use crate::lost::ReadError;
use crate::metadata::Metadata;
use crate::survey::{OpenError, Survey, View};
use dmlab_formats::thin::Mapping;
use dmlab_units::{DataBlock, ThinBlock, ThinId};
use std::ops::Range;

/// Data blocks that a device maps one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RmapRun {
    /// First data block.
    pub data: DataBlock,
    /// The device.
    pub device: ThinId,
    /// First virtual block.
    pub begin: ThinBlock,
    /// How many.
    pub length: u64,
}

impl std::fmt::Display for RmapRun {
    /// As `thin_rmap` prints it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RmapRun { data, device, begin, length } = self;
        let (data_end, end) = (data.0 + length, begin.0 + length);
        write!(f, "data {data}..{data_end} -> thin({device}) {begin}..{end}")
    }
}

/// Who maps the data blocks of `regions`, by data block, then by device.
///
/// # Errors
/// Mappings that can't be read; metadata that changes while it is read.
pub fn rmap<M: Metadata + ?Sized>(
    survey: &Survey<'_, M>,
    view: &View,
    regions: &[Range<u64>],
) -> Result<Vec<RmapRun>, ReadError> {
    survey.expect_whole(view)?;
    let mut all = Vec::new();
    for (&device, &root) in &view.roots {
        let mut found: Vec<(u64, u64)> = Vec::new();
        for_each_leaf(survey.metadata, &survey.mappings, root, |_, entries: &[(u64, Mapping)]| {
            for (block, mapping) in entries {
                if regions.iter().any(|region| region.contains(&mapping.block.0)) {
                    found.push((mapping.block.0, *block));
                }
            }
        })
        .map_err(OpenError::Changed)?;
        found.sort_unstable();
        let mut runs: Vec<RmapRun> = Vec::new();
        for (data, block) in found {
            match runs.last_mut() {
                Some(run) if run.data.0 + run.length == data && run.begin.0 + run.length == block => {
                    run.length += 1;
                }
                _ => {
                    runs.push(RmapRun { data: DataBlock(data), device, begin: ThinBlock(block), length: 1 });
                }
            }
        }
        all.append(&mut runs);
    }
    all.sort_by_key(|run| (run.data, run.device, run.begin));
    Ok(all)
}
