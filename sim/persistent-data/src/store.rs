//! The store: blocks, transactions and space maps, which cannot be told apart. Changing a block means allocating its
//! shadow, which changes a space map, whose bitmaps are blocks that must be shadowed.

use std::collections::HashSet; // tidy: never iterated
use std::future::Future;
use std::pin::Pin;

use dmlab_units::{Errno, MetaBlock};

use crate::block_manager::Role;
use crate::space_map::{DataMap, MetadataMap, Which};
use crate::{BlockManager, Tree};
use dmlab_formats::bitmap::{BITMAP, Bitmap};
use dmlab_formats::btree_node::{Node, Value};
use dmlab_formats::thin::Mapping;

/// Something that takes time.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the values of a tree's leaves refer to, and so what a copy or a removal of a leaf means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing.
    None,
    /// Roots of other trees: these.
    Roots(&'static Tree),
    /// Data blocks, packed with a time.
    Data,
}

impl Rule {
    /// Bytes of a leaf's value, where the rule says so.
    pub(crate) fn value_size(self) -> Option<usize> {
        (self != Rule::None).then_some(8)
    }
}

/// Metadata blocks under transactions, and the two space maps.
pub struct Store {
    pub(crate) blocks: BlockManager,
    /// Blocks made in this transaction: they may be changed in place.
    pub(crate) shadows: HashSet<MetaBlock>, // tidy: never iterated
    pub(crate) metadata: MetadataMap,
    pub(crate) data: DataMap,
}

impl Store {
    pub(crate) fn new(blocks: BlockManager, metadata: MetadataMap, data: DataMap) -> Store {
        Store { blocks, shadows: HashSet::new(), metadata, data }
    }

    /// The blocks.
    pub fn blocks(&self) -> &BlockManager {
        &self.blocks
    }

    /// The blocks, to change what no space map counts: the superblock.
    pub fn blocks_mut(&mut self) -> &mut BlockManager {
        &mut self.blocks
    }

    /// Takes a new block of zeros.
    ///
    /// # Errors
    /// ENOSPC when there is none.
    pub async fn new_block(&mut self, role: impl Into<Role>) -> Result<MetaBlock, Errno> {
        let block = self.allocate_metadata().await?;
        self.blocks.make_zero(block, role);
        self.shadows.insert(block);
        Ok(block)
    }

    /// Makes a block changeable: itself if it was made in this transaction and is not shared, else a copy of it.
    /// Returns it, and whether the copy's children got one more parent, which the caller must count.
    ///
    /// # Errors
    /// ENOSPC, or what reading the block says.
    pub async fn shadow(
        &mut self,
        block: MetaBlock,
        role: impl Into<Role>,
    ) -> Result<(MetaBlock, bool), Errno> {
        let role = role.into();
        let is_shared = self.is_shared(block).await?;
        if !is_shared && self.shadows.contains(&block) {
            self.blocks.load(block, role).await?;
            return Ok((block, false));
        }
        let copy = self.allocate_metadata().await?;
        self.decrement_metadata(block.0, block.0 + 1).await?;
        self.blocks.load(block, role).await?;
        self.blocks.make_copy(block, copy, role);
        self.shadows.insert(copy);
        Ok((copy, is_shared))
    }

    /// Shadows a node of a tree, and counts its children once more if it was shared.
    pub(crate) async fn shadow_node(&mut self, block: MetaBlock, tree: Tree) -> Result<MetaBlock, Errno> {
        let (copy, is_shared) = self.shadow(block, tree).await?;
        if is_shared {
            self.increment_children(copy, tree).await?;
        }
        Ok(copy)
    }

    /// A node, brought into memory if need be.
    pub(crate) async fn node(&mut self, tree: Tree, block: MetaBlock) -> Result<Node<'_>, Errno> {
        self.blocks.load(block, tree).await?;
        Ok(Node::new(self.blocks.get(block)))
    }

    /// Counts one more parent for everything that a node refers to. Runs of consecutive numbers go as one range.
    pub(crate) fn increment_children(
        &mut self,
        block: MetaBlock,
        tree: Tree,
    ) -> Later<'_, Result<(), Errno>> {
        Box::pin(async move {
            let node = self.node(tree, block).await?;
            Store::expect_shape(node, tree.rule.value_size())?;
            let (numbers, is_data) = references(node, tree.rule);
            for (begin, end) in runs(&numbers) {
                if is_data {
                    self.increment_data(begin, end).await?;
                } else {
                    self.increment_metadata(begin, end).await?;
                }
            }
            Ok(())
        })
    }

    /// Whether a block has more than one parent.
    ///
    /// # Errors
    /// What reading its bitmap says.
    pub async fn is_shared(&mut self, block: MetaBlock) -> Result<bool, Errno> {
        let waiting = self.metadata.waiting_change(block);
        match self.bitmap_count(Which::Metadata, block.0).await? {
            3 => Ok(true),
            count => Ok(i64::from(count) + waiting > 1),
        }
    }

    /// The count in a bitmap, 0 to 3.
    pub(crate) async fn bitmap_count(&mut self, which: Which, number: u64) -> Result<u8, Errno> {
        let (index, bit) = crate::space_map::place(number);
        if number >= self.counts(which).nr_blocks {
            self.blocks.log("space map common", "metadata block out of bounds");
            return Err(Errno::EINVAL);
        }
        let entry = self.load_entry(which, index).await?;
        self.blocks.load(entry.bitmap, &BITMAP).await?;
        Ok(Bitmap::new(self.blocks.get(entry.bitmap)).get(bit))
    }

    /// Forgets which blocks were made in this transaction: the next one shadows them again.
    pub(crate) fn forget_shadows(&mut self) {
        self.shadows.clear();
    }
}

/// What a node refers to, and whether that is data blocks.
fn references(node: Node<'_>, rule: Rule) -> (Vec<u64>, bool) {
    let all = 0..node.len();
    if node.is_internal() || matches!(rule, Rule::Roots(_)) {
        return (all.map(|i| node.value::<u64>(i)).collect(), false);
    }
    match rule {
        Rule::Data => (all.map(|i| node.value::<Mapping>(i).block.0).collect(), true),
        Rule::None | Rule::Roots(_) => (Vec::new(), false),
    }
}

/// Runs of consecutive numbers, as half-open ranges, in the order given.
pub(crate) fn runs(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end == number => *end = number.saturating_add(1),
            _ => runs.push((number, number.saturating_add(1))),
        }
    }
    runs
}

/// Bytes of a value.
pub(crate) fn value_bytes<V: Value>(value: V) -> Vec<u8> {
    let mut bytes = vec![0; V::SIZE];
    value.encode(&mut bytes);
    bytes
}
