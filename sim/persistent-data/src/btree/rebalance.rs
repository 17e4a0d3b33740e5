//! Evening out the children of a node before something is removed below it.

use dmlab_units::{Errno, MetaBlock};

use super::Tree;
use crate::Store;

impl Store {
    /// Evens out the children of `node` around the one for `key`, or takes the place of an only child.
    pub(crate) async fn rebalance_children(
        &mut self,
        tree: Tree,
        node: MetaBlock,
        key: u64,
    ) -> Result<(), Errno> {
        let len = self.len_of(node);
        if len == 1 {
            return self.absorb_only_child(tree, node).await;
        }
        let at = self.node_here(node).lower(key).ok_or(Errno::ENODATA)?;
        if at == 0 {
            self.rebalance_pair(tree, node, 0).await
        } else if at == len - 1 {
            self.rebalance_pair(tree, node, at - 1).await
        } else {
            self.rebalance_triple(tree, node, at - 1).await
        }
    }

    async fn absorb_only_child(&mut self, tree: Tree, node: MetaBlock) -> Result<(), Errno> {
        let child: MetaBlock = self.node_here(node).value(0);
        self.node(tree, child).await?;
        if self.is_shared(child).await? {
            self.increment_children(child, tree).await?;
        }
        self.blocks.make_copy(child, node, tree);
        self.decrement_metadata(child.0, child.0 + 1).await
    }

    async fn rebalance_pair(&mut self, tree: Tree, parent: MetaBlock, at: usize) -> Result<(), Errno> {
        let left = self.shadow_child(tree, parent, at).await?;
        let right = self.shadow_child(tree, parent, at + 1).await?;
        self.even_out_pair(parent, left, right, at + 1).await
    }

    /// Merges two neighbours if they fill little more than a minimal node each, else evens them out. `at` is the
    /// right one's place in the parent.
    async fn even_out_pair(
        &mut self,
        parent: MetaBlock,
        left: MetaBlock,
        right: MetaBlock,
        at: usize,
    ) -> Result<(), Errno> {
        let (a, b) = (self.len_of(left), self.len_of(right));
        let minimum = self.node_here(left).max_entries() / 3;
        if a + b < 2 * (minimum + 1) {
            self.copy_entries(right, 0, left, a, b);
            self.node_mut(left).set_len(a + b);
            self.node_mut(parent).delete_at(at);
            return self.decrement_metadata(right.0, right.0 + 1).await;
        }
        let target = (a + b) / 2;
        self.shift_entries(left, right, a as i64 - target as i64);
        let first = self.first_key(right);
        self.node_mut(parent).set_key(at, first);
        Ok(())
    }

    /// Moves entries between neighbours: a positive `count` from the end of `left` to the front of `right`, a negative
    /// one from the front of `right` to the end of `left`.
    fn shift_entries(&mut self, left: MetaBlock, right: MetaBlock, count: i64) {
        let (a, b) = (self.len_of(left), self.len_of(right));
        if count > 0 {
            let count = count as usize;
            self.node_mut(right).move_within(0, count, b);
            self.copy_entries(left, a - count, right, 0, count);
            self.node_mut(left).set_len(a - count);
            self.node_mut(right).set_len(b + count);
        } else if count < 0 {
            let count = count.unsigned_abs() as usize;
            self.copy_entries(right, 0, left, a, count);
            self.node_mut(right).move_within(count, 0, b - count);
            self.node_mut(left).set_len(a + count);
            self.node_mut(right).set_len(b - count);
        }
    }

    async fn rebalance_triple(&mut self, tree: Tree, parent: MetaBlock, at: usize) -> Result<(), Errno> {
        let left = self.shadow_child(tree, parent, at).await?;
        let centre = self.shadow_child(tree, parent, at + 1).await?;
        let right = self.shadow_child(tree, parent, at + 2).await?;
        let total = self.len_of(left) + self.len_of(centre) + self.len_of(right);
        let minimum = self.node_here(left).max_entries() / 3;
        if total < 4 * minimum + 1 {
            return self.delete_centre(parent, at, [left, centre, right]).await;
        }
        self.even_out_triple(left, centre, right, total);
        let (centre_key, right_key) = (self.first_key(centre), self.first_key(right));
        self.node_mut(parent).set_key(at + 1, centre_key);
        self.node_mut(parent).set_key(at + 2, right_key);
        Ok(())
    }

    /// Gives the centre's entries to its neighbours: as many as fit to the left, the others to the right.
    async fn delete_centre(
        &mut self,
        parent: MetaBlock,
        at: usize,
        [left, centre, right]: [MetaBlock; 3],
    ) -> Result<(), Errno> {
        let (a, c, b) = (self.len_of(left), self.len_of(centre), self.len_of(right));
        let room = self.node_here(left).max_entries() - a;
        let to_left = room.min(c);
        self.copy_entries(centre, 0, left, a, to_left);
        self.node_mut(left).set_len(a + to_left);
        let rest = c - to_left;
        if rest > 0 {
            self.node_mut(right).move_within(0, rest, b);
            self.copy_entries(centre, to_left, right, 0, rest);
            self.node_mut(right).set_len(b + rest);
        }
        let first = self.first_key(right);
        self.node_mut(parent).set_key(at + 2, first);
        self.node_mut(parent).delete_at(at + 1);
        self.decrement_metadata(centre.0, centre.0 + 1).await?;
        self.even_out_pair(parent, left, right, at + 1).await
    }

    fn even_out_triple(&mut self, left: MetaBlock, centre: MetaBlock, right: MetaBlock, total: usize) {
        let to_right = (total / 3) as i64;
        let to_left = to_right + i64::from(!total.is_multiple_of(3));
        let len = |store: &Store, block| store.len_of(block) as i64;
        let (mut a, c, mut b) = (len(self, left), len(self, centre), len(self, right));
        if a < b {
            let mut shift = a - to_left;
            if shift < 0 && c < -shift {
                // The centre alone has too few: all of it, and then some of the right.
                self.shift_entries(left, centre, -c);
                shift += c;
                self.shift_entries(left, right, shift);
                b += shift;
            } else {
                self.shift_entries(left, centre, shift);
            }
            self.shift_entries(centre, right, to_right - b);
        } else {
            let mut shift = to_right - b;
            if shift > 0 && c < shift {
                self.shift_entries(centre, right, c);
                shift -= c;
                self.shift_entries(left, right, shift);
                a -= shift;
            } else {
                self.shift_entries(centre, right, shift);
            }
            self.shift_entries(left, centre, a - to_left);
        }
    }
}
