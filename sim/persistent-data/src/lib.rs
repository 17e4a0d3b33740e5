//! Persistent data: metadata that survives crashes, as thin provisioning keeps it.
//!
//! Three layers, from the bottom: [`mod@format`], the bytes; then mechanism: the block manager, transactions, space maps and
//! B-trees of this crate; then policy, which block to map and when to commit, in the targets that use it. Allocation
//! order and node shapes are Linux's, so that the same operations leave the same bytes.
#![forbid(unsafe_code)]

pub mod format;
