//! Bios under way, and how to wait until there are none.

use std::sync::atomic::{AtomicU32, Ordering};

use dmlab_runtime::{ShardedCounter, WaitQueue};

/// Counts bios that are under way. Counting is cheap and takes no lock; waiting for none is rare.
///
/// The waiter must first make sure, by a flag or a lock of its own, that no further bio is let in: a bio first counts
/// itself, then looks at that flag, so that one of the two sees the other.
#[derive(Default)]
pub struct InFlight {
    count: ShardedCounter,
    /// How many wait for the last bio.
    drains: AtomicU32,
    drained: WaitQueue,
}

impl InFlight {
    /// Counts a bio as under way.
    #[inline]
    pub fn enter(&self) {
        self.count.add(1);
    }

    /// Counts a bio as ended, and wakes those that wait for the last.
    #[inline]
    pub fn leave(&self) {
        self.count.add(-1);
        if self.drains.load(Ordering::SeqCst) > 0 {
            self.drained.wake_all();
        }
    }

    /// How many bios are under way.
    pub fn count(&self) -> i64 {
        self.count.sum()
    }

    /// Ends when no bio is under way.
    pub async fn drain(&self) {
        let _draining = Draining::begin(self);
        self.drained.until(|| self.count() == 0).await;
    }
}

/// One that waits. Its drop ends the wait, also when it is given up.
struct Draining<'a>(&'a InFlight);

impl<'a> Draining<'a> {
    fn begin(in_flight: &'a InFlight) -> Draining<'a> {
        in_flight.drains.fetch_add(1, Ordering::SeqCst);
        Draining(in_flight)
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.drains.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_drain_ends_with_the_last_bio() {
        let in_flight = InFlight::default();
        in_flight.enter();
        in_flight.enter();
        let mut drain = pin!(in_flight.drain());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(drain.as_mut().poll(&mut context), Poll::Pending);
        in_flight.leave();
        assert_eq!(drain.as_mut().poll(&mut context), Poll::Pending);
        in_flight.leave();
        assert_eq!(drain.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(in_flight.count(), 0);
    }
}
