//! New blocks: for what was never written, and for what is shared.

use std::sync::Arc;
use std::task::Poll;

use dmlab_block::{Bio, BioFlags, BlkStatus, Tag, read_async, read_bio_async, run_async, submit};
use dmlab_dm::{BoxFuture, refuse};
use dmlab_units::{DataBlock, Errno, SECTOR_SIZE, Sector, Sectors, ThinBlock, ThinId};

use super::modes::Mode;
use super::pool::{Pool, ThinDevice};
use super::worker::{AfterCommit, Batch};

/// What must be in a new block before a bio is sent there.
enum Fill {
    /// Nothing: what is there is not shown or does not matter.
    Leave,
    /// Zeros.
    Zero,
    /// The bio itself fills all of it.
    WholeBio,
    /// A copy of sectors of a device, and zeros behind them if wanted.
    Copy { from: Arc<dmlab_block::BlockDevice>, start: Sector, len: Sectors, zero_rest: bool },
}

type FillResult = Result<(), BlkStatus>;

/// A new data block with what must be in it, about to be mapped.
pub(super) struct Filled {
    thin: Arc<ThinDevice>,
    /// The write that wanted the block.
    bio: Bio<'static>,
    block: ThinBlock,
    data_block: u64,
    /// The bio's own bytes are in it already.
    is_written: bool,
    /// Whether the block is a copy of one that others may read.
    is_copy: bool,
    /// How the filling went.
    status: BlkStatus,
}

impl Filled {
    /// Where it will be mapped.
    pub(super) fn key(&self) -> (ThinId, ThinBlock) {
        (self.thin.id, self.block)
    }
}

impl Pool {
    fn block_start(&self, block: u64) -> Sector {
        Sector(block.saturating_mul(self.block_size.0))
    }

    fn is_whole_block(&self, bio: &Bio<'_>) -> bool {
        bio.len() == self.block_size
    }

    /// Takes a block for a write to one that was never written.
    pub(super) async fn provision(
        self: &Arc<Self>,
        thin: &Arc<ThinDevice>,
        bio: Bio<'static>,
        block: ThinBlock,
        batch: &mut Batch,
    ) {
        let Some(data_block) = self.take_block("provision_block").await else {
            self.no_block(thin, bio);
            return;
        };
        let zeroes = self.state.lock().features.zeroes_new_blocks;
        let fill = match self.origin_part(thin, block) {
            Some((from, start, len)) => {
                if self.is_whole_block(&bio) {
                    Fill::WholeBio
                } else {
                    Fill::Copy { from, start, len, zero_rest: zeroes && len < self.block_size }
                }
            }
            None if !zeroes => Fill::Leave,
            None if self.is_whole_block(&bio) => Fill::WholeBio,
            None => Fill::Zero,
        };
        self.fill_and_map(thin, bio, block, data_block, fill, batch).await;
    }

    /// Takes a block of its own for a write to one that a snapshot may share.
    pub(super) async fn break_sharing(
        self: &Arc<Self>,
        thin: &Arc<ThinDevice>,
        bio: Bio<'static>,
        block: ThinBlock,
        shared: DataBlock,
        batch: &mut Batch,
    ) {
        let Some(data_block) = self.take_block("break_sharing").await else {
            self.no_block(thin, bio);
            return;
        };
        let fill = if self.is_whole_block(&bio) {
            Fill::WholeBio
        } else {
            let start = self.block_start(shared.0);
            Fill::Copy { from: self.data.clone(), start, len: self.block_size, zero_rest: false }
        };
        self.fill_and_map(thin, bio, block, data_block, fill, batch).await;
    }

    async fn take_block(&self, who: &str) -> Option<u64> {
        let mut metadata = self.metadata().await;
        match self.allocate(&mut metadata).await {
            Ok(block) => block,
            Err(errno) => {
                self.log_limited(format!("{who}: alloc_data_block() failed: error = -{}", errno.raw()));
                None
            }
        }
    }

    /// No block was to be had: out of space, the bio waits or fails; else the metadata failed, and so does it.
    fn no_block(&self, thin: &Arc<ThinDevice>, bio: Bio<'static>) {
        if self.mode() == Mode::OutOfDataSpace {
            self.unserviceable(thin, bio);
        } else {
            refuse(bio, BlkStatus::IoErr);
        }
    }

    /// Fills a new data block and maps it. If filling takes time, the worker does other things meanwhile, and bios to the same
    /// block wait.
    async fn fill_and_map(
        self: &Arc<Self>,
        thin: &Arc<ThinDevice>,
        mut bio: Bio<'static>,
        block: ThinBlock,
        data_block: u64,
        fill: Fill,
        batch: &mut Batch,
    ) {
        let (is_written, is_copy) = (matches!(fill, Fill::WholeBio), matches!(fill, Fill::Copy { .. }));
        bio.tag_if_none(Tag::new("data", thin.id.0, block.0));
        let job = self.fill(&mut bio, (thin.id, block), data_block, fill);
        let thin = thin.clone();
        let mut filled = Filled { thin, bio, block, data_block, is_written, is_copy, status: BlkStatus::Ok };
        if let Some(mut job) = job {
            match std::future::poll_fn(|context| Poll::Ready(job.as_mut().poll(context))).await {
                Poll::Ready(result) => filled.status = result.err().unwrap_or(BlkStatus::Ok),
                Poll::Pending => {
                    self.state.lock().filling.insert(filled.key(), Vec::new());
                    let pool = self.clone();
                    let fill = async move {
                        filled.status = job.await.err().unwrap_or(BlkStatus::Ok);
                        pool.state.lock().filled.push(filled);
                        pool.wake();
                    };
                    self.runtime.spawn("thin-fill", fill).detach();
                    return;
                }
            }
        }
        self.map_filled(filled, batch).await;
    }

