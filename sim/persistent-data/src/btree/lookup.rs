//! Finding entries.

use dmlab_units::{Errno, MetaBlock};

use crate::Store;
use crate::format::{Kind, Node, Value};
use crate::store::Later;

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

/// Most levels that a sound tree can have: more means a loop.
const MAX_DEPTH: usize = 64;

impl Store {
    /// The value of `key`.
    ///
    /// # Errors
    /// What reading the nodes says; EILSEQ when the nodes go round in circles.
    pub async fn lookup<V: Value>(&mut self, root: MetaBlock, key: u64) -> Result<Option<V>, Errno> {
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let node = self.node(block).await?;
            let Some(i) = node.lower(key) else { return Ok(None) };
            if !node.is_internal() {
                return Ok((node.key(i) == key).then(|| node.value(i)));
            }
            block = node.value(i);
        }
        Err(Errno::EILSEQ)
    }

    /// The value of `key`, if every node on the way is in memory.
    pub fn lookup_cached<V: Value>(&self, root: MetaBlock, key: u64) -> Cached<V> {
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let node = match self.blocks.cached(block, Kind::Node) {
                Some(Ok(bytes)) => Node::new(bytes),
                Some(Err(errno)) => return Cached::Bad(errno),
                None => return Cached::Unknown,
            };
            let Some(i) = node.lower(key) else { return Cached::Missing };
            if !node.is_internal() {
                return if node.key(i) == key { Cached::Found(node.value(i)) } else { Cached::Missing };
            }
            block = node.value(i);
        }
        Cached::Unknown
    }

    /// The first entry whose key is not below `key`.
    ///
    /// # Errors
    /// As [`Store::lookup`].
    pub fn lookup_next<V: Value + Send + 'static>(
        &mut self,
        root: MetaBlock,
        key: u64,
    ) -> Later<'_, Result<Option<(u64, V)>, Errno>> {
        self.lookup_next_below(root, key, 0)
    }

    fn lookup_next_below<V: Value + Send + 'static>(
        &mut self,
        block: MetaBlock,
        key: u64,
        depth: usize,
    ) -> Later<'_, Result<Option<(u64, V)>, Errno>> {
        Box::pin(async move {
            if depth > MAX_DEPTH {
                return Err(Errno::EILSEQ);
            }
            let node = self.node(block).await?;
            let lower = node.lower(key);
            if !node.is_internal() {
                let i = match lower {
                    Some(i) if node.key(i) == key => i,
                    Some(i) => i + 1,
                    None => 0,
                };
                return Ok((i < node.len()).then(|| (node.key(i), node.value(i))));
            }
            if node.is_empty() {
                return Ok(None);
            }
            let i = lower.unwrap_or(0);
            let child = node.value(i);
            let sibling = (i + 1 < node.len()).then(|| node.value(i + 1));
            let found = self.lookup_next_below(child, key, depth + 1).await?;
            match (found, sibling) {
                (None, Some(sibling)) => self.lookup_next_below(sibling, key, depth + 1).await,
                (found, _) => Ok(found),
            }
        })
    }

    /// The highest key.
    ///
    /// # Errors
    /// As [`Store::lookup`].
    pub async fn highest_key(&mut self, root: MetaBlock) -> Result<Option<u64>, Errno> {
        let mut block = root;
        for _ in 0..MAX_DEPTH {
            let node = self.node(block).await?;
            let Some(i) = node.len().checked_sub(1) else { return Ok(None) };
            if !node.is_internal() {
                return Ok(Some(node.key(i)));
            }
            block = node.value(i);
        }
        Err(Errno::EILSEQ)
    }
}
