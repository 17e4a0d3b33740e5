//! The drivers of a machine that real threads use: the wall clock, or a clock that jumps while callers wait.
//!
//! A caller that must wait runs the machine's tasks itself before it sleeps, so most waits cost no change of threads; one
//! worker thread runs what becomes runnable while no caller waits, and fires timers.
#![forbid(unsafe_code)]

mod by_turn;
mod time;
mod turns;

pub use by_turn::{Turn, Witness, run_until_set, settle, this_call};
pub use time::{Time, UnknownTime};
pub use turns::{AnyOrder, Coroutine, Order, Turns};

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread, ThreadId};
use std::time::Duration;

use dmlab_machine::{Driver, Instant, Runtime, Stalled, WakeFlag};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use by_turn::WitnessedTurns;

/// How long a thread waits before it looks again whether a virtual clock may jump.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// How long a thread waits before it looks again when another one looks already.
const IN_CROWD: Duration = Duration::from_secs(2);

/// A call of a client under way.
pub struct CallGuard<'a>(&'a ThreadDriver);

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.0.nr_calls.fetch_sub(1, Ordering::SeqCst);
        self.0.note_change();
    }
}

/// A call of a client under way, for a thread that is only being made.
pub struct OwnedCallGuard(Arc<ThreadDriver>);

impl Drop for OwnedCallGuard {
    fn drop(&mut self) {
        drop(CallGuard(&self.0));
    }
}

/// What became of a jump.
enum Jump {
    Done,
    /// Something may still happen before that.
    NotYet,
    /// There is no timer.
    Nowhere,
}

/// How long a jump has been waited for. While a caller waits, a virtual clock never runs slower than the wall's: a
/// wait of a minute is over after a minute at the latest, whatever others keep doing. Without a waiter it stands still.
#[derive(Default)]
struct Waited {
    first: Option<std::time::Instant>,
    last: Option<std::time::Instant>,
}

impl Waited {
    /// Whether there was something to wait for so long without a break.
    fn as_long_as(&mut self, time: Duration) -> bool {
        let now = std::time::Instant::now();
        if self.last.is_none_or(|last| now - last > 50 * LOOK_AGAIN) {
            self.first = Some(now);
        }
        self.last = Some(now);
        self.first.is_some_and(|first| now - first >= time)
    }

    /// A look at others has ended. On a busy host it takes as long as it takes: that is no break in the waiting.
    fn has_looked(&mut self) {
        self.last = Some(std::time::Instant::now());
    }
}

/// The threads that wait for a machine with a virtual clock.
#[derive(Default)]
struct Crowd {
    threads: Vec<Thread>,
    looks: Option<ThreadId>,
}

/// Drives a machine with real threads.
pub struct ThreadDriver {
    time: Time,
    /// Monotonic nanoseconds at boot.
    boot_ns: u64,
    /// The virtual clock.
    virtual_ns: AtomicU64,
    /// Callers that are running tasks and will look again before they sleep: while there is one, the worker may sleep on.
    nr_running: AtomicUsize,
    kicked: AtomicBool,
    stopping: AtomicBool,
    worker: Mutex<Option<Thread>>,
    /// Calls of clients under way, and threads that wait for something of the machine.
    nr_calls: AtomicUsize,
    nr_waiting: AtomicUsize,
    /// Counts the beginnings and ends of calls and waits: the same number twice, and none began or ended between.
    nr_changes: AtomicU64,
    /// Says whether nothing outside the machine can go on by itself.
    others_wait: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    /// Told how far a virtual clock has come, before a waiter is woken by it.
    on_jump: OnceLock<Box<dyn Fn(Instant) + Send + Sync>>,
    waited: Mutex<Waited>,
    /// The threads that wait for the machine, and which of them looks whether a virtual clock may jump. The others sleep on:
    /// if all looked around all the time, one would always be awake.
    crowd: Mutex<Crowd>,
    /// There if callers take turns. The clock then is the virtual one, which may be told to follow the wall's.
    turns: Option<WitnessedTurns>,
}

