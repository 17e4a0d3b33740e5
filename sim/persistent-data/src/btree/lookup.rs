//! Finding entries.

use dmlab_formats::btree_node::{NODE, Node, Value};
use dmlab_units::MetaBlock;

use super::{MAX_DEPTH, Tree, ValueType};
use crate::{BoxFuture, PdError, PdErrorKind, TransactionManager};

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
    Bad(PdError),
}

/// A key and its value.
type Entry<V> = (u64, V);

/// Most nodes that the search for the next entry looks at: two paths of a sound tree, and then some.
const MAX_VISITS: usize = 4 * MAX_DEPTH;

/// A value of the node at `block`, if the node's values are of this kind.
fn value_of<V: Value>(node: Node<'_>, block: MetaBlock, i: usize) -> Result<V, PdError> {
    if node.value_size() == V::SIZE { Ok(node.value(i)) } else { Err(PdErrorKind::Shape.at(block)) }
}

impl<T: ValueType> Tree<T> {
    /// The value of `key`.
    ///
    /// # Errors
    /// What reading the nodes says; `Loop` when they lead round in a circle.
    pub async fn lookup(
        &self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        key: u64,
    ) -> Result<Option<T::Value>, PdError> {
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let node = self.node(tm, block).await?;
            let Some(i) = node.lower(key) else { return Ok(None) };
            if !node.is_internal() {
                return if node.key(i) == key { value_of(node, block, i).map(Some) } else { Ok(None) };
            }
            block = value_of(node, block, i)?;
        }
        Err(PdErrorKind::Loop.at(block).with_key(key))
    }

    /// The value of `key`, if every node on the way is in memory.
    pub fn lookup_cached(&self, tm: &TransactionManager, root: MetaBlock, key: u64) -> Cached<T::Value> {
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let node = match tm.blocks.cached(block, &NODE) {
                Some(Ok(bytes)) => Node::new(bytes),
                Some(Err(error)) => return Cached::Bad(error),
                None => return Cached::Unknown,
            };
            let Some(i) = node.lower(key) else { return Cached::Missing };
            if !node.is_internal() {
                return match value_of(node, block, i) {
                    _ if node.key(i) != key => Cached::Missing,
                    Ok(value) => Cached::Found(value),
                    Err(error) => Cached::Bad(error),
                };
            }
            block = match value_of(node, block, i) {
                Ok(child) => child,
                Err(error) => return Cached::Bad(error),
            };
        }
        Cached::Bad(PdErrorKind::Loop.at(block).with_key(key))
    }

    /// The nodes on the way from a root down to the leaf for `key`.
    ///
    /// # Errors
    /// As [`Tree::lookup`].
    pub(crate) async fn path(
        &self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        key: u64,
    ) -> Result<Vec<MetaBlock>, PdError> {
        let mut path = Vec::new();
        let mut block = root;
        while path.len() < MAX_DEPTH {
            path.push(block);
            let node = self.node(tm, block).await?;
            match node.lower(key) {
                Some(i) if node.is_internal() => block = value_of(node, block, i)?,
                _ => return Ok(path),
            }
        }
        Err(PdErrorKind::Loop.at(block).with_key(key))
    }

    /// The first entry whose key is not below `key`.
    ///
    /// # Errors
    /// As [`Tree::lookup`].
    pub async fn lookup_next(
        &self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        key: u64,
    ) -> Result<Option<Entry<T::Value>>, PdError> {
        let mut left = MAX_VISITS;
        self.lookup_next_below(tm, root, key, &mut left).await
    }

    fn lookup_next_below<'a>(
        &'a self,
        tm: &'a mut TransactionManager,
        block: MetaBlock,
        key: u64,
        left: &'a mut usize,
    ) -> BoxFuture<'a, Result<Option<Entry<T::Value>>, PdError>> {
        Box::pin(async move {
            // Nodes that lead round in circles would be walked in every possible way.
            *left = left.checked_sub(1).ok_or(PdErrorKind::Loop.at(block).with_key(key))?;
            let node = self.node(tm, block).await?;
            let lower = node.lower(key);
            if !node.is_internal() {
                let i = match lower {
                    Some(i) if node.key(i) == key => i,
                    Some(i) => i + 1,
                    None => 0,
                };
                let found = i < node.len();
                return if found { Ok(Some((node.key(i), value_of(node, block, i)?))) } else { Ok(None) };
            }
            if node.is_empty() {
                return Ok(None);
            }
            let i = lower.unwrap_or(0);
            let child = value_of(node, block, i)?;
            let sibling = if i + 1 < node.len() { Some(value_of(node, block, i + 1)?) } else { None };
            let found = self.lookup_next_below(tm, child, key, left).await?;
            match (found, sibling) {
                (None, Some(sibling)) => self.lookup_next_below(tm, sibling, key, left).await,
                (found, _) => Ok(found),
            }
        })
    }

    /// The highest key.
    ///
    /// # Errors
    /// As [`Tree::lookup`].
    pub async fn highest_key(
        &self,
        tm: &mut TransactionManager,
        root: MetaBlock,
    ) -> Result<Option<u64>, PdError> {
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let node = self.node(tm, block).await?;
            let Some(i) = node.len().checked_sub(1) else { return Ok(None) };
            if !node.is_internal() {
                return Ok(Some(node.key(i)));
            }
            block = value_of(node, block, i)?;
        }
        Err(PdErrorKind::Loop.at(block))
    }
}
