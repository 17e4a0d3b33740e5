//! The mirror set: its legs, its worker, and the way of reads and writes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use dmlab_block::{Bio, BioFlags, BlkStatus, End, EndIo, FrameData, Op, submit};
use dmlab_dm::kit::{BioList, TargetLog, Work, Worker};
use dmlab_dm::{Map, TableEvents, run_all, submit_all};
use dmlab_runtime::{Planted, RateLimit, Runtime, WaitQueue};
use dmlab_units::{Sector, Sectors};
use parking_lot::Mutex;

use super::dirty_log::DirtyLog;
use super::leg::{Failure, Leg};
use super::region_hash::{RegionHash, RegionState};

/// A mirror's legs are written before its log says so.
#[doc(hidden)]
pub static LOG_AFTER_DATA: Planted = Planted::new("a mirror's legs are written before its log says so");

/// Optional features of the table line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) handle_errors: bool,
    pub(super) keep_log: bool,
}

pub(super) struct MirrorSet {
    /// Itself, for the bios that it waits for.
    me: Weak<MirrorSet>,
    pub(super) legs: Vec<Leg>,
    /// Which leg is read, and copied from.
    pub(super) default_leg: AtomicUsize,
    pub(super) features: Features,
    pub(super) log: DirtyLog,
    pub(super) start: Sector,
    pub(super) len: Sectors,
    pub(super) work: Mutex<MirrorWork>,
    pub(super) worker: Worker,
    /// Moves when a recovery has ended.
    pub(super) changed: WaitQueue,
    pub(super) runtime: Arc<Runtime>,
    pub(super) events: TableEvents,
    pub(super) limits: Arc<Limits>,
    pub(super) lines: TargetLog,
}

/// Lines of the kernel log that may come in great numbers, and how many of each are let through: the machine's, not a
/// set's.
#[derive(Default)]
pub(super) struct Limits {
    pub(super) recovery_read: RateLimit,
    pub(super) recovery_write: RateLimit,
    lost_read: RateLimit,
    failed_read: RateLimit,
    other_leg: RateLimit,
}

/// How far the recovery of a region is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Recovery {
    /// None is being recovered.
    #[default]
    Idle,
    /// The turn of this one has come; writes to it are still under way.
    Chosen(u64),
    /// One is being copied.
    Copying,
}

/// What the worker has to do.
#[derive(Default)]
pub(super) struct MirrorWork {
    pub(super) regions: RegionHash,
    reads: BioList,
    writes: BioList,
    failed: BioList,
    /// Writes kept until the next suspend, so that user space can act before their data counts as written.
    held: BioList,
    /// RegionHash may be recovered: a further one is taken when one is done.
    pub(super) recovers: bool,
    pub(super) recovery: Recovery,
    /// All regions are in sync, and that has been told.
    pub(super) is_in_sync: bool,
    leg_failed: bool,
    log_failed: bool,
    is_suspended: bool,
    is_noflush: bool,
}

/// How a bio came to its leg, as word 0 of its frame.
const DIRECT_READ: u64 = 0;
const QUEUED_READ: u64 = 1;
const NOSYNC_WRITE: u64 = 2;

impl MirrorSet {
    pub(super) fn new(
        legs: Vec<Leg>,
        features: Features,
        log: DirtyLog,
        (start, len): (Sector, Sectors),
        runtime: Arc<Runtime>,
        events: TableEvents,
        limits: Arc<Limits>,
    ) -> Arc<MirrorSet> {
        // A set that is in sync from the first moment on has nothing to tell.
        let work = MirrorWork { is_in_sync: log.is_all_synced(), ..MirrorWork::default() };
        Arc::new_cyclic(|me| MirrorSet {
            me: me.clone(),
            legs,
            default_leg: AtomicUsize::new(0),
            features,
            log,
            start,
            len,
            work: Mutex::new(work),
            worker: Worker::new(runtime.clone(), "kmirrord"),
            changed: WaitQueue::default(),
            lines: TargetLog::new(runtime.clone(), "raid1"),
            runtime,
            events,
            limits,
        })
    }

    pub(super) fn region_of(&self, sector: Sector) -> u64 {
        (sector - self.start).0 / self.log.region_size().0
    }

    // The way of a bio.

    pub(super) fn map(self: &Arc<Self>, bio: &mut Bio<'_>) -> Map {
        if bio.op != Op::Read {
            let bio = bio.take_owned();
            self.kick(|work| work.writes.push_back(bio));
            return Map::Submitted;
        }
        if !self.log.is_in_sync(self.region_of(bio.sector)) {
            if bio.flags.contains(BioFlags::RAHEAD) {
                return Map::Kill;
            }
            let bio = bio.take_owned();
            self.kick(|work| work.reads.push_back(bio));
            return Map::Submitted;
        }
        let Some(leg) = self.choose_leg() else { return Map::Kill };
        bio.push_frame(self.clone(), [DIRECT_READ, leg as u64, 0]);
        self.point(bio, leg);
        Map::Remapped
    }

