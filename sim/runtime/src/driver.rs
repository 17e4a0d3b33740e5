//! The driver interface: how the outside lends the simulated kernel threads and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Wake;
use std::time::Duration;

use crate::{Instant, Runtime};

/// The outside world of a simulated kernel: its clock, and what a caller does that must wait.
pub trait Driver: Send + Sync {
    /// Time since boot.
    fn now(&self) -> Instant;

    /// Time since boot from a clock that may lag some milliseconds behind but is cheap to read.
    fn coarse_now(&self) -> Instant {
        self.now()
    }

    /// A task became runnable or an earlier timer was set; called from any thread, often under a lock: only take note.
    fn kick(&self);

    /// A flag for the calling thread to wait on, whose setting ends that wait.
    fn wake_flag(&self) -> Arc<WakeFlag>;

    /// Returns once `flag` is set, and takes it back. May run tasks of `runtime` meanwhile, and move its clock.
    ///
    /// # Errors
    /// [`Stalled`] when it can be known that nothing will ever set the flag.
    fn wait(&self, runtime: &Runtime, flag: &WakeFlag) -> Result<(), Stalled>;
}

/// The error of a wait that would never end: nothing is runnable and no timer is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled;

impl std::fmt::Display for Stalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "nothing is runnable and no timer is set, so this wait cannot end (is a device suspended?)",
        )
    }
}

impl std::error::Error for Stalled {}

/// A flag that a caller waits for and that the end of the wait sets.
pub struct WakeFlag {
    is_set: AtomicBool,
    on_wake: Box<dyn Fn() + Send + Sync>,
}

impl WakeFlag {
    /// A flag that calls `on_wake` each time it is set.
    pub fn new(on_wake: impl Fn() + Send + Sync + 'static) -> Arc<WakeFlag> {
        Arc::new(WakeFlag { is_set: AtomicBool::new(false), on_wake: Box::new(on_wake) })
    }

    /// Whether it was set since it was last taken.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Whether it was set since the last call; clears it.
    pub fn take(&self) -> bool {
        self.is_set.swap(false, Ordering::AcqRel)
    }
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_set.store(true, Ordering::Release);
        (self.on_wake)();
    }
}

/// Virtual time: tasks run on the thread that waits, and when nothing is runnable the clock jumps to the next timer.
///
/// Time passes only while a caller waits, so a run is a function of its inputs and its seed.
#[derive(Default)]
pub struct VirtualDriver {
    now: AtomicU64,
}

impl VirtualDriver {
    /// A clock at zero.
    pub fn new() -> Arc<VirtualDriver> {
        Arc::new(VirtualDriver::default())
    }

    /// A clock at `now`.
    pub fn starting_at(now: Instant) -> Arc<VirtualDriver> {
        Arc::new(VirtualDriver { now: AtomicU64::new(now.as_nanos()) })
    }

    /// Lets `span` pass: runs every task and timer that falls into it, in order.
    pub fn advance(&self, runtime: &Runtime, span: Duration) {
        let end = self.now() + span;
        loop {
            runtime.run_until_idle();
            match runtime.next_timer() {
                Some(due) if due <= end => self.jump(runtime, due),
                _ => break,
            }
        }
        self.now.fetch_max(end.as_nanos(), Ordering::AcqRel);
    }

    fn jump(&self, runtime: &Runtime, due: Instant) {
        self.now.fetch_max(due.as_nanos(), Ordering::AcqRel);
        runtime.fire_timers(self.now());
    }
}

impl Driver for VirtualDriver {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Acquire))
    }

    fn kick(&self) {}

    fn wake_flag(&self) -> Arc<WakeFlag> {
        WakeFlag::new(|| {})
    }

    fn wait(&self, runtime: &Runtime, flag: &WakeFlag) -> Result<(), Stalled> {
        while !flag.take() {
            if runtime.run_one() {
                continue;
            }
            match runtime.next_timer() {
                Some(due) => self.jump(runtime, due),
                None => return Err(Stalled),
            }
        }
        Ok(())
    }
}
