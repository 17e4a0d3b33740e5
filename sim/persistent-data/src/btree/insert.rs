//! Putting entries in.

use dmlab_units::{Errno, MetaBlock};

use super::{MAX_DEPTH, Tree};
use crate::{Rule, Store};
use dmlab_formats::btree_node::{Node, Value};
use dmlab_formats::thin::Mapping;

/// Where a walk from a root has ended: the root's new number, the leaf, and the entry there that is not above the key.
pub(crate) struct Walked {
    pub(crate) root: MetaBlock,
    pub(crate) leaf: MetaBlock,
    pub(crate) lower: Option<usize>,
}

fn has_room(node: Node<'_>, key: u64) -> bool {
    node.len() < node.max_entries() || (!node.is_internal() && node.find(key).is_some())
}

impl Store {
    /// Puts an entry in, or replaces the value of one. Returns the new root, and whether the key is new.
    ///
    /// # Errors
    /// ENOSPC, or what reading the nodes says.
    pub async fn insert(
        &mut self,
        tree: Tree,
        root: MetaBlock,
        key: u64,
        value: &[u8],
    ) -> Result<(MetaBlock, bool), Errno> {
        let walked = self.walk_to_insert(tree, None, root, key).await?;
        let is_new = self.put(tree, &walked, key, value).await?;
        Ok((walked.root, is_new))
    }

    /// Puts an entry into a tree whose root is the value of `outer` in another tree: `top` with `inner` below it. Returns the
    /// outer tree's new root, and whether the key is new.
    ///
    /// # Errors
    /// ENOSPC, or what reading the nodes says.
    pub async fn insert_nested(
        &mut self,
        [top, inner]: [Tree; 2],
        root: MetaBlock,
        [outer, key]: [u64; 2],
        value: &[u8],
    ) -> Result<(MetaBlock, bool), Errno> {
        let walked = self.walk_to_insert(top, None, root, outer).await?;
        let (at, inner_root) = match walked.lower.filter(|&i| self.node_here(walked.leaf).key(i) == outer) {
            Some(i) => (i, self.node_here(walked.leaf).value::<MetaBlock>(i)),
            None => {
                let empty = self.empty_tree(inner).await?;
                let at = walked.lower.map_or(0, |i| i + 1);
                self.node_mut(walked.leaf).insert_at(at, outer, &empty.0.to_le_bytes());
                (at, empty)
            }
        };
        let below = self.walk_to_insert(inner, Some((walked.leaf, at)), inner_root, key).await?;
        let is_new = self.put(inner, &below, key, value).await?;
        Ok((walked.root, is_new))
    }

    /// Walks down to the leaf for `key`, with every node shadowed and room made on the way, needed or not.
    ///
    /// `parent` is the entry that holds the root, if the root stands in another tree.
    async fn walk_to_insert(
        &mut self,
        tree: Tree,
        parent: Option<(MetaBlock, usize)>,
        root: MetaBlock,
        key: u64,
    ) -> Result<Walked, Errno> {
        let mut parent = parent;
        let mut new_root = None;
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let mut here = self.shadow_node(block, tree).await?;
            Store::expect_shape(self.node_here(here), Some(tree.value_size))?;
            if let Some((parent, at)) = parent {
                self.node_mut(parent).set_value(at, here);
            }
            let is_root = new_root.is_none();
            new_root.get_or_insert(here);
            if !has_room(self.node_here(here), key) {
                match parent {
                    Some((parent, at)) if !is_root => {
                        here = self.rebalance_or_split(tree, parent, at, here, key).await?;
                    }
                    _ => self.split_beneath(tree, here).await?,
                }
            }
            let node = self.node_here(here);
            let lower = node.lower(key);
            if !node.is_internal() {
                let root = new_root.unwrap_or(here);
                return Ok(Walked { root, leaf: here, lower });
            }
            let at = match lower {
                Some(at) => at,
                // The key becomes the lowest of the first child.
                None => {
                    self.node_mut(here).set_key(0, key);
                    0
                }
            };
            block = self.node_here(here).value(at);
            parent = Some((here, at));
        }
        Err(Errno::EILSEQ)
    }

    async fn put(&mut self, tree: Tree, walked: &Walked, key: u64, value: &[u8]) -> Result<bool, Errno> {
        let node = self.node_here(walked.leaf);
        match walked.lower {
            Some(i) if node.key(i) == key => {
                let old = node.value_bytes(i).to_vec();
                self.drop_replaced(tree.rule, &old, value).await?;
                self.node_mut(walked.leaf).set_value_bytes(i, value);
                Ok(false)
            }
            lower => {
                self.node_mut(walked.leaf).insert_at(lower.map_or(0, |i| i + 1), key, value);
                Ok(true)
            }
        }
    }

    /// Takes a parent from what a replaced value referred to, unless the new one refers to the same.
    async fn drop_replaced(&mut self, rule: Rule, old: &[u8], new: &[u8]) -> Result<(), Errno> {
        match rule {
            Rule::None => Ok(()),
            Rule::Data => {
                let (old, new) = (Mapping::decode(old).block, Mapping::decode(new).block);
                if old == new { Ok(()) } else { self.decrement_data(old.0, old.0 + 1).await }
            }
            Rule::Roots(below) => {
                let (old, new) = (MetaBlock::decode(old), MetaBlock::decode(new));
                if old == new { Ok(()) } else { self.delete_tree(old, *below).await }
            }
        }
    }

    /// Shadows the path to an existing key, making no room. Returns the new root, the leaf and the entry.
    pub(crate) async fn shadow_path(
        &mut self,
        tree: Tree,
        root: MetaBlock,
        key: u64,
    ) -> Result<(MetaBlock, MetaBlock, usize), Errno> {
        let mut parent: Option<(MetaBlock, usize)> = None;
        let mut new_root = None;
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let here = self.shadow_node(block, tree).await?;
            Store::expect_shape(self.node_here(here), Some(tree.value_size))?;
            if let Some((parent, at)) = parent {
                self.node_mut(parent).set_value(at, here);
            }
            new_root.get_or_insert(here);
            let node = self.node_here(here);
            let at = node.lower(key).ok_or(Errno::ENODATA)?;
            if !node.is_internal() {
                let found = (node.key(at) == key).then_some(at).ok_or(Errno::ENODATA)?;
                return Ok((new_root.unwrap_or(here), here, found));
            }
            block = node.value(at);
            parent = Some((here, at));
        }
        Err(Errno::EILSEQ)
    }
}
