//! Putting entries in.

use dmlab_formats::btree_node::Node;
use dmlab_units::MetaBlock;

use super::{MAX_DEPTH, Roots, Tree, ValueType};
use crate::{PdError, PdErrorKind, TransactionManager};

/// Where a walk from a root has ended: the root's new number, the leaf, and the entry there that is not above the key.
struct Walked {
    root: MetaBlock,
    leaf: MetaBlock,
    lower: Option<usize>,
}

fn has_room(node: Node<'_>, key: u64) -> bool {
    node.len() < node.max_entries() || (!node.is_internal() && node.find(key).is_some())
}

impl<T: ValueType> Tree<T> {
    /// Puts an entry in, or replaces the value of one. Returns the new root, and whether the key is new.
    ///
    /// # Errors
    /// `NoSpace`, or what reading the nodes says.
    pub async fn insert(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        key: u64,
        value: T::Value,
    ) -> Result<(MetaBlock, bool), PdError> {
        let walked = self.walk_to_insert(tm, None, root, key).await?;
        let is_new = self.put(tm, &walked, key, value).await?;
        Ok((walked.root, is_new))
    }

    /// Walks down to the leaf for `key`, with every node shadowed and room made on the way, needed or not.
    ///
    /// `parent` is the entry that holds the root, if the root stands in another tree.
    async fn walk_to_insert(
        &mut self,
        tm: &mut TransactionManager,
        parent: Option<(MetaBlock, usize)>,
        root: MetaBlock,
        key: u64,
    ) -> Result<Walked, PdError> {
        let mut parent = parent;
        let mut new_root = None;
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let mut here = self.shadow_step(tm, parent, block).await?;
            let is_root = new_root.is_none();
            new_root.get_or_insert(here);
            if !has_room(tm.node_here(here), key) {
                match parent {
                    Some((parent, at)) if !is_root => {
                        here = self.rebalance_or_split(tm, parent, at, here, key).await?;
                    }
                    _ => self.split_beneath(tm, here).await?,
                }
            }
            let node = tm.node_here(here);
            let lower = node.lower(key);
            if !node.is_internal() {
                let root = new_root.unwrap_or(here);
                return Ok(Walked { root, leaf: here, lower });
            }
            let at = match lower {
                Some(at) => at,
                // The key becomes the lowest of the first child.
                None => {
                    tm.node_mut(here).set_key(0, key);
                    0
                }
            };
            block = tm.node_here(here).value(at);
            parent = Some((here, at));
        }
        Err(PdErrorKind::Loop.at(block).with_key(key))
    }

    async fn put(
        &mut self,
        tm: &mut TransactionManager,
        walked: &Walked,
        key: u64,
        value: T::Value,
    ) -> Result<bool, PdError> {
        let node = tm.node_here(walked.leaf);
        match walked.lower {
            Some(i) if node.key(i) == key => {
                let old = [node.value::<T::Value>(i)];
                if T::REFERS && !self.values.is_same(&old[0], &value) {
                    self.values.dec(tm, &old).await?;
                }
                tm.node_mut(walked.leaf).set_value(i, value);
                Ok(false)
            }
            lower => {
                tm.node_mut(walked.leaf).insert_at(lower.map_or(0, |i| i + 1), key, value);
                Ok(true)
            }
        }
    }

    /// Shadows the path to an existing key, making no room. Returns the new root, the leaf and the entry.
    pub(crate) async fn shadow_path(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        key: u64,
    ) -> Result<(MetaBlock, MetaBlock, usize), PdError> {
        let mut parent: Option<(MetaBlock, usize)> = None;
        let mut new_root = None;
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let here = self.shadow_step(tm, parent, block).await?;
            new_root.get_or_insert(here);
            let node = tm.node_here(here);
            let not_found = PdErrorKind::NotFound.at(here).with_key(key);
            let at = node.lower(key).ok_or(not_found)?;
            if !node.is_internal() {
                let found = (node.key(at) == key).then_some(at).ok_or(not_found)?;
                return Ok((new_root.unwrap_or(here), here, found));
            }
            block = node.value(at);
            parent = Some((here, at));
        }
        Err(PdErrorKind::Loop.at(block).with_key(key))
    }
}

impl<T: ValueType> Tree<Roots<T>> {
    /// Puts an entry into the tree whose root is the value of `outer` here; a tree that is missing is made. Returns this
    /// tree's new root, and whether the key is new.
    ///
    /// # Errors
    /// `NoSpace`, or what reading the nodes says.
    pub async fn insert_nested(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        [outer, key]: [u64; 2],
        value: T::Value,
    ) -> Result<(MetaBlock, bool), PdError> {
        let walked = self.walk_to_insert(tm, None, root, outer).await?;
        let inner = &mut self.values.tree;
        let (at, inner_root) = match walked.lower.filter(|&i| tm.node_here(walked.leaf).key(i) == outer) {
            Some(i) => (i, tm.node_here(walked.leaf).value::<MetaBlock>(i)),
            None => {
                let empty = inner.empty(tm).await?;
                let at = walked.lower.map_or(0, |i| i + 1);
                tm.node_mut(walked.leaf).insert_at(at, outer, empty);
                (at, empty)
            }
        };
        let below = inner.walk_to_insert(tm, Some((walked.leaf, at)), inner_root, key).await?;
        let is_new = inner.put(tm, &below, key, value).await?;
        Ok((walked.root, is_new))
    }
}