fn monotonic(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}

thread_local! {
    static FLAG: OnceCell<Arc<WakeFlag>> = const { OnceCell::new() };
}

impl ThreadDriver {
    /// A driver whose time begins now.
    pub fn new(time: Time) -> Arc<ThreadDriver> {
        ThreadDriver::with(time, None)
    }

    fn with(time: Time, turns: Option<WitnessedTurns>) -> Arc<ThreadDriver> {
        Arc::new(ThreadDriver {
            time,
            boot_ns: monotonic(ClockId::Monotonic),
            virtual_ns: AtomicU64::new(0),
            nr_running: AtomicUsize::new(0),
            kicked: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            worker: Mutex::new(None),
            nr_calls: AtomicUsize::new(0),
            nr_waiting: AtomicUsize::new(0),
            nr_changes: AtomicU64::new(0),
            others_wait: OnceLock::new(),
            on_jump: OnceLock::new(),
            waited: Mutex::default(),
            crowd: Mutex::default(),
            turns,
        })
    }

    /// Starts the worker thread; `after_work` is called each time it has run tasks.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(
        self: &Arc<Self>,
        runtime: Arc<Runtime>,
        after_work: impl Fn() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let driver = self.clone();
        let handle = thread::Builder::new()
            .name("dmlab-worker".into())
            .spawn(move || driver.work(&runtime, after_work))?;
        *self.worker.lock() = Some(handle.thread().clone());
        self.kick();
        Ok(handle)
    }

    /// Ends the worker thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(worker) = &*self.worker.lock() {
            worker.unpark();
        }
    }

    fn work(&self, runtime: &Runtime, after_work: impl Fn()) {
        while !self.stopping.load(Ordering::Acquire) {
            self.kicked.store(false, Ordering::SeqCst);
            if let Some(turns) = &self.turns {
                self.fire_by_turn(turns, runtime);
            } else {
                runtime.run_until_idle();
                if self.time == Time::Real {
                    runtime.fire_timers(self.now());
                    runtime.run_until_idle();
                }
            }
            after_work();
            if self.kicked.load(Ordering::SeqCst) {
                continue;
            }
            match runtime.next_timer().filter(|_| self.time == Time::Real) {
                Some(due) => thread::park_timeout(due.saturating_since(self.wall_clock())),
                None => thread::park(),
            }
        }
    }

    /// Lets a virtual clock jump only when `others_wait` says that nothing outside can go on by itself.
    pub fn jump_only_when(&self, others_wait: Box<dyn Fn() -> bool + Send + Sync>) {
        // The first server of a driver is its only one.
        let _ = self.others_wait.set(others_wait);
    }

    /// Tells `listener` of each jump of a virtual clock, before a waiter is woken by it.
    pub fn tell_of_jumps(&self, listener: Box<dyn Fn(Instant) + Send + Sync>) {
        // As above.
        let _ = self.on_jump.set(listener);
    }

    /// Sets a virtual clock.
    fn set_clock(&self, now: Instant) {
        self.virtual_ns.fetch_max(now.as_nanos(), Ordering::AcqRel);
        if let Some(listener) = self.on_jump.get() {
            listener(self.now_in_turn());
        }
    }

    /// A call of a client begins; it lasts until the guard goes, after its answer was sent.
    pub fn call(&self) -> CallGuard<'_> {
        self.nr_calls.fetch_add(1, Ordering::SeqCst);
        self.note_change();
        CallGuard(self)
    }

    /// A call of a client begins, as with [`ThreadDriver::call`]; the guard may go to another thread.
    pub fn begin_call(self: &Arc<Self>) -> OwnedCallGuard {
        std::mem::forget(self.call());
        OwnedCallGuard(self.clone())
    }

    fn note_change(&self) {
        self.nr_changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether nothing can go on by itself: neither a program nor a call that is being answered.
    ///
    /// Programs and calls cannot be looked at in one instant. A call that is answered after its program was seen waiting,
    /// and is over before calls are looked at, would be missed; so nothing may have begun or ended from first to last.
    fn everybody_waits(&self, others_wait: &dyn Fn() -> bool) -> bool {
        let before = self.nr_changes.load(Ordering::SeqCst);
        self.calls_wait() && others_wait() && self.nr_changes.load(Ordering::SeqCst) == before
    }

    /// Whether every call under way waits for the machine.
    fn calls_wait(&self) -> bool {
        self.nr_calls.load(Ordering::SeqCst) <= self.nr_waiting.load(Ordering::SeqCst)
    }

    /// Which clock it has.
    pub fn time(&self) -> Time {
        self.time
    }

    /// Whether nothing can happen before `due`, or was waited for as long as that.
    fn may_jump(&self, due: Instant) -> bool {
        let Some(others_wait) = self.others_wait.get() else { return true };
        // One thread looks for all.
        let Some(mut waited) = self.waited.try_lock() else { return false };
        let away = due.saturating_since(self.now());
        if !waited.as_long_as(away) && !self.everybody_waits(others_wait) {
            waited.has_looked();
            return false;
        }
        *waited = Waited::default();
        true
    }

    fn wall_clock(&self) -> Instant {
        Instant::from_nanos(monotonic(ClockId::Monotonic).saturating_sub(self.boot_ns))
    }

    /// On virtual time, jumps to the next timer, when nothing can happen before it is due.
    fn jump(&self, runtime: &Runtime, flag: &WakeFlag) -> Jump {
        let Some(due) = runtime.next_timer().filter(|_| self.time == Time::Virtual) else {
            return Jump::Nowhere;
        };
        // A thread that was about to wait when the timer was chosen may have set an earlier one before it was seen
        // waiting. And the thread that looks at all others is seen by none: it may have been woken meanwhile.
        let has_news = || flag.is_set() || runtime.run_one() || runtime.next_timer() != Some(due);
        if !self.may_jump(due) || has_news() {
            return Jump::NotYet;
        }
        self.set_clock(due);
        runtime.fire_timers(self.now());
        Jump::Done
    }
}

