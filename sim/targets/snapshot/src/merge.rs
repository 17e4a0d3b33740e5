//! `snapshot-merge`: gives what a snapshot has back to its origin, while both are in use.
//!
//! ```text
//!   the store's records, last first, in runs that are consecutive on both sides; for each run:
//!     1  the origin's other snapshots get copies of what will be overwritten
//!     2  writes to these chunks wait from now on; those under way end
//!     3  store ──copy──> origin        4  the origin is flushed
//!     5  the records are zeroed on disk 6  the chunks are the origin's, and so are the writes that waited
//! ```
//!
//! It stands in the place of the `snapshot-origin`. It begins when it is resumed, stops after the current run when
//! it is suspended, and is done when what the store has allocated is its metadata; no event tells so. An error stops it
//! for good; the device goes on as it is, part in the store, part in the origin.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab_block::{Bio, BlkStatus, End, Op, QueueLimits, Tag, run_async, submit};
use dmlab_dm::{
    BoxFuture, Constructor, CtrError, DeviceRange, Map, StatusKind, StatusResult, Target, TargetFeatures,
    TargetType, kcopyd,
};
use dmlab_units::{Errno, Sector, Sectors};

use super::Snapshot;
use super::cow::SnapshotDevice;
use super::origin::Origins;
use super::store::{Run, Store};

/// `snapshot-merge` 1.5.0.
pub static SNAPSHOT_MERGE: TargetType = TargetType {
    name: "snapshot-merge",
    version: [1, 5, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Waiting(|ctr| {
        Box::pin(async {
            let snapshot = super::construct(ctr, true).await?;
            // Cut where the smallest chunk says at the last resume: see `accept`.
            ctr.settings.max_io_len = Sectors::ZERO;
            // One for the origin and one for the store.
            ctr.settings.num_flush_bios = 2;
            let boundary = AtomicU64::new(snapshot.chunk.0);
            let merge: Box<dyn Target> = Box::new(Merge { snapshot, start: ctr.start, boundary });
            Ok(merge)
        })
    }),
    module: &super::MODULE,
};

pub(super) const UNSUPPORTED: CtrError =
    CtrError::invalid("Snapshot exception store does not support snapshot-merge.");

const WRITE_ERROR: &str = "Write error: shutting down merge.";

/// Whether a snapshot may be merged that will take over from another.
pub(super) fn check_destination(core: &SnapshotDevice, origins: &Origins) -> Result<(), CtrError> {
    if origins.merging_into(core.origin.dev()).is_some() {
        return Err(CtrError::invalid("A snapshot is already merging."));
    }
    let source = origins.source_of(core);
    let store = source.and_then(|source| source.state.lock().store.clone());
    if store.is_some_and(|store| !store.can_merge()) { Err(UNSUPPORTED) } else { Ok(()) }
}

/// How far a merge is.
#[derive(Default)]
pub(super) struct MergeState {
    pub(super) has_failed: bool,
    /// Chunks of the run under way.
    chunks: Range<u64>,
    /// Writes to them, which wait.
    queued: Vec<Bio<'static>>,
    is_running: bool,
    /// The first run since it was started is being copied, or there is none.
    has_begun: bool,
    /// Whether the merge is to stop after this run.
    stops: bool,
}

impl MergeState {
    /// The writes that wait for the run to end.
    pub(super) fn take_queued(&mut self) -> Vec<Bio<'static>> {
        std::mem::take(&mut self.queued)
    }
}

struct Merge {
    snapshot: Snapshot,
    start: Sector,
    /// Reads and writes are cut at multiples of this: the smallest chunk of the origin's snapshots at the last resume.
    boundary: AtomicU64,
}

impl Target for Merge {
    fn accept(&self, bio: &Bio<'_>) -> Sectors {
        match self.boundary.load(Ordering::Relaxed) {
            0 => bio.len(),
            boundary => Sectors(boundary - (bio.sector - self.start).0 % boundary).min(bio.len()),
        }
    }

