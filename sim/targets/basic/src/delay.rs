//! `delay`: a device that takes its time.
//!
//! ```text
//! START LEN delay DEVICE OFFSET MS [WRITE_DEVICE OFFSET MS [FLUSH_DEVICE OFFSET MS]]
//! 0 204800 delay /dev/ram0 0 500                     half a second before everything
//! 0 204800 delay /dev/ram0 0 0 /dev/ram0 0 500       writes and flushes wait, reads don't
//!
//!   bio ─> its class ──delay 0──────────────────────────────> the class's device
//!               │                                                   ^
//!               └──> list of held bios ──its tick, or a suspend─────┘
//! ```
//!
//! There are three **classes**: reads, writes (discards too) and flushes, each with a device, an offset and a delay.
//! Fewer than nine words leave the later classes as the one before. A write that carries a flush comes in two pieces,
//! so that both delays add up.
//!
//! A held bio expires at a tick of the kernel (4 ms). If all delays are short, a thread looks at the list all the time
//! and sends a bio off with its tick. Otherwise a timer is set for the first to expire, and the timers of the kernel are
//! late ([`Tick::timer_fires`]): by a tick for short delays, by up to 32 ms for a second.
//!
//! | | |
//! |---|---|
//! | status line | `READS WRITES FLUSHES`: how many bios of each class are held |
//! | table line | as many classes as were given |
//! | messages, events | none |
//! | suspend | sends off what is held, in order; until the resume nothing is delayed |
//!
//! Behaviour: kernel/targets.md#delay, recorded cases `delay/*`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dmlab_block::{Bio, BlkStatus, Op, submit};
use dmlab_dm::{
    BoxFuture, Constructor, Ctr, CtrError, CtrResult, DeviceRange, Map, Module, OrRefuse, StatusKind,
    StatusResult, TableDevice, Target, TargetFeatures, TargetType,
};
use dmlab_runtime::{Runtime, Tick, Ticks, WaitQueue};
use dmlab_units::{Sector, Sectors};
use parking_lot::Mutex;

/// `delay` 1.4.0.
pub static DELAY: TargetType = TargetType {
    name: "delay",
    version: [1, 4, 0],
    features: TargetFeatures::PASSES_INTEGRITY,
    ctr: Constructor::Now(construct),
    module: &Module::named("dm_delay"),
};

/// If every delay is shorter than this, in milliseconds, a thread polls instead of a timer being set.
const POLLED_BELOW_MS: u32 = 50;

const READ: usize = 0;
const WRITE: usize = 1;
const FLUSH: usize = 2;

/// Where bios of one class go, and how long it takes.
#[derive(Clone)]
struct Class {
    device: TableDevice,
    offset: Sector,
    delay_ms: u32,
}

struct Delay {
    classes: [Class; 3],
    /// How many of them the table line names.
    nr_given: usize,
    start: Sector,
    len: Sectors,
    held: Arc<Held>,
}

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let nr_given = match ctr.args.len() {
        3 => 1,
        6 => 2,
        9 => 3,
        _ => return Err(CtrError::invalid("Requires exactly 3, 6 or 9 arguments")),
    };
    let read = open_class(ctr)?;
    let write = if nr_given > 1 { open_class(ctr)? } else { read.clone() };
    let flush = if nr_given > 2 { open_class(ctr)? } else { write.clone() };
    let classes = [read, write, flush];
    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = 1;
    let is_polled = classes.iter().all(|class| class.delay_ms < POLLED_BELOW_MS);
    let held = Arc::new(Held::new(ctr.runtime().clone(), is_polled));
    held.start();
    Ok(Box::new(Delay { classes, nr_given, start: ctr.start, len: ctr.len, held }))
}

/// Reads `DEVICE OFFSET MS`; the numbers are looked at before the device.
fn open_class(ctr: &mut Ctr<'_>) -> Result<Class, CtrError> {
    let [device, offset, delay] = ctr.args.take("Requires exactly 3, 6 or 9 arguments")?;
    let offset = ctr.args.scan_u64(&offset).or_refuse("Invalid device sector")?;
    let delay_ms = ctr.args.scan_u32(&delay).or_refuse("Invalid delay")?;
    let device = ctr.device(&device).or_refuse("Device lookup failed")?;
    Ok(Class { device, offset: Sector(offset), delay_ms })
}

impl Target for Delay {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        let index = match bio.op {
            Op::Read => READ,
            Op::Flush => FLUSH,
            Op::Write | Op::Discard | Op::SecureErase | Op::WriteZeroes => WRITE,
        };
        let class = &self.classes[index];
        bio.set_dev(class.device.device());
        // A flush too has a sector, 0, that is moved: a log of writes shows it.
        bio.sector = Sector(class.offset.0.wrapping_add(bio.sector.0.wrapping_sub(self.start.0)));
        if class.delay_ms == 0 { Map::Remapped } else { self.held.hold(index, class.delay_ms, bio) }
    }

    /// Sends all delayed bios on. Also a suspend that is given up leaves it without delays: only a resume brings them back.
    fn presuspend(&self, _noflush: bool) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.held.is_delaying.store(false, Ordering::SeqCst);
            self.held.release(Which::All);
        })
    }

    fn resume(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.held.is_delaying.store(true, Ordering::SeqCst) })
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let written = match kind {
            StatusKind::Info => {
                let [reads, writes, flushes] = self.held.list.lock().counts;
                write!(out, "{reads} {writes} {flushes}")
            }
            StatusKind::Table => {
                let line =
                    |class: &Class| format!("{} {} {}", class.device.dev(), class.offset, class.delay_ms);
                let given: Vec<String> = self.classes.iter().take(self.nr_given).map(line).collect();
                write!(out, "{}", given.join(" "))
            }
            StatusKind::Ima => Ok(()),
        };
        written.into()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        let classes = self.classes.iter();
        Some(classes.map(|class| DeviceRange::new(&class.device, class.offset, self.len)).collect())
    }
}

