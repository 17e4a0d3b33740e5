//! Making room for an insert: splitting nodes and spreading their entries.

use dmlab_units::{Errno, MetaBlock};

use super::Tree;
use crate::Store;
use dmlab_formats::btree_node::INTERNAL_VALUE_SIZE;

/// A sibling with fewer free entries than this is not worth moving entries to.
const WORTH_REBALANCING: usize = 8;

impl Store {
    /// A copy of a node's bytes, to move entries from while the original changes.
    fn copy_of(&self, block: MetaBlock) -> dmlab_formats::Block {
        *self.blocks.get(block)
    }

    async fn new_node_like(&mut self, tree: Tree, model: MetaBlock) -> Result<MetaBlock, Errno> {
        let block = self.new_block(tree).await?;
        let model = self.copy_of(model);
        self.node_mut(block).format_like(dmlab_formats::btree_node::Node::new(&model));
        Ok(block)
    }

    /// Copies `count` entries of `from`, from index `source` on, to index `target` of `to`.
    pub(crate) fn copy_entries(
        &mut self,
        from: MetaBlock,
        source: usize,
        to: MetaBlock,
        target: usize,
        count: usize,
    ) {
        let from = self.copy_of(from);
        self.node_mut(to).copy_from(dmlab_formats::btree_node::Node::new(&from), source, target, count);
    }

    pub(crate) fn len_of(&self, block: MetaBlock) -> usize {
        self.node_here(block).len()
    }

    pub(crate) fn first_key(&self, block: MetaBlock) -> u64 {
        self.node_here(block).key(0)
    }

