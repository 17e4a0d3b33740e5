//! Metadata of a thin pool: devices, mappings, space, transactions (kernel/thin-metadata.md).
//!
//! ```text
//! superblock (block 0)
//!   ├── mapping root ──> thin id -> root ──> thin block -> data block, time
//!   ├── details root ──> thin id -> mapped blocks, times
//!   ├── data space map: references to each block of the data device
//!   └── metadata space map: references to each block of this device
//! ```
//!
//! A commit flushes the data device, writes the details of devices that changed and the data space map into their trees,
//! then all changed blocks but the superblock, and flushes; with the write of the superblock all of it becomes valid.

mod create;
mod devices;
mod errors;
mod mappings;
mod snapshot;
mod trees;

use std::ops::Range;
use std::sync::Arc;

use dmlab_block::{Bio, BlockDevice, Tag, run_async};
use dmlab_formats::thin::{NEEDS_CHECK, SUPERBLOCK, Superblock, metadata_reserve};
use dmlab_persistent_data::{DiskSpaceMap, TransactionManager};
#[doc(hidden)]
pub use dmlab_persistent_data::{FREED_BLOCK_REUSED, SUPERBLOCK_UNFLUSHED};
use dmlab_runtime::{Level, Planted};
use dmlab_units::{DataBlock, Errno, MetaBlock, Sectors, ThinBlock, ThinId};

use devices::InCore;
use errors::errno;

/// A pool's superblock keeps the root of the space map of the transaction before.
#[doc(hidden)]
pub static SPACE_MAP_ROOT_MISSING: Planted =
    Planted::new("a pool's superblock keeps the root of the space map of the transaction before");

/// A pool's superblock is written before its data are flushed.
#[doc(hidden)]
pub static SUPERBLOCK_BEFORE_DATA: Planted =
    Planted::new("a pool's superblock is written before its data are flushed");

/// Block of the superblock.
const LOCATION: MetaBlock = MetaBlock(0);

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
    pub thin: ThinBlock,
    /// Data block of the first.
    pub data: DataBlock,
    /// How many blocks.
    pub len: u64,
    /// Whether all of it may be shared, or none.
    pub is_shared: bool,
}

impl Run {
    /// The thin blocks of the run.
    pub fn thin_blocks(&self) -> Range<ThinBlock> {
        self.thin..ThinBlock(self.thin.0 + self.len)
    }

    /// The data blocks of the run.
    pub fn data_blocks(&self) -> Range<DataBlock> {
        self.data..DataBlock(self.data.0 + self.len)
    }
}