    /// Points a bio at its place on a leg.
    fn point(&self, bio: &mut Bio<'_>, leg: usize) {
        let leg = &self.legs[leg];
        bio.set_dev(leg.device.device());
        if !bio.is_empty() {
            bio.sector = leg.sector(bio.sector - self.start);
        }
    }

    /// The leg to read a region in sync from: the default leg unless it has had an error, then the next below it.
    fn choose_leg(&self) -> Option<usize> {
        let (default, count) = (self.default_leg.load(Ordering::Acquire), self.legs.len());
        (0..count).map(|step| (default + count - step) % count).find(|&leg| !self.legs[leg].has_errors())
    }

    fn has_good_leg(&self) -> bool {
        self.legs.iter().any(|leg| !leg.has_errors())
    }

    /// Whether a read of a region could be answered by a leg that has had no error.
    fn is_readable(&self, region: u64) -> bool {
        let state = self.work.lock().regions.state(region, &self.log);
        let is_in_sync = matches!(state, RegionState::Clean | RegionState::Dirty);
        is_in_sync && self.choose_leg().is_some()
    }

    // The worker.

    /// Adds work for the worker and wakes it.
    pub(super) fn kick(self: &Arc<Self>, add: impl FnOnce(&mut MirrorWork)) {
        add(&mut self.work.lock());
        Worker::kick(self);
    }

    async fn flush_log(self: &Arc<Self>) -> Result<(), super::dirty_log::LogFailed> {
        self.log
            .flush(async || {
                let flush = |leg: &Leg| Bio::flush().to(leg.device.device());
                let failed = run_all(self.legs.iter().map(flush).collect()).await;
                self.fail_legs(failed, Failure::Flush);
                failed == 0
            })
            .await
    }

    // Reads.

    /// A read of a region that is not in sync, or one that has failed on a leg.
    fn queued_read(self: &Arc<Self>, mut bio: Bio<'static>) {
        let default = self.default_leg.load(Ordering::Acquire);
        let leg = if self.is_readable(self.region_of(bio.sector)) {
            self.choose_leg()
        } else {
            (!self.legs[default].has_errors()).then_some(default)
        };
        let Some(leg) = leg else {
            self.read_is_lost(bio);
            return;
        };
        bio.push_frame(self.clone(), [QUEUED_READ, leg as u64, 0]);
        self.point(&mut bio, leg);
        submit(bio);
    }

    fn read_is_lost(&self, bio: Bio<'static>) {
        self.lines.err_limited(&self.limits.lost_read, "Mirror read failed.");
        bio.end(BlkStatus::IoErr);
    }

    /// A read has failed on a leg; another leg may have the data.
    fn read_failed(self: &Arc<Self>, bio: &mut Bio<'_>, leg: usize, was_queued: bool) -> End {
        let region = self.region_of(bio.sector);
        let name = self.legs[leg].device.dev();
        if was_queued {
            self.fail_leg(leg, Failure::Read);
            let is_readable = self.is_readable(region);
            let mut bio = bio.take_owned();
            if is_readable {
                bio.rearm(BioFlags::empty());
                let text = format!("Read failure on mirror device {name}. Trying alternative device.");
                self.lines.warn_limited(&self.limits.other_leg, text);
                self.kick(|work| work.reads.push_back(bio));
            } else {
                let text = format!("Read failure on mirror device {name}.  Failing I/O.");
                self.lines.err_limited(&self.limits.failed_read, text);
                self.read_is_lost(bio);
            }
            return End::Kept;
        }
        self.lines.err(format!("Mirror read failed from {name}. Trying alternative device."));
        self.fail_leg(leg, Failure::Read);
        let default = self.default_leg.load(Ordering::Acquire);
        if !self.legs[default].has_errors() || self.is_readable(region) {
            let mut bio = bio.take_owned();
            bio.rearm(BioFlags::empty());
            self.kick(|work| work.reads.push_back(bio));
            return End::Kept;
        }
        self.lines.err("All replicated volumes dead, failing I/O");
        End::Done(BlkStatus::IoErr)
    }

    // Writes.

