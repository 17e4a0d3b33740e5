//! The snapshot itself: which chunks were copied, which are being copied, and the bios that wait for that.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use dmlab_block::{Bio, BlkStatus, End, EndIo, FrameData, Op, Tag, submit};
use dmlab_dm::kit::TargetLog;
use dmlab_dm::{Ctr, DeviceRange, Map, TableDevice, TableEvents, follow, kcopyd};
use dmlab_runtime::{AsyncMutex, Runtime, WaitQueue};
use dmlab_units::{Sector, Sectors};
use parking_lot::Mutex;

use super::merge::MergeState;
use super::origin::Origins;
use super::store::{Loaded, Slot, Store, StoreKind};

/// Optional features of the table line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features {
    pub(super) zeroes_cow: bool,
    pub(super) passdown: bool,
}

impl Features {
    pub(super) fn write(self, out: &mut String) -> std::fmt::Result {
        let count = u32::from(self.zeroes_cow) + u32::from(self.passdown);
        if count > 0 {
            write!(out, " {count}")?;
        }
        if self.zeroes_cow {
            write!(out, " discard_zeroes_cow")?;
        }
        if self.passdown {
            write!(out, " discard_passdown_origin")?;
        }
        Ok(())
    }
}

/// How far the copy of a chunk is that the origin is about to overwrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preserving {
    /// The chunk has a copy, or none is wanted any more.
    Done,
    /// The chunk of this number is being copied.
    Copying(u64),
    /// Too many are being copied.
    NotYet,
    /// The store is full.
    NoRoom,
}

/// What a snapshot stands on.
pub(super) struct Devices {
    pub(super) origin: TableDevice,
    pub(super) cow: TableDevice,
    /// Whether the snapshot gives its chunks back to the origin (`snapshot-merge`).
    pub(super) merges: bool,
}

pub(super) struct SnapshotDevice {
    pub(super) origin: TableDevice,
    pub(super) cow: TableDevice,
    pub(super) features: Features,
    pub(super) runtime: Arc<Runtime>,
    /// The snapshot's lines of the kernel log.
    pub(super) lines: TargetLog,
    events: TableEvents,
    pub(super) origins: Arc<Origins>,
    pub(super) len: Sectors,
    /// Whether the snapshot gives its chunks back to the origin (`snapshot-merge`).
    pub(super) merges: bool,
    pub(super) state: Mutex<State>,
    /// Held while one run is merged. A snapshot that begins to share the origin takes it in between.
    pub(super) merge_turn: AsyncMutex<()>,
    /// Moves when a copy has ended, or a tracked bio, or a merge.
    pub(super) changed: WaitQueue,
}

#[derive(Default)]
pub(super) struct State {
    /// The snapshot's store, or, of a handover destination and a spent source, the one that the table asks for.
    pub(super) kind: StoreKind,
    /// `None` in a handover destination.
    pub(super) store: Option<Arc<Store>>,
    /// Chunks of the origin that have a copy, and where.
    pub(super) exceptions: BTreeMap<u64, u64>,
    /// Chunks that are being copied, and the writes to the snapshot that wait for them.
    pending: BTreeMap<u64, Vec<Bio<'static>>>,
    /// Chunks that are being read from the origin for the snapshot, or written in the store while it is merged.
    tracked: BTreeMap<u64, u32>,
    pub(super) merge: MergeState,
    pub(super) is_valid: bool,
    pub(super) has_overflowed: bool,
    pub(super) is_active: bool,
    pub(super) is_suspended: bool,
    /// Another has taken over.
    pub(super) is_spent: bool,
}

/// What a snapshot knows that its store does not hold.
pub(super) struct SnapshotState {
    is_valid: bool,
    has_overflowed: bool,
    /// Of a transient store: the next free chunk, and the exceptions.
    transient: Option<(u64, BTreeMap<u64, u64>)>,
}

