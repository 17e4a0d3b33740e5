//! B-trees of metadata blocks (kernel/thin-metadata.md#b-trees).
//!
//! Trees are never changed in place but by shadowing: every node on the way down is made changeable first, and its new
//! number written into its parent. The order in which siblings are looked at, split and evened out decides which
//! blocks are taken, so it is the format's as much as the bytes are.

mod delete;
mod entries;
mod insert;
mod lookup;
mod rebalance;
mod remove;
mod split;
mod value_type;

pub use lookup::Cached;
pub use value_type::{BlockReferences, Plain, Roots, ValueType};

use dmlab_formats::btree_node::{INTERNAL_VALUE_SIZE, NODE, Node, NodeMut, Value, max_entries};
use dmlab_units::MetaBlock;

use crate::{BlockRole, PdError, PdErrorKind, TransactionManager};

/// Most levels that a sound tree can have: more means a loop.
const MAX_DEPTH: usize = 64;

/// A kind of B-tree: what its values are and what its nodes are called. Each tree of the kind is known by its root.
#[derive(Debug)]
pub struct Tree<T> {
    values: T,
    role: BlockRole,
}

impl<V: Value + Send + Sync + 'static> Tree<Plain<V>> {
    /// Trees whose values refer to nothing. `meaning` is the tag of the bios that read and write their nodes.
    pub const fn plain(meaning: &'static str) -> Tree<Plain<V>> {
        Tree { values: Plain::new(), role: BlockRole { validator: &NODE, meaning } }
    }
}

impl<T: ValueType> Tree<T> {
    /// Trees of such values. `meaning` is the tag of the bios that read and write their nodes.
    pub fn new(values: T, meaning: &'static str) -> Tree<T> {
        Tree { values, role: BlockRole { validator: &NODE, meaning } }
    }

    /// Makes a tree without entries: one empty leaf.
    ///
    /// # Errors
    /// `NoSpace`.
    pub async fn empty(&self, tm: &mut TransactionManager) -> Result<MetaBlock, PdError> {
        let root = tm.new_block(self.role).await?;
        tm.node_mut(root).format(true, T::Value::SIZE);
        Ok(root)
    }

    /// A node, brought into memory if need be.
    async fn node<'a>(&self, tm: &'a mut TransactionManager, block: MetaBlock) -> Result<Node<'a>, PdError> {
        tm.blocks.load(block, self.role).await?;
        Ok(tm.node_here(block))
    }

    /// Shadows a node, and counts its children once more if it was shared.
    async fn shadow_node(
        &mut self,
        tm: &mut TransactionManager,
        block: MetaBlock,
    ) -> Result<MetaBlock, PdError> {
        let (copy, is_shared) = tm.shadow(block, self.role).await?;
        if is_shared {
            self.inc_children(tm, copy).await?;
        }
        Ok(copy)
    }

    /// Shadows a node on the way down from a root, refuses one of another shape, and writes its number into its parent.
    async fn shadow_step(
        &mut self,
        tm: &mut TransactionManager,
        parent: Option<(MetaBlock, usize)>,
        block: MetaBlock,
    ) -> Result<MetaBlock, PdError> {
        let here = self.shadow_node(tm, block).await?;
        expect_shape(tm, here, Some(T::Value::SIZE))?;
        if let Some((parent, at)) = parent {
            tm.node_mut(parent).set_value(at, here);
        }
        Ok(here)
    }

    /// Counts one reference more to everything that a node refers to. Runs of consecutive numbers go as one range.
    async fn inc_children(&mut self, tm: &mut TransactionManager, block: MetaBlock) -> Result<(), PdError> {
        let node = self.node(tm, block).await?;
        let is_internal = node.is_internal();
        expect_shape(tm, block, Self::size_of_references())?;
        if is_internal {
            let children = values_of(tm.node_here(block));
            tm.inc_each(&children).await
        } else if T::REFERS {
            let values = values_of(tm.node_here(block));
            self.values.inc(tm, &values).await
        } else {
            Ok(())
        }
    }

    /// Bytes of a leaf's value, where it matters for what the value refers to.
    fn size_of_references() -> Option<usize> {
        T::REFERS.then_some(T::Value::SIZE)
    }
}

fn values_of<V: Value>(node: Node<'_>) -> Vec<V> {
    (0..node.len()).map(|i| node.value(i)).collect()
}

/// Refuses a node that is not what its place in a tree says: its checksum may be right all the same, when what wrote it was
/// wrong. Changing such a node could reach beyond it.
fn expect_shape(
    tm: &TransactionManager,
    block: MetaBlock,
    leaf_value_size: Option<usize>,
) -> Result<(), PdError> {
    let node = tm.node_here(block);
    let wanted = if node.is_internal() { Some(INTERNAL_VALUE_SIZE) } else { leaf_value_size };
    let size = node.value_size();
    let fits = wanted.is_none_or(|wanted| wanted == size) && node.max_entries() == max_entries(size);
    if fits { Ok(()) } else { Err(PdErrorKind::Shape.at(block)) }
}

impl TransactionManager {
    pub(crate) fn node_mut(&mut self, block: MetaBlock) -> NodeMut<'_> {
        NodeMut::new(self.blocks.get_mut(block))
    }

    /// A node that is in memory because it was loaded or shadowed a moment ago.
    fn node_here(&self, block: MetaBlock) -> Node<'_> {
        Node::new(self.blocks.get(block))
    }
}