impl Driver for ThreadDriver {
    fn now(&self) -> Instant {
        match (self.time, &self.turns) {
            (Time::Real, None) => self.wall_clock(),
            _ => self.now_in_turn(),
        }
    }

    fn coarse_now(&self) -> Instant {
        match (self.time, &self.turns) {
            (Time::Real, None) => {
                Instant::from_nanos(monotonic(ClockId::MonotonicCoarse).saturating_sub(self.boot_ns))
            }
            _ => self.now(),
        }
    }

    fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // On virtual time a new timer matters only once a caller waits, but a task does at once.
        if self.nr_running.load(Ordering::SeqCst) == 0
            && let Some(worker) = &*self.worker.lock()
        {
            worker.unpark();
        }
    }

    fn wake_flag(&self) -> Arc<WakeFlag> {
        if self.turns.is_some() {
            // One that a former wait sets late would let a call go on that does not in a replay.
            let me = thread::current();
            return WakeFlag::new(move || me.unpark());
        }
        FLAG.with(|flag| {
            let flag = flag.get_or_init(|| {
                let me = thread::current();
                WakeFlag::new(move || me.unpark())
            });
            // A flag that a former wait left set would only cost one turn.
            flag.take();
            flag.clone()
        })
    }

    fn wait(&self, runtime: &Runtime, flag: &WakeFlag) -> Result<(), Stalled> {
        self.nr_waiting.fetch_add(1, Ordering::SeqCst);
        self.note_change();
        let result = match &self.turns {
            Some(turns) => self.wait_by_turn(turns, runtime, flag),
            None if self.time == Time::Virtual => {
                self.crowd.lock().threads.push(thread::current());
                let result = self.wait_for(runtime, flag);
                self.leave_crowd();
                result
            }
            None => self.wait_for(runtime, flag),
        };
        self.nr_waiting.fetch_sub(1, Ordering::SeqCst);
        self.note_change();
        result
    }
}

