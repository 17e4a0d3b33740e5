//! Metadata of a thin pool: devices, mappings, space, transactions (kernel/thin-metadata.md).

mod create;
mod devices;
mod mappings;
mod snapshot;

use std::sync::Arc;

use dmlab_block::{Bio, BlockDevice, Tag, run_async};
use dmlab_runtime::{Level, Planted};
use dmlab_units::{DataBlock, Errno, MetaBlock, Sectors, ThinId};

use crate::format::{Kind, NEEDS_CHECK, Superblock};
use crate::{Rule, Store, Tree};
use devices::InCore;

pub(crate) const SUPERBLOCK: MetaBlock = MetaBlock(0);
/// Top level of the mapping tree: thin id to root of that device's tree.
pub(crate) const TOP: Tree = Tree { value_size: 8, rule: Rule::Roots(&BOTTOM), meaning: "mapping_top_node" };
/// Bottom level: thin block to mapping.
pub(crate) const BOTTOM: Tree = Tree { value_size: 8, rule: Rule::Data, meaning: "mapping_tree_node" };
/// Thin id to what is known of the device.
pub(crate) const DETAILS: Tree = Tree { value_size: 24, rule: Rule::None, meaning: "details_tree_node" };

/// Most metadata blocks kept in reserve, so that deleting is possible when all others are used.
const MAX_RESERVE: u64 = 4096;

/// Metadata blocks that a pool keeps back of `nr_blocks`; its status line shows them as used.
pub fn metadata_reserve(nr_blocks: u64) -> u64 {
    MAX_RESERVE.min(nr_blocks / 10)
}

/// A mapped thin block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Where it is.
    pub block: DataBlock,
    /// Whether a snapshot taken since may share it.
    pub is_shared: bool,
}

/// A run of thin blocks mapped to consecutive data blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First thin block.
    pub thin_begin: u64,
    /// The one after its last.
    pub thin_end: u64,
    /// Data block of the first.
    pub data_begin: u64,
    /// Whether all of it may be shared, or none.
    pub is_shared: bool,
}

/// The metadata of one pool, with one transaction always open.
pub struct ThinMetadata {
    store: Store,
    superblock: Superblock,
    mapping_root: MetaBlock,
    details_root: MetaBlock,
    time: u32,
    trans_id: u64,
    /// Devices that are open or have changes, the newest first.
    devices: Vec<InCore>,
    /// Something was changed since the metadata was opened: commits are no longer no-ops.
    is_in_service: bool,
    /// Flushed before each commit, so that no mapping becomes durable before its data.
    data_device: Option<Arc<BlockDevice>>,
}

impl ThinMetadata {
    /// The device whose data must be durable before a commit is.
    pub fn set_data_device(&mut self, device: Arc<BlockDevice>) {
        self.data_device = Some(device);
    }

    /// The user's transaction id.
    pub fn transaction_id(&self) -> u64 {
        self.trans_id
    }

    /// Replaces the transaction id, if it is `current`.
    ///
    /// # Errors
    /// EINVAL when it is another.
    pub fn set_transaction_id(&mut self, current: u64, new: u64) -> Result<(), Errno> {
        self.is_in_service = true;
        if self.trans_id != current {
            self.log(Level::Err, "mismatched transaction id");
            return Err(Errno::EINVAL);
        }
        self.trans_id = new;
        Ok(())
    }

    /// Size of a data block.
    pub fn data_block_size(&self) -> Sectors {
        self.superblock.data_block_size
    }

    /// Whether the metadata must be checked before it may be written.
    pub fn needs_check(&self) -> bool {
        self.superblock.needs_check()
    }

    /// Marks the metadata; the mark goes out with the next write of the superblock.
    pub fn set_needs_check(&mut self) {
        self.is_in_service = true;
        self.superblock.flags |= NEEDS_CHECK;
        let superblock = self.superblock.clone();
        if matches!(self.store.blocks.cached(SUPERBLOCK, Kind::Superblock), Some(Ok(_))) {
            superblock.encode(self.store.blocks.get_mut(SUPERBLOCK));
        }
    }

    /// Refuses changes from now on, or takes them again.
    pub fn set_read_only(&mut self, is_read_only: bool) {
        self.store.blocks.set_read_only(is_read_only);
    }

    /// Metadata blocks in all.
    pub fn metadata_blocks(&self) -> u64 {
        self.store.metadata.counts.nr_blocks
    }

    /// Calls `tell` when an allocation leaves `mark` metadata blocks or fewer, once until there are more again.
    pub fn set_metadata_low_water(&mut self, mark: u64, tell: impl Fn() + Send + Sync + 'static) {
        let low = crate::space_map::LowWater { mark, is_reached: false, tell: Box::new(tell) };
        self.store.metadata.low_water = Some(low);
    }

    /// The metadata device.
    pub fn device(&self) -> &Arc<BlockDevice> {
        self.store.blocks.device()
    }

    /// Writes the superblock as it stands in memory, for a mark that must not be lost.
    ///
    /// # Errors
    /// What the device says.
    pub async fn write_mark(&mut self) -> Result<(), Errno> {
        self.store.blocks.set_read_only(false);
        let written = self.store.blocks.write_superblock().await;
        self.store.blocks.set_read_only(true);
        written
    }

    fn reserve(&self) -> u64 {
        metadata_reserve(self.metadata_blocks())
    }