/// The metadata of one pool, with one transaction always open.
pub struct ThinMetadata {
    tm: TransactionManager,
    /// The references to each data block.
    data: DiskSpaceMap,
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
        let blocks = self.tm.blocks_mut();
        if matches!(blocks.cached(LOCATION, &SUPERBLOCK), Some(Ok(_))) {
            self.superblock.encode(blocks.get_mut(LOCATION));
        }
    }

    /// Refuses changes from now on, or takes them again.
    pub fn set_read_only(&mut self, is_read_only: bool) {
        self.tm.blocks_mut().set_read_only(is_read_only);
    }

    /// Metadata blocks in all.
    pub fn metadata_blocks(&self) -> u64 {
        self.tm.space_map().nr_blocks()
    }

    /// Calls `tell` when an allocation leaves `mark` metadata blocks or fewer, once until there are more again.
    pub fn set_metadata_low_water(&mut self, mark: u64, tell: impl Fn() + Send + Sync + 'static) {
        self.tm.space_map_mut().set_low_water(mark, tell);
    }

    /// The metadata device.
    pub fn device(&self) -> &Arc<BlockDevice> {
        self.tm.blocks().device()
    }

    /// Writes the superblock as it stands in memory, for a mark that must not be lost.
    ///
    /// # Errors
    /// What the device says.
    pub async fn write_mark(&mut self) -> Result<(), Errno> {
        let blocks = self.tm.blocks_mut();
        blocks.set_read_only(false);
        let written = blocks.write_superblock().await;
        blocks.set_read_only(true);
        written.map_err(errno)
    }

    fn reserve(&self) -> u64 {
        metadata_reserve(self.metadata_blocks())
    }

    /// Metadata blocks that can be taken, less a reserve.
    pub fn free_metadata(&self) -> u64 {
        self.tm.space_map().nr_free().saturating_sub(self.reserve())
    }

    /// Data blocks in all, as of the last commit.
    pub fn data_blocks(&self) -> u64 {
        self.data.nr_blocks_committed()
    }

    /// Data blocks not in use.
    pub fn free_data(&self) -> u64 {
        self.data.nr_free()
    }

    /// Takes a data block; `None` when none can be had before a commit.
    ///
    /// # Errors
    /// What reading or changing the space maps says.
    pub async fn allocate_data(&mut self) -> Result<Option<DataBlock>, Errno> {
        self.is_in_service = true;
        self.data.allocate(&mut self.tm).await.map_err(errno)
    }

    /// One more reference to each data block of a range.
    ///
    /// # Errors
    /// What reading or changing the space maps says.
    pub async fn increment_data(&mut self, blocks: Range<DataBlock>) -> Result<(), Errno> {
        self.is_in_service = true;
        self.data.inc_range(&mut self.tm, blocks).await.map_err(errno)
    }

    /// One reference less to each data block of a range.
    ///
    /// # Errors
    /// What reading or changing the space maps says.
    pub async fn decrement_data(&mut self, blocks: Range<DataBlock>) -> Result<(), Errno> {
        self.is_in_service = true;
        self.data.dec_range(&mut self.tm, blocks).await.map_err(errno)
    }

    /// Whether more than one mapping refers to a data block.
    ///
    /// # Errors
    /// What reading the space map says.
    pub async fn is_data_shared(&mut self, block: DataBlock) -> Result<bool, Errno> {
        Ok(self.data.count(&mut self.tm, block).await.map_err(errno)? > 1)
    }

    /// Gives the data device another size; only growth is possible.
    ///
    /// # Errors
    /// EINVAL when it would shrink; ENOSPC.
    pub async fn resize_data(&mut self, nr_blocks: u64) -> Result<(), Errno> {
        self.is_in_service = true;
        if nr_blocks < self.data.nr_blocks() {
            self.log(Level::Err, "cannot reduce size of space map");
            return Err(Errno::EINVAL);
        }
        self.data.extend(&mut self.tm, nr_blocks).await.map_err(errno)
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
        self.tm.grow(nr_blocks).await.map_err(errno)
    }

    /// Ends the transaction and begins the next: data flushed, then all blocks, then the superblock.
    ///
    /// # Errors
    /// What flushing, writing or the space maps say; the transaction must then be aborted.
    pub async fn commit(&mut self) -> Result<(), Errno> {
        if !self.is_in_service {
            return Ok(());
        }
        if self.has_planted(&SUPERBLOCK_BEFORE_DATA) {
            self.write_details().await?;
            self.commit_data_map().await?;
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
        self.commit_data_map().await?;
        self.write_transaction().await
    }

    async fn commit_data_map(&mut self) -> Result<(), Errno> {
        self.data.commit(&mut self.tm).await.map_err(errno)
    }

    /// Writes the blocks of a transaction, and then the superblock that leads to them.
    async fn write_transaction(&mut self) -> Result<(), Errno> {
        self.tm.pre_commit().await.map_err(errno)?;
        self.tm.blocks_mut().load(LOCATION, &SUPERBLOCK).await.map_err(errno)?;
        self.superblock.time = self.time;
        self.superblock.trans_id = self.trans_id;
        self.superblock.mapping_root = self.mapping_root;
        self.superblock.details_root = self.details_root;
        self.superblock.data_space_map = self.data.root();
        if !self.has_planted(&SPACE_MAP_ROOT_MISSING) {
            self.superblock.metadata_space_map = self.tm.space_map().root();
        }
        self.superblock.encode(self.tm.blocks_mut().get_mut(LOCATION));
        self.tm.commit().await.map_err(errno)
    }

    fn has_planted(&self, fault: &'static Planted) -> bool {
        self.device().runtime().has_planted(fault)
    }

    fn log(&self, level: Level, text: impl std::fmt::Display) {
        let runtime = self.device().runtime();
        runtime.log(level, format!("device-mapper: thin metadata: {text}"));
    }

    /// Ids of all thin devices.
    ///
    /// # Errors
    /// What reading the details tree says.
    pub async fn device_ids(&mut self) -> Result<Vec<ThinId>, Errno> {
        let mut ids = Vec::new();
        let mut next = 0;
        let details = trees::details();
        while let Some((id, _)) =
            details.lookup_next(&mut self.tm, self.details_root, next).await.map_err(errno)?
        {
            ids.push(ThinId(id));
            let Some(after) = id.checked_add(1) else { break };
            next = after;
        }
        Ok(ids)
    }
}
