//! Arrays: values of consecutive indices, in blocks that a B-tree of block numbers leads to.
//!
//! An array does not know its length: its user keeps it, beside the root. All blocks but the last are full.

use std::marker::PhantomData;

use dmlab_formats::array::{ARRAY_BLOCK, ArrayBlock, ArrayBlockMut, max_entries};
use dmlab_formats::btree_node::Value;
use dmlab_units::MetaBlock;

use crate::{BlockReferences, BlockRole, PdError, PdErrorKind, TransactionManager, Tree};

/// A kind of array, of values that refer to nothing. Each array of the kind is known by its root.
#[derive(Debug)]
pub struct Array<V> {
    tree: Tree<BlockReferences>,
    role: BlockRole,
    values: PhantomData<fn() -> V>,
}

impl<V: Value + Send + Sync + 'static> Array<V> {
    /// Entries of a full block.
    const PER_BLOCK: u64 = max_entries(V::SIZE) as u64;

    /// Arrays of such values. The two words are the tags of the bios that read and write the nodes of their trees and
    /// their blocks.
    pub fn new(node: &'static str, block: &'static str) -> Array<V> {
        let role = BlockRole { validator: &ARRAY_BLOCK, meaning: block };
        Array { tree: Tree::new(BlockReferences, node), role, values: PhantomData }
    }

    /// Makes an array of length 0.
    ///
    /// # Errors
    /// `NoSpace`.
    pub async fn empty(&self, tm: &mut TransactionManager) -> Result<MetaBlock, PdError> {
        self.tree.empty(tm).await
    }

    /// The value of an index.
    ///
    /// # Errors
    /// `NotFound` beyond the array's end; what reading it says.
    pub async fn get(&self, tm: &mut TransactionManager, root: MetaBlock, index: u64) -> Result<V, PdError> {
        let (block, at) = self.find(tm, root, index).await?;
        Ok(ArrayBlock::new(tm.blocks.get(block)).value(at))
    }

    /// Replaces the value of an index. Returns the new root.
    ///
    /// # Errors
    /// As [`Array::get`]; `NoSpace`.
    pub async fn set(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        index: u64,
        value: V,
    ) -> Result<MetaBlock, PdError> {
        let (block, at) = self.find(tm, root, index).await?;
        let (root, block) = self.shadow_block(tm, root, index / Self::PER_BLOCK, block).await?;
        ArrayBlockMut::new(tm.blocks.get_mut(block)).set_value(at, value);
        Ok(root)
    }

    /// Gives an array another length. New entries, if there are any, are `fill`. Returns the new root.
    ///
    /// What lies behind the new end is gone, with one exception, which is Linux's: where only a last block that was not full
    /// would go, it stays and can be read until the array grows again.
    ///
    /// # Errors
    /// `NotFound` when the array is shorter than `old_len`; `NoSpace`; what reading it says.
    pub async fn resize(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        old_len: u64,
        new_len: u64,
        fill: V,
    ) -> Result<MetaBlock, PdError> {
        if new_len > old_len {
            self.grow(tm, root, old_len, new_len, fill).await
        } else {
            self.shrink(tm, root, old_len, new_len).await
        }
    }

    /// Calls `each` with every index and value, in order.
    ///
    /// # Errors
    /// What reading the array says.
    pub async fn for_each(
        &self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        mut each: impl FnMut(u64, V),
    ) -> Result<(), PdError> {
        let mut next = 0;
        while let Some((number, block)) = self.tree.lookup_next(tm, root, next).await? {
            let array_block = self.block(tm, block).await?;
            for i in 0..array_block.len() {
                each(number.saturating_mul(Self::PER_BLOCK).saturating_add(i as u64), array_block.value(i));
            }
            let Some(after) = number.checked_add(1) else { break };
            next = after;
        }
        Ok(())
    }

    /// Takes a reference from an array's root, and if it was the last deletes the array.
    ///
    /// # Errors
    /// What reading the array or changing the space map says.
    pub async fn delete(&mut self, tm: &mut TransactionManager, root: MetaBlock) -> Result<(), PdError> {
        self.tree.delete(tm, root).await
    }

    /// A block, brought into memory if need be.
    async fn block<'a>(
        &self,
        tm: &'a mut TransactionManager,
        block: MetaBlock,
    ) -> Result<ArrayBlock<'a>, PdError> {
        tm.blocks.load(block, self.role).await?;
        let array_block = ArrayBlock::new(tm.blocks.get(block));
        if array_block.holds::<V>() { Ok(array_block) } else { Err(PdErrorKind::Shape.at(block)) }
    }

    /// The block of an index, in memory, and the index's place there.
    async fn find(
        &self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        index: u64,
    ) -> Result<(MetaBlock, usize), PdError> {
        let not_found = PdErrorKind::NotFound.at(root).with_key(index);
        let block = self.tree.lookup(tm, root, index / Self::PER_BLOCK).await?.ok_or(not_found)?;
        let at = (index % Self::PER_BLOCK) as usize;
        let len = self.block(tm, block).await?.len();
        if at < len { Ok((block, at)) } else { Err(not_found) }
    }

    /// Makes block `number` of an array changeable. Returns the new root, and the block's new place.
    async fn shadow_block(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        number: u64,
        block: MetaBlock,
    ) -> Result<(MetaBlock, MetaBlock), PdError> {
        let mut root = root;
        if tm.is_fresh(block) && self.is_path_shared(tm, root, number).await? {
            // Another root leads to this block, too, through a node above it, and the block's own count does not tell yet.
            root = self.tree.shadow_path(tm, root, number).await?.0;
        }
        let (copy, _) = tm.shadow(block, self.role).await?;
        if copy == block {
            return Ok((root, block));
        }
        // The shadow took the reference of the old block already, which the tree gives back as well when it is replaced.
        tm.inc(block).await?;
        let (root, _) = self.tree.insert(tm, root, number, copy).await?;
        Ok((root, copy))
    }

    async fn is_path_shared(
        &self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        number: u64,
    ) -> Result<bool, PdError> {
        for block in self.tree.path(tm, root, number).await? {
            if tm.is_shared(block).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn grow(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        old_len: u64,
        new_len: u64,
        fill: V,
    ) -> Result<MetaBlock, PdError> {
        let mut root = root;
        let mut number = old_len / Self::PER_BLOCK;
        let len_of = |number: u64| (new_len - number * Self::PER_BLOCK).min(Self::PER_BLOCK) as usize;
        let tail = (old_len % Self::PER_BLOCK) as usize;
        if tail > 0 {
            let (block, _) = self.find(tm, root, old_len - 1).await?;
            let (new_root, block) = self.shadow_block(tm, root, number, block).await?;
            root = new_root;
            fill_block(tm, block, tail..len_of(number), fill);
            number += 1;
        }
        while number * Self::PER_BLOCK < new_len {
            let block = tm.new_block(self.role).await?;
            ArrayBlockMut::new(tm.blocks.get_mut(block)).format(V::SIZE);
            fill_block(tm, block, 0..len_of(number), fill);
            root = self.tree.insert(tm, root, number, block).await?.0;
            number += 1;
        }
        Ok(root)
    }

    async fn shrink(
        &mut self,
        tm: &mut TransactionManager,
        root: MetaBlock,
        old_len: u64,
        new_len: u64,
    ) -> Result<MetaBlock, PdError> {
        let mut root = root;
        let new_blocks = new_len.div_ceil(Self::PER_BLOCK);
        // An array that loses the whole of its last block, and that was not full, keeps it, as Linux's does; growing replaces it.
        if old_len / Self::PER_BLOCK > new_len / Self::PER_BLOCK {
            for number in new_blocks..old_len.div_ceil(Self::PER_BLOCK) {
                root = self.tree.remove(tm, root, number).await?;
            }
        }
        let tail = (new_len % Self::PER_BLOCK) as usize;
        if tail > 0 && new_len < old_len {
            let (block, _) = self.find(tm, root, new_len - 1).await?;
            let (new_root, block) = self.shadow_block(tm, root, new_blocks - 1, block).await?;
            root = new_root;
            ArrayBlockMut::new(tm.blocks.get_mut(block)).set_len(tail);
        }
        Ok(root)
    }
}

/// Sets entries of a block, and its length to their end.
fn fill_block<V: Value>(
    tm: &mut TransactionManager,
    block: MetaBlock,
    entries: std::ops::Range<usize>,
    fill: V,
) {
    let mut array_block = ArrayBlockMut::new(tm.blocks.get_mut(block));
    array_block.set_len(entries.end);
    for i in entries {
        array_block.set_value(i, fill);
    }
}
