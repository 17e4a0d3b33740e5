//! What two devices have in common: `thin_delta`.

use crate::entries::entries;
use crate::lost::ReadError;
use crate::metadata::Metadata;
use crate::survey::{OpenError, Survey, View};
use dmlab_formats::thin::Mapping;
use dmlab_units::{DataBlock, ThinBlock, ThinId};
use std::fmt::Write;

/// How a virtual block differs between two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Both map it to one data block.
    Same(DataBlock),
    /// They map it to different ones.
    Different(DataBlock, DataBlock),
    /// Only the first maps it.
    LeftOnly(DataBlock),
    /// Only the second maps it.
    RightOnly(DataBlock),
}

impl Difference {
    fn name(self) -> &'static str {
        match self {
            Difference::Same(_) => "same",
            Difference::Different(..) => "different",
            Difference::LeftOnly(_) => "left_only",
            Difference::RightOnly(_) => "right_only",
        }
    }

    fn data(self) -> (u64, u64) {
        match self {
            Difference::Same(data) | Difference::LeftOnly(data) | Difference::RightOnly(data) => (data.0, 0),
            Difference::Different(left, right) => (left.0, right.0),
        }
    }

    /// Whether `other` is of this kind with data blocks `length` further on.
    fn continues(self, other: Difference, length: u64) -> bool {
        let ((left, right), (next_left, next_right)) = (self.data(), other.data());
        let both = matches!(self, Difference::Different(..));
        self.name() == other.name()
            && left.checked_add(length) == Some(next_left)
            && (!both || right.checked_add(length) == Some(next_right))
    }
}

/// Blocks that differ alike, with data blocks one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaRun {
    /// First virtual block.
    pub begin: ThinBlock,
    /// How many.
    pub length: u64,
    /// How the first one differs.
    pub difference: Difference,
}

/// The differences of two devices.
#[derive(Clone, Debug)]
pub struct Delta {
    left: ThinId,
    right: ThinId,
    /// By virtual block.
    pub runs: Vec<DeltaRun>,
    header: String,
}

/// Compares two devices; `None` when one of them does not exist, with its number.
///
/// # Errors
/// Mappings of the two that can't be read; metadata that changes while it is read.
pub fn delta<M: Metadata + ?Sized>(
    survey: &Survey<'_, M>,
    view: &View,
    left: ThinId,
    right: ThinId,
) -> Result<Result<Delta, ThinId>, ReadError> {
    survey.expect_devices(view, &[left, right])?;
    let mut sides = Vec::new();
    for id in [left, right] {
        let Some(&root) = view.roots.get(&id) else { return Ok(Err(id)) };
        let mappings: Vec<(u64, Mapping)> =
            entries(survey.metadata, &survey.mappings, root).map_err(OpenError::Changed)?;
        sides.push(mappings);
    }
    let (mut a, mut b) = (sides[0].iter().peekable(), sides[1].iter().peekable());
    let mut runs: Vec<DeltaRun> = Vec::new();
    loop {
        let left_first = match (a.peek(), b.peek()) {
            (None, None) => break,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(x), Some(y)) => x.0 <= y.0,
        };
        let (block, difference) = if left_first {
            let Some((block, mapping)) = a.next() else { break };
            match b.next_if(|(other, _)| other == block) {
                None => (*block, Difference::LeftOnly(mapping.block)),
                Some((_, other)) if other.block == mapping.block => (*block, Difference::Same(mapping.block)),
                Some((_, other)) => (*block, Difference::Different(mapping.block, other.block)),
            }
        } else {
            let Some((block, mapping)) = b.next() else { break };
            (*block, Difference::RightOnly(mapping.block))
        };
        match runs.last_mut() {
            Some(run)
                if run.begin.0 + run.length == block && run.difference.continues(difference, run.length) =>
            {
                run.length += 1;
            }
            _ => runs.push(DeltaRun { begin: ThinBlock(block), length: 1, difference }),
        }
    }
    let s = &view.superblock;
    let header = format!(
        "<superblock uuid=\"\" time=\"{}\" transaction=\"{}\" data_block_size=\"{}\" nr_data_blocks=\"{}\">\n",
        s.time, s.trans_id, s.data_block_size, s.data_space_map.nr_blocks
    );
    Ok(Ok(Delta { left, right, runs, header }))
}

impl Delta {
    /// As XML, as `thin_delta` prints it: ranges of one kind, or with `verbose` where their data is.
    pub fn xml(&self, verbose: bool) -> String {
        let mut xml = self.header.clone();
        let _ = writeln!(xml, "  <diff left=\"{}\" right=\"{}\">", self.left, self.right);
        let mut rest = &self.runs[..];
        while let Some(first) = rest.first() {
            let name = first.difference.name();
            // With data blocks each kind is an element around its runs; without, runs that touch become one.
            let mut taken = 1;
            while let Some(run) = rest.get(taken) {
                let before = &rest[taken - 1];
                let touches = before.begin.0 + before.length == run.begin.0;
                if run.difference.name() != name || !(verbose || touches) {
                    break;
                }
                taken += 1;
            }
            let (group, after) = rest.split_at(taken);
            rest = after;
            if verbose {
                let _ = writeln!(xml, "    <{name}>");
                for run in group {
                    let (data, other) = run.difference.data();
                    let _ = match run.difference {
                        Difference::Different(..) => writeln!(
                            xml,
                            "      <range begin=\"{}\" left_data_begin=\"{data}\" right_data_begin=\"{other}\" length=\"{}\"/>",
                            run.begin, run.length
                        ),
                        _ => writeln!(
                            xml,
                            "      <range begin=\"{}\" data_begin=\"{data}\" length=\"{}\"/>",
                            run.begin, run.length
                        ),
                    };
                }
                let _ = writeln!(xml, "    </{name}>");
            } else {
                let length: u64 = group.iter().map(|run| run.length).sum();
                let _ = writeln!(xml, "    <{name} begin=\"{}\" length=\"{length}\"/>", first.begin);
            }
        }
        xml.push_str("  </diff>\n</superblock>\n");
        xml
    }
}
