//! Metadata from a stream: `thin_restore`, and the second half of repair.

use crate::build::{BuildError, Builder};
use crate::check::{DATA_BLOCK_SIZE_MAX, DATA_BLOCK_SIZE_MIN, is_data_block_size};
use crate::counts::DataCounts;
use crate::metadata::{MetadataMut, NR_BLOCKS_MAX};
use crate::stream::{Device, Pool, Run, Sink, SinkError};
use dmlab_formats::bitmap::BITMAP_ENTRIES;
use dmlab_formats::thin::{DeviceDetails, Mapping, Superblock, THIN_VERSION};
use dmlab_formats::{BLOCK_SECTORS, BLOCK_SIZE};
use dmlab_units::{DataBlock, MetaBlock, Sectors, ThinBlock, ThinId};

/// Why a pool can't be restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("{0} data blocks need more bitmaps than metadata can hold")]
    TooManyDataBlocks(u64),
    #[error(
        "data blocks of {0} sectors are none: the data block size is a multiple of {DATA_BLOCK_SIZE_MIN} up to {DATA_BLOCK_SIZE_MAX}"
    )]
    DataBlockSize(u64),
    #[error("thin device {0} comes twice")]
    TwiceDevice(ThinId),
    #[error("thin device {device}: virtual block {block} is mapped twice")]
    TwiceMapped { device: ThinId, block: ThinBlock },
    #[error("thin device {device}: virtual block {block} maps to data block {data}, there are {nr_blocks}")]
    Beyond { device: ThinId, block: ThinBlock, data: DataBlock, nr_blocks: u64 },
    #[error("thin device {device}: a run of {length} blocks from virtual block {begin} is too long")]
    TooLong { device: ThinId, begin: ThinBlock, length: u64 },
}

/// Takes a pool and writes its metadata to `out`, whatever was there before.
///
/// `mapped_blocks` of a device is written as counted, not as said, so that the result passes a check. Errors name the
/// device and block that can't be; out of space is [`BuildError::NoSpace`].
///
/// # Errors
/// When `out` can't be written.
pub fn restore<W: MetadataMut + ?Sized>(out: &mut W) -> Result<impl Sink, BuildError> {
    Ok(Restorer {
        builder: Some(Builder::new(out)?),
        pool: None,
        counts: DataCounts::new(0),
        device: None,
        mappings: Vec::new(),
        roots: Vec::new(),
        details: Vec::new(),
    })
}

const ENDED: &str = "the pool has ended";

struct Restorer<'w, W: ?Sized> {
    /// Gone when the pool has ended.
    builder: Option<Builder<'w, W>>,
    pool: Option<Pool>,
    counts: DataCounts,
    device: Option<Device>,
    mappings: Vec<(u64, Mapping)>,
    roots: Vec<(u64, MetaBlock)>,
    details: Vec<(u64, DeviceDetails)>,
}

impl<W: MetadataMut + ?Sized> Restorer<'_, W> {
    fn take_device(&mut self, device: Device) -> Result<(), SinkError> {
        let mut mappings = std::mem::take(&mut self.mappings);
        if !mappings.is_sorted_by_key(|&(block, _)| block) {
            mappings.sort_unstable_by_key(|&(block, _)| block);
        }
        if let Some(pair) = mappings.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let block = ThinBlock(pair[0].0);
            return Err(Box::new(RestoreError::TwiceMapped { device: device.id, block }));
        }
        let root = self.builder.as_mut().ok_or(ENDED)?.tree(&mappings)?;
        self.roots.push((device.id.0, root));
        let details = DeviceDetails {
            mapped_blocks: mappings.len() as u64,
            transaction_id: device.transaction,
            creation_time: device.creation_time,
            snapshotted_time: device.snap_time,
        };
        self.details.push((device.id.0, details));
        // The next device can use the room.
        mappings.clear();
        self.mappings = mappings;
        Ok(())
    }
}

impl<W: MetadataMut + ?Sized> Sink for Restorer<'_, W> {
    fn pool(&mut self, pool: &Pool) -> Result<(), SinkError> {
        if pool.nr_data_blocks.div_ceil(BITMAP_ENTRIES) > NR_BLOCKS_MAX {
            return Err(Box::new(RestoreError::TooManyDataBlocks(pool.nr_data_blocks)));
        }
        // No pool can be made over others.
        if !is_data_block_size(pool.data_block_size) {
            return Err(Box::new(RestoreError::DataBlockSize(pool.data_block_size.0)));
        }
        self.counts = DataCounts::new(pool.nr_data_blocks);
        self.pool = Some(*pool);
        Ok(())
    }

    fn device(&mut self, device: &Device) -> Result<(), SinkError> {
        self.device = Some(*device);
        Ok(())
    }

    fn run(&mut self, run: &Run) -> Result<(), SinkError> {
        let device = self.device.as_ref().ok_or("a run outside of a device")?.id;
        if run.begin.0.checked_add(run.length).is_none() {
            return Err(Box::new(RestoreError::TooLong { device, begin: run.begin, length: run.length }));
        }
        for i in 0..run.length {
            let block = ThinBlock(run.begin.0 + i);
            let data = DataBlock(run.data.0.saturating_add(i));
            if !self.counts.add(data) {
                let nr_blocks = self.counts.nr_blocks();
                return Err(Box::new(RestoreError::Beyond { device, block, data, nr_blocks }));
            }
            self.mappings.push((block.0, Mapping { block: data, time: run.time }));
        }
        Ok(())
    }

    fn end_device(&mut self) -> Result<(), SinkError> {
        let device = self.device.take().ok_or("a device ends that did not begin")?;
        self.take_device(device)
    }

    fn end_pool(&mut self) -> Result<(), SinkError> {
        let pool = self.pool.ok_or("a pool ends that did not begin")?;
        let mut builder = self.builder.take().ok_or(ENDED)?;
        self.roots.sort_unstable_by_key(|&(id, _)| id);
        self.details.sort_unstable_by_key(|&(id, _)| id);
        if let Some(pair) = self.roots.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Box::new(RestoreError::TwiceDevice(ThinId(pair[0].0))));
        }
        let mapping_root = builder.tree(&self.roots)?;
        let details_root = builder.tree(&self.details)?;
        let data_space_map = builder.data_space_map(&self.counts)?;
        let metadata_space_map = builder.metadata_space_map()?;
        let superblock = Superblock {
            flags: pool.flags,
            uuid: [0; 16],
            version: if pool.version == 0 { THIN_VERSION } else { pool.version },
            time: pool.time,
            trans_id: pool.transaction,
            held_root: MetaBlock(0),
            data_space_map,
            metadata_space_map,
            mapping_root,
            details_root,
            data_block_size: pool.data_block_size,
            metadata_block_size: Sectors(BLOCK_SECTORS),
            metadata_nr_blocks: builder.nr_blocks(),
            compat_flags: 0,
            compat_ro_flags: 0,
            incompat_flags: 0,
        };
        let mut block = Box::new([0; BLOCK_SIZE]);
        superblock.encode(&mut block);
        Ok(builder.finish(&mut block)?)
    }
}
