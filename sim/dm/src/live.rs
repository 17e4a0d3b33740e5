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
//! In flight are the clones whose end has not come. A suspend first raises [`BLOCKED`](crate::io_state::BLOCKED), then waits until the
//! count is zero; a bio first counts itself, then looks at the flag. Whatever the order, one of them sees the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use dmlab_abi::Geometry;
use dmlab_block::{
    Bio, BioFlags, BioQueue, BlkStatus, BlockDevice, Caller, DiskOps, End, FrameData, Op, OpenMode, Redirect,
    UserMemory, submit,
};
use dmlab_runtime::{Interrupted, Level, RateLimit, Stalled, TraceEvent, TracePoint, interruptible};
use dmlab_units::{Errno, Sector, Sectors};
use parking_lot::Mutex;

use crate::io_state::{IoState, NOFLUSH, SUSPENDED};
use crate::{IoctlRoute, Map, Table, TableEntry, TargetFeatures};

/// The driver behind a mapped device's disk.
pub(crate) struct MappedDisk {
    pub(crate) io: Arc<IoState>,
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
    pub(crate) fn new(io: Arc<IoState>, on_release: Box<dyn Fn(u32) + Send + Sync>) -> MappedDisk {
        MappedDisk {
            io,
            live: ArcSwapOption::empty(),
            geometry: Mutex::default(),
            takes_requests: AtomicBool::new(false),
            on_release,
            no_table_limit: RateLimit::default(),
        }
    }

    /// A bio that found the device suspended.
    fn hold(&self, dev: &Arc<BlockDevice>, mut bio: Bio<'_>) {
        if bio.flags.contains(BioFlags::NOWAIT) {
            bio.end(BlkStatus::Again);
        } else if bio.flags.contains(BioFlags::RAHEAD) {
            bio.end(BlkStatus::IoErr);
        } else {
            bio.set_dev(dev);
            let runtime = &self.io.runtime;
            if runtime.tracer().is_on() {
                runtime.tracer().emit(&TraceEvent {
                    time: runtime.now(),
                    dev: self.io.dev,
                    point: TracePoint::Defer,
                    op: bio.op.letters(),
                    sector: bio.sector,
                    len: bio.len(),
                    sum: None,
                });
            }
            self.io.defer(bio.into_owned());
        }
    }

