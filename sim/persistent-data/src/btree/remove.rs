//! Taking entries out.

use dmlab_units::{Errno, MetaBlock};

use super::{MAX_DEPTH, Tree};
use crate::{Rule, Store};
use dmlab_formats::btree_node::Value;
use dmlab_formats::thin::Mapping;

impl Store {
    /// Takes an entry out. Returns the new root.
    ///
    /// # Errors
    /// ENODATA when it is not there; ENOSPC; what reading the nodes says.
    pub async fn remove(&mut self, tree: Tree, root: MetaBlock, key: u64) -> Result<MetaBlock, Errno> {
        let (root, leaf, lower) = self.walk_to_remove(tree, root, key).await?;
        let at = lower.filter(|&i| self.node_here(leaf).key(i) == key).ok_or(Errno::ENODATA)?;
        self.delete_entry(tree.rule, leaf, at).await?;
        Ok(root)
    }

    /// Takes out entries from `first` on as long as the walk's leaf has one below `end`. Returns the new root and how
    /// many were taken. The walk that finds no more has shadowed its path all the same.
    ///
    /// # Errors
    /// As [`Store::remove`].
    pub async fn remove_leaves(
        &mut self,
        tree: Tree,
        root: MetaBlock,
        first: u64,
        end: u64,
    ) -> Result<(MetaBlock, u64), Errno> {
        let (mut root, mut first, mut removed) = (root, first, 0);
        loop {
            let (new_root, leaf, lower) = self.walk_to_remove(tree, root, first).await?;
            root = new_root;
            let at = lower.unwrap_or(0);
            let node = self.node_here(leaf);
            if at >= node.len() || !(first..end).contains(&node.key(at)) {
                return Ok((root, removed));
            }
            first = node.key(at) + 1;
            self.delete_entry(tree.rule, leaf, at).await?;
            removed += 1;
        }
    }

    /// Walks down to the leaf for `key`, evening out children all the way.
    async fn walk_to_remove(
        &mut self,
        tree: Tree,
        root: MetaBlock,
        key: u64,
    ) -> Result<(MetaBlock, MetaBlock, Option<usize>), Errno> {
        let mut parent: Option<(MetaBlock, usize)> = None;
        let mut new_root = None;
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let here = self.shadow_node(block, tree).await?;
            Store::expect_shape(self.node_here(here), Some(tree.value_size))?;
            if let Some((parent, at)) = parent {
                self.node_mut(parent).set_value(at, here);
            }
            let root = *new_root.get_or_insert(here);
            if self.node_here(here).is_internal() {
                self.rebalance_children(tree, here, key).await?;
                // It may be a copy of its only child now.
                Store::expect_shape(self.node_here(here), Some(tree.value_size))?;
            }
            let node = self.node_here(here);
            let lower = node.lower(key);
            // It may have become a leaf by taking its only child's place.
            if !node.is_internal() {
                return Ok((root, here, lower));
            }
            let at = lower.ok_or(Errno::ENODATA)?;
            block = node.value(at);
            parent = Some((here, at));
        }
        Err(Errno::EILSEQ)
    }

    async fn delete_entry(&mut self, rule: Rule, leaf: MetaBlock, at: usize) -> Result<(), Errno> {
        let value = self.node_here(leaf).value_bytes(at).to_vec();
        match rule {
            Rule::None => {}
            Rule::Data => {
                let block = Mapping::decode(&value).block;
                self.decrement_data(block.0, block.0 + 1).await?;
            }
            Rule::Roots(below) => self.delete_tree(MetaBlock::decode(&value), *below).await?,
        }
        self.node_mut(leaf).delete_at(at);
        Ok(())
    }
}
