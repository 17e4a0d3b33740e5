//! B-trees of metadata blocks (kernel/thin-metadata.md#b-trees).
//!
//! Trees are never changed in place but by shadowing: every node on the way down is made changeable first, and its new
//! number written into its parent. The order in which siblings are looked at, split and evened out decides which
//! blocks are taken, so it is the format's as much as the bytes are.

mod delete;
mod insert;
mod lookup;
mod rebalance;
mod remove;
mod split;

pub use lookup::Cached;

use dmlab_units::{Errno, MetaBlock};

use crate::block_manager::Role;
use crate::format::{INTERNAL_VALUE_SIZE, Kind, Node, NodeMut, max_entries};
use crate::{Rule, Store};

/// Most levels that a sound tree can have: more means a loop.
pub(crate) const MAX_DEPTH: usize = 64;

/// What the nodes of a tree have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Bytes of a value in a leaf.
    pub value_size: usize,
    /// What the values refer to.
    pub rule: Rule,
    /// What its nodes are, in a word: the tag of the bios that read and write them.
    pub meaning: &'static str,
}

impl From<Tree> for Role {
    fn from(tree: Tree) -> Role {
        Role { kind: Kind::Node, meaning: tree.meaning }
    }
}

impl Store {
    /// Makes a tree without entries: one empty leaf.
    ///
    /// # Errors
    /// ENOSPC.
    pub async fn empty_tree(&mut self, tree: Tree) -> Result<MetaBlock, Errno> {
        let root = self.new_block(tree).await?;
        NodeMut::new(self.blocks.get_mut(root)).format(true, tree.value_size);
        Ok(root)
    }

    /// Refuses a node that is not what its place in a tree says: its checksum may be right all the same, when whoever
    /// wrote it was wrong. Changing such a node could reach beyond it.
    pub(crate) fn expect_shape(node: Node<'_>, leaf_value_size: Option<usize>) -> Result<(), Errno> {
        let wanted = if node.is_internal() { Some(INTERNAL_VALUE_SIZE) } else { leaf_value_size };
        let size = node.value_size();
        let fits = wanted.is_none_or(|wanted| wanted == size) && node.max_entries() == max_entries(size);
        if fits { Ok(()) } else { Err(Errno::EILSEQ) }
    }

    pub(crate) fn node_mut(&mut self, block: MetaBlock) -> NodeMut<'_> {
        NodeMut::new(self.blocks.get_mut(block))
    }

    /// A node that is in memory because it was shadowed a moment ago.
    pub(crate) fn node_here(&self, block: MetaBlock) -> crate::format::Node<'_> {
        crate::format::Node::new(self.blocks.get(block))
    }
}
