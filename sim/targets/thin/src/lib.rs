//! `thin-pool` and `thin`: many devices that share one space, and take it only when they write.
//!
//! ```text
//! START LEN thin-pool METADATA DATA BLOCK_SIZE LOW_WATER [N_FEATURES FEATURE...]
//! START LEN thin POOL ID [EXTERNAL_ORIGIN]
//!
//! 0 2097152 thin-pool /dev/mapper/meta /dev/mapper/data 128 100
//! 0 20971520 thin /dev/mapper/pool 0         10 GiB that take nothing until they are written
//! ```
//!
//! The pool's data device is cut into **data blocks** of `BLOCK_SIZE` sectors. The metadata device holds, for each
//! thin device, a B-tree from its blocks to data blocks, and a count of references for every block. A snapshot is a
//! second reference to a tree: it costs nothing until one side writes, and then only the blocks written.
//!
//! ```text
//!   bio to a thin device
//!     │ map: block looked up without waiting
//!     ├─ mapped, not shared ────────────────> data device, same thread
//!     └─ anything else ─> the pool's worker, one bio after the other, each in a cell of its blocks
//!                           ├─ unmapped read ───> zeros, or the external origin
//!                           ├─ unmapped write ──> *provision*: take a block, zero or copy, map, send
//!                           ├─ shared write ────> *break sharing*: take a block, copy, map anew, send
//!                           ├─ discard ─────────> unmap, and pass down what is not used any more
//!                           └─ flush, FUA ──────> commit the metadata first, if this device changed
//! ```
//!
//! What a pool may do depends on its **mode** (`modes.rs`): write, out of data space, out of metadata space, read only,
//! fail. What stands on the metadata device, and in which order it gets there, is [`metadata`]'s.
//!
//! | | |
//! |---|---|
//! | pool status | `TRANS_ID USED/TOTAL USED/TOTAL HELD_ROOT MODE DISCARD NO_SPACE NEEDS_CHECK THRESHOLD ` (metadata blocks, then data blocks) |
//! | thin status | `MAPPED_SECTORS HIGHEST_MAPPED_SECTOR` |
//! | pool messages | `create_thin`, `create_snap`, `delete`, `set_transaction_id`, `reserve_metadata_snap`, `release_metadata_snap` |
//! | pool events | low water of data and of metadata, each change of mode |
//!
//! Behaviour: kernel/thin.md; recorded cases `thin/*`, `thin-errors/*`, `docker/*`.
#![forbid(unsafe_code)]

mod binding;
mod commit_timer;
mod discard;
mod mapping_cache;
mod messages;
pub mod metadata;
mod modes;
mod no_space;
mod pool;
mod pool_target;
mod provision;
mod thin_target;
mod worker;

pub use pool_target::THIN_POOL;
pub use thin_target::THIN;

use dmlab_block::Meaning;
use dmlab_dm::Module;

const TREE: &str = "btree_node";
const BLOCK: &str = "the metadata block";
const THIN_ID: &str = "the thin device's id";

/// A node of one of a pool's trees.
const fn node(name: &'static str, what: &'static str) -> Meaning {
    Meaning { name, what, owner: "", index: BLOCK, within: TREE }
}

/// The module of both targets. Metadata blocks have the kernel's own names, which its log uses too; but it calls every node a
/// `btree_node`.
const MODULE: Module = Module {
    meanings: &[
        Meaning::new("superblock", "the superblock of a pool's metadata", "", BLOCK),
        Meaning::new(TREE, "any node of a tree: one of the five that follow", "", BLOCK),
        node(
            "mapping_top_node",
            "of the mapping tree's top level: thin devices, each with a tree of its own",
        ),
        node(
            "mapping_tree_node",
            "of the mapping tree's bottom level: the blocks of one thin device, or of some that share",
        ),
        node("details_tree_node", "of the details tree: what is known of each thin device"),
        node("index_tree_node", "of the tree of bitmaps in the data space map"),
        node("count_tree_node", "of the tree of counts that no bitmap can hold, in either space map"),
        Meaning::new("index", "the index of the metadata space map", "", BLOCK),
        Meaning::new("sm_bitmap", "a bitmap of a space map", "", BLOCK),
        Meaning::new("metadata-flush", "the flush of a pool's metadata device in a commit", "", ""),
        Meaning::new(
            "data",
            "what a thin device's user reads and writes, on the data device",
            THIN_ID,
            "the thin block",
        ),
        Meaning::new("data-zero", "zeros into a block that was never written", THIN_ID, "the thin block"),
        Meaning::new(
            "data-copy",
            "the copy of a shared block, or of an external origin's",
            THIN_ID,
            "the thin block",
        ),
        Meaning::new("data-discard", "a discard that a pool passes down", "", "the first data block"),
        Meaning::new("data-flush", "the flush of a pool's data device before a commit", "", ""),
    ],
    ..Module::named("dm_thin_pool")
};
