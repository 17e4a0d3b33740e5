//! What the rules have struck: a list of its own, because the kernel log is the kernel's.

use std::collections::VecDeque;
use std::fmt;

use dmlab_abi::Command;
use dmlab_block::{Op, Tag};
use dmlab_runtime::{Instant, UeventAction};
use dmlab_units::{DevT, Sector, Sectors};

use crate::{Action, RuleId};

/// One strike of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The number of the hit among all hits of the machine, from 1.
    pub nr: u64,
    /// When.
    pub time: Instant,
    /// Which rule.
    pub rule: RuleId,
    /// The rule's name, or `#` and its number.
    pub label: String,
    /// Which of the rule's matches it was, from 1.
    pub match_nr: u64,
    /// What was done, with what the rule left open filled in.
    pub action: Action,
    /// What the rule was applied to.
    pub struck: Struck,
}

/// What a rule struck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Struck {
    /// A bio.
    Bio {
        /// The device that it was on its way to.
        dev: DevT,
        /// The kernel name of the device.
        device: String,
        /// What it does.
        op: Op,
        /// First sector, on that device.
        sector: Sector,
        /// Length.
        len: Sectors,
        /// What it means.
        tag: Tag,
    },
    /// An ioctl.
    Ioctl {
        /// What it asks for.
        command: Command,
        /// The mapped device that it names, lossily as text; empty for none.
        device: String,
    },
    /// An event.
    Uevent {
        /// What had happened.
        action: UeventAction,
        /// The kernel's name of the device.
        device: String,
    },
}

impl fmt::Display for Hit {
    /// `[    0.000123] third: W 0+8 of ram0 (superblock 0): torn after 3 sectors`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: ", self.time, self.label)?;
        match &self.struck {
            Struck::Bio { device, op, sector, len, tag, .. } => {
                write!(f, "{} {sector}+{len} of {device}", op.letters())?;
                match (tag.what, tag.owner) {
                    ("", _) => {}
                    (what, 0) => write!(f, " ({what} {})", tag.index)?,
                    (what, owner) => write!(f, " ({what} {} of {owner})", tag.index)?,
                }
            }
            Struck::Ioctl { command, device } if device.is_empty() => f.write_str(command.name())?,
            Struck::Ioctl { command, device } => write!(f, "{} of {device}", command.name())?,
            Struck::Uevent { action, device } => write!(f, "uevent {action} of {device}")?,
        }
        f.write_str(": ")?;
        let name = |errno: dmlab_units::Errno| errno.name().unwrap_or("an error");
        match self.action {
            Action::Watch => f.write_str("seen"),
            Action::Fail(errno) => write!(f, "failed with {}", name(errno)),
            Action::Drop => f.write_str("dropped"),
            Action::Torn { keep, then } => {
                let keep = keep.unwrap_or_default();
                let plural = if keep == Sectors(1) { "" } else { "s" };
                write!(f, "torn after {keep} sector{plural}")?;
                then.map_or(Ok(()), |errno| write!(f, ", then {}", name(errno)))
            }
            Action::Flip { bit } => write!(f, "bit {} flipped", bit.unwrap_or_default()),
            Action::Misdirect { to } => write!(f, "sent to sector {}", to.unwrap_or_default()),
            Action::Delay(time) => write!(f, "delayed by {time:?}"),
            Action::Hang => f.write_str("hangs"),
            Action::Kill => f.write_str("caller killed"),
        }
    }
}

/// The last hits of a machine.
#[derive(Clone, Default)]
pub(crate) struct HitLog {
    hits: VecDeque<Hit>,
    count: u64,
}

impl HitLog {
    /// Hits kept; older ones go.
    const CAPACITY: usize = 16_384;

    pub(crate) fn push(&mut self, mut hit: Hit) {
        self.count += 1;
        hit.nr = self.count;
        if self.hits.len() == Self::CAPACITY {
            self.hits.pop_front();
        }
        self.hits.push_back(hit);
    }

    pub(crate) fn after(&self, nr: u64) -> Vec<Hit> {
        let skip = self.hits.partition_point(|hit| hit.nr <= nr);
        self.hits.iter().skip(skip).cloned().collect()
    }
}