    /// Moves a full root's entries into two new children. The root keeps its number, and what its bytes were beyond
    /// its two new entries.
    pub(crate) async fn split_beneath(&mut self, tree: Tree, root: MetaBlock) -> Result<(), Errno> {
        let left = self.new_node_like(tree, root).await?;
        let right = self.new_node_like(tree, root).await?;
        let len = self.len_of(root);
        let half = len / 2;
        self.copy_entries(root, 0, left, 0, half);
        self.node_mut(left).set_len(half);
        self.copy_entries(root, half, right, 0, len - half);
        self.node_mut(right).set_len(len - half);
        let (left_key, right_key) = (self.first_key(left), self.first_key(right));
        let mut node = self.node_mut(root);
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
    pub(crate) async fn rebalance_or_split(
        &mut self,
        tree: Tree,
        parent: MetaBlock,
        at: usize,
        here: MetaBlock,
        key: u64,
    ) -> Result<MetaBlock, Errno> {
        let len = self.len_of(parent);
        let mut met_shared = false;
        if at > 0 {
            let left: MetaBlock = self.node_here(parent).value(at - 1);
            if self.is_shared(left).await? {
                met_shared = true;
            } else if self.free_entries(tree, left).await? >= WORTH_REBALANCING {
                let left = self.shadow_child(tree, parent, at - 1).await?;
                self.redistribute_two(left, here);
                let first = self.first_key(here);
                self.node_mut(parent).set_key(at, first);
                return Ok(if key < first { left } else { here });
            }
        }
        if at + 1 < len {
            let right: MetaBlock = self.node_here(parent).value(at + 1);
            if self.is_shared(right).await? {
                met_shared = true;
            } else if self.free_entries(tree, right).await? >= WORTH_REBALANCING {
                let right = self.shadow_child(tree, parent, at + 1).await?;
                self.redistribute_two(here, right);
                let first = self.first_key(right);
                self.node_mut(parent).set_key(at + 1, first);
                return Ok(if key < first { here } else { right });
            }
        }
        if met_shared || len <= 2 || at == 0 || at == len - 1 {
            self.split_one_into_two(tree, parent, at, here, key).await
        } else {
            self.split_two_into_three(tree, parent, at, here, key).await
        }
    }

    async fn free_entries(&mut self, tree: Tree, block: MetaBlock) -> Result<usize, Errno> {
        let node = self.node(tree, block).await?;
        Ok(node.max_entries().saturating_sub(node.len()))
    }

    /// Shadows a child and writes its number into the parent.
    pub(crate) async fn shadow_child(
        &mut self,
        tree: Tree,
        parent: MetaBlock,
        at: usize,
    ) -> Result<MetaBlock, Errno> {
        let child = self.node_here(parent).value(at);
        let shadow = self.shadow_node(child, tree).await?;
        Store::expect_shape(self.node_here(shadow), tree.rule.value_size())?;
        self.node_mut(parent).set_value(at, shadow);
        Ok(shadow)
    }

    async fn split_one_into_two(
        &mut self,
        tree: Tree,
        parent: MetaBlock,
        at: usize,
        here: MetaBlock,
        key: u64,
    ) -> Result<MetaBlock, Errno> {
        let right = self.new_node_like(tree, here).await?;
        self.redistribute_two(here, right);
        let first = self.first_key(right);
        self.node_mut(parent).insert_at(at + 1, first, &right.0.to_le_bytes());
        Ok(if key < first { here } else { right })
    }

    async fn split_two_into_three(
        &mut self,
        tree: Tree,
        parent: MetaBlock,
        at: usize,
        right: MetaBlock,
        key: u64,
    ) -> Result<MetaBlock, Errno> {
        let left = self.shadow_child(tree, parent, at - 1).await?;
        let middle = self.new_node_like(tree, left).await?;
        self.redistribute_three(left, middle, right);
        let (middle_key, right_key) = (self.first_key(middle), self.first_key(right));
        self.node_mut(parent).set_key(at, right_key);
        self.node_mut(parent).insert_at(at, middle_key, &middle.0.to_le_bytes());
        Ok(if key < middle_key {
            left
        } else if key < right_key {
            middle
        } else {
            right
        })
    }

    /// Spreads the entries of two neighbours evenly; the right one gets the odd one.
    pub(crate) fn redistribute_two(&mut self, left: MetaBlock, right: MetaBlock) {
        let (a, b) = (self.len_of(left), self.len_of(right));
        let target = (a + b) / 2;
        if a < target {
            let moved = target - a;
            self.copy_entries(right, 0, left, a, moved);
            self.node_mut(right).move_within(moved, 0, b - moved);
        } else if a > target {
            let moved = a - target;
            self.node_mut(right).move_within(0, moved, b);
            self.copy_entries(left, target, right, 0, moved);
        }
        self.node_mut(left).set_len(target);
        self.node_mut(right).set_len(a + b - target);
    }

    /// Spreads the entries of two neighbours over them and an empty node between them.
    fn redistribute_three(&mut self, left: MetaBlock, middle: MetaBlock, right: MetaBlock) {
        let (a, b) = (self.len_of(left), self.len_of(right));
        let total = a + b;
        let to_left = total / 3;
        let to_middle = (total - to_left) / 2;
        let to_right = total - to_left - to_middle;
        if a < to_left {
            let short = to_left - a;
            self.copy_entries(right, 0, left, a, short);
            self.copy_entries(right, short, middle, 0, to_middle);
            self.node_mut(right).move_within(short + to_middle, 0, b - short - to_middle);
        } else if a < to_left + to_middle {
            let surplus = a - to_left;
            self.copy_entries(left, to_left, middle, 0, surplus);
            let rest = to_middle - surplus;
            self.copy_entries(right, 0, middle, surplus, rest);
            self.node_mut(right).move_within(rest, 0, b - rest);
        } else {
            let shortage = to_right - b;
            self.node_mut(right).move_within(0, shortage, b);
            self.copy_entries(left, a - shortage, right, 0, shortage);
            self.copy_entries(left, to_left, middle, 0, to_middle);
        }
        self.node_mut(left).set_len(to_left);
        self.node_mut(middle).set_len(to_middle);
        self.node_mut(right).set_len(to_right);
    }
}
