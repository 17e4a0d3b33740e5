//! Discards: giving blocks back (kernel/thin.md#discards).

use std::sync::Arc;

use dmlab_block::{Bio, BlkStatus, Op, Tag, run_async};
use dmlab_persistent_data::{Run, ThinMetadata};
use dmlab_units::{DataBlock, Errno, Sector, Sectors};

use super::modes::Mode;
use super::pool::{Pool, ThinDevice};

/// Longest run that is handled at once, in data blocks, and its alignment.
pub(super) const MAX_RUN: u64 = 1024;

impl Pool {
    /// Unmaps the whole blocks that a discard covers.
    pub(super) async fn process_discard(self: &Arc<Self>, thin: &Arc<ThinDevice>, bio: Bio<'static>) {
        let mode = self.mode();
        if mode >= Mode::OutOfMetadataSpace {
            bio.end(if mode == Mode::Fail { BlkStatus::IoErr } else { BlkStatus::Ok });
            return;
        }
        let from = bio.sector.0 - thin.start;
        let begin = from.div_ceil(self.block_size.0);
        let end = (from + bio.len().0) / self.block_size.0;
        let result = if begin < end { self.discard_range(thin, begin, end).await } else { Ok(()) };
        bio.end(result.map_or_else(|_| BlkStatus::IoErr, |()| BlkStatus::Ok));
    }

    async fn discard_range(
        self: &Arc<Self>,
        thin: &Arc<ThinDevice>,
        begin: u64,
        end: u64,
    ) -> Result<(), Errno> {
        let passes_down = self.state.lock().features.passes_discards_down;
        if !passes_down {
            let mut metadata = self.metadata().await;
            self.forget_mappings(thin.id, begin, end);
            self.quiesce().await;
            return self.unmap(&mut metadata, thin, begin, end).await;
        }
        let mut at = begin;
        while at < end {
            let found = self.metadata().await.next_run(thin.id, at, end).await?;
            let Some(run) = found else { break };
            at = run.thin_end;
            let mut left = run;
            while left.thin_begin < left.thin_end {
                let room = MAX_RUN - left.data_begin % MAX_RUN;
                let piece = Run { thin_end: left.thin_end.min(left.thin_begin + room), ..left };
                self.discard_run(thin, piece).await?;
                let len = piece.thin_end - piece.thin_begin;
                left = Run { thin_begin: piece.thin_end, data_begin: left.data_begin + len, ..left };
            }
        }
        Ok(())
    }

    async fn unmap(
        &self,
        metadata: &mut ThinMetadata,
        thin: &ThinDevice,
        begin: u64,
        end: u64,
    ) -> Result<(), Errno> {
        let unmapped = metadata.unmap(thin.id, begin, end).await;
        if let Err(errno) = unmapped {
            self.metadata_failed(metadata, "dm_thin_remove_range", errno).await;
        }
        self.note_changes(metadata);
        unmapped
    }

    /// Unmaps a run and passes the discard down. The data blocks are held meanwhile, so that nobody can take them
    /// before the discard has reached them.
    async fn discard_run(&self, thin: &Arc<ThinDevice>, run: Run) -> Result<(), Errno> {
        let (begin, end) = (run.data_begin, run.data_begin + (run.thin_end - run.thin_begin));
        let free_runs = {
            let mut metadata = self.metadata().await;
            self.forget_mappings(thin.id, run.thin_begin, run.thin_end);
            self.quiesce().await;
            self.unmap(&mut metadata, thin, run.thin_begin, run.thin_end).await?;
            if let Err(errno) = metadata.increment_data(begin, end).await {
                self.metadata_failed(&mut metadata, "dm_pool_inc_data_range", errno).await;
                return Err(errno);
            }
            if run.is_shared { unshared_runs(&mut metadata, begin, end).await? } else { vec![(begin, end)] }
        };
        for (begin, end) in free_runs {
            let start = Sector(begin * self.block_size.0);
            let len = Sectors((end - begin) * self.block_size.0);
            // An error below changes nothing: the blocks are free all the same.
            let tag = Tag::new("data-discard", 0, begin);
            let _ = run_async(Bio::range(Op::Discard, start, len).with_tag(tag).to(&self.data)).await;
        }
        let mut metadata = self.metadata().await;
        let released = metadata.decrement_data(begin, end).await;
        if let Err(errno) = released {
            self.metadata_failed(&mut metadata, "dm_pool_dec_data_range", errno).await;
        }
        released
    }
}

/// Parts of a range of data blocks that nothing refers to but the hold of the discard itself.
async fn unshared_runs(metadata: &mut ThinMetadata, begin: u64, end: u64) -> Result<Vec<(u64, u64)>, Errno> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for block in begin..end {
        if metadata.is_data_shared(DataBlock(block)).await? {
            continue;
        }
        match runs.last_mut() {
            Some((_, last)) if *last == block => *last += 1,
            _ => runs.push((block, block + 1)),
        }
    }
    Ok(runs)
}
