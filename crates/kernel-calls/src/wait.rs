//! Waits that a program may take back.

use std::sync::atomic::{AtomicBool, Ordering};

use dmlab_machine::{Interrupt, interruptible};

/// A wait for the machine's clock, or for something of the front's, that the client may take back from elsewhere.
#[derive(Default)]
pub struct ClockWait {
    interrupt: Interrupt,
    /// What interrupts all that the client waits for.
    of_client: Interrupt,
    is_under_way: AtomicBool,
    has_no_limit: AtomicBool,
}

impl ClockWait {
    /// A wait that `interrupt` ends.
    pub fn with(interrupt: Interrupt) -> ClockWait {
        ClockWait { interrupt, ..ClockWait::default() }
    }

    /// A wait that also ends when `of_client` does: what interrupts all that its client waits for.
    pub fn of_client(of_client: Interrupt) -> ClockWait {
        ClockWait { of_client, ..ClockWait::default() }
    }

    /// The wait is about to begin: from here on it can be taken back. What took back a former one is over with that.
    pub fn begin(&self) {
        self.begin_as(false);
    }

    /// The wait is about to begin, as with [`ClockWait::begin`], and waits for nothing of the machine: see
    /// [`Kernel::wait`](crate::Kernel::wait).
    pub fn begin_without_limit(&self) {
        self.begin_as(true);
    }

    fn begin_as(&self, has_no_limit: bool) {
        self.interrupt.clear();
        self.has_no_limit.store(has_no_limit, Ordering::Release);
        self.is_under_way.store(true, Ordering::Release);
    }

    /// The wait is over: what takes it back from here on has nothing to end.
    pub fn end(&self) {
        self.is_under_way.store(false, Ordering::Release);
    }

    /// Whether the wait has begun and not ended.
    pub fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::Acquire)
    }

    /// Whether the wait waits for nothing of the machine.
    pub fn has_no_limit(&self) -> bool {
        self.has_no_limit.load(Ordering::Acquire)
    }

    /// What ends the wait.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Waits for `end`. Returns whether that has come: an interrupt is the other end.
    pub(crate) async fn until(&self, end: impl Future<Output = ()>) -> bool {
        let end = interruptible(Some(&self.interrupt), end);
        matches!(interruptible(Some(&self.of_client), end).await, Ok(Ok(())))
    }
}
