//! The transaction manager: blocks that are changed in copies, and counted.
//!
//! Blocks and the space map of their device cannot be told apart: changing a block means allocating its shadow, which
//! changes the space map, whose bitmaps are blocks that must be shadowed.

use std::collections::HashSet; // tidy: never iterated
use std::ops::Range;

use dmlab_formats::index::{INDEX, IndexBlock};
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_units::MetaBlock;

use crate::block_manager::BlockRole;
use crate::space_map::{MetadataSpaceMap, bitmap_count, count};
use crate::{BlockManager, PdError};

/// The metadata blocks of one device, with one transaction always open, and the space map that counts them.
pub struct TransactionManager {
    pub(crate) blocks: BlockManager,
    /// Blocks made in this transaction: they may be changed in place.
    shadows: HashSet<MetaBlock>, // tidy: never iterated
    pub(crate) space_map: MetadataSpaceMap,
}

impl TransactionManager {
    pub(crate) fn around(blocks: BlockManager, space_map: MetadataSpaceMap) -> TransactionManager {
        TransactionManager { blocks, shadows: HashSet::new(), space_map }
    }

    /// Makes the space map of a device of `nr_blocks`. Block 0 is taken for the superblock, which the caller makes.
    ///
    /// # Errors
    /// `TooLarge`, `NoSpace`. The log says which.
    pub async fn create(blocks: BlockManager, nr_blocks: u64) -> Result<TransactionManager, PdError> {
        let mut tm = TransactionManager::around(blocks, MetadataSpaceMap::bootstrapping(1));
        let made = tm.create_space_map(nr_blocks).await;
        made.inspect_err(|_| tm.blocks.log("transaction manager", "couldn't create metadata space map"))?;
        Ok(tm)
    }

    /// Opens the space map that `root`, from the superblock, leads to.
    ///
    /// # Errors
    /// What reading its index says.
    pub async fn open(mut blocks: BlockManager, root: SpaceMapRoot) -> Result<TransactionManager, PdError> {
        let read = blocks.load(root.bitmap_root, &INDEX).await;
        read.inspect_err(|_| blocks.log("transaction manager", "couldn't open metadata space map"))?;
        let index = IndexBlock::decode(blocks.get(root.bitmap_root));
        Ok(TransactionManager::around(blocks, MetadataSpaceMap::open(root, index)))
    }

    /// The blocks.
    pub fn blocks(&self) -> &BlockManager {
        &self.blocks
    }

    /// The blocks, to change what no space map counts: the superblock.
    pub fn blocks_mut(&mut self) -> &mut BlockManager {
        &mut self.blocks
    }

    /// The space map of the metadata device.
    pub fn space_map(&self) -> &MetadataSpaceMap {
        &self.space_map
    }

    /// The space map of the metadata device, to be told of a shortage.
    pub fn space_map_mut(&mut self) -> &mut MetadataSpaceMap {
        &mut self.space_map
    }

    /// Takes a new block of zeros.
    ///
    /// # Errors
    /// `NoSpace`.
    pub async fn new_block(&mut self, role: impl Into<BlockRole>) -> Result<MetaBlock, PdError> {
        let block = self.allocate().await?;
        self.blocks.make_zero(block, role);
        self.shadows.insert(block);
        Ok(block)
    }

    /// Makes a block changeable: itself if it was made in this transaction and is not shared, else a copy of it.
    /// Returns it, and whether the copy's children got one more parent, which the caller must count.
    ///
    /// # Errors
    /// `NoSpace`, or what reading the block says.
    pub async fn shadow(
        &mut self,
        block: MetaBlock,
        role: impl Into<BlockRole>,
    ) -> Result<(MetaBlock, bool), PdError> {
        let role = role.into();
        let is_shared = self.is_shared(block).await?;
        if !is_shared && self.is_fresh(block) {
            self.blocks.load(block, role).await?;
            return Ok((block, false));
        }
        let copy = self.allocate().await?;
        self.dec(block).await?;
        self.blocks.load(block, role).await?;
        self.blocks.make_copy(block, copy, role);
        self.shadows.insert(copy);
        Ok((copy, is_shared))
    }

