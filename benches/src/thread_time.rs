//! What a bench measures: the time its thread got from a CPU. On a machine that does other work beside, the wall clock
//! says more of that work than of ours.

use std::time::Duration;

use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// Time of this thread on a CPU.
#[derive(Clone, Copy, Debug)]
pub struct ThreadTime;

impl ThreadTime {
    /// Time since the thread began.
    pub fn now() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// Time that `work` took.
    pub fn of(work: impl FnOnce()) -> Duration {
        let began = ThreadTime::now();
        work();
        ThreadTime::now().checked_sub(began).unwrap()
    }
}

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        ThreadTime::now()
    }

    fn end(&self, began: Duration) -> Duration {
        ThreadTime::now().checked_sub(began).unwrap()
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        // It formats nanoseconds, whatever counted them.
        WallTime.formatter()
    }
}

/// Criterion with that clock.
pub fn criterion() -> Criterion<ThreadTime> {
    Criterion::default().with_measurement(ThreadTime)
}
