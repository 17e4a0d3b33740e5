//! The targets of the device mapper, one module each. A module reads from top to bottom: what the target is, its
//! table line, its arguments, its way of a bio, its status, its tests. Start with [`linear`].
//!
//! [`ALL`] is the one place that lists them.
#![forbid(unsafe_code)]

pub mod error;
pub mod linear;
pub mod mirror;
pub mod snapshot;
pub mod striped;
pub mod thin;
pub mod zero;

use dmlab_dm::TargetType;

/// Every target that is built, in the order in which the machine registers them.
pub const ALL: &[&TargetType] = &[
    &thin::THIN_POOL,
    &thin::THIN,
    &snapshot::SNAPSHOT,
    &snapshot::SNAPSHOT_ORIGIN,
    &snapshot::SNAPSHOT_MERGE,
    &mirror::MIRROR,
    &zero::ZERO,
    &striped::STRIPED,
    &linear::LINEAR,
    &error::ERROR,
];