impl Drop for Delay {
    /// Nothing is held any more, unless the whole machine ends.
    fn drop(&mut self) {
        self.held.stop();
    }
}

/// The bios that are delayed, and the state of what sends them on.
struct Held {
    runtime: Arc<Runtime>,
    is_polled: bool,
    is_delaying: AtomicBool,
    list: Mutex<List>,
    /// The alarm was set to an earlier time, or the target is gone.
    changed: WaitQueue,
}

#[derive(Default)]
struct List {
    /// The bios in order of arrival.
    bios: Vec<HeldBio>,
    counts: [u32; 3],
    alarm: Option<Alarm>,
    is_stopped: bool,
}

struct HeldBio {
    expires: Tick,
    class: usize,
    bio: Bio<'static>,
}

/// When the list is looked at next.
#[derive(Clone, Copy, PartialEq)]
struct Alarm {
    /// What it was set for.
    expires: Tick,
    /// When it really goes off.
    fires: Tick,
}

#[derive(Clone, Copy, PartialEq)]
enum Which {
    Expired,
    All,
}

impl Held {
    fn new(runtime: Arc<Runtime>, is_polled: bool) -> Held {
        let changed = WaitQueue::default();
        Held { runtime, is_polled, is_delaying: AtomicBool::new(true), list: Mutex::default(), changed }
    }

    fn start(self: &Arc<Self>) {
        let held = self.clone();
        let worker = async move {
            loop {
                let (alarm, is_stopped) = held.state();
                if is_stopped {
                    return;
                }
                let fires = alarm.map(|alarm| alarm.fires.begins());
                let changes = || held.state() != (alarm, false);
                held.changed.until_deadline(&held.runtime, fires, changes).await;
                if fires.is_some_and(|fires| held.runtime.now() >= fires) {
                    held.release(Which::Expired);
                }
            }
        };
        self.runtime.spawn("kdelayd", worker).detach();
    }

    fn state(&self) -> (Option<Alarm>, bool) {
        let list = self.list.lock();
        (list.alarm, list.is_stopped)
    }

    /// Keeps a bio that knows already where it will go, unless a suspend has switched that off.
    fn hold(&self, class: usize, delay_ms: u32, bio: &mut Bio<'_>) -> Map {
        if !self.is_delaying.load(Ordering::SeqCst) {
            return Map::Remapped;
        }
        let now = self.runtime.now().tick();
        let expires = now + Ticks::from_millis(delay_ms);
        let is_earlier = {
            let mut list = self.list.lock();
            // Looked at again under the lock: what switches it off takes the lock after that.
            if !self.is_delaying.load(Ordering::SeqCst) {
                return Map::Remapped;
            }
            list.counts[class] += 1;
            list.bios.push(HeldBio { expires, class, bio: bio.take_owned() });
            let is_earlier = list.alarm.is_none_or(|alarm| expires < alarm.expires);
            if is_earlier {
                list.alarm = Some(self.alarm(now, expires));
            }
            is_earlier
        };
        if is_earlier {
            self.changed.wake_all();
        }
        Map::Submitted
    }

    fn alarm(&self, now: Tick, expires: Tick) -> Alarm {
        let fires = if self.is_polled { expires } else { now.timer_fires(expires) };
        Alarm { expires, fires }
    }

    /// Sends off what has expired, or everything, in order of arrival, and sets the alarm for what stays.
    fn release(&self, which: Which) {
        let now = self.runtime.now().tick();
        let ready = {
            let mut list = self.list.lock();
            let is_ready = |held: &HeldBio| which == Which::All || held.expires <= now;
            let (ready, waiting) =
                std::mem::take(&mut list.bios).into_iter().partition::<Vec<_>, _>(is_ready);
            list.bios = waiting;
            for held in &ready {
                list.counts[held.class] -= 1;
            }
            list.alarm = list.bios.iter().map(|held| held.expires).min().map(|first| self.alarm(now, first));
            ready
        };
        for held in ready {
            submit(held.bio);
        }
    }

    /// Ends the worker, and with an error whatever is still held.
    fn stop(&self) {
        let left = {
            let mut list = self.list.lock();
            list.is_stopped = true;
            std::mem::take(&mut list.bios)
        };
        self.changed.wake_all();
        for held in left {
            held.bio.end(BlkStatus::IoErr);
        }
    }
}
