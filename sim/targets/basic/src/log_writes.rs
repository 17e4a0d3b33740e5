//! `log-writes`: sends everything on, and writes down on a second device what was written, in the order in which it
//! became durable.
//!
//! ```text
//! START LEN log-writes DEVICE LOG_DEVICE
//! 0 2097152 log-writes /dev/ram0 /dev/ram1
//!
//!   write ──> DEVICE ──ended──> list of unflushed writes
//!   flush ──> takes that list ──> DEVICE ──ended──> its writes, then the flush ─┐
//!   forced write (FUA) ──> DEVICE ──ended──> at once ───────────────────────────┼──> LOG_DEVICE
//!   message "mark TEXT" ──> at once ────────────────────────────────────────────┘
//! ```
//!
//! A test of a file system replays such a log up to some entry and looks whether what a crash there would have left can
//! be used. The order is what makes it honest: a write is in the log only when the device had promised to keep it.
//! A write's data are those it had when it was submitted.
//!
//! | | |
//! |---|---|
//! | status line | `ENTRIES LAST_SECTOR[ logging_disabled]`: entries logged, last sector of the log in use |
//! | table line | `MAJOR:MINOR MAJOR:MINOR` |
//! | messages | `mark TEXT` |
//! | flushes | taken whatever the device below is like, so that they are seen |
//! | discards | taken too; if the device below has none, they are logged and go no further |
//!
//! The format is in `dmlab-log-format`. The superblock is written after each forced write and each mark, so its count
//! may lag. When the table goes, what is unflushed is logged all the same, then a last mark. When the log device is
//! full or fails, logging ends for good, and IO goes on.
//!
//! Sectors are not moved: a target that does not start at 0 writes to DEVICE where it stands in the mapped device, as
//! on Linux.
//!
//! Behaviour: kernel/targets.md#log-writes, recorded cases `log-writes/*` and the recorded logs in
//! `golden/log-writes-images`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use dmlab_block::{
    Bio, BioFlags, BlkStatus, BlockDevice, Caller, End, Meaning, Op, QueueLimits, Tag, submit,
};
use dmlab_dm::kit::TargetLog;
use dmlab_dm::{
    BoxFuture, Constructor, Ctr, CtrResult, DeviceRange, IoctlRoute, Map, MessageResult, Messages, Module,
    OrRefuse, Saved, StatusKind, StatusResult, TableDevice, Target, TargetFeatures, TargetType,
};
use dmlab_formats::log_writes::{END_MARK, Entry, EntryFlags, Superblock};
use dmlab_runtime::{Quirks, Runtime, WaitQueue};
use dmlab_units::{Bytes, Errno, SECTOR_SIZE, Sector, Sectors};
use parking_lot::Mutex;

const MODULE: Module = Module {
    meanings: &[
        Meaning::new("log-super", "the superblock of a log-writes log", "", "entries before it"),
        Meaning::new("log-entry", "an entry of a log-writes log", "", "the entry"),
        Meaning::new("log-data", "the data of an entry of a log-writes log", "", "the entry"),
    ],
    ..Module::named("dm_log_writes")
};

/// `log-writes` 1.1.0.
pub static LOG_WRITES: TargetType = TargetType {
    name: "log-writes",
    version: [1, 1, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(construct),
    module: &MODULE,
};

/// Longest discard where the device below has none: what 32 bits of bytes hold.
const MAX_PRETENDED_DISCARD: Sectors = Sectors(u32::MAX as u64 >> 9);

struct LogWrites {
    device: TableDevice,
    log_device: TableDevice,
    len: Sectors,
    /// Whether discards go to the device.
    has_discards: bool,
    log: Arc<Log>,
}

/// Words after the second are ignored.
fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let [device, log_device] = ctr.args.take("Invalid argument count")?;
    let device = ctr.device(&device).or_refuse("Device lookup failed")?;
    let log_device = ctr.device(&log_device).or_refuse("Log device lookup failed")?;
    ctr.settings.flush_supported = true;
    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = 1;
    ctr.settings.discards_supported = true;
    let block = device.device().limits().logical_block_size;
    let has_discards = device.device().supports(Op::Discard);
    let log = Log::start(ctr.runtime().clone(), ctr.log("log-writes"), log_device.device().clone(), block);
    Ok(Box::new(LogWrites { device, log_device, len: ctr.len, has_discards, log }))
}

