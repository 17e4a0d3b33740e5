//! Threads of which one runs: each call that is under way has one, and goes when it is told to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use dmlab_driver::run_until_set;
use dmlab_machine::{Driver, Instant, Runtime, Stalled, WakeFlag};
use parking_lot::{Condvar, Mutex};

/// A clock that stands where it is put, and calls that wait until they are told to go on.
pub(super) struct LaneDriver {
    now: AtomicU64,
}

impl LaneDriver {
    pub(super) fn new() -> Arc<LaneDriver> {
        Arc::new(LaneDriver { now: AtomicU64::new(0) })
    }

    /// Puts the clock. It never goes back.
    pub(super) fn set(&self, now: Instant) {
        self.now.fetch_max(now.as_nanos(), Ordering::AcqRel);
    }
}

impl Driver for LaneDriver {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Acquire))
    }

    fn kick(&self) {}

    fn wake_flag(&self) -> Arc<WakeFlag> {
        WakeFlag::new(|| {})
    }

    fn wait(&self, runtime: &Runtime, flag: &WakeFlag) -> Result<(), Stalled> {
        if run_until_set(runtime, self.now(), flag) {
            return Ok(());
        }
        // Nothing tells the replay itself to go on.
        let Some(lane) = LANE.with(|lane| lane.borrow().clone()) else { return Err(Stalled) };
        lane.wait(flag)
    }
}

thread_local! {
    static LANE: RefCell<Option<Arc<Lane>>> = const { RefCell::new(None) };
}

type Work = Box<dyn FnOnce() + Send>;

/// What a thread is at.
enum At {
    /// It has no call.
    Rest,
    /// It has one to do.
    Called(Work),
    /// It runs.
    Running,
    /// It waits in its call; true: it was told to go on, and could not.
    Waiting(bool),
    /// It is told to go on if it can.
    Told,
    /// The replay is over: it waits no more.
    Over,
}

/// What became of telling a call to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It went on.
    Went,
    /// What it waits for has not happened.
    StillWaits,
    /// There is no such call.
    NoCall,
}

struct Lane {
    at: Mutex<At>,
    changed: Condvar,
}

impl Lane {
    /// On its thread: does calls until the replay is over.
    fn serve(self: &Arc<Lane>) {
        LANE.with(|lane| *lane.borrow_mut() = Some(self.clone()));
        let mut at = self.at.lock();
        loop {
            match std::mem::replace(&mut *at, At::Rest) {
                At::Called(work) => {
                    *at = At::Running;
                    drop(at);
                    // A call that panics has no end, which the replay sees; the panic is printed.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                    at = self.at.lock();
                    if !matches!(*at, At::Over) {
                        *at = At::Rest;
                    }
                    self.changed.notify_all();
                }
                At::Over => return,
                other => {
                    *at = other;
                    self.changed.wait(&mut at);
                }
            }
        }
    }

    /// On its thread, in a call: waits until it is told to go on and `flag` is set.
    fn wait(&self, flag: &WakeFlag) -> Result<(), Stalled> {
        let mut at = self.at.lock();
        let mut was_told = false;
        loop {
            match *at {
                At::Over => return Err(Stalled),
                At::Told if flag.take() => {
                    *at = At::Running;
                    return Ok(());
                }
                At::Told => was_told = true,
                At::Waiting(_) => {
                    self.changed.wait(&mut at);
                    continue;
                }
                _ => {}
            }
            *at = At::Waiting(was_told);
            self.changed.notify_all();
        }
    }

    /// On the replay's thread: the call runs until it waits or is over. False: it waits where it waited before.
    fn run(&self, to: At) -> bool {
        let mut at = self.at.lock();
        *at = to;
        self.changed.notify_all();
        while matches!(*at, At::Called(_) | At::Running | At::Told) {
            self.changed.wait(&mut at);
        }
        !matches!(*at, At::Waiting(true))
    }

    fn rests(&self) -> bool {
        matches!(*self.at.lock(), At::Rest)
    }
}

/// The calls of a replay, each on a thread.
#[derive(Default)]
pub(super) struct Lanes {
    under_way: BTreeMap<u64, Arc<Lane>>,
    resting: Vec<Arc<Lane>>,
    threads: Vec<(Arc<Lane>, JoinHandle<()>)>,
}

impl Lanes {
    fn resting(&mut self) -> std::io::Result<Arc<Lane>> {
        if let Some(lane) = self.resting.pop() {
            return Ok(lane);
        }
        let lane = Arc::new(Lane { at: Mutex::new(At::Rest), changed: Condvar::new() });
        let on_thread = lane.clone();
        let thread =
            std::thread::Builder::new().name("dmlab-replay".into()).spawn(move || on_thread.serve())?;
        self.threads.push((lane.clone(), thread));
        Ok(lane)
    }

    /// Call number `call` begins: `work` runs until it waits or is over.
    pub(super) fn begin(&mut self, call: u64, work: Work) -> std::io::Result<()> {
        let lane = self.resting()?;
        lane.run(At::Called(work));
        self.put(call, lane);
        Ok(())
    }

    /// A call that waits goes on, if it can, until it waits again or is over.
    pub(super) fn go_on(&mut self, call: u64) -> Step {
        let Some(lane) = self.under_way.remove(&call) else { return Step::NoCall };
        let step = if lane.run(At::Told) { Step::Went } else { Step::StillWaits };
        self.put(call, lane);
        step
    }

    fn put(&mut self, call: u64, lane: Arc<Lane>) {
        if lane.rests() {
            self.resting.push(lane);
        } else {
            self.under_way.insert(call, lane);
        }
    }

    /// Whether a call is under way, and so waits.
    pub(super) fn waits(&self, call: u64) -> bool {
        self.under_way.contains_key(&call)
    }

    /// Ends all threads. Calls that wait return EDEADLK.
    pub(super) fn end(&mut self) {
        self.under_way.clear();
        self.resting.clear();
        for (lane, thread) in std::mem::take(&mut self.threads) {
            *lane.at.lock() = At::Over;
            lane.changed.notify_all();
            // One after the other, as all along.
            let _ = thread.join();
        }
    }
}
