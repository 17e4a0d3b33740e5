//! The only list of targets. They lie below `sim/targets/`, a crate for each family.

use dmlab_dm::TargetType;
use dmlab_runtime::Planted;
use dmlab_targets_basic as basic;
use dmlab_targets_mirror as mirror;
use dmlab_targets_multipath as multipath;
use dmlab_targets_snapshot as snapshot;
use dmlab_targets_thin as thin;

/// Every target that is built, in the order in which a machine registers them.
pub const TARGETS: &[&TargetType] = &[
    &thin::THIN_POOL,
    &thin::THIN,
    &basic::log_writes::LOG_WRITES,
    &basic::unstriped::UNSTRIPED,
    &basic::switch::SWITCH,
    &basic::flakey::FLAKEY,
    &basic::delay::DELAY,
    &snapshot::SNAPSHOT,
    &snapshot::SNAPSHOT_ORIGIN,
    &multipath::MULTIPATH,
    &basic::ebs::EBS,
    &basic::dust::DUST,
    &snapshot::SNAPSHOT_MERGE,
    &mirror::MIRROR,
    &basic::zero::ZERO,
    &basic::striped::STRIPED,
    &basic::linear::LINEAR,
    &basic::error::ERROR,
];

/// Every mistake that can be planted, by what it is called in tests.
pub static PLANTED: &[(&str, &Planted)] = &[
    ("superblock before data", &thin::metadata::SUPERBLOCK_BEFORE_DATA),
    ("superblock unflushed", &thin::metadata::SUPERBLOCK_UNFLUSHED),
    ("space map root missing", &thin::metadata::SPACE_MAP_ROOT_MISSING),
    ("freed block reused", &thin::metadata::FREED_BLOCK_REUSED),
    ("log after data", &mirror::LOG_AFTER_DATA),
    ("exception before copy", &snapshot::EXCEPTION_BEFORE_COPY),
];