    fn map(&self, bio: &mut Bio<'_>) -> Map {
        let core = &self.snapshot.core;
        match bio.op {
            Op::Flush => {
                let side = if bio.clone_nr == 0 { &core.origin } else { &core.cow };
                bio.set_dev(side.device());
                Map::Remapped
            }
            Op::Discard => Map::Done(BlkStatus::Ok),
            _ => core.map_merging(bio),
        }
    }

    fn end_io(&self, bio: &mut Bio<'_>, chunk: u64, status: BlkStatus) -> End {
        self.snapshot.end_io(bio, chunk, status)
    }

    fn presuspend(&self, _noflush: bool) -> BoxFuture<'_, ()> {
        Box::pin(self.snapshot.core.stop_merge())
    }

    fn presuspend_undo(&self) -> BoxFuture<'_, ()> {
        self.snapshot.core.start_merge();
        Box::pin(async {})
    }

    fn postsuspend(&self) -> BoxFuture<'_, ()> {
        self.snapshot.postsuspend()
    }

    fn preresume(&self) -> BoxFuture<'_, Result<(), Errno>> {
        self.snapshot.preresume()
    }

    fn resume(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let core = &self.snapshot.core;
            core.start().await;
            let smallest = core.origins.smallest_chunk(core.origin.dev());
            self.boundary.store(smallest.map_or(0, |chunk| chunk.0), Ordering::Relaxed);
            core.start_merge();
            // Linux does the first steps of the first run inside the resume.
            core.changed.until(|| core.state.lock().merge.has_begun).await;
        })
    }

    fn destroy(&self) -> BoxFuture<'_, ()> {
        self.snapshot.destroy()
    }

    fn status<'a>(&'a self, kind: StatusKind, noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        self.snapshot.status(kind, noflush, out)
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        self.snapshot.devices()
    }

    fn io_hints(&self, limits: &mut QueueLimits) {
        self.snapshot.io_hints(limits);
    }
}

impl SnapshotDevice {
    /// A read or write: to the store if the chunk is still there, else to the origin.
    fn map_merging(self: &Arc<Self>, bio: &mut Bio<'_>) -> Map {
        let mut state = self.state.lock();
        if let (true, Some(store)) = (state.is_valid, state.store.clone()) {
            let chunk = bio.sector.0 / store.chunk().0;
            if let Some(new) = state.exceptions.get(&chunk).copied() {
                if bio.op == Op::Write {
                    if state.merge.chunks.contains(&chunk) {
                        bio.set_dev(self.origin.device());
                        state.merge.queued.push(bio.take_owned());
                        return Map::Submitted;
                    }
                    let tracked = state.track(chunk);
                    self.to_cow(&store, new, bio);
                    return tracked;
                }
                self.to_cow(&store, new, bio);
                return Map::Remapped;
            }
            if bio.op == Op::Write {
                drop(state);
                return self.origins.map_write(&self.runtime, &self.origin, bio);
            }
        }
        bio.set_dev(self.origin.device());
        Map::Remapped
    }

