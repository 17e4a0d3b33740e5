//! The paths, the groups they stand in, and the way of a bio among them.
//!
//! A bio that has no path and may wait is in `State::queue`. Whatever may give it one (a path reinstated, queueing
//! switched off, a suspend) has the queue mapped anew; so has the end of a bio that failed, from a task, because that end
//! may be told in the middle of another bio's submission.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use dmlab_block::{Bio, BioFlags, BlkStatus, BlockDevice, End};
use dmlab_dm::kit::{BioList, TargetLog};
use dmlab_dm::{Ctr, EventCounter, Map, TableDevice, TableEvents, follow};
use dmlab_runtime::{HZ, Runtime, Task, Ticks};
use dmlab_units::{DevT, Errno, SECTOR_SIZE};
use parking_lot::Mutex;

use super::Parameters;
use super::selector::Selector;

/// How the device takes IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Bio,
    Request,
}

/// What the constructor read and nothing changes.
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) retains_handler: bool,
    pub(super) pg_init_retries: Option<u32>,
    pub(super) pg_init_delay_msecs: Option<u32>,
}

/// A multipath device. Paths are numbered through all groups, in the order of the table.
pub(super) struct MultipathDevice {
    pub(super) dev: DevT,
    pub(super) settings: Settings,
    pub(super) paths: Vec<TableDevice>,
    pub(super) state: Mutex<State>,
    /// Moves whenever an ioctl that waits for a path should look again.
    pub(super) changes: EventCounter,
    pub(super) runtime: Arc<Runtime>,
    pub(super) log: TargetLog,
    /// What a selector wants to know of bios on their way.
    tracking: Tracking,
    events: TableEvents,
    parameters: Arc<Parameters>,
    is_event_pending: AtomicBool,
    /// Itself, for its tasks.
    this: Weak<MultipathDevice>,
}

#[derive(Clone, Copy)]
struct Tracking {
    ends: bool,
    times: bool,
    /// Bits of the word of a bio that hold its path.
    path_bits: u32,
}

#[derive(Clone)]
pub(super) struct Path {
    pub(super) is_active: bool,
    pub(super) failures: u32,
    pub(super) group: usize,
}

pub(super) struct Group {
    pub(super) selector: Box<dyn Selector>,
    pub(super) paths: Range<usize>,
    /// Used only when no other group has a path.
    pub(super) is_bypassed: bool,
}

pub(super) struct State {
    pub(super) paths: Vec<Path>,
    pub(super) groups: Vec<Group>,
    pub(super) valid_paths: usize,
    pub(super) current: Option<usize>,
    /// The group to be tried first, once.
    pub(super) next: Option<usize>,
    /// Shown by the status line: no group has been chosen since the table was made.
    pub(super) queue_io: bool,
    /// Bios without a path wait (`queue_if_no_path`).
    pub(super) queues: bool,
    /// What `queues` will be after the suspend.
    saved_queues: bool,
    is_noflush: bool,
    pub(super) is_suspended: bool,
    queue: BioList,
    is_retry_pending: bool,
    timeout: Option<Task<()>>,
}

/// What has become of paths and groups.
pub(super) struct MultipathState {
    paths: Vec<Path>,
    /// The selector of each group, and whether the group is bypassed.
    groups: Vec<(Box<dyn Selector>, bool)>,
    current: Option<usize>,
    next: Option<usize>,
    queue_io: bool,
}

/// A group as the constructor read it.
pub(super) struct NewGroup {
    pub(super) selector: Box<dyn Selector>,
    pub(super) devices: Vec<TableDevice>,
}

/// Set in the word of a bio that was a forced write: a path without a cache takes the flag off.
const FORCED: u64 = 1 << 63;

impl MultipathDevice {
    pub(super) fn new(
        ctr: &Ctr<'_>,
        settings: Settings,
        queues: bool,
        groups: Vec<NewGroup>,
        first: Option<usize>,
    ) -> Arc<MultipathDevice> {
        let mut devices = Vec::new();
        let mut state = State {
            paths: Vec::new(),
            groups: Vec::new(),
            valid_paths: 0,
            current: None,
            next: first,
            queue_io: true,
            queues,
            saved_queues: queues,
            is_noflush: false,
            is_suspended: false,
            queue: BioList::default(),
            is_retry_pending: false,
            timeout: None,
        };
        for (number, group) in groups.into_iter().enumerate() {
            let begin = devices.len();
            devices.extend(group.devices);
            let paths = begin..devices.len();
            state.paths.extend(paths.clone().map(|_| Path { is_active: true, failures: 0, group: number }));
            state.groups.push(Group { selector: group.selector, paths, is_bypassed: false });
        }
        state.valid_paths = devices.len();
        let tracking = Tracking {
            ends: state.groups.iter().any(|group| group.selector.tracks_io()),
            times: state.groups.iter().any(|group| group.selector.tracks_time()),
            path_bits: usize::BITS - devices.len().leading_zeros(),
        };
        let core = Arc::new_cyclic(|this| MultipathDevice {
            dev: ctr.dev(),
            settings,
            paths: devices,
            state: Mutex::new(state),
            changes: EventCounter::default(),
            runtime: ctr.runtime().clone(),
            log: ctr.log("multipath"),
            tracking,
            events: ctr.events(),
            parameters: ctr.machine_state(),
            is_event_pending: AtomicBool::new(false),
            this: this.clone(),
        });
        core.start_timeout(&mut core.state.lock());
        core
    }

