//! Taking entries out.

use std::ops::Range;

use dmlab_units::MetaBlock;

use super::{MAX_DEPTH, Tree, ValueType, expect_shape};
use crate::{PdError, PdErrorKind, TransactionManager};
use dmlab_formats::btree_node::Value;

impl<T: ValueType> Tree<T> {
    /// Takes an entry out. Returns the new root.
    ///
    /// # Errors
    /// `NotFound`; `NoSpace`; what reading the nodes says.
    pub async fn remove(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        key: u64,
    ) -> Result<MetaBlock, PdError> {
        let (root, leaf, lower) = self.walk_to_remove(tm, root, key).await?;
        let at = lower.filter(|&i| tm.node_here(leaf).key(i) == key);
        let at = at.ok_or(PdErrorKind::NotFound.at(leaf).with_key(key))?;
        self.delete_entry(tm, leaf, at).await?;
        Ok(root)
    }

    /// Takes out entries from the first key of a range on as long as the walk's leaf has one inside. Returns the new root
    /// and how many were taken. The walk that finds no more has shadowed its path all the same.
    ///
    /// # Errors
    /// As [`Tree::remove`].
    pub async fn remove_leaves(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        keys: Range<u64>,
    ) -> Result<(MetaBlock, u64), PdError> {
        let (mut root, mut first, mut removed) = (root, keys.start, 0);
        loop {
            let (new_root, leaf, lower) = self.walk_to_remove(tm, root, first).await?;
            root = new_root;
            let at = lower.unwrap_or(0);
            let node = tm.node_here(leaf);
            if at >= node.len() || !(first..keys.end).contains(&node.key(at)) {
                return Ok((root, removed));
            }
            first = node.key(at) + 1;
            self.delete_entry(tm, leaf, at).await?;
            removed += 1;
        }
    }

    /// Walks down to the leaf for `key`, evening out children all the way.
    async fn walk_to_remove(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        key: u64,
    ) -> Result<(MetaBlock, MetaBlock, Option<usize>), PdError> {
        let mut parent: Option<(MetaBlock, usize)> = None;
        let mut new_root = None;
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let here = self.shadow_step(tm, parent, block).await?;
            let root = *new_root.get_or_insert(here);
            if tm.node_here(here).is_internal() {
                self.rebalance_children(tm, here, key).await?;
                // It may be a copy of its only child now.
                expect_shape(tm, here, Some(T::Value::SIZE))?;
            }
            let node = tm.node_here(here);
            let lower = node.lower(key);
            // It may have become a leaf by taking its only child's place.
            if !node.is_internal() {
                return Ok((root, here, lower));
            }
            let at = lower.ok_or(PdErrorKind::NotFound.at(here).with_key(key))?;
            block = node.value(at);
            parent = Some((here, at));
        }
        Err(PdErrorKind::Loop.at(block).with_key(key))
    }

    async fn delete_entry(
        &mut self,
        tm: &mut TransactionManager,
        leaf: MetaBlock,
        at: usize,
    ) -> Result<(), PdError> {
        if T::REFERS {
            let value = [tm.node_here(leaf).value(at)];
            self.values.dec(tm, &value).await?;
        }
        tm.node_mut(leaf).delete_at(at);
        Ok(())
    }
}
