//! Whole machines: each target and what targets do to each other, driven with the bytes of the interface.
//!
//! One program, since each would be linked with the whole machine.

mod cutting;
mod delay;
mod dust;
mod ebs;
mod flakey;
mod flakey_model;
mod kit;
mod lifecycle;
mod mirror;
mod mirror_log;
mod misuse_limits;
mod multipath;
mod partitions;
mod snapshot;
mod snapshot_errors;
mod snapshot_large_chunks;
mod snapshot_orders;
mod snapshot_overlap;
mod snapshot_texts;
mod snapshot_waiting;
mod stack;
mod switch;
mod thin;
mod thin_orders;
mod unstriped;