    /// Nanoseconds since boot, if a selector wants to know.
    fn now(&self) -> u64 {
        if self.tracking.times { self.runtime.now().as_nanos() } else { 0 }
    }

    /// Sends a bio along a path, or lets it wait for one.
    pub(super) fn map(&self, bio: &mut Bio<'_>) -> Map {
        let (bytes, now) = (bytes(bio), self.now());
        let mut state = self.state.lock();
        let Some(path) = state.choose(bytes, now) else {
            if !self.may_wait(&state) {
                // The core makes this an error, unless a noflush suspend is under way.
                return Map::Requeue;
            }
            let waiting = bio.take_owned();
            state.queue.push_back(waiting);
            return Map::Submitted;
        };
        if self.tracking.ends {
            state.begin(path, bytes);
        }
        drop(state);
        // The time is cut to the bits that are left: a wrap-around is told from the time of its end.
        let forced = if bio.flags.contains(BioFlags::FUA) { FORCED } else { 0 };
        let time = (now << self.tracking.path_bits) & !FORCED;
        bio.flags |= BioFlags::RETRY;
        bio.set_dev(self.paths[path].device());
        Map::RemappedMayRetry(forced | time | path as u64)
    }

    /// Whether a bio without a path waits here. In a noflush suspend of a request-based device it waits in the core.
    fn may_wait(&self, state: &State) -> bool {
        state.queues && !(state.is_noflush && self.settings.mode == Mode::Request)
    }

    /// Hears how a bio ended. One that failed for a reason that may lie in its path fails the path, and goes on.
    pub(super) fn end_io(&self, bio: &mut Bio<'_>, bio_data: u64, status: BlkStatus) -> End {
        let bits = self.tracking.path_bits;
        let path = (bio_data & ((1 << bits) - 1)) as usize;
        if self.tracking.ends {
            let now = self.now();
            let mask = u64::MAX >> (bits + 1);
            let elapsed = now.wrapping_sub((bio_data & !FORCED) >> bits) & mask;
            self.state.lock().end(path, bytes(bio), now.saturating_sub(elapsed), now);
        }
        if status.is_ok() || !may_be_the_path(status) {
            return End::Done(status);
        }
        if self.fail_path(path) {
            self.event_soon();
        }
        let mut state = self.state.lock();
        if state.valid_paths == 0 && !self.may_wait(&state) {
            return match self.settings.mode {
                Mode::Request if !state.is_noflush => End::Done(status),
                _ => End::Done(BlkStatus::DmRequeue),
            };
        }
        let mut again = bio.take_owned();
        again.rearm(if bio_data & FORCED != 0 { BioFlags::FUA } else { BioFlags::empty() });
        state.queue.push_back(again);
        self.retry_later(&mut state);
        End::Kept
    }

    /// Starts a task that maps the queue anew.
    fn retry_later(&self, state: &mut State) {
        if std::mem::replace(&mut state.is_retry_pending, true) {
            return;
        }
        if let Some(core) = self.this.upgrade() {
            self.runtime
                .spawn("kmpathd", async move {
                    core.state.lock().is_retry_pending = false;
                    core.retry();
                })
                .detach();
        }
    }

    /// Maps everything that waits anew; what finds no path still waits, or ends.
    fn retry(&self) {
        let waiting = std::mem::take(&mut self.state.lock().queue);
        for mut bio in waiting {
            let said = self.map(&mut bio);
            follow(bio, said);
        }
    }

    /// Raises an event soon; what happens until then needs no other.
    fn event_soon(&self) {
        self.changes.raise();
        if self.is_event_pending.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(core) = self.this.upgrade() {
            self.runtime
                .spawn("dm-multipath-event", async move {
                    core.is_event_pending.store(false, Ordering::Release);
                    core.events.raise();
                })
                .detach();
        }
    }

