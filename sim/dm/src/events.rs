//! Events of mapped devices: what DEV_WAIT and pollers of the control node wait for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use dmlab_runtime::WaitQueue;
use parking_lot::Mutex;

/// A number that only grows, and those who wait for it to move.
#[derive(Default)]
pub struct EventCounter {
    number: AtomicU32,
    queue: WaitQueue,
}

impl EventCounter {
    /// The number now.
    pub fn number(&self) -> u32 {
        self.number.load(Ordering::Acquire)
    }

    /// Moves it on and wakes who waits.
    pub fn raise(&self) {
        self.number.fetch_add(1, Ordering::AcqRel);
        self.queue.wake_all();
    }

    /// Ends when the number is another than `seen`.
    pub async fn moved_from(&self, seen: u32) {
        self.queue.until(|| self.number() != seen).await;
    }

    /// Who waits, for those who wait for more than the number.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }
}

/// Where the events of a live table go: its device's counter and the machine's.
pub(crate) struct EventTarget {
    pub(crate) device: Arc<EventCounter>,
    pub(crate) global: Arc<EventCounter>,
}

impl EventTarget {
    pub(crate) fn raise(&self) {
        self.device.raise();
        self.global.raise();
    }
}

/// What a target raises its events with. Events of a table that is not live go nowhere.
#[derive(Clone, Default)]
pub struct TableEvents {
    target: Arc<Mutex<Weak<EventTarget>>>,
}

impl TableEvents {
    /// Raises an event of the table (`dm_table_event`).
    pub fn raise(&self) {
        let target = self.target.lock().upgrade();
        if let Some(target) = target {
            target.raise();
        }
    }

    pub(crate) fn bind(&self, target: &Arc<EventTarget>) {
        *self.target.lock() = Arc::downgrade(target);
    }

    pub(crate) fn unbind(&self) {
        *self.target.lock() = Weak::new();
    }
}
