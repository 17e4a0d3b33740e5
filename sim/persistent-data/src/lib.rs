//! Persistent data: metadata that survives crashes, as Linux's library of that name keeps it.
//!
//! A [`BlockManager`] holds blocks in memory, checks them when they are read and seals them when they are written. A
//! [`TransactionManager`] over it changes blocks only by **shadowing**: what the last commit refers to stays as it is, the
//! first change of a block in a transaction goes to a copy, and a commit makes all copies valid at once with one write of
//! the superblock. A [`MetadataSpaceMap`] counts the references to each block of the metadata device itself, a
//! [`DiskSpaceMap`] those to each block of another device.
//!
//! On these stand three structures, each known by the number of its root block: [`Tree`], a B-tree from 64-bit keys to
//! values, [`Array`] and [`Bitset`]. A structure is a value that one holds; each change gives a new root, which the caller
//! keeps (in its superblock, or in another tree):
//!
//! ```text
//! let mut details = Tree::plain("details_tree_node");
//! let root = details.empty(&mut tm).await?;
//! let (root, is_new) = details.insert(&mut tm, root, key, value).await?;
//! ```
//!
//! What a tree's values refer to, and so what a copy or a removal of one means, its [`ValueType`] says. The library knows no
//! target: superblocks, value types and the order of a commit are the targets'. Allocation order and node shapes are
//! Linux's, so that the same operations leave the same bytes.
#![forbid(unsafe_code)]

mod array;
mod bitset;
mod block_manager;
mod btree;
mod error;
mod space_map;
mod transaction_manager;

#[doc(hidden)]
pub use block_manager::SUPERBLOCK_UNFLUSHED;
#[doc(hidden)]
pub use space_map::FREED_BLOCK_REUSED;

pub use array::Array;
pub use bitset::Bitset;
pub use block_manager::{BlockManager, BlockRole};
pub use btree::{BlockReferences, Cached, Plain, Roots, Tree, ValueType};
pub use error::{PdError, PdErrorKind};
pub use space_map::{DiskSpaceMap, MetadataSpaceMap};
pub use transaction_manager::TransactionManager;

use std::future::Future;
use std::pin::Pin;

/// A future of its own, for methods of traits and for what may come back to itself.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
