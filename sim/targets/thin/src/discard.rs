//! Discards: giving blocks back (kernel/thin.md#discards).

use std::ops::Range;
use std::sync::Arc;

use dmlab_block::{Bio, BlkStatus, Op, Tag, run_async};
use dmlab_dm::kit::Cell;
use dmlab_units::{DataBlock, Errno, Sector, Sectors, ThinBlock};

use super::metadata::{Run, ThinMetadata};
use super::modes::Mode;
use super::pool::{Pool, Queued, ThinDevice};
use super::worker::Pass;

/// Longest run that is handled at once, in data blocks, and its alignment.
pub(super) const MAX_RUN: u64 = 1024;

impl Pool {
    /// Unmaps the whole blocks that a discard covers.
    pub(super) async fn process_discard_cell(self: &Arc<Self>, cell: Cell<Queued>, pass: &mut Pass) {
        let (thin, bio) = &cell.holder;
        let from = bio.sector.0 - thin.start;
        let begin = from.div_ceil(self.block_size.0);
        let end = (from + bio.len().0) / self.block_size.0;
        let status = match self.mode() {
            Mode::Fail => BlkStatus::IoErr,
            mode if mode >= Mode::OutOfMetadataSpace || begin >= end => BlkStatus::Ok,
            _ => {
                let discarded = self.discard_range(thin, ThinBlock(begin)..ThinBlock(end)).await;
                discarded.map_or(BlkStatus::IoErr, |()| BlkStatus::Ok)
            }
        };
        let (_, bio) = self.release(cell, pass);
        bio.end(status);
    }

    async fn discard_range(
        self: &Arc<Self>,
        thin: &Arc<ThinDevice>,
        blocks: Range<ThinBlock>,
    ) -> Result<(), Errno> {
        let passes_down = self.binding.lock().features.passes_discards_down;
        if !passes_down {
            let mut metadata = self.metadata().await;
            self.forget_mappings(thin.id, blocks.clone());
            self.quiesce().await;
            return self.unmap(&mut metadata, thin, blocks).await;
        }
        let mut rest = blocks;
        while rest.start < rest.end {
            let found = self.metadata().await.next_run(thin.id, rest.clone()).await?;
            let Some(mut left) = found else { break };
            rest.start = left.thin_blocks().end;
            while left.len > 0 {
                let room = MAX_RUN - left.data.0 % MAX_RUN;
                let piece = Run { len: left.len.min(room), ..left };
                self.discard_run(thin, piece).await?;
                let (thin, data) = (piece.thin_blocks().end, piece.data_blocks().end);
                left = Run { thin, data, len: left.len - piece.len, ..left };
            }
        }
        Ok(())
    }

    async fn unmap(
        &self,
        metadata: &mut ThinMetadata,
        thin: &ThinDevice,
        blocks: Range<ThinBlock>,
    ) -> Result<(), Errno> {
        let unmapped = metadata.unmap(thin.id, blocks).await;
        if let Err(errno) = unmapped {
            self.metadata_failed(metadata, "dm_thin_remove_range", errno).await;
        }
        self.note_changes(metadata);
        unmapped
    }

    /// Unmaps a run and passes the discard down. The data blocks are held meanwhile, so that they cannot be taken
    /// before the discard has reached them.
    async fn discard_run(&self, thin: &Arc<ThinDevice>, run: Run) -> Result<(), Errno> {
        let free_runs = {
            let mut metadata = self.metadata().await;
            self.forget_mappings(thin.id, run.thin_blocks());
            self.quiesce().await;
            self.unmap(&mut metadata, thin, run.thin_blocks()).await?;
            if let Err(errno) = metadata.increment_data(run.data_blocks()).await {
                self.metadata_failed(&mut metadata, "dm_pool_inc_data_range", errno).await;
                return Err(errno);
            }
            let blocks = run.data_blocks();
            if run.is_shared { unshared_runs(&mut metadata, blocks).await? } else { vec![blocks] }
        };
        for blocks in free_runs {
            let start = Sector(blocks.start.0 * self.block_size.0);
            let len = Sectors((blocks.end.0 - blocks.start.0) * self.block_size.0);
            // An error below changes nothing: the blocks are free all the same.
            let tag = Tag::new("data-discard", 0, blocks.start.0);
            let _ = run_async(Bio::range(Op::Discard, start, len).with_tag(tag).to(&self.data)).await;
        }
        let mut metadata = self.metadata().await;
        let released = metadata.decrement_data(run.data_blocks()).await;
        if let Err(errno) = released {
            self.metadata_failed(&mut metadata, "dm_pool_dec_data_range", errno).await;
        }
        released
    }
}

/// Parts of a range of data blocks that nothing refers to but the hold of the discard itself.
async fn unshared_runs(
    metadata: &mut ThinMetadata,
    blocks: Range<DataBlock>,
) -> Result<Vec<Range<DataBlock>>, Errno> {
    let mut runs: Vec<Range<DataBlock>> = Vec::new();
    for block in (blocks.start.0..blocks.end.0).map(DataBlock) {
        if metadata.is_data_shared(block).await? {
            continue;
        }
        let end = DataBlock(block.0 + 1);
        match runs.last_mut() {
            Some(last) if last.end == block => last.end = end,
            _ => runs.push(block..end),
        }
    }
    Ok(runs)
}