    fn no_table(&self, bio: Bio<'_>) {
        let runtime = &self.io.runtime;
        if self.no_table_limit.allows(runtime.now()) {
            let dev = self.io.dev;
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
            self.io.in_flight.leave();
            bio.end(BlkStatus::IoErr);
            return;
        };
        let line = &live.lines()[at];
        if bio.flags.contains(BioFlags::NOWAIT) && !line.kind.features.contains(TargetFeatures::NOWAIT) {
            self.io.in_flight.leave();
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
            self.io.in_flight.leave();
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
            self.io.in_flight.leave();
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
        // What was cut off first goes before what the line has left (`sim/machine/tests/machine/cutting.rs`).
        if let Some(mut rest) = rest {
            rest.set_dev(dev);
            queue.push(rest);
        }
        if most < bio.len() {
            let piece = bio.split_front(most);
            bio.set_dev(dev);
            queue.push(bio);
            bio = piece;
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
        for clone_nr in 0..clones - 1 {
            let twin = bio.duplicate(clone_nr);
            self.io.in_flight.enter();
            self.map_one(dev, live, at, twin, queue);
        }
        bio.clone_nr = clones - 1;
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
        let started = self.io.stats.start(&self.io.runtime, bio);
        bio.push_device_frame(dev.clone(), [at as u64, started, 0]);
        let from = bio.sector;
        let (bits, bio_data) = match line.target.map(bio) {
            Map::Remapped => (0, 0),
            Map::RemappedAndHear(bio_data) => (HEARS_END, bio_data),
            Map::RemappedMayRetry(bio_data) => (HEARS_END | MAY_RETRY, bio_data),
            Map::Submitted => return Redirect::Gone,
            Map::Done(status) => {
                bio.take().end(status);
                return Redirect::Gone;
            }
            Map::Requeue => {
                bio.take().end(BlkStatus::DmRequeue);
                return Redirect::Gone;
            }
            Map::Kill => {
                refuse(bio.take(), BlkStatus::IoErr);
                return Redirect::Gone;
            }
        };
        if bits != 0 {
            bio.set_device_data(bits, bio_data);
        }
        if self.io.runtime.tracer().is_on() {
            self.trace_remap(bio, from);
        }
        Redirect::Down
    }

    #[cold]
    fn trace_remap(&self, bio: &Bio<'_>, from: Sector) {
        let Some(to) = bio.dev() else { return };
        self.io.runtime.tracer().emit(&TraceEvent {
            time: self.io.runtime.now(),
            dev: self.io.dev,
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
            // As Linux lists a table's devices: the last opened first (recorded: `delay/tables`).
            for device in live.devices().iter().rev() {
                let mut twin = bio.duplicate(0);
                twin.set_dev(device.device());
                queue.push(twin);
            }
        } else {
            for (at, line) in live.lines().iter().enumerate() {
                for clone_nr in 0..line.settings.num_flush_bios {
                    let twin = bio.duplicate(clone_nr);
                    self.io.in_flight.enter();
                    self.map_one(dev, live, at, twin, queue);
                }
            }
        }
        // Linux counts a flush of a mapped device as a write of no sectors (recorded: `core/statistics-of-a-disk`).
        dev.stats().count(Op::Write, Sectors(0));
        self.io.in_flight.leave();
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
        queue.push(flush.to(dev).on_end(move |_, _| submit(data)));
    }
}

/// How far a bio at `sector` may reach: to the end of the line, and to the next multiple of its longest IO.
fn room(line: &TableEntry, sector: Sector) -> Sectors {
    let to_end = line.end() - sector;
    let longest = line.settings.max_io_len.0;
    if longest == 0 {
        return to_end;
    }
    let into = (sector - line.start).0 % longest;
    to_end.min(Sectors(longest - into))
}

/// Set in the first word of a clone whose target hears its end; what is below the flags is the number of its table entry.
const HEARS_END: u64 = 1 << 63;
/// Set in the first word of a clone that its target may send again.
const MAY_RETRY: u64 = 1 << 62;
/// Set in the first word of a clone that its target has refused: Linux counts no such bio (recorded:
/// `core/statistics-of-a-disk`).
const UNCOUNTED: u64 = 1 << 61;
/// Every flag in the first word of a clone.
const FLAGS: u64 = HEARS_END | MAY_RETRY | UNCOUNTED;

/// Asks that a target that took a bio ([`Map::Submitted`]) and is about to send it on hears its end, with this word: what
/// [`Map::RemappedAndHear`] says of one that is sent on at once.
pub fn hear_end(bio: &mut Bio<'_>, bio_data: u64) {
    bio.set_device_data(HEARS_END, bio_data);
}

/// Ends a bio that a target took ([`Map::Submitted`]) and never sent on: it is refused as by [`Map::Kill`], and not counted.
pub fn refuse(mut bio: Bio<'_>, status: BlkStatus) {
    bio.set_device_bits(UNCOUNTED);
    bio.end(status);
}

/// Carries out what a later call of `map` said of a bio that was taken ([`Map::Submitted`]).
pub fn follow(mut bio: Bio<'static>, said: Map) {
    match said {
        Map::Remapped => submit(bio),
        Map::RemappedAndHear(bio_data) => {
            bio.set_device_data(HEARS_END, bio_data);
            submit(bio);
        }
        Map::RemappedMayRetry(bio_data) => {
            bio.set_device_data(HEARS_END | MAY_RETRY, bio_data);
            submit(bio);
        }
        Map::Submitted => {}
        Map::Done(status) => bio.end(status),
        Map::Requeue => bio.end(BlkStatus::DmRequeue),
        Map::Kill => refuse(bio, BlkStatus::IoErr),
    }
}

impl DiskOps for MappedDisk {
    /// A read or write that one target takes whole, on a device that runs: nothing but counting and mapping.
    fn redirect(&self, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>) -> Redirect {
        let is_data = matches!(bio.op, Op::Read | Op::Write);
        if !is_data || bio.flags.intersects(BioFlags::PREFLUSH | BioFlags::NOWAIT) || !self.io.enter() {
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
        self.io.in_flight.leave();
        Redirect::No
    }

    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, bio: Bio<'a>, queue: &mut BioQueue<'a>) {
        if bio.flags.contains(BioFlags::PREFLUSH) && bio.op != Op::Flush {
            self.flush_then_write(dev, bio, queue);
            return;
        }
        if !self.io.enter() {
            self.hold(dev, bio);
            return;
        }
        let live = self.live.load();
        let Some(live) = &*live else {
            self.io.in_flight.leave();
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
        [at, started, bio_data]: FrameData,
        status: BlkStatus,
    ) -> End {
        let mut status = status;
        // Most bios have no target that hears their end, and then the table is not even looked up.
        if at & HEARS_END != 0
            && let Some(live) = &*self.live.load()
            && let Some(line) = live.lines().get((at & !FLAGS) as usize)
        {
            let may_come_back = at & MAY_RETRY != 0 && !status.is_ok();
            if may_come_back {
                // A bio that is kept stands as it stood before it was mapped, and passes here once more.
                bio.push_device_frame(dev.clone(), [at & !FLAGS, started, 0]);
            }
            match line.target.end_io(bio, bio_data, status) {
                End::Done(said) => status = said,
                End::Kept => return End::Kept,
            }
            if may_come_back {
                bio.pop_frame();
            }
        }
        if status == BlkStatus::DmRequeue {
            // From the suspend's first step on: targets give back what they have queued before bios are held.
            if self.io.has(NOFLUSH) {
                let mut again = bio.take_owned();
                again.set_dev(dev);
                self.io.defer_again(again);
                self.io.in_flight.leave();
                return End::Kept;
            }
            status = BlkStatus::IoErr;
        }
        if at & UNCOUNTED == 0 {
            self.io.stats.end(&self.io.runtime, bio, started);
            // A flush was counted where it came in, once for all its clones (recorded: `core/statistics-of-flushes`).
            if bio.op != Op::Flush {
                dev.stats().count(bio.op, bio.len());
            }
        } else {
            self.io.stats.forget(bio, started);
        }
        self.io.in_flight.leave();
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
            if self.io.has(SUSPENDED) {
                return Err(Errno::EAGAIN);
            }
            match route {
                IoctlRoute::Nowhere => return Err(Errno::ENOTTY),
                IoctlRoute::Failed(errno) => return Err(errno),
                IoctlRoute::To { device, is_whole } => break (device, is_whole),
                IoctlRoute::Wait(way) => {
                    let waited = self.io.runtime.block_on(interruptible(caller.interrupt(), way));
                    waited.map_err(|Stalled| Errno::EDEADLK)?.map_err(|Interrupted| Errno::EINTR)?;
                }
            }
        };
        if !is_whole && !caller.is_admin() {
            self.io.runtime.log(
                Level::Warning,
                format!("device-mapper: core: {}: sending ioctl {request:x} to DM device without required privilege.", dev.name()),
            );
            return Err(Errno::ENOTTY);
        }
        below.ops().ioctl(&below, mode, caller, request, arg, memory)
    }
}
