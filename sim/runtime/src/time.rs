//! The machine's clock: nanoseconds since boot, and what waits for them.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::Runtime;

/// A point of the machine's time, in nanoseconds since its boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// `ns` nanoseconds after boot.
    pub const fn from_nanos(ns: u64) -> Instant {
        Instant(ns)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero if that lies ahead.
    pub fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_since(earlier)
    }
}

impl fmt::Display for Instant {
    /// Writes the time as the kernel log stamps it: seconds and microseconds, the seconds in five places.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5}.{:06}", self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000)
    }
}

/// Timers in order of (time, sequence of setting): ties fire in the order they were set.
#[derive(Default)]
pub(crate) struct Timers {
    set: Mutex<TimerSet>,
}

#[derive(Default)]
struct TimerSet {
    waiting: BTreeMap<(Instant, u64), Waker>,
    next_seq: u64,
}

impl Timers {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.set.lock().waiting.keys().next().map(|key| key.0)
    }

    pub(crate) fn fire(&self, now: Instant) {
        loop {
            let waker = {
                let mut set = self.set.lock();
                match set.waiting.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            waker.wake();
        }
    }
}

/// Ends at a point in time.
pub struct Sleep {
    runtime: Weak<Runtime>,
    deadline: Instant,
    key: Option<(Instant, u64)>,
}

impl Sleep {
    pub(crate) fn new(runtime: &Arc<Runtime>, deadline: Instant) -> Sleep {
        Sleep { runtime: Arc::downgrade(runtime), deadline, key: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // A machine that is gone has no time left to wait for.
        let Some(runtime) = self.runtime.upgrade() else { return Poll::Ready(()) };
        if runtime.now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut set = runtime.timers.set.lock();
        let key = match self.key {
            Some(key) => key,
            None => {
                set.next_seq += 1;
                (self.deadline, set.next_seq)
            }
        };
        set.waiting.insert(key, context.waker().clone());
        let is_first = set.waiting.keys().next() == Some(&key);
        drop(set);
        self.key = Some(key);
        if is_first {
            runtime.kick();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(key), Some(runtime)) = (self.key, self.runtime.upgrade()) {
            runtime.timers.set.lock().waiting.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VirtualDriver;

    #[test]
    fn an_hour_passes_at_once_and_in_order() {
        let driver = VirtualDriver::new();
        let runtime = Runtime::new(0, driver.clone());
        let log = Arc::new(Mutex::new(Vec::new()));
        for secs in [3600, 1, 1, 60] {
            let (log, rt) = (log.clone(), runtime.clone());
            runtime
                .spawn("sleeper", async move {
                    rt.sleep(Duration::from_secs(secs)).await;
                    log.lock().push((secs, rt.now()));
                })
                .detach();
        }
        driver.advance(&runtime, Duration::from_secs(100));
        assert_eq!(log.lock().iter().map(|e| e.0).collect::<Vec<_>>(), [1, 1, 60]);
        runtime.block_on(runtime.sleep(Duration::from_secs(4000))).unwrap();
        assert_eq!(log.lock().last().unwrap().1, Instant::from_nanos(3_600_000_000_000));
    }

    #[test]
    fn a_wait_that_cannot_end_says_so() {
        let runtime = Runtime::new(0, VirtualDriver::new());
        assert!(runtime.block_on(std::future::pending::<()>()).is_err());
    }

    #[test]
    fn stamps_as_dmesg_prints_them() {
        assert_eq!(Instant::from_nanos(1_234_567_891).to_string(), "    1.234567");
    }
}