    async fn do_writes(self: &Arc<Self>, writes: BioList) {
        if writes.is_empty() {
            return;
        }
        let (mut to_all, mut to_default) = (BioList::default(), BioList::default());
        {
            let mut work = self.work.lock();
            for bio in writes {
                if !is_accounted(&bio) {
                    to_all.push_back(bio);
                    continue;
                }
                let region = self.region_of(bio.sector);
                match work.regions.state(region, &self.log) {
                    RegionState::Clean | RegionState::Dirty => to_all.push_back(bio),
                    RegionState::NoSync => to_default.push_back(bio),
                    RegionState::Recovering => work.regions.delay(region, bio),
                }
            }
            for bio in to_all.iter().chain(to_default.iter()).filter(|bio| is_accounted(bio)) {
                work.regions.begin_write(self.region_of(bio.sector), &self.log);
            }
        }
        if self.runtime.has_planted(&LOG_AFTER_DATA) {
            std::mem::take(&mut to_all).into_iter().for_each(|bio| self.write_all(bio));
        }
        let log_failed = self.flush_log().await.is_err();
        let is_held = {
            let mut work = self.work.lock();
            work.log_failed |= log_failed;
            work.log_failed && self.features.handle_errors
        };
        if is_held {
            self.kick(|work| work.failed.extend(to_all));
        } else {
            to_all.into_iter().for_each(|bio| self.write_all(bio));
        }
        for bio in to_default {
            let leg_failed = self.work.lock().leg_failed;
            if leg_failed && self.features.handle_errors && !self.features.keep_log {
                self.hold(bio);
            } else {
                self.write_default(bio);
            }
        }
    }

    /// Writes, discards or flushes every leg.
    fn write_all(self: &Arc<Self>, mut bio: Bio<'static>) {
        let twin = |bio: &mut Bio<'static>, leg: &Leg| {
            let sector = leg.sector(bio.sector - self.start);
            let twin = match bio.op {
                Op::Flush => Bio::flush(),
                Op::Write => bio.write_elsewhere(sector),
                op => Bio::range(op, sector, bio.len()),
            };
            twin.with_flags(bio.flags).to(leg.device.device())
        };
        let twins = self.legs.iter().map(|leg| twin(&mut bio, leg)).collect();
        let set = self.clone();
        submit_all(twins, move |failed| set.written(bio, failed));
    }

    /// Every leg has answered.
    fn written(self: &Arc<Self>, bio: Bio<'static>, failed: u64) {
        if failed == 0 {
            self.end_write(bio, BlkStatus::Ok);
        } else if bio.op == Op::Discard {
            // No leg is worse for it.
            self.end_write(bio, BlkStatus::NotSupp);
        } else {
            // A flush too (recorded: `mirror/flushes-and-log`): `F` is for the flushes of the log's own.
            self.fail_legs(failed, Failure::Write);
            self.kick(|work| work.failed.push_back(bio));
        }
    }

    /// Writes the default leg only: its region is not in sync.
    fn write_default(self: &Arc<Self>, mut bio: Bio<'static>) {
        bio.push_frame(self.clone(), [NOSYNC_WRITE, 0, 0]);
        self.point(&mut bio, self.default_leg.load(Ordering::Acquire));
        submit(bio);
    }

    /// A write that a leg, or the log, did not take.
    fn do_failure(self: &Arc<Self>, bio: Bio<'static>) {
        let mut ends_recovery = false;
        let log_failed = {
            let mut work = self.work.lock();
            if !work.log_failed {
                work.is_in_sync = false;
                if is_accounted(&bio) {
                    let released = work.regions.mark_nosync(self.region_of(bio.sector), &self.log);
                    if let Some(released) = released {
                        // This write was under way, so that no copy has begun.
                        work.recovery = Recovery::Idle;
                        work.writes.extend(released);
                        ends_recovery = true;
                    }
                } else {
                    work.regions.mark_flush_failed();
                }
            }
            work.log_failed
        };
        if ends_recovery {
            Worker::kick(self);
            self.changed.wake_all();
        }
        let Features { handle_errors, keep_log } = self.features;
        if !self.has_good_leg() || (keep_log && log_failed) {
            self.end_write(bio, BlkStatus::IoErr);
        } else if handle_errors && !keep_log {
            self.hold(bio);
        } else {
            self.end_write(bio, BlkStatus::Ok);
        }
    }

    /// Keeps a write until the next suspend.
    fn hold(self: &Arc<Self>, bio: Bio<'static>) {
        let mut work = self.work.lock();
        if !work.is_suspended {
            work.held.push_back(bio);
            return;
        }
        let is_noflush = work.is_noflush;
        drop(work);
        self.give_back(bio, is_noflush);
    }

    fn give_back(self: &Arc<Self>, bio: Bio<'static>, is_noflush: bool) {
        self.end_write(bio, if is_noflush { BlkStatus::DmRequeue } else { BlkStatus::IoErr });
    }

    fn end_write(self: &Arc<Self>, bio: Bio<'static>, status: BlkStatus) {
        // Before its end is heard: its waiter may suspend the device, and then finds the log up to date.
        if is_accounted(&bio) {
            self.write_has_ended(self.region_of(bio.sector));
        }
        bio.end(status);
    }

    fn write_has_ended(self: &Arc<Self>, region: u64) {
        let has_work = self.work.lock().regions.end_write(region);
        if has_work {
            Worker::kick(self);
        }
    }

    // Failures.

    /// Remembers that legs have failed. All of them together are one event (recorded: `mirror/legs-fail-together`).
    fn fail_legs(&self, failed: u64, kind: Failure) {
        let mut is_news = false;
        for leg in (0..self.legs.len()).filter(|leg| failed & 1 << leg != 0) {
            is_news |= self.note_failure(leg, kind);
        }
        if is_news {
            self.raise_event();
        }
    }

    fn fail_leg(&self, leg: usize, kind: Failure) {
        self.fail_legs(1 << leg, kind);
    }

    /// Remembers that a leg has failed; whether that is to be told, as it is the first time of a kind.
    pub(super) fn note_failure(&self, leg: usize, kind: Failure) -> bool {
        let is_in_sync = {
            let mut work = self.work.lock();
            work.leg_failed = true;
            work.is_in_sync
        };
        if !self.legs[leg].fail(kind) || !self.features.handle_errors {
            return false;
        }
        if leg == self.default_leg.load(Ordering::Acquire) {
            let dev = self.legs[leg].device.dev();
            if !is_in_sync && !self.features.keep_log {
                self.lines.err(format!("Primary mirror ({dev}) failed while out-of-sync: Reads may fail."));
            } else if let Some(good) = self.legs.iter().position(|leg| !leg.has_errors()) {
                self.default_leg.store(good, Ordering::Release);
            } else {
                self.lines.warn("All sides of mirror have failed.");
            }
        }
        true
    }

    /// Queued, not raised here: its handlers may look at the table.
    pub(super) fn raise_event(&self) {
        let events = self.events.clone();
        self.runtime.spawn("mirror-event", async move { events.raise() }).detach();
    }

    /// All legs are good again.
    pub(super) fn forgive_legs(&self, work: &mut MirrorWork) {
        work.leg_failed = false;
        self.legs.iter().for_each(Leg::forgive);
    }

    // Suspend and resume.

    /// Whether the suspend is carried out or given up, no region is recovered before the next resume
    /// (`sim/machine/tests/machine/mirror.rs`).
    pub(super) async fn presuspend(self: &Arc<Self>, noflush: bool) {
        let held = {
            let mut work = self.work.lock();
            work.is_suspended = true;
            work.is_noflush = noflush;
            work.recovers = false;
            std::mem::take(&mut work.held)
        };
        for bio in held {
            self.give_back(bio, noflush);
        }
        self.changed.until(|| self.work.lock().recovery == Recovery::Idle).await;
        self.worker.until_idle().await;
    }

    pub(super) async fn postsuspend(self: &Arc<Self>) {
        self.worker.until_idle().await;
        if self.flush_log().await.is_err() {
            self.lines.warn("log postsuspend failed");
        }
    }

    pub(super) async fn resume(self: &Arc<Self>) {
        if self.log.resume().await.is_err() {
            self.lines.warn("log resume failed");
        }
        self.kick(|work| {
            work.is_suspended = false;
            work.recovers = true;
        });
    }
}