impl ThreadDriver {
    fn wait_for(&self, runtime: &Runtime, flag: &WakeFlag) -> Result<(), Stalled> {
        loop {
            self.nr_running.fetch_add(1, Ordering::SeqCst);
            loop {
                if flag.take() {
                    self.hand_over();
                    return Ok(());
                }
                if !runtime.run_one() {
                    break;
                }
            }
            self.nr_running.fetch_sub(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            // A thread that made a task runnable before the line above relied on us to look again.
            if runtime.run_one() {
                continue;
            }
            if self.time == Time::Virtual && !self.may_look() {
                thread::park_timeout(IN_CROWD);
                continue;
            }
            match self.jump(runtime, flag) {
                Jump::Done => continue,
                Jump::NotYet => {
                    thread::park_timeout(LOOK_AGAIN);
                    continue;
                }
                Jump::Nowhere => self.look_no_more(),
            }
            if self.time == Time::Real && self.kicked.load(Ordering::SeqCst) {
                // An earlier timer may have been set meanwhile: that is the worker's to wait for.
                self.wake_worker();
            }
            if flag.take() {
                return Ok(());
            }
            thread::park();
        }
    }
}

impl ThreadDriver {
    /// Whether the calling thread is the one that looks whether the clock may jump. It is if no other does.
    fn may_look(&self) -> bool {
        let me = thread::current().id();
        *self.crowd.lock().looks.get_or_insert(me) == me
    }

    /// There is nothing to look for.
    fn look_no_more(&self) {
        let mut crowd = self.crowd.lock();
        crowd.looks = crowd.looks.filter(|&looks| looks != thread::current().id());
    }

    /// The calling thread waits no more. If it looked for all, another one does so from now on.
    fn leave_crowd(&self) {
        let me = thread::current().id();
        let mut crowd = self.crowd.lock();
        if let Some(at) = crowd.threads.iter().rposition(|thread| thread.id() == me) {
            crowd.threads.swap_remove(at);
        }
        if crowd.looks == Some(me) {
            crowd.looks = None;
            if let Some(next) = crowd.threads.last() {
                next.unpark();
            }
        }
    }

    /// Stops running tasks with some perhaps left: the worker takes over.
    fn hand_over(&self) {
        self.nr_running.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.kicked.load(Ordering::SeqCst) {
            self.wake_worker();
        }
    }

    fn wake_worker(&self) {
        if let Some(worker) = &*self.worker.lock() {
            worker.unpark();
        }
    }
}

/// How long a wait of the server's own may take before it looks again.
pub const PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_and_timers_fire_by_the_wall_clock() {
        let driver = ThreadDriver::new(Time::Real);
        let runtime = Runtime::new(1, driver.clone());
        let worker = driver.start(runtime.clone(), || {}).unwrap();
        let start = std::time::Instant::now();
        let task = runtime.spawn("sleeper", {
            let runtime = runtime.clone();
            async move { runtime.sleep(Duration::from_millis(20)).await }
        });
        runtime.block_on(task).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        driver.stop();
        worker.join().unwrap();
    }

    #[test]
    fn a_virtual_hour_takes_no_time() {
        let driver = ThreadDriver::new(Time::Virtual);
        let runtime = Runtime::new(1, driver.clone());
        let worker = driver.start(runtime.clone(), || {}).unwrap();
        runtime.block_on(runtime.sleep(Duration::from_secs(3600))).unwrap();
        assert!(runtime.now() >= Instant::from_nanos(3_600_000_000_000));
        driver.stop();
        worker.join().unwrap();
    }
}