impl LogWrites {
    /// What is to be written down of a bio.
    fn record(&self, bio: &Bio<'_>) -> Record {
        let is = |condition, flag| if condition { flag } else { EntryFlags::empty() };
        let flags = is(bio.op == Op::Flush, EntryFlags::FLUSH)
            | is(bio.flags.contains(BioFlags::FUA), EntryFlags::FUA)
            | is(bio.op == Op::Discard, EntryFlags::DISCARD)
            | is(bio.flags.contains(BioFlags::META), EntryFlags::METADATA);
        let per_block = self.log.block_sectors();
        let entry = Entry {
            sector: bio.sector.0 / per_block,
            nr_sectors: bio.len().0 / per_block,
            flags,
            text: Vec::new(),
        };
        let data = if bio.op == Op::Write { bio.bytes().map(Arc::from) } else { None };
        Record { entry, data, after: Vec::new() }
    }
}

impl Target for LogWrites {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        bio.set_dev(self.device.device());
        // Nothing is noted any more once logging has ended.
        let noted = if bio.op.is_write() { self.log.begin(self.record(bio)) } else { None };
        if bio.op == Op::Discard && !self.has_discards {
            noted.inspect(|id| self.log.finish(*id));
            return Map::Done(BlkStatus::Ok);
        }
        noted.map_or(Map::Remapped, Map::RemappedAndHear)
    }

    /// A write is logged as it was asked for, whether or not it went well.
    fn end_io(&self, _bio: &mut Bio<'_>, id: u64, status: BlkStatus) -> End {
        self.log.finish(id);
        End::Done(status)
    }

    /// Logs what was never flushed, and a last mark, and waits until all of it is on the log device.
    fn destroy(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.log.flush_and_mark_end();
            self.log.changed.until(|| self.log.is_idle()).await;
        })
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let written = match kind {
            StatusKind::Info => {
                let state = self.log.state.lock();
                let disabled = if state.is_enabled { "" } else { " logging_disabled" };
                write!(out, "{} {}{disabled}", state.nr_logged, state.next.0 - 1)
            }
            StatusKind::Table => write!(out, "{} {}", self.device.dev(), self.log_device.dev()),
            StatusKind::Ima => Ok(()),
        };
        written.into()
    }

    /// How far the log is, and what is still to be written there.
    fn save(&self) -> Option<Saved> {
        let state = self.log.state.lock();
        Some(Saved::new(LogState {
            is_enabled: state.is_enabled,
            nr_logged: state.nr_logged,
            next: state.next,
            unflushed: state.unflushed.clone(),
            queue: state.queue.clone(),
        }))
    }

    fn restore(&self, saved: &Saved) {
        let known = saved.get::<LogState>();
        {
            let mut state = self.log.state.lock();
            state.is_enabled = known.is_enabled;
            (state.nr_logged, state.next) = (known.nr_logged, known.next);
            state.unflushed.clone_from(&known.unflushed);
            state.queue.clone_from(&known.queue);
        }
        self.log.changed.wake_all();
    }

    fn messages(&self) -> Option<&dyn Messages> {
        Some(self)
    }

    /// Ioctls go to the device below; freely only if the target is as long as it.
    fn route_ioctl(&self) -> IoctlRoute<'_> {
        let device = self.device.device().clone();
        let is_whole = self.len == device.capacity();
        IoctlRoute::To { device, is_whole }
    }

    /// The log device is not looked at: neither its size nor its limits matter to the table.
    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![DeviceRange::new(&self.device, Sector::ZERO, self.len)])
    }

    fn io_hints(&self, limits: &mut QueueLimits) {
        let below = self.device.device().limits();
        if !self.has_discards {
            limits.discard_granularity = Bytes(self.log.block_sectors() * SECTOR_SIZE);
            limits.max_discard_sectors = MAX_PRETENDED_DISCARD;
            // Where limits stay as they are, nothing says what the hardware takes.
            if !self.log.runtime.has(Quirks::LIMITS_STAY_STACKED) {
                limits.max_hw_discard_sectors = MAX_PRETENDED_DISCARD;
            }
        }
        limits.logical_block_size = below.logical_block_size;
        limits.physical_block_size = below.physical_block_size;
        limits.io_min = below.physical_block_size;
        limits.dma_alignment = below.logical_block_size.0 as u32 - 1;
    }
}

