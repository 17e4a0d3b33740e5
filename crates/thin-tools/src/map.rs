//! Where a thin device's blocks are, and who else has them.

use crate::counts::DataCounts;
use crate::entries::for_each_leaf;
use crate::metadata::{BlockError, Metadata};
use crate::stream::Run;
use crate::survey::{OpenError, Survey, View};
use dmlab_formats::thin::{DeviceDetails, Mapping};
use dmlab_units::{DataBlock, MetaBlock, ThinBlock, ThinId};
use std::collections::HashMap;

/// Who shares what in a view: by the nodes they have in common, and by the data blocks that different leaves map.
pub(crate) struct Sharing<'s> {
    /// Devices that reach a leaf.
    owners: HashMap<MetaBlock, u32>,
    /// Mappings of data blocks by different leaves.
    counts: Counts<'s>,
}

/// Counts of the survey, or of one view alone.
enum Counts<'s> {
    Survey(&'s DataCounts),
    View(DataCounts),
}

impl<'s> Sharing<'s> {
    pub(crate) fn new<M: Metadata + ?Sized>(
        survey: &'s Survey<'_, M>,
        view: &View,
    ) -> Result<Sharing<'s>, BlockError> {
        let mut owners: HashMap<MetaBlock, u32> = HashMap::new();
        for &root in view.roots.values() {
            for leaf in survey.mappings.leaves(root) {
                *owners.entry(leaf).or_default() += 1;
            }
        }
        if survey.snapshot.is_none() {
            // The survey has counted already, and nothing but this view.
            return Ok(Sharing { owners, counts: Counts::Survey(&survey.data_counts) });
        }
        let counts = DataCounts::new(survey.data_counts.nr_blocks());
        let mut seen = std::collections::HashSet::new();
        for &root in view.roots.values() {
            for_each_leaf(survey.metadata, &survey.mappings, root, |leaf, entries: &[(u64, Mapping)]| {
                if seen.insert(leaf) {
                    for (_, mapping) in entries {
                        counts.add(mapping.block);
                    }
                }
            })?;
        }
        Ok(Sharing { owners, counts: Counts::View(counts) })
    }

    /// Whether another device has this data block as well, or this device twice.
    pub(crate) fn is_shared(&self, leaf: MetaBlock, data: DataBlock) -> bool {
        let counts = match &self.counts {
            Counts::Survey(counts) => counts,
            Counts::View(counts) => counts,
        };
        self.owners.get(&leaf).copied().unwrap_or(0) > 1 || counts.get(data) > 1
    }
}

/// Whose a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// This device's alone: a write goes straight to it.
    Own,
    /// Another device has it as well: a write copies it.
    Shared,
    /// This device's alone now, but it is older than the device's last snapshot, so that Linux takes it for shared: a
    /// write copies it.
    OnceShared,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            State::Own => "own",
            State::Shared => "shared",
            State::OnceShared => "once shared",
        })
    }
}

/// Blocks mapped one after the other that are in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRun {
    /// Where they are.
    pub run: Run,
    /// Whose they are.
    pub state: State,
}

/// Where the blocks of a device are. `None` when there is no such device.
///
/// # Errors
/// Metadata that changes while it is read.
pub fn map<M: Metadata + ?Sized>(
    survey: &Survey<'_, M>,
    view: &View,
    device: ThinId,
) -> Result<Option<Vec<MapRun>>, OpenError> {
    let Some(&root) = view.roots.get(&device) else { return Ok(None) };
    let details = view.details.get(&device).copied().unwrap_or_default();
    let sharing = Sharing::new(survey, view).map_err(OpenError::Changed)?;
    let mut runs: Vec<MapRun> = Vec::new();
    for_each_leaf(survey.metadata, &survey.mappings, root, |leaf, entries: &[(u64, Mapping)]| {
        for &(block, mapping) in entries {
            let is_shared = sharing.is_shared(leaf, mapping.block);
            let state = state_of(is_shared, mapping, details);
            let block = ThinBlock(block);
            if let Some(last) = runs.last_mut()
                && last.state == state
                && last.run.extend(block, mapping)
            {
                continue;
            }
            let run = Run { begin: block, data: mapping.block, length: 1, time: mapping.time };
            runs.push(MapRun { run, state });
        }
    })
    .map_err(OpenError::Changed)?;
    Ok(Some(runs))
}

/// Linux compares times and looks at no count (kernel/thin.md#io-of-a-thin-device): a mapping made before the last
/// snapshot is shared.
fn state_of(is_shared: bool, mapping: Mapping, details: DeviceDetails) -> State {
    match is_shared {
        true => State::Shared,
        false if mapping.time < details.snapshotted_time => State::OnceShared,
        false => State::Own,
    }
}

/// Characters of a picture's row.
const ROW: u64 = 64;
/// Rows of a picture.
const ROWS: u64 = 16;

/// The device's blocks as rows of characters: `#` own, `s` shared, `o` once shared, `.` not mapped. A character stands
/// for as many blocks as make the picture fit sixteen rows, and shows the state of most of the mapped ones.
pub fn picture(runs: &[MapRun]) -> String {
    let Some(last) = runs.last() else { return "nothing is mapped\n".to_owned() };
    let end = last.run.begin.0.saturating_add(last.run.length);
    let scale = end.div_ceil(ROW * ROWS).max(1);
    let cells = end.div_ceil(scale) as usize;
    let mut counts = vec![[0u64; 3]; cells];
    for MapRun { run, state } in runs {
        let (mut at, end) = (run.begin.0, run.begin.0.saturating_add(run.length));
        while at < end {
            let cell = at / scale;
            let next = ((cell + 1) * scale).min(end);
            counts[cell as usize][*state as usize] += next - at;
            at = next;
        }
    }
    let glyph = |[own, shared, once]: [u64; 3]| match () {
        () if own + shared + once == 0 => '.',
        () if own >= shared && own >= once => '#',
        () if shared >= once => 's',
        () => 'o',
    };
    let mut text =
        format!("one character is {scale} block(s): # own, s shared, o once shared, . not mapped\n");
    for (row, cells) in counts.chunks(ROW as usize).enumerate() {
        let cells: String = cells.iter().map(|&cell| glyph(cell)).collect();
        text.push_str(&format!("{:>12} {cells}\n", row as u64 * ROW * scale));
    }
    text
}