impl State {
    /// Whether no copy is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.pending.is_empty()
    }

    /// Counts a bio to a chunk until it ends (`track_chunk`): its end is heard by [`SnapshotDevice::end_tracked`].
    pub(super) fn track(&mut self, chunk: u64) -> Map {
        *self.tracked.entry(chunk).or_default() += 1;
        Map::RemappedAndHear(chunk)
    }

    pub(super) fn is_tracked(&self, chunks: std::ops::Range<u64>) -> bool {
        self.tracked.range(chunks).next().is_some()
    }
}

/// Most copies under way at once in one snapshot: writes that would begin one more wait (`snapshot_cow_threshold`).
const COW_THRESHOLD: usize = 2048;

impl SnapshotDevice {
    /// A snapshot without a store yet.
    pub(super) fn new(
        ctr: &Ctr<'_>,
        devices: Devices,
        kind: StoreKind,
        features: Features,
    ) -> SnapshotDevice {
        SnapshotDevice {
            origin: devices.origin,
            cow: devices.cow,
            features,
            runtime: ctr.runtime().clone(),
            lines: ctr.log("snapshots"),
            events: ctr.events(),
            origins: ctr.machine_state(),
            len: ctr.len,
            merges: devices.merges,
            state: Mutex::new(State { kind, is_valid: true, ..State::default() }),
            merge_turn: AsyncMutex::new(()),
            changed: WaitQueue::default(),
        }
    }

    pub(super) fn set_store(&self, store: Arc<Store>, loaded: Loaded) {
        let mut state = self.state.lock();
        state.store = Some(store);
        state.exceptions = loaded.exceptions;
        state.is_valid = loaded.is_valid;
    }

    /// Saves what it knows that its store does not hold.
    pub(super) fn save(&self) -> SnapshotState {
        let state = self.state.lock();
        let transient = state.store.as_ref().filter(|store| store.is_transient());
        SnapshotState {
            is_valid: state.is_valid,
            has_overflowed: state.has_overflowed,
            transient: transient.map(|store| (store.next_free(), state.exceptions.clone())),
        }
    }

    /// Takes over what another with the same table line has saved.
    pub(super) fn restore(&self, known: &SnapshotState) {
        let mut state = self.state.lock();
        state.is_valid &= known.is_valid;
        state.has_overflowed |= known.has_overflowed;
        let store = state.store.clone().filter(|store| store.is_transient());
        if let (Some(store), Some((next_free, exceptions))) = (store, &known.transient) {
            store.set_next_free(*next_free);
            state.exceptions.clone_from(exceptions);
        }
    }

    /// The chunk size, unless this is a handover destination that has taken over nothing yet.
    pub(super) fn chunk(&self) -> Option<Sectors> {
        self.state.lock().store.as_ref().map(|store| store.chunk())
    }

    /// Whether another has taken over from it, so that it is none of those that stand on its COW device.
    pub(super) fn is_spent(&self) -> bool {
        self.state.lock().is_spent
    }

    pub(super) fn is_active(&self) -> bool {
        self.state.lock().is_active
    }

    /// Another snapshot that is being merged into the same origin.
    pub(super) fn merging_neighbour(&self) -> Option<Arc<SnapshotDevice>> {
        self.origins.merging_into(self.origin.dev()).filter(|core| !std::ptr::eq(&**core, self))
    }

    /// The other snapshots of its origin.
    pub(super) fn neighbours(&self) -> Vec<Arc<SnapshotDevice>> {
        let mut others = self.origins.of(self.origin.dev());
        others.retain(|core| !std::ptr::eq(&**core, self));
        others
    }

    pub(super) fn set_suspended(&self) {
        self.state.lock().is_suspended = true;
    }

    /// The measurement line.
    pub(super) fn write_measurement(&self, out: &mut String) -> std::fmt::Result {
        let state = self.state.lock();
        let yes_or_no = |is: bool| if is { 'y' } else { 'n' };
        write!(
            out,
            "snap_origin_name={},snap_cow_name={},snap_valid={},snap_merge_failed={},snapshot_overflowed={};",
            self.origin.dev(),
            self.cow.dev(),
            yes_or_no(state.is_valid),
            yes_or_no(state.merge.has_failed),
            yes_or_no(state.has_overflowed),
        )
    }