    /// Whether a block was made in this transaction.
    pub(crate) fn is_fresh(&self, block: MetaBlock) -> bool {
        self.shadows.contains(&block)
    }

    /// Whether a block has more than one reference.
    ///
    /// # Errors
    /// What reading its bitmap says.
    pub async fn is_shared(&mut self, block: MetaBlock) -> Result<bool, PdError> {
        let waiting = self.space_map.waiting_change(block);
        match bitmap_count(self, block.0).await? {
            3 => Ok(true),
            count => Ok(i64::from(count) + waiting > 1),
        }
    }

    /// How many references a block has.
    ///
    /// # Errors
    /// What reading the space map says.
    pub async fn count(&mut self, block: MetaBlock) -> Result<u32, PdError> {
        let waiting = self.space_map.waiting_change(block);
        let count = i64::from(count(self, block.0).await?) + waiting;
        Ok(count.try_into().unwrap_or(0))
    }

    /// Counts one reference more to a block.
    ///
    /// # Errors
    /// `BeyondMap`; `NoSpace`; `TooManyWaiting`; what reading the space map says.
    pub async fn inc(&mut self, block: MetaBlock) -> Result<(), PdError> {
        self.inc_range(block..MetaBlock(block.0.saturating_add(1))).await
    }

    /// Counts one reference less to a block.
    ///
    /// # Errors
    /// As [`TransactionManager::inc`]; `NotReferenced` for a block that has none.
    pub async fn dec(&mut self, block: MetaBlock) -> Result<(), PdError> {
        self.dec_range(block..MetaBlock(block.0.saturating_add(1))).await
    }

    /// Counts one reference more to each of some blocks, runs of consecutive ones together.
    ///
    /// # Errors
    /// As [`TransactionManager::inc`].
    pub async fn inc_each(&mut self, blocks: &[MetaBlock]) -> Result<(), PdError> {
        for (begin, end) in runs(blocks.iter().map(|block| block.0)) {
            self.inc_range(MetaBlock(begin)..MetaBlock(end)).await?;
        }
        Ok(())
    }

    /// Counts one reference less to each of some blocks, runs of consecutive ones together.
    ///
    /// # Errors
    /// As [`TransactionManager::dec`].
    pub async fn dec_each(&mut self, blocks: &[MetaBlock]) -> Result<(), PdError> {
        for (begin, end) in runs(blocks.iter().map(|block| block.0)) {
            self.dec_range(MetaBlock(begin)..MetaBlock(end)).await?;
        }
        Ok(())
    }

    /// Counts one reference more to each block of a range.
    ///
    /// # Errors
    /// As [`TransactionManager::inc`].
    pub async fn inc_range(&mut self, blocks: Range<MetaBlock>) -> Result<(), PdError> {
        self.change_counts(crate::space_map::Change::Up(blocks.start.0, blocks.end.0)).await
    }

    /// Counts one reference less to each block of a range.
    ///
    /// # Errors
    /// As [`TransactionManager::dec`].
    pub async fn dec_range(&mut self, blocks: Range<MetaBlock>) -> Result<(), PdError> {
        self.change_counts(crate::space_map::Change::Down(blocks.start.0, blocks.end.0)).await
    }

    /// Ends a transaction but for its superblock: all other blocks are durable when this returns.
    ///
    /// # Errors
    /// What writing or the space map says; the transaction must then be given up.
    pub async fn pre_commit(&mut self) -> Result<(), PdError> {
        self.commit_space_map().await?;
        self.blocks.write_all_but_superblock().await
    }

    /// Writes the superblock, with which the transaction becomes valid, and begins the next. The caller has put the roots
    /// into it since [`TransactionManager::pre_commit`].
    ///
    /// # Errors
    /// What the device says.
    pub async fn commit(&mut self) -> Result<(), PdError> {
        self.blocks.write_superblock().await?;
        self.shadows.clear();
        Ok(())
    }
}

/// Runs of consecutive numbers, as half-open ranges, in the order given.
pub(crate) fn runs(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end == number => *end = number.saturating_add(1),
            _ => runs.push((number, number.saturating_add(1))),
        }
    }
    runs
}
