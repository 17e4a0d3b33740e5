//! The life of a bio in a mapped device.
//!
//! ```text
//!   submit_bio ── suspended? ──> deferred list ──(resume)──> submit_bio
//!        │
//!        ├─ flush ────────────> one per device, or clones for each target
//!        ├─ discard & co. ────> cut at the target's end, as many clones as the target asks for
//!        └─ read, write ──────> cut at the target's end and at max_io_len, one clone
//!                                   │ Target::map
//!                                   ├─ Remapped ──> on to the device below, same thread, same memory
//!                                   ├─ Submitted ─> the target keeps it and ends it later
//!                                   ├─ Done ──────> it ends here
//!                                   └─ Requeue ───> deferred, if a noflush suspend is under way
//!   end_io  <── the clone's end: Target::end_io, statistics, one less in flight
//! ```
//!
//! In flight are the clones whose end has not been heard. A suspend first raises [`BLOCKED`], then waits until the
//! count is zero; a bio first counts itself, then looks at the flag. Whatever the order, one of them sees the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use dmlab_abi::Geometry;
use dmlab_block::{
    Bio, BioFlags, BioQueue, BlkStatus, BlockDevice, Caller, DiskOps, End, FrameData, Op, OpenMode, Redirect,
    UserMemory,
};
use dmlab_runtime::{
    Interrupted, Level, RateLimit, Runtime, ShardedCounter, Stalled, TraceEvent, TracePoint, WaitQueue,
    interruptible,
};
use dmlab_units::{DevT, Errno, Sector, Sectors};
use parking_lot::Mutex;

use crate::stats::Stats;
use crate::{IoctlRoute, Line, Map, Table, TargetFeatures};

/// No bio goes to the table: they queue.
pub(crate) const BLOCKED: u32 = 1 << 0;
/// A suspend with noflush is under way or done: targets may have bios queued again.
pub(crate) const NOFLUSH: u32 = 1 << 1;
/// A suspend waits for the count of bios in flight to reach zero.
pub(crate) const DRAINING: u32 = 1 << 2;
/// The device is suspended.
pub(crate) const SUSPENDED: u32 = 1 << 3;

/// What mapped bios share with their device: it outlives every table.
pub(crate) struct Flight {
    pub(crate) dev: DevT,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) state: AtomicU32,
    in_flight: ShardedCounter,
    pub(crate) drained: WaitQueue,
    deferred: Mutex<VecDeque<Bio<'static>>>,
    pub(crate) stats: Stats,
}

impl Flight {
    pub(crate) fn new(dev: DevT, runtime: Arc<Runtime>) -> Arc<Flight> {
        Arc::new(Flight {
            dev,
            stats: Stats::default(),
            runtime,
            state: AtomicU32::new(0),
            in_flight: ShardedCounter::default(),
            drained: WaitQueue::default(),
            deferred: Mutex::default(),
        })
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.state.load(Ordering::SeqCst) & flag != 0
    }

    pub(crate) fn set(&self, flag: u32, on: bool) {
        if on {
            self.state.fetch_or(flag, Ordering::SeqCst);
        } else {
            self.state.fetch_and(!flag, Ordering::SeqCst);
        }
    }

    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.sum()
    }

    /// Counts a bio in, or says that it must not go on.
    fn enter(&self) -> bool {
        self.in_flight.add(1);
        if self.state.load(Ordering::SeqCst) & BLOCKED == 0 {
            return true;
        }
        self.leave();
        false
    }

    fn leave(&self) {
        self.in_flight.add(-1);
        if self.has(DRAINING) {
            self.drained.wake_all();
        }
    }

    fn defer(&self, bio: Bio<'static>) {
        self.deferred.lock().push_back(bio);
    }

    /// Fails what waits for a resume that will never come. A waiting bio holds its device, and so this list.
    pub(crate) fn fail_deferred(&self) {
        while let Some(bio) = self.next_deferred() {
            bio.end(BlkStatus::IoErr);
        }
    }

    /// The bio that has waited longest.
    pub(crate) fn next_deferred(&self) -> Option<Bio<'static>> {
        self.deferred.lock().pop_front()
    }
}

