//! Making metadata, opening it, and going back to what was last committed.

use std::sync::Arc;

use dmlab_block::BlockDevice;
use dmlab_formats::BLOCK_SECTORS;
use dmlab_formats::bitmap::BITMAP_ENTRIES;
use dmlab_formats::index::MAX_INDEX_ENTRIES;
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_formats::thin::{SUPERBLOCK, Superblock, THIN_VERSION};
use dmlab_persistent_data::{BlockManager, DiskSpaceMap, TransactionManager};
use dmlab_runtime::Level;
use dmlab_units::{Errno, MetaBlock, Sectors};

use super::errors::errno;
use super::trees::{details, top};
use super::{LOCATION, ThinMetadata};

/// Most metadata blocks that can be used: what one index block covers.
const MAX_BLOCKS: u64 = MAX_INDEX_ENTRIES as u64 * BITMAP_ENTRIES;

fn log(device: &BlockDevice, text: impl std::fmt::Display) {
    device.runtime().log(Level::Err, format!("device-mapper: thin metadata: {text}"));
}

impl ThinMetadata {
    /// Metadata blocks of `device` that can be used.
    pub fn usable_blocks(device: &BlockDevice) -> u64 {
        (device.capacity().0 / BLOCK_SECTORS).min(MAX_BLOCKS)
    }

    /// Opens the metadata on `device`, or formats it if its first block is all zeros and `may_format` says so.
    ///
    /// # Errors
    /// EPERM when it would have to be formatted and may not; EINVAL for another block size or features that are not
    /// known; ENOTBLK, EILSEQ for a damaged superblock; ENOSPC; what the device says. The log says which.
    pub async fn open(
        device: Arc<BlockDevice>,
        data_block_size: Sectors,
        may_format: bool,
    ) -> Result<ThinMetadata, Errno> {
        let blocks = BlockManager::new(device.clone());
        // What can't even be looked at goes without a word of the metadata's own (recorded: `thin-errors/needs-check-fail`).
        let first = blocks.read(LOCATION, &SUPERBLOCK).await.map_err(errno)?;
        if first.iter().any(|&byte| byte != 0) {
            return ThinMetadata::open_formatted(blocks, Some(data_block_size)).await;
        }
        if !may_format {
            return Err(Errno::EPERM);
        }
        ThinMetadata::format(blocks, data_block_size).await
    }

    async fn format(blocks: BlockManager, data_block_size: Sectors) -> Result<ThinMetadata, Errno> {
        let device = blocks.device().clone();
        let nr_blocks = ThinMetadata::usable_blocks(&device);
        let failed = |text: &'static str| {
            let device = device.clone();
            move |error| {
                log(&device, text);
                errno(error)
            }
        };
        let created = TransactionManager::create(blocks, nr_blocks).await;
        let mut tm = created.map_err(failed("tm_create_with_sm failed"))?;
        let mut data = DiskSpaceMap::create(&mut tm).await.map_err(failed("sm_disk_create failed"))?;
        let mapping_root = top(&mut data).empty(&mut tm).await.map_err(errno)?;
        let details_root = details().empty(&mut tm).await.map_err(failed("couldn't create devices root"))?;
        tm.blocks_mut().make_zero(LOCATION, &SUPERBLOCK);
        let superblock = Superblock {
            flags: 0,
            uuid: [0; 16],
            version: THIN_VERSION,
            time: 0,
            trans_id: 0,
            held_root: MetaBlock(0),
            data_space_map: SpaceMapRoot::default(),
            metadata_space_map: SpaceMapRoot::default(),
            mapping_root,
            details_root,
            data_block_size,
            metadata_block_size: Sectors(BLOCK_SECTORS),
            metadata_nr_blocks: nr_blocks,
            compat_flags: 0,
            compat_ro_flags: 0,
            incompat_flags: 0,
        };
        let mut metadata = ThinMetadata::around(tm, data, superblock);
        metadata.commit_data_map().await?;
        metadata.write_transaction().await?;
        Ok(metadata)
    }

    async fn open_formatted(
        mut blocks: BlockManager,
        data_block_size: Option<Sectors>,
    ) -> Result<ThinMetadata, Errno> {
        let device = blocks.device().clone();
        let read = blocks.load(LOCATION, &SUPERBLOCK).await.map_err(errno);
        read.inspect_err(|_| log(&device, "couldn't read superblock"))?;
        let superblock = Superblock::decode(blocks.get(LOCATION));
        if let Some(wanted) = data_block_size
            && wanted != superblock.data_block_size
        {
            let found = superblock.data_block_size;
            log(&device, format!("changing the data block size (from {found} to {wanted}) is not supported"));
            return Err(Errno::EINVAL);
        }
        if superblock.incompat_flags != 0 {
            let flags = superblock.incompat_flags;
            log(
                &device,
                format!("could not access metadata due to unsupported optional features ({flags:x})."),
            );
            return Err(Errno::EINVAL);
        }
        if superblock.compat_ro_flags != 0 && !device.is_read_only() {
            let flags = superblock.compat_ro_flags;
            let text = "could not access metadata RDWR due to unsupported optional features";
            log(&device, format!("{text} ({flags:x})."));
            return Err(Errno::EINVAL);
        }
        let opened = TransactionManager::open(blocks, superblock.metadata_space_map).await.map_err(errno);
        let tm = opened.inspect_err(|_| log(&device, "tm_open_with_sm failed"))?;
        let data = DiskSpaceMap::open(superblock.data_space_map);
        Ok(ThinMetadata::around(tm, data, superblock))
    }

    fn around(tm: TransactionManager, data: DiskSpaceMap, superblock: Superblock) -> ThinMetadata {
        ThinMetadata {
            tm,
            data,
            mapping_root: superblock.mapping_root,
            details_root: superblock.details_root,
            time: superblock.time,
            trans_id: superblock.trans_id,
            superblock,
            devices: Vec::new(),
            is_in_service: false,
            data_device: None,
        }
    }

    /// Drops the open transaction and goes back to the last commit. What is known of open devices stays as it is,
    /// with the changes that are lost (kernel/thin.md#what-was-seen).
    ///
    /// # Errors
    /// What reading the metadata again says; then it cannot be used any more.
    pub async fn abort(&mut self) -> Result<(), Errno> {
        let device = self.device().clone();
        let blocks = BlockManager::new(device);
        blocks.read(LOCATION, &SUPERBLOCK).await.map_err(errno)?;
        let mut again = ThinMetadata::open_formatted(blocks, None).await?;
        again.tm.space_map_mut().take_low_water(self.tm.space_map_mut());
        // Linux's old cache writes what it has when it goes, after the metadata was opened anew. All of it lies in
        // blocks that the last commit does not use (recorded: `thin-sequences/*`).
        let mut old = std::mem::replace(&mut self.tm, again.tm);
        old.blocks_mut().write_leftovers().await;
        self.data = again.data;
        self.mapping_root = again.mapping_root;
        self.details_root = again.details_root;
        self.time = again.time;
        self.trans_id = again.trans_id;
        self.superblock = again.superblock;
        for device in &mut self.devices {
            device.is_changed = false;
        }
        Ok(())
    }
}
