//! Persistent data: metadata that survives crashes, as thin provisioning keeps it.
//!
//! Three layers, from the bottom: `dmlab-formats`, the bytes; then mechanism: the block manager, transactions, space
//! maps and B-trees of [`Store`], and [`ThinMetadata`] on top of them; then policy, which block to map and when to
//! commit, in the target that uses it. Allocation order and node shapes are Linux's, so that the same operations leave
//! the same bytes.
#![forbid(unsafe_code)]

mod block_manager;
mod btree;
mod space_map;
mod store;
mod thin;

pub use block_manager::{BlockManager, Role};
pub use btree::{Cached, Tree};
pub use space_map::Which;
pub use store::{Rule, Store};
pub use thin::{Lookup, Run, ThinMetadata};
