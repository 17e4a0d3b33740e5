//! The fault model: what goes wrong with disks and calls when a rule says so, and what a loss of power may leave of what a
//! disk was told.
//!
//! A write is durable after a flush of its disk that began after the write ended, or if it was forced (FUA). Until then a
//! loss of power may keep it, drop it or tear it at a sector, each write for itself and in any combination.
//!
//! A [`Rule`] says where (a device, sectors, an operation, or a meaning; an ioctl; an event), what (an error, a silent
//! drop, a tear, a bit flip, another place, a delay, a hang), when and how often. The [`Injector`] of a machine holds its
//! rules and strikes; without a rule it is not even asked.
#![forbid(unsafe_code)]

mod action;
mod bio_path;
mod command;
mod file;
mod grammar;
mod hits;
mod injector;
mod meaning;
mod place;
pub mod power;
mod rule;
mod timing;

pub use action::{Action, BLOCK_ERRORS};
pub use command::{Lines, run_command};
pub use dmlab_block::Meaning;
pub use file::{FileError, read_rules};
pub use hits::{Hit, Struck};
pub use injector::{Injector, Listed, Paused, RuleId, Verdict};
pub use meaning::Meanings;
pub use place::{
    Aim, BioPlace, DeviceName, EventSeen, IoctlCall, IoctlPlace, Moment, Names, Ops, Place, UeventPlace,
};
pub use rule::{Rule, RuleError};
pub use timing::{Counts, Event, Predicate, Timing};
