//! New blocks: for what was never written, and for what is shared.

use std::sync::Arc;
use std::task::Poll;

use dmlab_block::{Bio, BioFlags, BlkStatus, Tag, read_async, read_bio_async, run_async, submit};
use dmlab_dm::kit::Cell;
use dmlab_dm::{BoxFuture, refuse};
use dmlab_units::{DataBlock, Errno, SECTOR_SIZE, Sector, Sectors, ThinBlock, ThinId};

use super::modes::Mode;
use super::pool::{Pool, Queued, ThinDevice};
use super::worker::{AfterCommit, Pass, block_of};

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

/// A new data block with what must be in it, about to be mapped (`struct dm_thin_new_mapping`).
pub(super) struct NewMapping {
    /// The write that wanted the block, and those that wait for it.
    cell: Cell<Queued>,
    data_block: u64,
    /// The bio's own bytes are in it already.
    is_written: bool,
    /// Whether the block is a copy of one that others may read.
    is_copy: bool,
    /// How the filling went.
    status: BlkStatus,
}

impl Pool {
    fn block_start(&self, block: u64) -> Sector {
        Sector(block.saturating_mul(self.block_size.0))
    }

    fn is_whole_block(&self, bio: &Bio<'_>) -> bool {
        bio.len() == self.block_size
    }

    /// Takes a block for a write to one that was never written.
    pub(super) async fn provision(self: &Arc<Self>, cell: Cell<Queued>, pass: &mut Pass) {
        let Some(data_block) = self.take_block("provision_block").await else {
            self.no_block(cell, pass);
            return;
        };
        let zeroes = self.binding.lock().features.zeroes_new_blocks;
        let (thin, bio) = &cell.holder;
        let fill = match self.origin_part(thin, block_of(&cell)) {
            Some((from, start, len)) => {
                if self.is_whole_block(bio) {
                    Fill::WholeBio
                } else {
                    Fill::Copy { from, start, len, zero_rest: zeroes && len < self.block_size }
                }
            }
            None if !zeroes => Fill::Leave,
            None if self.is_whole_block(bio) => Fill::WholeBio,
            None => Fill::Zero,
        };
        self.fill_and_map(cell, data_block, fill, pass).await;
    }

    /// Takes a block of its own for a write to one that a snapshot may share.
    pub(super) async fn break_sharing(
        self: &Arc<Self>,
        cell: Cell<Queued>,
        shared: DataBlock,
        pass: &mut Pass,
    ) {
        let Some(data_block) = self.take_block("break_sharing").await else {
            self.no_block(cell, pass);
            return;
        };
        let fill = if self.is_whole_block(&cell.holder.1) {
            Fill::WholeBio
        } else {
            let start = self.block_start(shared.0);
            Fill::Copy { from: self.data.clone(), start, len: self.block_size, zero_rest: false }
        };
        self.fill_and_map(cell, data_block, fill, pass).await;
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
    fn no_block(&self, cell: Cell<Queued>, pass: &mut Pass) {
        let (thin, bio) = self.release(cell, pass);
        if self.mode() == Mode::OutOfDataSpace {
            self.unserviceable(&thin, bio);
        } else {
            refuse(bio, BlkStatus::IoErr);
        }
    }

    /// Fills a new data block and maps it. If filling takes time, the worker does other things meanwhile, and bios to the same
    /// block wait in the cell.
    async fn fill_and_map(
        self: &Arc<Self>,
        mut cell: Cell<Queued>,
        data_block: u64,
        fill: Fill,
        pass: &mut Pass,
    ) {
        let (is_written, is_copy) = (matches!(fill, Fill::WholeBio), matches!(fill, Fill::Copy { .. }));
        let block = block_of(&cell);
        let (thin, bio) = &mut cell.holder;
        bio.tag_if_none(Tag::new("data", thin.id.0, block.0));
        let job = self.fill(bio, (thin.id, block), data_block, fill);
        let mut mapping = NewMapping { cell, data_block, is_written, is_copy, status: BlkStatus::Ok };
        if let Some(mut job) = job {
            match std::future::poll_fn(|context| Poll::Ready(job.as_mut().poll(context))).await {
                Poll::Ready(result) => mapping.status = result.err().unwrap_or(BlkStatus::Ok),
                Poll::Pending => {
                    let pool = self.clone();
                    let fill = async move {
                        mapping.status = job.await.err().unwrap_or(BlkStatus::Ok);
                        pool.prepared_mappings.lock().push(mapping);
                        pool.wake();
                    };
                    self.runtime.spawn("thin-fill", fill).detach();
                    return;
                }
            }
        }
        self.process_prepared_mapping(mapping, pass).await;
    }

    /// Maps a data block that is full, and lets the bio on that wanted it, and then those that waited for it.
    pub(super) async fn process_prepared_mapping(self: &Arc<Self>, mapping: NewMapping, pass: &mut Pass) {
        let NewMapping { cell, data_block, is_written, is_copy, status } = mapping;
        let (thin, block) = (cell.holder.0.clone(), block_of(&cell));
        let mapped = match status {
            // The block stays taken until the metadata is repaired.
            status if !status.is_ok() => Err(status),
            // The transaction that took the block may be lost.
            _ if self.mode() >= Mode::OutOfMetadataSpace => Err(BlkStatus::IoErr),
            _ => {
                if is_copy {
                    self.shared_reads_end().await;
                }
                self.insert_block(&thin, block, DataBlock(data_block)).await
            }
        };
        let (_, bio) = self.release(cell, pass);
        match mapped {
            Err(status) => bio.end(status),
            Ok(()) if !is_written => self.remap(&thin, bio, data_block, pass).await,
            Ok(()) if bio.flags.contains(BioFlags::FUA) => pass.commits.push(AfterCommit::End(bio)),
            Ok(()) => bio.end_ok(),
        }
    }

    async fn insert_block(
        &self,
        thin: &ThinDevice,
        block: ThinBlock,
        data: DataBlock,
    ) -> Result<(), BlkStatus> {
        let mut metadata = self.metadata().await;
        if let Err(errno) = metadata.map(thin.id, block, data).await {
            self.metadata_failed(&mut metadata, "dm_thin_insert_block", errno).await;
            return Err(BlkStatus::IoErr);
        }
        self.commit_timer.lock().note_changes(true);
        // Not shared: it was mapped this moment.
        thin.mappings.put(block, data);
        Ok(())
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
