//! Evening out the children of a node before something is removed below it.

use dmlab_units::MetaBlock;

use super::{Tree, ValueType};
use crate::{PdError, PdErrorKind, TransactionManager};

impl<T: ValueType> Tree<T> {
    /// Evens out the children of `node` around the one for `key`, or takes the place of an only child.
    pub(super) async fn rebalance_children(
        &mut self,
        tm: &mut TransactionManager,
        node: MetaBlock,
        key: u64,
    ) -> Result<(), PdError> {
        let len = tm.len_of(node);
        if len == 1 {
            return self.absorb_only_child(tm, node).await;
        }
        let at = tm.node_here(node).lower(key).ok_or(PdErrorKind::NotFound.at(node).with_key(key))?;
        if at == 0 {
            self.rebalance_pair(tm, node, 0).await
        } else if at == len - 1 {
            self.rebalance_pair(tm, node, at - 1).await
        } else {
            self.rebalance_triple(tm, node, at - 1).await
        }
    }

    async fn absorb_only_child(
        &mut self,
        tm: &mut TransactionManager,
        node: MetaBlock,
    ) -> Result<(), PdError> {
        let child: MetaBlock = tm.node_here(node).value(0);
        self.node(tm, child).await?;
        if tm.is_shared(child).await? {
            self.inc_children(tm, child).await?;
        }
        tm.blocks.make_copy(child, node, self.role);
        tm.dec(child).await
    }

    async fn rebalance_pair(
        &mut self,
        tm: &mut TransactionManager,
        parent: MetaBlock,
        at: usize,
    ) -> Result<(), PdError> {
        let left = self.shadow_child(tm, parent, at).await?;
        let right = self.shadow_child(tm, parent, at + 1).await?;
        even_out_pair(tm, parent, left, right, at + 1).await
    }

    async fn rebalance_triple(
        &mut self,
        tm: &mut TransactionManager,
        parent: MetaBlock,
        at: usize,
    ) -> Result<(), PdError> {
        let left = self.shadow_child(tm, parent, at).await?;
        let centre = self.shadow_child(tm, parent, at + 1).await?;
        let right = self.shadow_child(tm, parent, at + 2).await?;
        let total = tm.len_of(left) + tm.len_of(centre) + tm.len_of(right);
        let minimum = tm.node_here(left).max_entries() / 3;
        if total < 4 * minimum + 1 {
            return delete_centre(tm, parent, at, [left, centre, right]).await;
        }
        tm.even_out_triple(left, centre, right, total);
        let (centre_key, right_key) = (tm.first_key(centre), tm.first_key(right));
        tm.node_mut(parent).set_key(at + 1, centre_key);
        tm.node_mut(parent).set_key(at + 2, right_key);
        Ok(())
    }
}

/// Merges two neighbours if they fill little more than a minimal node each, else evens them out. `at` is the
/// right one's place in the parent.
async fn even_out_pair(
    tm: &mut TransactionManager,
    parent: MetaBlock,
    left: MetaBlock,
    right: MetaBlock,
    at: usize,
) -> Result<(), PdError> {
    let (a, b) = (tm.len_of(left), tm.len_of(right));
    let minimum = tm.node_here(left).max_entries() / 3;
    if a + b < 2 * (minimum + 1) {
        tm.copy_entries(right, 0, left, a, b);
        tm.node_mut(left).set_len(a + b);
        tm.node_mut(parent).delete_at(at);
        return tm.dec(right).await;
    }
    let target = usize::midpoint(a, b);
    tm.shift_entries(left, right, a as i64 - target as i64);
    let first = tm.first_key(right);
    tm.node_mut(parent).set_key(at, first);
    Ok(())
}

/// Gives the centre's entries to its neighbours: as many as fit to the left, the others to the right.
async fn delete_centre(
    tm: &mut TransactionManager,
    parent: MetaBlock,
    at: usize,
    [left, centre, right]: [MetaBlock; 3],
) -> Result<(), PdError> {
    let (a, c, b) = (tm.len_of(left), tm.len_of(centre), tm.len_of(right));
    let room = tm.node_here(left).max_entries() - a;
    let to_left = room.min(c);
    tm.copy_entries(centre, 0, left, a, to_left);
    tm.node_mut(left).set_len(a + to_left);
    let rest = c - to_left;
    if rest > 0 {
        tm.node_mut(right).move_within(0, rest, b);
        tm.copy_entries(centre, to_left, right, 0, rest);
        tm.node_mut(right).set_len(b + rest);
    }
    let first = tm.first_key(right);
    tm.node_mut(parent).set_key(at + 2, first);
    tm.node_mut(parent).delete_at(at + 1);
    tm.dec(centre).await?;
    even_out_pair(tm, parent, left, right, at + 1).await
}
