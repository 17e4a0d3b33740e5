//! Making room for an insert: splitting nodes and spreading their entries.

use dmlab_formats::btree_node::{INTERNAL_VALUE_SIZE, Node, Value};
use dmlab_units::MetaBlock;

use super::{Tree, ValueType, expect_shape};
use crate::{PdError, TransactionManager};

/// A sibling with fewer free entries than this is not worth moving entries to.
const WORTH_REBALANCING: usize = 8;

impl<T: ValueType> Tree<T> {
    async fn new_node_like(
        &mut self,
        tm: &mut TransactionManager,
        model: MetaBlock,
    ) -> Result<MetaBlock, PdError> {
        let block = tm.new_block(self.role).await?;
        let model = *tm.blocks.get(model);
        tm.node_mut(block).format_like(Node::new(&model));
        Ok(block)
    }

    /// Moves a full root's entries into two new children. The root keeps its number, and what its bytes were beyond
    /// its two new entries.
    pub(super) async fn split_beneath(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
    ) -> Result<(), PdError> {
        let left = self.new_node_like(tm, root).await?;
        let right = self.new_node_like(tm, root).await?;
        let len = tm.len_of(root);
        let half = len / 2;
        tm.copy_entries(root, 0, left, 0, half);
        tm.node_mut(left).set_len(half);
        tm.copy_entries(root, half, right, 0, len - half);
        tm.node_mut(right).set_len(len - half);
        let (left_key, right_key) = (tm.first_key(left), tm.first_key(right));
        let mut node = tm.node_mut(root);
        node.format(false, INTERNAL_VALUE_SIZE);
        node.set_len(2);
        node.set_key(0, left_key);
        node.set_value(0, left);
        node.set_key(1, right_key);
        node.set_value(1, right);
        Ok(())
    }

    /// Makes room in a full node that is not the root: moves entries to a sibling, or splits. Returns the node that
    /// now covers `key`.
    pub(super) async fn rebalance_or_split(
        &mut self,
        tm: &mut TransactionManager,
        parent: MetaBlock,
        at: usize,
        here: MetaBlock,
        key: u64,
    ) -> Result<MetaBlock, PdError> {
        let len = tm.len_of(parent);
        let mut met_shared = false;
        if at > 0 {
            let left: MetaBlock = tm.node_here(parent).value(at - 1);
            if tm.is_shared(left).await? {
                met_shared = true;
            } else if self.free_entries(tm, left).await? >= WORTH_REBALANCING {
                let left = self.shadow_child(tm, parent, at - 1).await?;
                tm.redistribute_two(left, here);
                let first = tm.first_key(here);
                tm.node_mut(parent).set_key(at, first);
                return Ok(if key < first { left } else { here });
            }
        }
        if at + 1 < len {
            let right: MetaBlock = tm.node_here(parent).value(at + 1);
            if tm.is_shared(right).await? {
                met_shared = true;
            } else if self.free_entries(tm, right).await? >= WORTH_REBALANCING {
                let right = self.shadow_child(tm, parent, at + 1).await?;
                tm.redistribute_two(here, right);
                let first = tm.first_key(right);
                tm.node_mut(parent).set_key(at + 1, first);
                return Ok(if key < first { here } else { right });
            }
        }
        if met_shared || len <= 2 || at == 0 || at == len - 1 {
            self.split_one_into_two(tm, parent, at, here, key).await
        } else {
            self.split_two_into_three(tm, parent, at, here, key).await
        }
    }

    async fn free_entries(
        &mut self,
        tm: &mut TransactionManager,
        block: MetaBlock,
    ) -> Result<usize, PdError> {
        let node = self.node(tm, block).await?;
        Ok(node.max_entries().saturating_sub(node.len()))
    }

    /// Shadows a child and writes its number into the parent.
    pub(super) async fn shadow_child(
        &mut self,
        tm: &mut TransactionManager,
        parent: MetaBlock,
        at: usize,
    ) -> Result<MetaBlock, PdError> {
        let child = tm.node_here(parent).value(at);
        let shadow = self.shadow_node(tm, child).await?;
        expect_shape(tm, shadow, Some(T::Value::SIZE))?;
        tm.node_mut(parent).set_value(at, shadow);
        Ok(shadow)
    }

    async fn split_one_into_two(
        &mut self,
        tm: &mut TransactionManager,
        parent: MetaBlock,
        at: usize,
        here: MetaBlock,
        key: u64,
    ) -> Result<MetaBlock, PdError> {
        let right = self.new_node_like(tm, here).await?;
        tm.redistribute_two(here, right);
        let first = tm.first_key(right);
        tm.node_mut(parent).insert_at(at + 1, first, right);
        Ok(if key < first { here } else { right })
    }

    async fn split_two_into_three(
        &mut self,
        tm: &mut TransactionManager,
        parent: MetaBlock,
        at: usize,
        right: MetaBlock,
        key: u64,
    ) -> Result<MetaBlock, PdError> {
        let left = self.shadow_child(tm, parent, at - 1).await?;
        let middle = self.new_node_like(tm, left).await?;
        tm.redistribute_three(left, middle, right);
        let (middle_key, right_key) = (tm.first_key(middle), tm.first_key(right));
        tm.node_mut(parent).set_key(at, right_key);
        tm.node_mut(parent).insert_at(at, middle_key, middle);
        Ok(if key < middle_key {
            left
        } else if key < right_key {
            middle
        } else {
            right
        })
    }
}