    /// Metadata blocks that can be taken, less a reserve.
    pub fn free_metadata(&self) -> u64 {
        self.store.metadata.nr_free().saturating_sub(self.reserve())
    }

    /// Data blocks in all, as of the last commit.
    pub fn data_blocks(&self) -> u64 {
        self.store.data.counts.committed.0
    }

    /// Data blocks not in use.
    pub fn free_data(&self) -> u64 {
        self.store.data.nr_free()
    }

    /// Takes a data block; `None` when none can be had before a commit.
    ///
    /// # Errors
    /// What reading or changing the space maps says.
    pub async fn allocate_data(&mut self) -> Result<Option<DataBlock>, Errno> {
        self.is_in_service = true;
        self.store.allocate_data().await
    }

    /// One more reference to each data block of a range.
    ///
    /// # Errors
    /// What reading or changing the space maps says.
    pub async fn increment_data(&mut self, begin: u64, end: u64) -> Result<(), Errno> {
        self.is_in_service = true;
        self.store.increment_data(begin, end).await
    }

    /// One reference less to each data block of a range.
    ///
    /// # Errors
    /// What reading or changing the space maps says.
    pub async fn decrement_data(&mut self, begin: u64, end: u64) -> Result<(), Errno> {
        self.is_in_service = true;
        self.store.decrement_data(begin, end).await
    }

    /// Whether more than one mapping refers to a data block.
    ///
    /// # Errors
    /// What reading the space map says.
    pub async fn is_data_shared(&mut self, block: DataBlock) -> Result<bool, Errno> {
        Ok(self.store.data_count(block).await? > 1)
    }

    /// Gives the data device another size; only growth is possible.
    ///
    /// # Errors
    /// EINVAL when it would shrink; ENOSPC.
    pub async fn resize_data(&mut self, nr_blocks: u64) -> Result<(), Errno> {
        self.is_in_service = true;
        if nr_blocks < self.store.data.counts.nr_blocks {
            self.log(Level::Err, "cannot reduce size of space map");
            return Err(Errno::EINVAL);
        }
        self.store.extend_map(crate::Which::Data, nr_blocks).await
    }

    /// Uses more of the metadata device; only growth is possible.
    ///
    /// # Errors
    /// EINVAL when it would shrink; ENOSPC.
    pub async fn resize_metadata(&mut self, nr_blocks: u64) -> Result<(), Errno> {
        self.is_in_service = true;
        if nr_blocks < self.metadata_blocks() {
            self.log(Level::Err, "cannot reduce size of space map");
            return Err(Errno::EINVAL);
        }
        self.store.grow_metadata_map(nr_blocks).await
    }

    /// Ends the transaction and begins the next: data flushed, then all blocks, then the superblock.
    ///
    /// # Errors
    /// What flushing, writing or the space maps say; the transaction must then be aborted.
    pub async fn commit(&mut self) -> Result<(), Errno> {
        if !self.is_in_service {
            return Ok(());
        }
        if self.has_planted(Planted::SuperblockBeforeData) {
            self.write_details().await?;
            self.store.commit_data_map().await?;
            self.write_transaction().await?;
        }
        if let Some(device) = &self.data_device
            && let Err(status) =
                run_async(Bio::flush().with_tag(Tag::new("data-flush", 0, 0)).to(device)).await
        {
            self.log(Level::Err, "pre-commit callback failed");
            return Err(status.errno().unwrap_or(Errno::EIO));
        }
        self.write_details().await?;
        self.store.commit_data_map().await?;
        self.write_transaction().await
    }

    /// Steps 4 to 6 of a commit.
    async fn write_transaction(&mut self) -> Result<(), Errno> {
        self.store.commit_metadata_map().await?;
        self.store.blocks.write_all_but_superblock().await?;
        self.store.blocks.load(SUPERBLOCK, Kind::Superblock).await?;
        self.superblock.time = self.time;
        self.superblock.trans_id = self.trans_id;
        self.superblock.mapping_root = self.mapping_root;
        self.superblock.details_root = self.details_root;
        self.superblock.data_space_map = self.store.data.counts.root();
        if !self.has_planted(Planted::SpaceMapRootMissing) {
            self.superblock.metadata_space_map = self.store.metadata.counts.root();
        }
        self.superblock.encode(self.store.blocks.get_mut(SUPERBLOCK));
        self.store.blocks.write_superblock().await?;
        self.store.forget_shadows();
        Ok(())
    }

    fn has_planted(&self, fault: Planted) -> bool {
        self.store.blocks.device().runtime().has_planted(fault)
    }

    fn log(&self, level: Level, text: impl std::fmt::Display) {
        let runtime = self.store.blocks.device().runtime();
        runtime.log(level, format!("device-mapper: thin metadata: {text}"));
    }

    /// Ids of all thin devices.
    ///
    /// # Errors
    /// What reading the details tree says.
    pub async fn device_ids(&mut self) -> Result<Vec<ThinId>, Errno> {
        let mut ids = Vec::new();
        let mut next = 0;
        while let Some((id, _)) =
            self.store.lookup_next::<crate::format::DeviceDetails>(DETAILS, self.details_root, next).await?
        {
            ids.push(ThinId(id));
            let Some(after) = id.checked_add(1) else { break };
            next = after;
        }
        Ok(ids)
    }
}
