//! The parts of a simulated kernel that everything else leans on: an executor, a clock, timers, work queues,
//! randomness, the kernel log, uevents and trace points.
//!
//! Nothing here reads a real clock, starts a thread or draws ambient randomness. A [`Driver`] from outside says what
//! time it is and lends threads: [`VirtualDriver`] runs tasks on the calling thread and jumps the clock whenever
//! nothing is runnable; a server brings one that uses the wall clock and a thread of its own. Both run the same code.
#![forbid(unsafe_code)]

mod driver;
mod executor;
mod hook;
mod klog;
mod personality;
mod planted;
mod rng;
mod sharded;
mod tick;
mod time;
mod trace;
mod uevent;
mod wait;

pub use driver::{Driver, Stalled, VirtualDriver, WakeFlag};
pub use executor::{Fifo, Scheduler, SeededScheduler, Task, TaskId, WorkQueue};
pub use hook::Hook;
pub use klog::{Klog, KlogLine, Level, RateLimit};
pub use personality::{Personality, Quirks};
#[doc(hidden)]
pub use planted::Planted;
pub use rng::{Rng, Stream};
pub use sharded::{ShardedCounter, ShardedCounters};
pub use tick::{HZ, TICK, TICK_MS, Tick, Ticks};
pub use time::{Instant, Sleep};
pub use trace::{TraceEvent, TracePoint, Tracer};
pub use uevent::{Uevent, UeventAction, Uevents};
pub use wait::{
    Interrupt, Interrupted, Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, WaitQueue, interruptible,
};

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// One simulated kernel's executor, clock, log and randomness.
pub struct Runtime {
    driver: Arc<dyn Driver>,
    executor: executor::Executor,
    timers: time::Timers,
    seed: u64,
    personality: &'static Personality,
    klog: Klog,
    uevents: Uevents,
    tracer: Tracer,
    planted: planted::PlantedFault,
    bio_hook: Hook,
}

impl Runtime {
    /// A kernel of the reference version at time zero, with every random stream drawn from `seed`.
    pub fn new(seed: u64, driver: Arc<dyn Driver>) -> Arc<Runtime> {
        Runtime::with_personality(seed, driver, Personality::REFERENCE)
    }

    /// A kernel of some version at time zero, with every random stream drawn from `seed`.
    pub fn with_personality(
        seed: u64,
        driver: Arc<dyn Driver>,
        personality: &'static Personality,
    ) -> Arc<Runtime> {
        Arc::new(Runtime {
            driver,
            personality,
            executor: executor::Executor::new(Box::new(Fifo)),
            timers: time::Timers::default(),
            seed,
            klog: Klog::default(),
            uevents: Uevents::default(),
            tracer: Tracer::default(),
            planted: planted::PlantedFault::default(),
            bio_hook: Hook::default(),
        })
    }

    /// Makes this machine make a mistake, for a test of what finds it.
    #[doc(hidden)]
    pub fn plant(&self, fault: &'static Planted) {
        self.planted.plant(fault);
    }

    /// Whether this machine is to make this mistake.
    #[doc(hidden)]
    pub fn has_planted(&self, fault: &'static Planted) -> bool {
        self.planted.is(fault)
    }

    /// Time since boot.
    pub fn now(&self) -> Instant {
        self.driver.now()
    }

    /// Time since boot, good to a few milliseconds and cheap: what io statistics are counted in.
    pub fn coarse_now(&self) -> Instant {
        self.driver.coarse_now()
    }

    /// Which kernel this is.
    pub fn personality(&self) -> &'static Personality {
        self.personality
    }

    /// Whether this kernel does something otherwise than the reference.
    #[inline]
    pub fn has(&self, quirk: Quirks) -> bool {
        self.personality.has(quirk)
    }

    /// The seed that every random stream comes from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The random stream of one purpose. Asking twice gives the same numbers twice: keep what you get.
    pub fn rng(&self, stream: Stream) -> Rng {
        Rng::new(self.seed, stream)
    }

    /// Adds a line to the kernel log, stamped with the time of now.
    pub fn log(&self, level: Level, text: impl Into<String>) {
        self.klog.push(self.now(), level, 0, text.into());
    }

    /// Adds what a program says to the kernel log, under the number of its facility: a line that ends, or one that may go on.
    pub fn log_for(&self, level: Level, facility: u8, text: impl Into<String>) {
        self.klog.push(self.now(), level, facility, text.into());
    }

    /// The kernel log.
    pub fn klog(&self) -> &Klog {
        &self.klog
    }

    /// Events sent to user space.
    pub fn uevents(&self) -> &Uevents {
        &self.uevents
    }

    /// Trace points of the bio path.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// The place where the block layer keeps the interceptor of bios.
    pub fn bio_hook(&self) -> &Hook {
        &self.bio_hook
    }

    /// Makes `future` a task of this kernel. Dropping the returned handle cancels it; `detach` lets it run.
    pub fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.executor.spawn(self, name, future)
    }

    /// Replaces the scheduler, which picks among runnable tasks.
    pub fn set_scheduler(&self, scheduler: Box<dyn Scheduler>) {
        self.executor.set_scheduler(scheduler);
    }

    /// A future that ends `span` from now.
    pub fn sleep(self: &Arc<Self>, span: std::time::Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// A future that ends at `deadline`.
    pub fn sleep_until(self: &Arc<Self>, deadline: Instant) -> Sleep {
        Sleep::new(self, deadline)
    }

    /// Blocks the calling thread until `future` is done; the driver decides what runs meanwhile.
    ///
    /// # Errors
    /// [`Stalled`]: on virtual time, nothing is runnable and no timer is set, so `future` can never end.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Stalled> {
        let mut future = pin!(future);
        let flag = self.driver.wake_flag();
        let waker = Waker::from(flag.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Ok(output);
            }
            self.driver.wait(self, &flag)?;
        }
    }

    /// Cancels every task, now and from here on: the machine ends.
    pub fn shut_down(&self) {
        self.executor.close();
    }

    /// Whether the machine has ended, so that its tasks are being dropped wherever they wait.
    pub fn is_shut_down(&self) -> bool {
        self.executor.is_closed()
    }

    // What drivers call.

    /// Runs one runnable task for one step; `false` when none is runnable.
    pub fn run_one(&self) -> bool {
        self.executor.run_one()
    }

    /// Runs tasks until none is runnable; timers are left alone.
    pub fn run_until_idle(&self) {
        while self.run_one() {}
    }

    /// When the earliest timer is due.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Wakes what waits for a time up to `now`, in order of time, then of setting.
    pub fn fire_timers(&self, now: Instant) {
        self.timers.fire(now);
    }

    fn kick(&self) {
        self.driver.kick();
    }
}
