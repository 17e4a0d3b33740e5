//! The targets of the device mapper, one module each. A module reads from top to bottom: what the target is, its
//! table line, its arguments, its way of a bio, its status, its tests. Start with [`linear`].
//!
//! [`ALL`] is the one place that lists them.
#![forbid(unsafe_code)]

pub mod delay;
pub mod dust;
pub mod ebs;
pub mod error;
pub mod flakey;
pub mod linear;
pub mod log_writes;
pub mod mirror;
pub mod multipath;
pub mod snapshot;
pub mod striped;
pub mod switch;
pub mod thin;
pub mod unstriped;
pub mod zero;

use dmlab_dm::TargetType;

/// Every target that is built, in the order in which the machine registers them.
pub const ALL: &[&TargetType] = &[
    &thin::THIN_POOL,
    &thin::THIN,
    &log_writes::LOG_WRITES,
    &unstriped::UNSTRIPED,
    &switch::SWITCH,
    &flakey::FLAKEY,
    &delay::DELAY,
    &snapshot::SNAPSHOT,
    &snapshot::SNAPSHOT_ORIGIN,
    &multipath::MULTIPATH,
    &ebs::EBS,
    &dust::DUST,
    &snapshot::SNAPSHOT_MERGE,
    &mirror::MIRROR,
    &zero::ZERO,
    &striped::STRIPED,
    &linear::LINEAR,
    &error::ERROR,
];

/// Every mistake that can be planted, by what it is called in tests.
#[doc(hidden)]
pub static PLANTED: &[(&str, &dmlab_runtime::Planted)] = &[
    ("superblock before data", &thin::metadata::SUPERBLOCK_BEFORE_DATA),
    ("superblock unflushed", &dmlab_persistent_data::SUPERBLOCK_UNFLUSHED),
    ("space map root missing", &thin::metadata::SPACE_MAP_ROOT_MISSING),
    ("freed block reused", &dmlab_persistent_data::FREED_BLOCK_REUSED),
    ("log after data", &mirror::LOG_AFTER_DATA),
    ("exception before copy", &snapshot::EXCEPTION_BEFORE_COPY),
];
