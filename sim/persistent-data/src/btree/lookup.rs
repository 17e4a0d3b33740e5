//! Finding entries.

use dmlab_units::{Errno, MetaBlock};

use super::{MAX_DEPTH, Tree};
use crate::Store;
use crate::store::Later;
use dmlab_formats::btree_node::{NODE, Node, Value};

/// What a lookup without waiting finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached<V> {
    /// The value.
    Found(V),
    /// There is none.
    Missing,
    /// A node on the way is not in memory.
    Unknown,
    /// A node on the way is in memory and bad.
    Bad(Errno),
}

/// Most nodes that the search for the next entry looks at: two paths of a sound tree, and then some.
const MAX_VISITS: usize = 4 * MAX_DEPTH;

/// A value of a node, if the node's values are of this kind.
fn value_of<V: Value>(node: Node<'_>, i: usize) -> Result<V, Errno> {
    if node.value_size() == V::SIZE { Ok(node.value(i)) } else { Err(Errno::EILSEQ) }
}

impl Store {
    /// The value of `key`.
    ///
    /// # Errors
    /// What reading the nodes says; EILSEQ when the nodes go round in circles.
    pub async fn lookup<V: Value>(
        &mut self,
        tree: Tree,
        root: MetaBlock,
        key: u64,
    ) -> Result<Option<V>, Errno> {
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let node = self.node(tree, block).await?;
            let Some(i) = node.lower(key) else { return Ok(None) };
            if !node.is_internal() {
                return if node.key(i) == key { value_of(node, i).map(Some) } else { Ok(None) };
            }
            block = value_of(node, i)?;
        }
        Err(Errno::EILSEQ)
    }

    /// The value of `key`, if every node on the way is in memory.
    pub fn lookup_cached<V: Value>(&self, root: MetaBlock, key: u64) -> Cached<V> {
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let node = match self.blocks.cached(block, &NODE) {
                Some(Ok(bytes)) => Node::new(bytes),
                Some(Err(errno)) => return Cached::Bad(errno),
                None => return Cached::Unknown,
            };
            let Some(i) = node.lower(key) else { return Cached::Missing };
            if !node.is_internal() {
                return match value_of(node, i) {
                    _ if node.key(i) != key => Cached::Missing,
                    Ok(value) => Cached::Found(value),
                    Err(errno) => Cached::Bad(errno),
                };
            }
            block = match value_of(node, i) {
                Ok(child) => child,
                Err(errno) => return Cached::Bad(errno),
            };
        }
        Cached::Bad(Errno::EILSEQ)
    }

    /// The first entry whose key is not below `key`.
    ///
    /// # Errors
    /// As [`Store::lookup`].
    pub fn lookup_next<V: Value + Send + 'static>(
        &mut self,
        tree: Tree,
        root: MetaBlock,
        key: u64,
    ) -> Later<'_, Result<Option<(u64, V)>, Errno>> {
        Box::pin(async move {
            let mut left = MAX_VISITS;
            self.lookup_next_below(tree, root, key, &mut left).await
        })
    }

    fn lookup_next_below<'a, V: Value + Send + 'static>(
        &'a mut self,
        tree: Tree,
        block: MetaBlock,
        key: u64,
        left: &'a mut usize,
    ) -> Later<'a, Result<Option<(u64, V)>, Errno>> {
        Box::pin(async move {
            // Nodes that lead round in circles would be walked in every possible way.
            *left = left.checked_sub(1).ok_or(Errno::EILSEQ)?;
            let node = self.node(tree, block).await?;
            let lower = node.lower(key);
            if !node.is_internal() {
                let i = match lower {
                    Some(i) if node.key(i) == key => i,
                    Some(i) => i + 1,
                    None => 0,
                };
                return if i < node.len() { Ok(Some((node.key(i), value_of(node, i)?))) } else { Ok(None) };
            }
            if node.is_empty() {
                return Ok(None);
            }
            let i = lower.unwrap_or(0);
            let child = value_of(node, i)?;
            let sibling = if i + 1 < node.len() { Some(value_of(node, i + 1)?) } else { None };
            let found = self.lookup_next_below(tree, child, key, left).await?;
            match (found, sibling) {
                (None, Some(sibling)) => self.lookup_next_below(tree, sibling, key, left).await,
                (found, _) => Ok(found),
            }
        })
    }

    /// The highest key.
    ///
    /// # Errors
    /// As [`Store::lookup`].
    pub async fn highest_key(&mut self, tree: Tree, root: MetaBlock) -> Result<Option<u64>, Errno> {
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let node = self.node(tree, block).await?;
            let Some(i) = node.len().checked_sub(1) else { return Ok(None) };
            if !node.is_internal() {
                return Ok(Some(node.key(i)));
            }
            block = value_of(node, i)?;
        }
        Err(Errno::EILSEQ)
    }
}