impl Work for MirrorSet {
    fn worker(&self) -> &Worker {
        &self.worker
    }

    /// One pass, in the kernel's order.
    async fn pass(self: &Arc<Self>) {
        let (reads, writes, failed, has_released) = {
            let mut work = self.work.lock();
            let queues = (work.reads.take(), work.writes.take(), work.failed.take());
            let released = work.regions.retire(&self.log, !self.features.handle_errors);
            let has_released = !released.is_empty();
            work.writes.extend(released);
            (queues.0, queues.1, queues.2, has_released)
        };
        if has_released {
            Worker::kick(self);
        }
        // What comes of it is seen where it matters: by the next write.
        let _ = self.flush_log().await;
        self.recover_next();
        for bio in reads {
            self.queued_read(bio);
        }
        self.do_writes(writes).await;
        for bio in failed {
            self.do_failure(bio);
        }
    }
}

/// Whether a write belongs to a region: flushes have no place, and discards need no legs that hold the same.
fn is_accounted(bio: &Bio<'_>) -> bool {
    bio.op == Op::Write
}

/// What the set hears of bios that it has sent to one leg.
impl EndIo for MirrorSet {
    fn end_io(&self, bio: &mut Bio<'_>, [how, leg, _]: FrameData, status: BlkStatus) -> End {
        // A bio on its way holds the set.
        let Some(set) = self.me.upgrade() else { return End::Done(status) };
        if how == NOSYNC_WRITE {
            set.write_has_ended(self.region_of(bio.sector));
            return End::Done(status);
        }
        if status.is_ok() || status == BlkStatus::NotSupp || bio.flags.contains(BioFlags::RAHEAD) {
            return End::Done(status);
        }
        set.read_failed(bio, leg as usize, how == QUEUED_READ)
    }
}
