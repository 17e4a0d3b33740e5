//! What the values of a tree refer to, and so what a copy or a removal of one means.

use std::marker::PhantomData;

use dmlab_formats::btree_node::Value;
use dmlab_units::MetaBlock;

use super::Tree;
use crate::{BoxFuture, PdError, TransactionManager};

/// The type of a tree's values, with what its reference counts need. Linux calls it `dm_btree_value_type`.
///
/// A leaf that two trees share is copied when one of them changes it; then each value stands in two leaves, and what it
/// refers to has one reference more. A value that is removed or replaced refers to nothing any more.
pub trait ValueType: Send + Sync {
    /// What stands beside a key in a leaf.
    type Value: Value + Send + Sync + 'static;

    /// Whether values refer to anything. Where they do not, `inc` and `dec` are never called.
    const REFERS: bool;

    /// Counts one reference more to what each of some values refers to.
    fn inc<'a>(
        &'a mut self,
        tm: &'a mut TransactionManager,
        values: &'a [Self::Value],
    ) -> BoxFuture<'a, Result<(), PdError>>;

    /// Counts one reference less to what each of some values refers to.
    fn dec<'a>(
        &'a mut self,
        tm: &'a mut TransactionManager,
        values: &'a [Self::Value],
    ) -> BoxFuture<'a, Result<(), PdError>>;

    /// Whether two values refer to the same, so that one may take the other's place without any count changing.
    fn is_same(&self, a: &Self::Value, b: &Self::Value) -> bool;
}

/// Values that refer to nothing.
#[derive(Debug)]
pub struct Plain<V>(PhantomData<fn() -> V>);

impl<V> Plain<V> {
    /// The type of such values.
    pub const fn new() -> Plain<V> {
        Plain(PhantomData)
    }
}

impl<V> Default for Plain<V> {
    fn default() -> Plain<V> {
        Plain::new()
    }
}

impl<V: Value + Send + Sync + 'static> ValueType for Plain<V> {
    type Value = V;

    const REFERS: bool = false;

    fn inc<'a>(
        &'a mut self,
        _: &'a mut TransactionManager,
        _: &'a [V],
    ) -> BoxFuture<'a, Result<(), PdError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn dec<'a>(
        &'a mut self,
        _: &'a mut TransactionManager,
        _: &'a [V],
    ) -> BoxFuture<'a, Result<(), PdError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn is_same(&self, _: &V, _: &V) -> bool {
        true
    }
}

/// Values that are metadata blocks, which refer to nothing themselves.
#[derive(Debug, Default)]
pub struct BlockReferences;

impl ValueType for BlockReferences {
    type Value = MetaBlock;

    const REFERS: bool = true;

    fn inc<'a>(
        &'a mut self,
        tm: &'a mut TransactionManager,
        blocks: &'a [MetaBlock],
    ) -> BoxFuture<'a, Result<(), PdError>> {
        Box::pin(tm.inc_each(blocks))
    }

    fn dec<'a>(
        &'a mut self,
        tm: &'a mut TransactionManager,
        blocks: &'a [MetaBlock],
    ) -> BoxFuture<'a, Result<(), PdError>> {
        Box::pin(tm.dec_each(blocks))
    }

    fn is_same(&self, a: &MetaBlock, b: &MetaBlock) -> bool {
        a == b
    }
}

/// Values that are the roots of other trees, all of one kind.
pub struct Roots<T> {
    /// What these trees are.
    pub tree: Tree<T>,
}

impl<T: ValueType> ValueType for Roots<T> {
    type Value = MetaBlock;

    const REFERS: bool = true;

    fn inc<'a>(
        &'a mut self,
        tm: &'a mut TransactionManager,
        roots: &'a [MetaBlock],
    ) -> BoxFuture<'a, Result<(), PdError>> {
        Box::pin(tm.inc_each(roots))
    }

    fn dec<'a>(
        &'a mut self,
        tm: &'a mut TransactionManager,
        roots: &'a [MetaBlock],
    ) -> BoxFuture<'a, Result<(), PdError>> {
        Box::pin(async move {
            for &root in roots {
                self.tree.delete(tm, root).await?;
            }
            Ok(())
        })
    }

    fn is_same(&self, a: &MetaBlock, b: &MetaBlock) -> bool {
        a == b
    }
}