/// The driver behind a mapped device's disk.
pub(crate) struct MappedDisk {
    pub(crate) flight: Arc<Flight>,
    /// The live table. It stays as long as a bio is in flight: a swap drains first.
    pub(crate) live: ArcSwapOption<Table>,
    pub(crate) geometry: Mutex<Geometry>,
    /// Whether its tables are request-based.
    pub(crate) takes_requests: AtomicBool,
    /// Called after each close with the number of openers left.
    pub(crate) on_release: Box<dyn Fn(u32) + Send + Sync>,
    no_table_limit: RateLimit,
}

impl MappedDisk {
    pub(crate) fn new(flight: Arc<Flight>, on_release: Box<dyn Fn(u32) + Send + Sync>) -> MappedDisk {
        MappedDisk {
            flight,
            live: ArcSwapOption::empty(),
            geometry: Mutex::default(),
            takes_requests: AtomicBool::new(false),
            on_release,
            no_table_limit: RateLimit::default(),
        }
    }

    /// A bio that found the device suspended.
    fn hold<'a>(&self, dev: &Arc<BlockDevice>, mut bio: Bio<'a>) {
        if bio.flags.contains(BioFlags::NOWAIT) {
            bio.end(BlkStatus::Again);
        } else if bio.flags.contains(BioFlags::RAHEAD) {
            bio.end(BlkStatus::IoErr);
        } else {
            bio.set_dev(dev);
            let runtime = &self.flight.runtime;
            if runtime.tracer().is_on() {
                runtime.tracer().emit(&TraceEvent {
                    time: runtime.now(),
                    dev: self.flight.dev,
                    point: TracePoint::Defer,
                    op: bio.op.letters(),
                    sector: bio.sector,
                    len: bio.len(),
                    sum: None,
                });
            }
            self.flight.defer(bio.into_owned());
        }
    }

    fn no_table(&self, bio: Bio<'_>) {
        let runtime = &self.flight.runtime;
        if self.no_table_limit.allows(runtime.now()) {
            let dev = self.flight.dev;
            runtime.log(
                Level::Err,
                format!("device-mapper: core: {dev}: mapping table unavailable, erroring io"),
            );
        }
        bio.end(BlkStatus::IoErr);
    }

    /// Reads and writes: cut to what one target takes at once, and mapped.
    fn map_data<'a>(&self, dev: &Arc<BlockDevice>, live: &Table, mut bio: Bio<'a>, queue: &mut BioQueue<'a>) {
        let Some(at) = live.find(bio.sector) else {
            self.flight.leave();
            bio.end(BlkStatus::IoErr);
            return;
        };
        let line = &live.lines()[at];
        if bio.flags.contains(BioFlags::NOWAIT) && !line.kind.features.contains(TargetFeatures::NOWAIT) {
            self.flight.leave();
            bio.end(BlkStatus::NotSupp);
            return;
        }
        let most = room(line, bio.sector).min(line.target.accept(&bio));
        if most < bio.len() {
            let piece = bio.split_front(most);
            bio.set_dev(dev);
            queue.push(bio);
            bio = piece;
        }
        self.map_one(dev, live, at, bio, queue);
    }

    /// Discard, secure erase, write zeroes: cut to the queue's limit and at the target's end, one clone or several.
    fn map_range<'a>(
        &self,
        dev: &Arc<BlockDevice>,
        live: &Table,
        mut bio: Bio<'a>,
        queue: &mut BioQueue<'a>,
    ) {
        let limits = dev.limits();
        let (largest, granularity) = match bio.op {
            Op::Discard => (limits.max_discard_sectors, limits.discard_granularity.sectors_floor()),
            Op::SecureErase => (limits.max_secure_erase_sectors, Sectors(1)),
            _ => (limits.max_write_zeroes_sectors, Sectors(1)),
        };
        let Some(at) = live.find(bio.sector) else {
            self.flight.leave();
            bio.end(BlkStatus::IoErr);
            return;
        };
        let line = &live.lines()[at];
        let clones = match bio.op {
            Op::Discard => line.settings.num_discard_bios,
            Op::SecureErase => line.settings.num_secure_erase_bios,
            _ => line.settings.num_write_zeroes_bios,
        };
        if clones == 0 {
            self.flight.leave();
            bio.end(BlkStatus::NotSupp);
            return;
        }
        // First to the queue's own limit, cut so that what follows starts at a whole unit. What follows goes its own way.
        let mut rest = None;
        if !largest.is_zero() && bio.len() > largest {
            let unit = granularity.0.max(1);
            let end = (bio.sector.0 + largest.0) / unit * unit;
            let piece =
                bio.split_front(if end > bio.sector.0 { Sectors(end - bio.sector.0) } else { largest });
            rest = Some(std::mem::replace(&mut bio, piece));
        }
        // Then to what the line takes at once.
        let mut most = line.end() - bio.sector;
        if line.settings.max_discard_granularity && bio.op == Op::Discard && !largest.is_zero() {
            let into = (bio.sector - line.start).0 % largest.0;
            most = most.min(Sectors(largest.0 - into));
        }
        if most < bio.len() {
            let piece = bio.split_front(most);
            bio.set_dev(dev);
            queue.push(bio);
            bio = piece;
        }
        // It was cut off first, so it goes before what the line has left (`sim/machine/tests/machine/cutting.rs`).
        if let Some(mut rest) = rest {
            rest.set_dev(dev);
            queue.push(rest);
        }
        self.map_clones(dev, live, at, clones, bio, queue);
    }

    /// Maps `clones` bios for one range; the caller has counted one of them.
    fn map_clones<'a>(
        &self,
        dev: &Arc<BlockDevice>,
        live: &Table,
        at: usize,
        clones: u32,
        mut bio: Bio<'a>,
        queue: &mut BioQueue<'a>,
    ) {
        for clone_nr in 1..clones {
            let twin = bio.duplicate(clone_nr);
            self.flight.in_flight.add(1);
            self.map_one(dev, live, at, twin, queue);
        }
        bio.clone_nr = 0;
        self.map_one(dev, live, at, bio, queue);
    }

    /// Remembers the clone, and lets its target map it; the caller has counted it in.
    fn map_one<'a>(
        &self,
        dev: &Arc<BlockDevice>,
        live: &Table,
        at: usize,
        mut bio: Bio<'a>,
        queue: &mut BioQueue<'a>,
    ) {
        if self.map_in_place(dev, live, at, &mut bio) == Redirect::Down {
            queue.push(bio);
        }
    }

    #[inline]
    fn map_in_place(&self, dev: &Arc<BlockDevice>, live: &Table, at: usize, bio: &mut Bio<'_>) -> Redirect {
        let line = &live.lines()[at];
        let started = self.flight.stats.start(&self.flight.runtime, bio);
        let listens = if line.settings.wants_end_io { WANTS_END_IO } else { 0 };
        let retries = if line.settings.may_retry { MAY_RETRY } else { 0 };
        bio.push_device_frame(dev.clone(), [at as u64 | listens | retries, started, 0]);
        let from = bio.sector;
        let status = match line.target.map(bio) {
            Map::Remapped => {
                if self.flight.runtime.tracer().is_on() {
                    self.trace_remap(bio, from);
                }
                return Redirect::Down;
            }
            Map::Submitted => return Redirect::Gone,
            Map::Done(status) => status,
            Map::Requeue => BlkStatus::DmRequeue,
            Map::Kill => {
                bio.set_layer_bits(UNCOUNTED);
                BlkStatus::IoErr
            }
        };
        bio.take().end(status);
        Redirect::Gone
    }

    #[cold]
    fn trace_remap(&self, bio: &Bio<'_>, from: Sector) {
        let Some(to) = bio.dev() else { return };
        self.flight.runtime.tracer().emit(&TraceEvent {
            time: self.flight.runtime.now(),
            dev: self.flight.dev,
            point: TracePoint::Remap { to: to.dev(), to_sector: bio.sector },
            op: bio.op.letters(),
            sector: from,
            len: bio.len(),
            sum: None,
        });
    }

    /// An empty flush; the caller has counted one bio.
    fn map_flush<'a>(
        &self,
        dev: &Arc<BlockDevice>,
        live: &Table,
        mut bio: Bio<'a>,
        queue: &mut BioQueue<'a>,
    ) {
        if live.flush_bypasses_map() {
            for device in live.devices() {
                let mut twin = bio.duplicate(0);
                twin.set_dev(device.device());
                queue.push(twin);
            }
        } else {
            for (at, line) in live.lines().iter().enumerate() {
                for clone_nr in 0..line.settings.num_flush_bios {
                    let twin = bio.duplicate(clone_nr);
                    self.flight.in_flight.add(1);
                    self.map_one(dev, live, at, twin, queue);
                }
            }
        }
        // Linux counts a flush of a mapped device as a write of no sectors (recorded: `core/statistics-of-a-disk`).
        dev.stats().count(Op::Write, Sectors(0));
        self.flight.leave();
        bio.end_ok();
    }

    /// A write that wants a flush before it: the flush goes first, the data follow whatever became of it
    /// (kernel/dm-core.md#the-path-of-a-bio, step 4).
    fn flush_then_write(&self, dev: &Arc<BlockDevice>, mut bio: Bio<'_>, queue: &mut BioQueue<'_>) {
        // The flush has the place and the flags of the write, which a log of writes shows (recorded:
        // `log-writes-images/07-stack`).
        let mut flush = Bio::flush().with_flags(bio.flags);
        flush.sector = bio.sector;
        bio.flags.remove(BioFlags::PREFLUSH);
        bio.set_dev(dev);
        let data = bio.into_owned();
        queue.push(flush.to(dev).on_end(move |_, _| dmlab_block::submit(data)));
    }
}

