//! One node: read, checked, and cut down to what the walk keeps.

use super::Tree;
use crate::metadata::{BlockError, Metadata, read_checked};
use dmlab_formats::Block;
use dmlab_formats::btree_node::{INTERNAL_VALUE_SIZE, NODE, Node};
use dmlab_units::MetaBlock;

/// Why a node can't be used, whoever its parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The block itself.
    #[error("{0}")]
    Block(#[from] BlockError),
    /// Room for a number of entries that Linux never gives a node.
    #[error("max_entries is {found}, which 3 does not divide")]
    MaxEntries {
        /// In the node.
        found: usize,
    },
    /// Values of another tree.
    #[error("values have {found} bytes, those of this tree {wanted}")]
    ValueSize {
        /// In the node.
        found: usize,
        /// Of this tree.
        wanted: usize,
    },
    /// Keys that do not ascend.
    #[error("keys are out of order: {key} follows {before}")]
    KeyOrder {
        /// The key.
        key: u64,
        /// The key before it.
        before: u64,
    },
    /// An internal node without children.
    #[error("an internal node without entries")]
    NoChildren,
    /// Both kinds at once.
    #[error("flags say both internal and leaf")]
    TwoKinds,
}

/// What the walk keeps of a node.
pub(super) enum Contents {
    Leaf(Leaf),
    Internal(Internal),
    Bad(NodeError),
}

/// Ends of a leaf; an empty one has none.
#[derive(Clone, Copy)]
pub(super) struct Leaf {
    pub(super) nr_entries: u32,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Keys and children of an internal node, as many of one as of the other, at least one.
pub(super) struct Internal {
    pub(super) keys: Box<[u64]>,
    pub(super) children: Box<[MetaBlock]>,
}

/// Reads a node; shows it to `leaf` when it is a sound leaf. Also gives the room it has for entries.
pub(super) fn read_node<M: Metadata + ?Sized>(
    metadata: &M,
    tree: Tree,
    block: MetaBlock,
    buffer: &mut Block,
    leaf: impl Fn(MetaBlock, Node<'_>),
) -> (Contents, u32) {
    if let Err(e) = read_checked(metadata, &NODE, block, buffer) {
        return (Contents::Bad(e.into()), 0);
    }
    let node = Node::new(buffer);
    let contents = match sound(tree, node) {
        Err(e) => Contents::Bad(e),
        Ok(()) if node.is_leaf() => {
            leaf(block, node);
            let last = node.len().checked_sub(1).map_or(0, |last| node.key(last));
            let first = if node.is_empty() { 0 } else { node.key(0) };
            Contents::Leaf(Leaf { nr_entries: node.len() as u32, first, last })
        }
        Ok(()) => Contents::Internal(Internal {
            keys: (0..node.len()).map(|i| node.key(i)).collect(),
            children: (0..node.len()).map(|i| node.value(i)).collect(),
        }),
    };
    (contents, node.max_entries() as u32)
}

/// Checks all that a node says by itself. Beyond the kernel's checks: value size, room, order of keys.
pub(crate) fn sound(tree: Tree, node: Node<'_>) -> Result<(), NodeError> {
    if node.is_leaf() && node.is_internal() {
        return Err(NodeError::TwoKinds);
    }
    let wanted = if node.is_leaf() { tree.value_size() } else { INTERNAL_VALUE_SIZE };
    let found = node.value_size();
    if found != wanted {
        return Err(NodeError::ValueSize { found, wanted });
    }
    if !node.max_entries().is_multiple_of(3) {
        return Err(NodeError::MaxEntries { found: node.max_entries() });
    }
    if node.is_internal() && node.is_empty() {
        return Err(NodeError::NoChildren);
    }
    let mut before = None;
    for i in 0..node.len() {
        let key = node.key(i);
        if let Some(before) = before
            && key <= before
        {
            return Err(NodeError::KeyOrder { key, before });
        }
        before = Some(key);
    }
    Ok(())
}