impl Messages for LogWrites {
    fn message<'a>(&'a self, words: &'a [Vec<u8>], _caller: &'a dyn Caller) -> BoxFuture<'a, MessageResult> {
        let warn = |text: String| {
            self.log.lines.warn(text);
            Err(Errno::EINVAL)
        };
        let answer = match words {
            [name, text] if name.eq_ignore_ascii_case(b"mark") => {
                self.log.mark(text);
                Ok(None)
            }
            [name, _] => {
                let name = String::from_utf8_lossy(name);
                warn(format!("Unrecognised log writes target message received: {name}"))
            }
            _ => {
                let got = words.len();
                warn(format!("Invalid log-writes message arguments, expect 2 arguments, got {got}"))
            }
        };
        Box::pin(async { answer })
    }
}

impl Drop for LogWrites {
    fn drop(&mut self) {
        self.log.state.lock().is_stopped = true;
        self.log.changed.wake_all();
    }
}

/// A log as far as it is.
struct LogState {
    is_enabled: bool,
    nr_logged: u64,
    next: Sector,
    unflushed: Vec<Record>,
    queue: VecDeque<Record>,
}

/// What is, or will be, an entry of the log.
#[derive(Clone)]
struct Record {
    entry: Entry,
    data: Option<Arc<[u8]>>,
    /// The writes that wait for this flush.
    after: Vec<Record>,
}

/// The log and what is on its way there.
struct Log {
    runtime: Arc<Runtime>,
    /// The target's lines of the kernel log.
    lines: TargetLog,
    device: Arc<BlockDevice>,
    /// Bytes of a log block.
    block: Bytes,
    state: Mutex<State>,
    /// The queue of those that wait until there is something to write, all is written, or the target is gone.
    changed: WaitQueue,
}

struct State {
    is_enabled: bool,
    is_stopped: bool,
    nr_logged: u64,
    /// Where the next entry goes.
    next: Sector,
    /// Records of bios that have not ended, by the word they carry.
    in_flight: BTreeMap<u64, Record>,
    last_id: u64,
    /// Writes that have ended, in that order, and wait for a flush.
    unflushed: Vec<Record>,
    /// Records to be written, in order.
    queue: VecDeque<Record>,
    /// Bios under way to the log device.
    nr_bios: u32,
    is_writing: bool,
}

impl Log {
    fn start(runtime: Arc<Runtime>, lines: TargetLog, device: Arc<BlockDevice>, block: Bytes) -> Arc<Log> {
        let state = State {
            is_enabled: true,
            is_stopped: false,
            nr_logged: 0,
            next: Sector(block.0 / SECTOR_SIZE),
            in_flight: BTreeMap::new(),
            last_id: 0,
            unflushed: Vec::new(),
            queue: VecDeque::new(),
            nr_bios: 0,
            is_writing: false,
        };
        let state = Mutex::new(state);
        let log = Arc::new(Log { runtime, lines, device, block, state, changed: WaitQueue::default() });
        let worker = log.clone();
        log.runtime.spawn("log-write", async move { worker.work().await }).detach();
        log
    }

    fn block_sectors(&self) -> u64 {
        self.block.0 / SECTOR_SIZE
    }

    fn block_size(&self) -> u32 {
        self.block.0 as u32
    }

    /// Notes a bio that goes on to the device. A flush takes along the writes that have ended by now.
    fn begin(&self, mut record: Record) -> Option<u64> {
        let mut state = self.state.lock();
        if !state.is_enabled {
            return None;
        }
        if record.entry.flags.contains(EntryFlags::FLUSH) {
            record.after = std::mem::take(&mut state.unflushed);
        }
        state.last_id += 1;
        let id = state.last_id;
        state.in_flight.insert(id, record);
        Some(id)
    }

