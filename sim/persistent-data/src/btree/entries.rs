//! Moving entries between nodes that are in memory and may be changed.

use dmlab_formats::btree_node::Node;
use dmlab_units::MetaBlock;

use crate::TransactionManager;

impl TransactionManager {
    /// Copies `count` entries of `from`, from index `source` on, to index `target` of `to`.
    pub(super) fn copy_entries(
        &mut self,
        from: MetaBlock,
        source: usize,
        to: MetaBlock,
        target: usize,
        count: usize,
    ) {
        let from = *self.blocks.get(from);
        self.node_mut(to).copy_from(Node::new(&from), source, target, count);
    }

    pub(super) fn len_of(&self, block: MetaBlock) -> usize {
        self.node_here(block).len()
    }

    pub(super) fn first_key(&self, block: MetaBlock) -> u64 {
        self.node_here(block).key(0)
    }

    /// Spreads the entries of two neighbours evenly; the right one gets the odd one.
    pub(super) fn redistribute_two(&mut self, left: MetaBlock, right: MetaBlock) {
        let (a, b) = (self.len_of(left), self.len_of(right));
        let target = usize::midpoint(a, b);
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
    pub(super) fn redistribute_three(&mut self, left: MetaBlock, middle: MetaBlock, right: MetaBlock) {
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

    /// Moves entries between neighbours: a positive `count` from the end of `left` to the front of `right`, a negative
    /// one from the front of `right` to the end of `left`.
    pub(super) fn shift_entries(&mut self, left: MetaBlock, right: MetaBlock, count: i64) {
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

    pub(super) fn even_out_triple(
        &mut self,
        left: MetaBlock,
        centre: MetaBlock,
        right: MetaBlock,
        total: usize,
    ) {
        let to_right = (total / 3) as i64;
        let to_left = to_right + i64::from(!total.is_multiple_of(3));
        let len = |tm: &TransactionManager, block| tm.len_of(block) as i64;
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