/// How far a bio at `sector` may reach: to the end of the line, and to the next multiple of its longest IO.
fn room(line: &Line, sector: Sector) -> Sectors {
    let to_end = line.end() - sector;
    let longest = line.settings.max_io_len.0;
    if longest == 0 {
        return to_end;
    }
    let into = (sector - line.start).0 % longest;
    to_end.min(Sectors(longest - into))
}

/// Set in the word of a clone whose target wants to hear of its end; the rest of the word is its line.
const WANTS_END_IO: u64 = 1 << 63;
/// Set in the word of a clone whose target may send it again.
const MAY_RETRY: u64 = 1 << 62;
/// Set in the word of a clone that its target has refused: Linux counts no such bio (recorded: `core/statistics-of-a-disk`).
const UNCOUNTED: u64 = 1 << 61;

/// Ends a bio that a target took ([`Map::Submitted`]) and never sent on: it is refused as by [`Map::Kill`], and not counted.
pub fn refuse(mut bio: Bio<'_>, status: BlkStatus) {
    bio.set_layer_bits(UNCOUNTED);
    bio.end(status);
}

impl DiskOps for MappedDisk {
    /// A read or write that one target takes whole, on a device that runs: nothing but counting and mapping.
    fn redirect(&self, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>) -> Redirect {
        let is_data = matches!(bio.op, Op::Read | Op::Write);
        if !is_data || bio.flags.intersects(BioFlags::PREFLUSH | BioFlags::NOWAIT) || !self.flight.enter() {
            return Redirect::No;
        }
        let live = self.live.load();
        if let Some(live) = &*live
            && let Some(at) = live.find(bio.sector)
        {
            let line = &live.lines()[at];
            if bio.len() <= room(line, bio.sector).min(line.target.accept(bio)) {
                return self.map_in_place(dev, live, at, bio);
            }
        }
        self.flight.leave();
        Redirect::No
    }

    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, bio: Bio<'a>, queue: &mut BioQueue<'a>) {
        if bio.flags.contains(BioFlags::PREFLUSH) && bio.op != Op::Flush {
            self.flush_then_write(dev, bio, queue);
            return;
        }
        if !self.flight.enter() {
            self.hold(dev, bio);
            return;
        }
        let live = self.live.load();
        let Some(live) = &*live else {
            self.flight.leave();
            self.no_table(bio);
            return;
        };
        match bio.op {
            Op::Read | Op::Write => self.map_data(dev, live, bio, queue),
            Op::Flush => self.map_flush(dev, live, bio, queue),
            Op::Discard | Op::SecureErase | Op::WriteZeroes => self.map_range(dev, live, bio, queue),
        }
    }

    fn end_bio(
        &self,
        dev: &Arc<BlockDevice>,
        bio: &mut Bio<'_>,
        [at, started, word]: FrameData,
        status: BlkStatus,
    ) -> End {
        let mut status = status;
        // Most targets do not listen, and then the table is not even looked up.
        if at & WANTS_END_IO != 0
            && let Some(live) = &*self.live.load()
            && let Some(line) = live.lines().get((at & !(WANTS_END_IO | MAY_RETRY | UNCOUNTED)) as usize)
        {
            let may_come_back = at & MAY_RETRY != 0 && !status.is_ok();
            if may_come_back {
                // What is kept passes here once more.
                bio.push_device_frame(dev.clone(), [at & !UNCOUNTED, started, word]);
            }
            match line.target.end_io(bio, word, status) {
                End::Done(said) => status = said,
                End::Kept => return End::Kept,
            }
            if may_come_back {
                bio.pop_frame();
            }
        }
        if status == BlkStatus::DmRequeue {
            // From the suspend's first step on: targets give back what they have queued before bios are held.
            if self.flight.has(NOFLUSH) {
                let mut again = bio.take_owned();
                again.set_dev(dev);
                self.flight.deferred.lock().push_front(again);
                self.flight.leave();
                return End::Kept;
            }
            status = BlkStatus::IoErr;
        }
        if at & UNCOUNTED == 0 {
            self.flight.stats.end(&self.flight.runtime, bio, started);
            dev.stats().count(bio.op, bio.len());
        } else {
            self.flight.stats.forget(bio, started);
        }
        self.flight.leave();
        End::Done(status)
    }

    fn refuses_partitions(&self) -> bool {
        true
    }

    fn takes_requests(&self) -> bool {
        self.takes_requests.load(Ordering::Relaxed)
    }

    fn release(&self, _dev: &BlockDevice, openers_left: u32) {
        (self.on_release)(openers_left);
    }

    fn geometry(&self, _dev: &BlockDevice) -> Option<Geometry> {
        Some(*self.geometry.lock())
    }

    fn ioctl(
        &self,
        dev: &Arc<BlockDevice>,
        mode: OpenMode,
        caller: &dyn Caller,
        request: u32,
        arg: u64,
        memory: &mut dyn UserMemory,
    ) -> Result<i32, Errno> {
        let (below, is_whole) = loop {
            let live = self.live.load_full().ok_or(Errno::ENOTTY)?;
            let [line] = live.lines() else { return Err(Errno::ENOTTY) };
            let route = line.target.route_ioctl();
            if matches!(route, IoctlRoute::Nowhere) {
                return Err(Errno::ENOTTY);
            }
            if self.flight.has(SUSPENDED) {
                return Err(Errno::EAGAIN);
            }
            match route {
                IoctlRoute::Nowhere => return Err(Errno::ENOTTY),
                IoctlRoute::Failed(errno) => return Err(errno),
                IoctlRoute::To { device, is_whole } => break (device, is_whole),
                IoctlRoute::Later(way) => {
                    let waited = self.flight.runtime.block_on(interruptible(caller.interrupt(), way));
                    waited.map_err(|Stalled| Errno::EDEADLK)?.map_err(|Interrupted| Errno::EINTR)?;
                }
            }
        };
        if !is_whole && !caller.is_admin() {
            self.flight.runtime.log(
                Level::Warning,
                format!("device-mapper: core: {}: sending ioctl {request:x} to DM device without required privilege.", dev.name()),
            );
            return Err(Errno::ENOTTY);
        }
        below.ops().ioctl(&below, mode, caller, request, arg, memory)
    }
}
