//! Threads of which one runs: each call that is under way has one, and goes when it is told to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use dmlab_driver::{Coroutine, run_until_set};
use dmlab_machine::{Driver, Instant, Runtime, Stalled, WakeFlag};
use parking_lot::Mutex;

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

/// Where a lane has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It has no call.
    Rests,
    /// It waits in its call.
    Waits,
    /// It was told to go on, and waits where it waited before.
    StillWaits,
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
    coroutine: Coroutine<Stop>,
    /// The call that is to be done next.
    work: Mutex<Option<Work>>,
    /// The replay is over: nothing is waited for any more.
    is_over: AtomicBool,
}

impl Lane {
    fn new() -> Lane {
        let (work, is_over) = (Mutex::new(None), AtomicBool::new(false));
        Lane { coroutine: Coroutine::new(Stop::Rests), work, is_over }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// On its thread: does calls until the replay is over.
    fn serve(self: &Arc<Lane>) {
        LANE.with(|lane| *lane.borrow_mut() = Some(self.clone()));
        self.coroutine.begin();
        loop {
            let work = self.work.lock().take();
            if let Some(work) = work {
                // A call that panics has no end, which the replay sees; the panic is printed.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            }
            if self.is_over() {
                self.coroutine.end(Stop::Rests);
                return;
            }
            self.coroutine.suspend(Stop::Rests);
        }
    }

    /// On its thread, in a call: waits until it is told to go on and `flag` is set.
    fn wait(&self, flag: &WakeFlag) -> Result<(), Stalled> {
        let mut stop = Stop::Waits;
        while !self.is_over() {
            self.coroutine.suspend(stop);
            if !self.is_over() && flag.take() {
                return Ok(());
            }
            stop = Stop::StillWaits;
        }
        Err(Stalled)
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
        let lane = Arc::new(Lane::new());
        let on_thread = lane.clone();
        let thread =
            std::thread::Builder::new().name("dmlab-replay".into()).spawn(move || on_thread.serve())?;
        self.threads.push((lane.clone(), thread));
        Ok(lane)
    }

    /// Call number `call` begins: `work` runs until it waits or is over.
    pub(super) fn begin(&mut self, call: u64, work: Work) -> std::io::Result<()> {
        let lane = self.resting()?;
        *lane.work.lock() = Some(work);
        lane.coroutine.resume();
        self.put(call, lane);
        Ok(())
    }

    /// A call that waits goes on, if it can, until it waits again or is over.
    pub(super) fn go_on(&mut self, call: u64) -> Step {
        let Some(lane) = self.under_way.remove(&call) else { return Step::NoCall };
        let step = match lane.coroutine.resume() {
            Stop::StillWaits => Step::StillWaits,
            Stop::Rests | Stop::Waits => Step::Went,
        };
        self.put(call, lane);
        step
    }

    fn put(&mut self, call: u64, lane: Arc<Lane>) {
        if lane.coroutine.last() == Stop::Rests {
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
            lane.is_over.store(true, Ordering::Release);
            // One after the other, as all along.
            lane.coroutine.resume();
            let _ = thread.join();
        }
    }
}
