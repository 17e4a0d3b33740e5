//! The worker: everything that takes more than a lookup, one after the other. Only what fills new data blocks, on a data
//! device that takes its time, goes on side by side; the worker maps each block when it is full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dmlab_block::{Bio, BioFlags, BlkStatus, Op, Tag, submit};
use dmlab_dm::hear_end;
use dmlab_dm::kit::{Cell, Work, Worker};
use dmlab_runtime::Instant;
use dmlab_units::{Errno, Sector, ThinBlock};

use super::metadata::{Lookup, ThinMetadata};
use super::modes::Mode;
use super::pool::{Pool, Queued, ThinDevice};

/// What is left to do with a bio that waits for a commit.
pub(super) enum AfterCommit {
    /// Send it to the data device; a flush is done already.
    Submit(Bio<'static>),
    /// The data of the bio are written: end it.
    End(Bio<'static>),
}

/// A bio that was sent to the data device, for when it ends.
pub(super) const UNDER_WAY: u64 = 1;
/// A read of a shared block that was sent to the data device, for when it ends.
pub(super) const SHARED_READ: u64 = 2;

/// One pass of the worker.
#[derive(Default)]
pub(super) struct Pass {
    /// Bios that wait for the commit at its end.
    pub(super) commits: Vec<AfterCommit>,
    /// Bios that waited in cells that it has released.
    released: VecDeque<Queued>,
}

/// The first block of a cell, which is its only one unless it is a discard's.
pub(super) fn block_of(cell: &Cell<Queued>) -> ThinBlock {
    ThinBlock(cell.key().blocks.start)
}

impl Work for Pool {
    fn worker(&self) -> &Worker {
        &self.worker
    }

    async fn pass(self: &Arc<Self>) {
        let thins = self.active_thins.lock().clone();
        let prepared = std::mem::take(&mut *self.prepared_mappings.lock());
        let mut pass = Pass::default();
        for mapping in prepared {
            self.process_prepared_mapping(mapping, &mut pass).await;
            self.process_released(&mut pass).await;
        }
        for thin in &thins {
            let mut bios: Vec<Bio<'static>> = std::mem::take(&mut *thin.queue.lock()).into();
            bios.sort_by_key(|bio| bio.sector);
            for bio in bios {
                self.process(thin, bio, &mut pass).await;
                self.process_released(&mut pass).await;
            }
        }
        self.commit_batch(pass.commits).await;
    }

    /// The next timed commit; see [`CommitTimer::next_tick`](super::commit_timer::CommitTimer::next_tick).
    fn next_pass(&self) -> Option<Instant> {
        if self.is_suspended.load(Ordering::Acquire) || self.mode() >= Mode::OutOfMetadataSpace {
            return None;
        }
        self.commit_timer.lock().next_tick()
    }
}

impl Pool {
    /// Commits if a bio waits for it or it is time, and finishes the bios that waited.
    async fn commit_batch(self: &Arc<Self>, batch: Vec<AfterCommit>) {
        let mut metadata = self.metadata().await;
        let is_period_over = self.commit_timer.lock().is_period_over(self.runtime.now());
        let is_time = is_period_over && self.has_changes(&metadata);
        if batch.is_empty() && !is_time {
            self.note_changes(&metadata);
            return;
        }
        let committed = self.commit(&mut metadata).await;
        self.commit_timer.lock().committed(self.runtime.now());
        self.note_changes(&metadata);
        drop(metadata);
        for waiting in batch {
            match (waiting, committed) {
                (AfterCommit::End(bio), Ok(())) => bio.end_ok(),
                // The commit has flushed the data device: nothing is left to do.
                (AfterCommit::Submit(bio), Ok(())) if bio.op == Op::Flush => bio.end_ok(),
                (AfterCommit::Submit(bio), Ok(())) => self.send(bio),
                (AfterCommit::Submit(bio) | AfterCommit::End(bio), Err(_)) => bio.end(BlkStatus::IoErr),
            }
        }
    }

    fn has_changes(&self, metadata: &ThinMetadata) -> bool {
        self.active_thins.lock().iter().any(|thin| metadata.is_changed(thin.id))
    }

    /// Remembers whether anything is uncommitted, which makes the timer run.
    pub(super) fn note_changes(&self, metadata: &ThinMetadata) {
        let has_changes = self.has_changes(metadata);
        self.commit_timer.lock().note_changes(has_changes);
    }

    /// Thin block at a bio, and the sector inside it.
    pub(super) fn place(&self, thin: &ThinDevice, bio: &Bio<'_>) -> (ThinBlock, u64) {
        let (block, inside) = self.split(bio.sector.0 - thin.start);
        (ThinBlock(block), inside)
    }

    /// Gives a bio a cell of its own, or lets it wait in one that has some of its blocks. A flush has no block.
    async fn process(self: &Arc<Self>, thin: &Arc<ThinDevice>, bio: Bio<'static>, pass: &mut Pass) {
        if self.mode() == Mode::Fail {
            bio.end(BlkStatus::IoErr);
            return;
        }
        if bio.op == Op::Flush {
            self.process_flush(thin, bio, pass).await;
            return;
        }
        let (key, is_discard) = (self.cell_key(thin, &bio), bio.op == Op::Discard);
        let Some(cell) = self.prison.detain(key, (thin.clone(), bio)) else { return };
        if is_discard {
            self.process_discard_cell(cell, pass).await;
        } else {
            self.process_cell(cell, pass).await;
        }
    }

    /// Lets those bios on that waited in cells.
    async fn process_released(self: &Arc<Self>, pass: &mut Pass) {
        while let Some((thin, bio)) = pass.released.pop_front() {
            self.process(&thin, bio, pass).await;
        }
    }

    /// Ends a cell and returns its holder. Those that waited in it have their turn next.
    pub(super) fn release(&self, cell: Cell<Queued>, pass: &mut Pass) -> Queued {
        let (holder, inmates) = self.prison.release(cell);
        pass.released.extend(inmates);
        holder
    }

    async fn process_cell(self: &Arc<Self>, cell: Cell<Queued>, pass: &mut Pass) {
        let thin = cell.holder.0.id;
        let found = self.metadata().await.lookup(thin, block_of(&cell)).await;
        match found {
            Err(errno) => {
                let (_, bio) = self.release(cell, pass);
                self.lookup_failed(bio, errno);
            }
            Ok(Some(lookup)) => self.process_mapped(cell, lookup, pass).await,
            Ok(None) => self.process_unmapped(cell, pass).await,
        }
    }

    fn lookup_failed(&self, bio: Bio<'static>, errno: Errno) {
        let raw = errno.raw();
        self.log_limited(format_args!("process_cell: dm_thin_find_block() failed: error = -{raw}"));
        bio.end(BlkStatus::IoErr);
    }

    /// A flush goes where block 0 is.
    async fn process_flush(self: &Arc<Self>, thin: &Arc<ThinDevice>, bio: Bio<'static>, pass: &mut Pass) {
        let found = self.metadata().await.lookup(thin.id, ThinBlock(0)).await;
        match found {
            Err(errno) => self.lookup_failed(bio, errno),
            Ok(Some(lookup)) => self.remap(thin, bio, lookup.block.0, pass).await,
            Ok(None) if self.mode() != Mode::Write => self.unserviceable(thin, bio),
            Ok(None) => self.remap(thin, bio, 0, pass).await,
        }
    }

    async fn process_mapped(self: &Arc<Self>, cell: Cell<Queued>, lookup: Lookup, pass: &mut Pass) {
        let op = cell.holder.1.op;
        if lookup.is_shared && op == Op::Write && self.mode() == Mode::Write {
            self.break_sharing(cell, lookup.block, pass).await;
            return;
        }
        let (thin, bio) = self.release(cell, pass);
        if lookup.is_shared && op == Op::Read {
            self.read_shared(&thin, bio, lookup.block.0);
        } else if lookup.is_shared && op == Op::Write {
            self.unserviceable(&thin, bio);
        } else {
            self.remap(&thin, bio, lookup.block.0, pass).await;
        }
    }

    async fn process_unmapped(self: &Arc<Self>, cell: Cell<Queued>, pass: &mut Pass) {
        let (mode, op) = (self.mode(), cell.holder.1.op);
        if op != Op::Read && mode == Mode::Write {
            self.provision(cell, pass).await;
            return;
        }
        let (thin, mut bio) = self.release(cell, pass);
        if op != Op::Read {
            self.unserviceable(&thin, bio);
        } else if thin.origin.is_some() {
            self.read_origin(&thin, bio, mode).await;
        } else {
            if let Some(bytes) = bio.bytes_mut() {
                bytes.fill(0);
            }
            bio.end_ok();
        }
    }

    /// Sends a bio to its data block; one that wants durability waits for a commit if its device has changed.
    pub(super) async fn remap(
        self: &Arc<Self>,
        thin: &Arc<ThinDevice>,
        mut bio: Bio<'static>,
        data_block: u64,
        pass: &mut Pass,
    ) {
        let wants_commit = bio.op == Op::Flush || bio.flags.contains(BioFlags::FUA);
        let waits = wants_commit && self.metadata().await.is_changed(thin.id);
        self.point(thin, &mut bio, data_block);
        if waits {
            pass.commits.push(AfterCommit::Submit(bio));
        } else {
            self.send(bio);
        }
    }

    /// Points a bio at its place in a data block.
    fn point(&self, thin: &ThinDevice, bio: &mut Bio<'_>, data_block: u64) {
        bio.set_dev(&self.data);
        if bio.op != Op::Flush {
            let (block, inside) = self.place(thin, bio);
            bio.tag_if_none(Tag::new("data", thin.id.0, block.0));
            bio.sector = Sector(data_block.wrapping_mul(self.block_size.0).wrapping_add(inside));
        }
    }

    /// Reads a block that other devices share. Breaking the sharing waits for this read to end, because the block may belong
    /// to one device alone afterwards, which writes to it in place.
    fn read_shared(&self, thin: &Arc<ThinDevice>, mut bio: Bio<'static>, data_block: u64) {
        self.point(thin, &mut bio, data_block);
        self.enter_shared_read();
        hear_end(&mut bio, SHARED_READ);
        submit(bio);
    }

    /// Sends a bio to the data device, counted as under way only now: one that still waits for a commit must not keep
    /// a discard of the same pass waiting.
    fn send(&self, mut bio: Bio<'static>) {
        self.enter();
        hear_end(&mut bio, UNDER_WAY);
        submit(bio);
    }

    /// Takes a data block, after one more commit if that frees any. `None` when there is none; the mode then says so.
    pub(super) async fn allocate(&self, metadata: &mut ThinMetadata) -> Result<Option<u64>, Errno> {
        self.check_low_water(metadata.free_data());
        if metadata.free_data() == 0 {
            self.commit(metadata).await?;
            if metadata.free_data() == 0 {
                self.set_mode(metadata, Mode::OutOfDataSpace);
                return Ok(None);
            }
        }
        let block = match metadata.allocate_data().await {
            Ok(Some(block)) => block,
            Ok(None) => {
                self.set_mode(metadata, Mode::OutOfDataSpace);
                return Ok(None);
            }
            Err(errno) => {
                self.metadata_failed(metadata, "dm_pool_alloc_data_block", errno).await;
                return Err(errno);
            }
        };
        if metadata.free_metadata() == 0 {
            // Before the reserve is touched.
            self.commit(metadata).await?;
        }
        Ok(Some(block.0))
    }

    fn check_low_water(&self, free: u64) {
        let is_news = self.binding.lock().reaches_low_water(free);
        if is_news {
            let text = "reached low water mark for data device: sending event.";
            self.log(dmlab_runtime::Level::Warning, text);
            self.raise_event();
        }
    }
}