    pub(super) fn usage_text(&self) -> String {
        let state = self.state.lock();
        if !state.is_valid {
            return "Invalid".to_owned();
        }
        if state.merge.has_failed {
            return "Merge failed".to_owned();
        }
        if state.has_overflowed {
            return "Overflow".to_owned();
        }
        match &state.store {
            Some(store) => {
                let (allocated, total, metadata) = store.usage();
                format!("{allocated}/{total} {metadata}")
            }
            None => format!("0/{} 0", self.cow.device().capacity()),
        }
    }

    // The way of a bio.

    pub(super) fn map(self: &Arc<Self>, bio: &mut Bio<'_>) -> Map {
        if bio.op == Op::Flush {
            bio.set_dev(self.cow.device());
            return Map::Remapped;
        }
        let mut state = self.state.lock();
        if !state.is_valid {
            return Map::Kill;
        }
        let Some(store) = state.store.clone() else { return Map::Kill };
        let chunk = bio.sector.0 / store.chunk().0;
        if bio.op.is_write() && state.has_overflowed {
            return Map::Kill;
        }
        if bio.op == Op::Discard {
            let new = state.exceptions.get(&chunk).copied();
            drop(state);
            return self.map_discard(&store, new, bio);
        }
        if let Some(new) = state.exceptions.get(&chunk) {
            self.to_cow(&store, *new, bio);
            return Map::Remapped;
        }
        if bio.op == Op::Read {
            bio.set_dev(self.origin.device());
            return state.track(chunk);
        }
        if let Some(waiting) = state.pending.get_mut(&chunk) {
            waiting.push(bio.take_owned());
            return Map::Submitted;
        }
        if state.pending.len() >= COW_THRESHOLD {
            drop(state);
            self.map_later(bio.take_owned());
            return Map::Submitted;
        }
        let Some(slot) = store.allocate() else {
            return self.no_room(state, bio);
        };
        if bio.len() == store.chunk() {
            // The whole chunk is new: nothing of the old one is needed.
            state.pending.insert(chunk, Vec::new());
            let [turn, new] = slot.to_words();
            bio.push_frame(Arc::new(WholeChunk { core: self.clone(), chunk }), [turn, new, 0]);
            self.to_cow(&store, slot.new, bio);
            return Map::Remapped;
        }
        state.pending.insert(chunk, vec![bio.take_owned()]);
        drop(state);
        self.start_copy(store, chunk, slot);
        Map::Submitted
    }

    /// A write that would begin one copy too many.
    fn map_later(self: &Arc<Self>, mut bio: Bio<'static>) {
        let core = self.clone();
        let later = async move {
            core.until_below_threshold().await;
            let said = core.map(&mut bio);
            follow(bio, said);
        };
        self.runtime.spawn("snapshot-throttled", later).detach();
    }

    /// Ends when no copy is under way that a write to the origin has begun: the table, and with it the COW device, goes only
    /// then.
    pub(super) async fn until_quiet(&self) {
        self.changed.until(|| self.state.lock().is_quiet()).await;
    }

    async fn until_below_threshold(&self) {
        self.changed.until(|| self.state.lock().pending.len() < COW_THRESHOLD).await;
    }

    /// Points a bio at the place in the COW device that stands for its place in the origin.
    pub(super) fn to_cow(&self, store: &Store, new: u64, bio: &mut Bio<'_>) {
        bio.tag_if_none(Tag::new("exception", 0, bio.sector.0 / store.chunk().0));
        bio.set_dev(self.cow.device());
        bio.sector = store.sector(new) + Sectors(bio.sector.0 % store.chunk().0);
    }