    /// Maps a data block that is full, and lets the bio on that wanted it.
    pub(super) async fn map_filled(self: &Arc<Self>, filled: Filled, batch: &mut Batch) {
        let Filled { thin, bio, block, data_block, is_written, is_copy, status } = filled;
        if !status.is_ok() {
            // The block stays taken until the metadata is repaired.
            bio.end(status);
            return;
        }
        if self.mode() >= Mode::OutOfMetadataSpace {
            // The transaction that took the block may be lost.
            bio.end(BlkStatus::IoErr);
            return;
        }
        if is_copy {
            self.shared_reads_end().await;
        }
        {
            let mut metadata = self.metadata().await;
            let mapped = metadata.map(thin.id, block, DataBlock(data_block)).await;
            if let Err(errno) = mapped {
                self.metadata_failed(&mut metadata, "dm_thin_insert_block", errno).await;
                drop(metadata);
                bio.end(BlkStatus::IoErr);
                return;
            }
            self.state.lock().has_changes = true;
            // Not shared: it was mapped this moment.
            thin.mappings.put(block, DataBlock(data_block));
        }
        if !is_written {
            self.remap(&thin, bio, data_block, batch).await;
        } else if bio.flags.contains(BioFlags::FUA) {
            batch.push(AfterCommit::End(bio));
        } else {
            bio.end_ok();
        }
    }

    /// What fills a data block; `None` if nothing has to.
    fn fill(
        &self,
        bio: &mut Bio<'static>,
        (thin, block): (ThinId, ThinBlock),
        data_block: u64,
        fill: Fill,
    ) -> Option<BoxFuture<'static, FillResult>> {
        let target = self.block_start(data_block);
        let data = self.data.clone();
        match fill {
            Fill::Leave => None,
            Fill::WholeBio => {
                let twin = bio.write_elsewhere(target).to(&data);
                Some(Box::pin(run_async(twin)))
            }
            Fill::Zero => {
                let zeros = Bio::write_owned(target, self.zeros()).to(&data);
                Some(Box::pin(run_async(zeros.with_tag(Tag::new("data-zero", thin.0, block.0)))))
            }
            Fill::Copy { from, start, len, zero_rest } => {
                let tag = Tag::new("data-copy", thin.0, block.0);
                let whole = (self.block_size.0 * SECTOR_SIZE) as usize;
                Some(Box::pin(async move {
                    let read = read_bio_async(Bio::read_owned(start, len).with_tag(tag).to(&from)).await?;
                    let bytes = if zero_rest {
                        let mut bytes = read.to_vec();
                        bytes.resize(whole, 0);
                        bytes.into()
                    } else {
                        read
                    };
                    run_async(Bio::write_owned(target, bytes).with_tag(tag).to(&data)).await
                }))
            }
        }
    }

    fn zeros(&self) -> Arc<[u8]> {
        self.zero_block.get_or_init(|| vec![0; (self.block_size.0 * SECTOR_SIZE) as usize].into()).clone()
    }

    /// The part of the external origin that a block stands for, if any of it lies inside.
    fn origin_part(
        &self,
        thin: &ThinDevice,
        block: ThinBlock,
    ) -> Option<(Arc<dmlab_block::BlockDevice>, Sector, Sectors)> {
        let origin = thin.origin.clone()?;
        let start = self.block_start(block.0);
        let left = Sector(thin.origin_size.lock().0).checked_since(start)?;
        (!left.is_zero()).then(|| (origin, start, left.min(self.block_size)))
    }

    /// Reads what was never written from the external origin, and zeros from beyond its end.
    pub(super) async fn read_origin(&self, thin: &Arc<ThinDevice>, mut bio: Bio<'static>, mode: Mode) {
        let Some(origin) = &thin.origin else {
            bio.end(BlkStatus::IoErr);
            return;
        };
        let start = Sector(bio.sector.0 - thin.start);
        let size = *thin.origin_size.lock();
        if start.0.saturating_add(bio.len().0) <= size.0 || mode != Mode::Write {
            bio.set_dev(origin);
            bio.sector = start;
            submit(bio);
            return;
        }
        let inside = Sector(size.0).checked_since(start).unwrap_or(Sectors::ZERO);
        let read = if inside.is_zero() {
            Ok(Vec::new())
        } else {
            read_async(origin, start, inside).await.map(|read| read.to_vec())
        };
        match (read, bio.bytes_mut()) {
            (Ok(head), Some(bytes)) => {
                bytes.fill(0);
                bytes[..head.len()].copy_from_slice(&head);
                bio.end_ok();
            }
            (Err(status), _) => bio.end(status),
            (Ok(_), None) => bio.end(Errno::EIO.into()),
        }
    }
}