    fn log_path(&self, what: &str, path: usize) {
        let (dev, path) = (self.dev, self.paths[path].dev());
        self.log.warn(format_args!("{dev}: {what} path {path}."));
    }

    /// Uses a path no more. Nothing happens to one that has failed already; returns whether something did, so that
    /// the caller tells of it.
    pub(super) fn fail_path(&self, path: usize) -> bool {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.paths[path].is_active, false) {
            return false;
        }
        self.log_path("Failing", path);
        state.paths[path].failures = state.paths[path].failures.wrapping_add(1);
        state.valid_paths -= 1;
        let (group, own) = state.place(path);
        group.selector.fail(own);
        self.events.path_changed("multipath", "PATH_FAILED", self.paths[path].dev(), state.valid_paths);
        self.start_timeout(&mut state);
        true
    }

    /// Uses a path again. Nothing happens to one that has not failed; returns as [`MultipathDevice::fail_path`].
    pub(super) fn reinstate_path(&self, path: usize) -> bool {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.paths[path].is_active, true) {
            return false;
        }
        self.log_path("Reinstating", path);
        state.valid_paths += 1;
        let (group, own) = state.place(path);
        group.selector.reinstate(own);
        self.events.path_changed("multipath", "PATH_REINSTATED", self.paths[path].dev(), state.valid_paths);
        state.timeout = None;
        true
    }

    /// Tells of paths that have changed, and lets what waits for one try again.
    pub(super) fn paths_changed(&self) {
        self.event_soon();
        let mut state = self.state.lock();
        if state.valid_paths > 0 && !state.queue.is_empty() {
            self.retry_later(&mut state);
        }
    }

    /// Switches queueing on or off; off fails what is queued.
    pub(super) fn set_queueing(&self, on: bool) {
        let mut state = self.state.lock();
        state.queues = on;
        state.saved_queues = on;
        if on {
            self.start_timeout(&mut state);
            return;
        }
        state.timeout = None;
        drop(state);
        self.changes.raise();
        self.retry();
    }

    /// Bypasses a group, or no longer.
    pub(super) fn bypass_group(&self, group: usize, bypassed: bool) {
        let mut state = self.state.lock();
        state.groups[group].is_bypassed = bypassed;
        state.current = None;
        drop(state);
        self.event_soon();
    }

    /// Sends the next IO to a group. No group is bypassed any more.
    pub(super) fn switch_group(&self, group: usize) {
        let mut state = self.state.lock();
        for other in &mut state.groups {
            other.is_bypassed = false;
        }
        state.current = None;
        state.next = Some(group);
        drop(state);
        self.event_soon();
    }

    /// Queueing without a path comes to an end by itself, if the module says so.
    fn start_timeout(&self, state: &mut State) {
        let secs = self.parameters.queue_if_no_path_timeout_secs();
        if secs == 0 || state.valid_paths > 0 || !state.queues {
            return;
        }
        let (core, runtime) = (self.this.clone(), self.runtime.clone());
        let expires = runtime.now().tick() + Ticks(u64::from(secs) * HZ);
        state.timeout = Some(self.runtime.spawn("queue_if_no_path timeout", async move {
            // A timer of the kernel is late, and one for months is set anew on its way.
            loop {
                let now = runtime.now().tick();
                if now >= expires {
                    break;
                }
                runtime.sleep_until(now.timer_fires(expires).begins()).await;
            }
            let Some(core) = core.upgrade() else { return };
            let dev = core.dev;
            core.log.warn(format_args!("queue_if_no_path timeout on {dev}, failing queued IO"));
            // The task that runs is not to be cancelled by its own doing.
            if let Some(itself) = core.state.lock().timeout.take() {
                itself.detach();
            }
            core.set_queueing(false);
        }));
    }

    pub(super) fn presuspend(&self, noflush: bool) {
        let mut state = self.state.lock();
        state.is_noflush = noflush;
        if self.settings.mode == Mode::Bio || !noflush {
            if state.saved_queues && !state.queues {
                // The last suspend was given up, and nothing has switched queueing on again.
                let dev = self.dev;
                self.log.err(format_args!(
                    "{dev}: QIFNP disabled but saved as enabled, saving again loses state, not saving!"
                ));
            } else {
                state.saved_queues = state.queues;
            }
            state.queues = false;
        }
        drop(state);
        self.retry();
    }

    /// The suspend was given up. Queueing stays switched off until the next one
    /// (recorded: `multipath/suspend-given-up`).
    pub(super) fn presuspend_undo(&self) {
        self.state.lock().is_noflush = false;
        self.changes.raise();
    }

    pub(super) fn postsuspend(&self) {
        self.state.lock().is_suspended = true;
        self.changes.raise();
    }

    pub(super) fn resume(&self) {
        let mut state = self.state.lock();
        state.is_suspended = false;
        state.is_noflush = false;
        state.queues |= state.saved_queues;
    }

    /// Saves what has become of its paths and groups.
    pub(super) fn save(&self) -> MultipathState {
        let state = self.state.lock();
        MultipathState {
            paths: state.paths.clone(),
            groups: state.groups.iter().map(|group| (group.selector.copy(), group.is_bypassed)).collect(),
            current: state.current,
            next: state.next,
            queue_io: state.queue_io,
        }
    }

    /// Takes over what a device with the same table has saved. A time that queueing is limited to begins anew.
    pub(super) fn restore(&self, known: &MultipathState) {
        let mut state = self.state.lock();
        state.paths.clone_from(&known.paths);
        for (group, (selector, is_bypassed)) in state.groups.iter_mut().zip(&known.groups) {
            group.selector = selector.copy();
            group.is_bypassed = *is_bypassed;
        }
        state.valid_paths = state.paths.iter().filter(|path| path.is_active).count();
        (state.current, state.next, state.queue_io) = (known.current, known.next, known.queue_io);
        self.start_timeout(&mut state);
    }

    /// The device that gets an ioctl now; `None`: it has to wait for a path.
    pub(super) fn path_for_ioctl(&self) -> Result<Option<Arc<BlockDevice>>, Errno> {
        let mut state = self.state.lock();
        match state.choose(0, self.now()) {
            Some(path) => Ok(Some(self.paths[path].device().clone())),
            None if state.queues => Ok(None),
            None => Err(Errno::EIO),
        }
    }
}