    /// A discard of a chunk that was copied to `new` zeroes the copy; one that has no copy frees nothing. The second clone,
    /// if there is one, goes to the origin.
    fn map_discard(&self, store: &Store, new: Option<u64>, bio: &mut Bio<'_>) -> Map {
        if bio.clone_nr == 1 {
            bio.set_dev(self.origin.device());
            return Map::Remapped;
        }
        let Some(new) = new else { return Map::Done(BlkStatus::Ok) };
        if bio.len() != store.chunk() {
            self.to_cow(store, new, bio);
            return Map::Remapped;
        }
        let bio = bio.take_owned();
        let tag = Tag::new("exception", 0, bio.sector.0 / store.chunk().0);
        let chunk = DeviceRange::new(&self.cow, store.sector(new), store.chunk());
        let zeroing = async move {
            let failed = kcopyd::zero_tagged(&[chunk], tag).await;
            bio.end(if failed == 0 { BlkStatus::Ok } else { BlkStatus::IoErr });
        };
        self.runtime.spawn("snapshot-zero", zeroing).detach();
        Map::Submitted
    }

    /// The COW device is full.
    fn no_room(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>, bio: &mut Bio<'_>) -> Map {
        if state.kind == (StoreKind::Persistent { shows_overflow: true }) {
            state.has_overflowed = true;
            drop(state);
            self.lines.err("Snapshot overflowed: Unable to allocate exception.");
            return Map::Kill;
        }
        drop(state);
        let (core, bio) = (self.clone(), bio.take_owned());
        let invalidate = async move {
            core.invalidate("Unable to allocate exception.").await;
            bio.end(BlkStatus::IoErr);
        };
        self.runtime.spawn("snapshot-invalidate", invalidate).detach();
        Map::Submitted
    }

    /// Counts one tracked bio to a chunk less (`stop_tracking_chunk`).
    pub(super) fn end_tracked(&self, chunk: u64) {
        let mut state = self.state.lock();
        if let Some(bios) = state.tracked.get_mut(&chunk) {
            *bios -= 1;
            if *bios == 0 {
                state.tracked.remove(&chunk);
                drop(state);
                self.changed.wake_all();
            }
        }
    }

    /// Whether a write to the origin at `sector` has to wait for this snapshot: until its chunk has a copy, and until the
    /// reads of it from the origin that came before that have ended.
    pub(super) fn wants_copy(&self, sector: Sector) -> bool {
        let state = self.state.lock();
        let Some(store) = &state.store else { return false };
        let chunk = sector.0 / store.chunk().0;
        state.is_valid
            && state.is_active
            && !self.merges
            && sector.0 < self.len.0
            && (state.pending.contains_key(&chunk) || !state.exceptions.contains_key(&chunk))
    }

    /// Begins to copy the chunk at `sector` of the origin, unless that has begun: at once, so that chunks are copied in
    /// the order in which the origin is written.
    pub(super) fn begin_preserving(self: &Arc<Self>, sector: Sector) -> Preserving {
        let mut state = self.state.lock();
        let Some(store) = state.store.clone() else { return Preserving::Done };
        let chunk = sector.0 / store.chunk().0;
        if !state.is_valid {
            return Preserving::Done;
        }
        // Looked at first: a chunk that has a copy is still pending while it is read from the origin.
        if state.pending.contains_key(&chunk) {
            return Preserving::Copying(chunk);
        }
        if state.exceptions.contains_key(&chunk) {
            return Preserving::Done;
        }
        if state.pending.len() >= COW_THRESHOLD {
            return Preserving::NotYet;
        }
        let Some(slot) = store.allocate() else { return Preserving::NoRoom };
        state.pending.insert(chunk, Vec::new());
        drop(state);
        self.start_copy(store, chunk, slot);
        Preserving::Copying(chunk)
    }

    /// Ends when the chunk at `sector` of the origin has a copy, or needs none any more.
    pub(super) async fn preserve(self: &Arc<Self>, sector: Sector, begun: Preserving) {
        let mut begun = begun;
        while begun == Preserving::NotYet {
            self.until_below_threshold().await;
            begun = self.begin_preserving(sector);
        }
        match begun {
            Preserving::Copying(chunk) => {
                self.changed.until(|| !self.state.lock().pending.contains_key(&chunk)).await;
            }
            // An overflow on the origin's account always invalidates: the origin goes on without the snapshot.
            Preserving::NoRoom => self.invalidate("Unable to allocate exception.").await,
            Preserving::Done | Preserving::NotYet => {}
        }
    }