    /// Starts the merge, or lets it go on.
    fn start_merge(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            state.merge.stops = false;
            state.merge.has_begun = false;
            if std::mem::replace(&mut state.merge.is_running, true) {
                return;
            }
        }
        let core = self.clone();
        let merge = async move {
            while !core.state.lock().merge.stops {
                let _turn = core.merge_turn.lock().await;
                match core.merge_run().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(why) => {
                        core.lines.err(why);
                        core.state.lock().merge.has_failed = true;
                        core.end_run(Err(BlkStatus::IoErr));
                        break;
                    }
                }
            }
            {
                let mut state = core.state.lock();
                state.merge.is_running = false;
                state.merge.has_begun = true;
            }
            core.changed.wake_all();
        };
        self.runtime.spawn("snapshot-merge", merge).detach();
    }

    /// Stops it after the current run.
    async fn stop_merge(&self) {
        self.state.lock().merge.stops = true;
        self.changed.until(|| !self.state.lock().merge.is_running).await;
    }

    /// Merges one run. `false`: there is none left. What the log says when it cannot go on.
    async fn merge_run(self: &Arc<Self>) -> Result<bool, &'static str> {
        let store = {
            let state = self.state.lock();
            state.store.clone().filter(|_| state.is_valid)
        };
        let Some(store) = store else {
            self.lines.err("Snapshot is invalid: can't merge");
            return Ok(false);
        };
        let run = store.last_run().await;
        let Some(run) = run.map_err(|_| "Read error in exception store: shutting down merge")? else {
            return Ok(false);
        };
        let chunks = run.old..run.old.saturating_add(run.count);
        let (from, to) = self.run_ranges(&store, run);
        if to.start.checked_add(to.len).is_none() {
            return Err(WRITE_ERROR);
        }
        self.preserve_neighbours(&to).await;
        self.state.lock().merge.chunks = chunks.clone();
        self.changed.until(|| !self.state.lock().is_tracked(chunks.clone())).await;
        self.state.lock().merge.has_begun = true;
        self.changed.wake_all();
        let tag = Tag::new("merge", 0, run.old);
        let errors = kcopyd::copy_tagged(&self.runtime, &from, &[to], kcopyd::OnError::Stop, tag).await;
        if errors.read {
            return Err("Read error: shutting down merge.");
        }
        if errors.write != 0 {
            return Err(WRITE_ERROR);
        }
        let flushed = run_async(Bio::flush().to(self.origin.device())).await;
        flushed.map_err(|_| "Flush after merge failed: shutting down merge")?;
        let forgotten = store.forget_last(run.count).await;
        forgotten.map_err(|_| "Write error in exception store: shutting down merge")?;
        self.end_run(Ok(()));
        Ok(true)
    }

    /// Where a run is copied from and to; the last chunk only up to the origin's end.
    fn run_ranges(&self, store: &Store, Run { old, new, count }: Run) -> (DeviceRange, DeviceRange) {
        let sector = store.sector(old);
        let room = Sector(self.origin.device().capacity().0).checked_since(sector).unwrap_or(Sectors::ZERO);
        let whole = Sectors(store.chunk().0 * count);
        // Linux does not cut a run that begins beyond the end: the write fails, and the merge with it.
        let len = if room == Sectors::ZERO { whole } else { whole.min(room) };
        let from = DeviceRange::new(&self.cow, store.sector(new), len);
        (from, DeviceRange::new(&self.origin, sector, len))
    }

    /// Makes sure that the other snapshots have copies of what is about to be overwritten in the origin.
    async fn preserve_neighbours(&self, range: &DeviceRange) {
        for neighbour in self.neighbours() {
            let Some(chunk) = neighbour.chunk() else { continue };
            let Some(end) = range.start.checked_add(range.len) else { continue };
            let mut sector = range.start;
            while sector < end {
                if neighbour.wants_copy(sector) {
                    neighbour.preserve(sector, neighbour.begin_preserving(sector)).await;
                }
                sector = Sector((sector.0 / chunk.0 + 1) * chunk.0);
            }
        }
    }

    /// The run is over: the chunks are the origin's, unless it failed, and nothing waits any more.
    fn end_run(&self, result: Result<(), BlkStatus>) {
        let queued = {
            let mut state = self.state.lock();
            let chunks = std::mem::take(&mut state.merge.chunks);
            if result.is_ok() {
                chunks.for_each(|chunk| {
                    state.exceptions.remove(&chunk);
                });
            }
            state.merge.take_queued()
        };
        for bio in queued {
            match result {
                Ok(()) => submit(bio),
                Err(status) => bio.end(status),
            }
        }
    }
}