/// The size of a bio in bytes; that of a discard of more than any device has wraps.
fn bytes(bio: &Bio<'_>) -> u64 {
    bio.len().0.wrapping_mul(SECTOR_SIZE)
}

/// Whether another path may do better: not if the disk itself has said no.
fn may_be_the_path(status: BlkStatus) -> bool {
    !matches!(
        status,
        BlkStatus::NotSupp
            | BlkStatus::NoSpc
            | BlkStatus::Target
            | BlkStatus::ResvConflict
            | BlkStatus::Medium
            | BlkStatus::Protection
            // Queued bios that go back to the core pass here, too.
            | BlkStatus::DmRequeue
    )
}

impl State {
    /// The group of a path, and the path's number within it.
    fn place(&mut self, path: usize) -> (&mut Group, usize) {
        let group = &mut self.groups[self.paths[path].group];
        let own = path - group.paths.start;
        (group, own)
    }

    /// The path for the next `bytes`: of the group that a message asked for, then of the current one, then of the
    /// first that is not bypassed, then of the bypassed ones.
    fn choose(&mut self, bytes: u64, now: u64) -> Option<usize> {
        if self.valid_paths == 0 {
            self.queue_io = false;
            self.current = None;
            return None;
        }
        if let Some(next) = self.next.take()
            && let Some(path) = self.choose_in(next, bytes, now)
        {
            return Some(path);
        }
        if let Some(current) = self.current
            && let Some(path) = self.choose_in(current, bytes, now)
        {
            return Some(path);
        }
        for bypassed in [false, true] {
            for group in 0..self.groups.len() {
                if self.groups[group].is_bypassed == bypassed
                    && let Some(path) = self.choose_in(group, bytes, now)
                {
                    return Some(path);
                }
            }
        }
        self.current = None;
        None
    }

    fn choose_in(&mut self, number: usize, bytes: u64, now: u64) -> Option<usize> {
        let group = &mut self.groups[number];
        let path = group.paths.start + group.selector.select(bytes, now)?;
        if self.current != Some(number) {
            self.current = Some(number);
            self.queue_io = false;
        }
        Some(path)
    }

    fn begin(&mut self, path: usize, bytes: u64) {
        let (group, own) = self.place(path);
        group.selector.begin(own, bytes);
    }

    fn end(&mut self, path: usize, bytes: u64, started: u64, now: u64) {
        let (group, own) = self.place(path);
        group.selector.end(own, bytes, started, now);
    }

    /// The number that table and status show for a group: the one to be switched to, else the current one, else the
    /// first there is.
    pub(super) fn shown_group(&self) -> usize {
        match self.next.or(self.current) {
            Some(group) => group + 1,
            None => self.groups.len().min(1),
        }
    }
}