    fn start_copy(self: &Arc<Self>, store: Arc<Store>, chunk: u64, slot: Slot) {
        let core = self.clone();
        let copy = async move {
            let copied = core.copy(&store, chunk, slot).await;
            core.finish(&store, chunk, slot, copied).await;
        };
        self.runtime.spawn("snapshot-copy", copy).detach();
    }

    /// Copies a chunk; the last one only up to the origin's end.
    async fn copy(&self, store: &Store, chunk: u64, slot: Slot) -> bool {
        let start = store.sector(chunk);
        let Some(left) = Sector(self.origin.device().capacity().0).checked_since(start) else { return false };
        let len = store.chunk().min(left);
        let from = DeviceRange::new(&self.origin, start, len);
        let to = DeviceRange::new(&self.cow, store.sector(slot.new), len);
        let tag = Tag::new("exception", 0, chunk);
        kcopyd::copy_tagged(&self.runtime, &from, &[to], kcopyd::OnError::Stop, tag).await.is_none()
    }

    /// The data of an exception are on the COW device, or could not be put there.
    async fn finish(self: &Arc<Self>, store: &Store, chunk: u64, slot: Slot, copied: bool) {
        let remembered = store.commit(slot, copied.then_some(chunk)).await;
        if remembered {
            self.state.lock().exceptions.insert(chunk, slot.new);
            // The origin may be written now, but not under reads of it for the snapshot.
            self.changed.until(|| !self.state.lock().tracked.contains_key(&chunk)).await;
        } else {
            self.invalidate("Error reading/writing.").await;
        }
        let (waiting, is_valid) = {
            let mut state = self.state.lock();
            (state.pending.remove(&chunk).unwrap_or_default(), state.is_valid)
        };
        self.changed.wake_all();
        for mut bio in waiting {
            if is_valid {
                self.to_cow(store, slot.new, &mut bio);
                submit(bio);
            } else {
                bio.end(BlkStatus::IoErr);
            }
        }
    }

    /// The snapshot no longer shows what it should: it fails everything from now on, after a reboot too.
    async fn invalidate(&self, why: &str) {
        let store = {
            let mut state = self.state.lock();
            if !state.is_valid {
                return;
            }
            state.is_valid = false;
            state.store.clone()
        };
        self.lines.err(format_args!("Invalidating snapshot: {why}"));
        if let Some(store) = store {
            store.drop_snapshot().await;
        }
        self.events.raise();
    }
}

impl Drop for SnapshotDevice {
    fn drop(&mut self) {
        // A machine that ends suspends nothing first.
        let state = self.state.get_mut();
        let waiting = std::mem::take(&mut state.pending).into_values().flatten();
        waiting.chain(state.merge.take_queued()).for_each(|bio| bio.end(BlkStatus::IoErr));
    }
}

/// Hears the end of a write that fills a whole chunk of the COW device, and commits its exception.
struct WholeChunk {
    core: Arc<SnapshotDevice>,
    chunk: u64,
}

impl EndIo for WholeChunk {
    fn end_io(&self, bio: &mut Bio<'_>, [turn, new, _]: FrameData, status: BlkStatus) -> End {
        let Some(store) = self.core.state.lock().store.clone() else { return End::Done(BlkStatus::IoErr) };
        let (core, chunk, slot) = (self.core.clone(), self.chunk, Slot::from_words(turn, new));
        let bio = bio.take_owned();
        let commit = async move {
            core.finish(&store, chunk, slot, status.is_ok()).await;
            let is_valid = core.state.lock().is_valid;
            bio.end(if is_valid { status } else { BlkStatus::IoErr });
        };
        self.core.runtime.spawn("snapshot-commit", commit).detach();
        End::Kept
    }
}
