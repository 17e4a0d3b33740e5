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
//!     └─ anything else ─> the pool's worker, one bio after the other
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

mod discard;
mod mapping_cache;
mod messages;
pub mod metadata;
mod modes;
mod pool;
mod pool_target;
mod provision;
mod thin_target;
mod worker;

pub use pool_target::THIN_POOL;
pub use thin_target::THIN;