    /// A noted bio has ended.
    fn finish(&self, id: u64) {
        {
            let mut state = self.state.lock();
            let Some(mut record) = state.in_flight.remove(&id) else { return };
            if record.entry.flags.contains(EntryFlags::FLUSH) {
                let writes = std::mem::take(&mut record.after);
                state.queue.extend(writes);
            } else if !record.entry.flags.contains(EntryFlags::FUA) {
                state.unflushed.push(record);
                return;
            }
            state.queue.push_back(record);
        }
        self.changed.wake_all();
    }

    fn mark(&self, text: &[u8]) {
        let entry = Entry::mark(text, self.block_size());
        self.state.lock().queue.push_back(Record { entry, data: None, after: Vec::new() });
        self.changed.wake_all();
    }

    fn flush_and_mark_end(&self) {
        {
            let mut state = self.state.lock();
            let left = std::mem::take(&mut state.unflushed);
            state.queue.extend(left);
        }
        self.mark(END_MARK);
    }

    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.queue.is_empty() && state.nr_bios == 0 && !state.is_writing
    }

    async fn work(self: Arc<Self>) {
        loop {
            let has_work = || {
                let state = self.state.lock();
                state.is_stopped || !state.queue.is_empty()
            };
            self.changed.until(has_work).await;
            if self.state.lock().is_stopped {
                return;
            }
            if let Some((at, nr, record)) = self.next_record() {
                self.write(at, nr, record).await;
            }
            self.state.lock().is_writing = false;
            self.changed.wake_all();
        }
    }

    /// The next record to be written, where, and its number, if logging goes on. One that does not fit ends it; the place after it
    /// is counted all the same, as on Linux.
    fn next_record(&self) -> Option<(Sector, u64, Record)> {
        let mut state = self.state.lock();
        let record = state.queue.pop_front()?;
        state.is_writing = true;
        if !state.is_enabled {
            return None;
        }
        let at = state.next;
        let nr_blocks = record.entry.nr_data_blocks().saturating_add(1);
        state.next = Sector(at.0.saturating_add(nr_blocks.saturating_mul(self.block_sectors())));
        let size = self.device.capacity();
        // The last block stays unused.
        if !size.is_zero() && state.next.0 >= size.0 {
            state.is_enabled = false;
            self.lines.err("Ran out of space on the logdev");
            return None;
        }
        state.nr_logged += 1;
        Some((at, state.nr_logged - 1, record))
    }

    /// Writes an entry and its data without waiting for them, and the superblock, waiting, where it is due.
    async fn write(self: &Arc<Self>, at: Sector, nr: u64, record: Record) {
        let Record { entry, data, .. } = record;
        self.send(at, entry.encode(self.block_size()).into(), Tag::new("log-entry", 0, nr));
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            self.send(at + Sectors(self.block_sectors()), data, Tag::new("log-data", 0, nr));
        }
        if entry.flags.intersects(EntryFlags::FUA | EntryFlags::MARK) {
            let nr_entries = self.state.lock().nr_logged;
            let superblock = Superblock { nr_entries, block_size: self.block_size() };
            let done = self.send(Sector::ZERO, superblock.encode().into(), Tag::new("log-super", 0, nr));
            done.until_ended(self).await;
        }
    }

    fn send(self: &Arc<Self>, at: Sector, data: Arc<[u8]>, tag: Tag) -> Sent {
        let sent = Sent::default();
        let (log, is_done) = (self.clone(), sent.is_done.clone());
        self.state.lock().nr_bios += 1;
        let ended = move |status: BlkStatus, _| {
            {
                let mut state = log.state.lock();
                state.nr_bios -= 1;
                if !status.is_ok() {
                    state.is_enabled = false;
                }
            }
            if !status.is_ok() {
                let number = status.number();
                log.lines.err(format_args!("Error writing log block, error={number}"));
            }
            *is_done.lock() = true;
            log.changed.wake_all();
        };
        submit(Bio::write_owned(at, data).with_tag(tag).to(&self.device).on_end(ended));
        sent
    }
}

/// A bio to the log device.
#[derive(Default)]
struct Sent {
    is_done: Arc<Mutex<bool>>,
}

impl Sent {
    async fn until_ended(&self, log: &Log) {
        log.changed.until(|| *self.is_done.lock()).await;
    }
}
