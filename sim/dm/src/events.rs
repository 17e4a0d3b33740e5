//! Events of mapped devices: what DEV_WAIT and pollers of the control node wait for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use dmlab_block::BlockDevice;
use dmlab_runtime::{UeventAction, WaitQueue};
use dmlab_units::DevT;
use parking_lot::Mutex;

use crate::Names;

/// A number that only grows, and the tasks that wait for it to move.
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

    /// Moves the number on and wakes all waiters.
    pub fn raise(&self) {
        self.number.fetch_add(1, Ordering::AcqRel);
        self.queue.wake_all();
    }

    /// Sets the number without waking a waiter.
    pub(crate) fn set(&self, number: u32) {
        self.number.store(number, Ordering::Release);
    }

    /// Ends when the number is another than `seen`.
    pub async fn moved_from(&self, seen: u32) {
        self.queue.until(|| self.number() != seen).await;
    }

    /// The wait queue, for tasks that wait for more than the number.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }
}

/// Where the events of a live table go: its device's counter, the machine's, and user space.
pub(crate) struct EventTarget {
    pub(crate) device: Arc<EventCounter>,
    pub(crate) global: Arc<EventCounter>,
    block: Arc<BlockDevice>,
    names: Arc<Mutex<Names>>,
    /// Events of paths that have not been told yet.
    paths: Mutex<Vec<PathEvent>>,
    last_path_event: AtomicU32,
}

impl EventTarget {
    pub(crate) fn new(
        device: Arc<EventCounter>,
        global: Arc<EventCounter>,
        block: Arc<BlockDevice>,
        names: Arc<Mutex<Names>>,
    ) -> EventTarget {
        EventTarget {
            device,
            global,
            block,
            names,
            paths: Mutex::default(),
            last_path_event: AtomicU32::new(0),
        }
    }

    /// The number of the last event, and of the last that told of a path.
    pub(crate) fn numbers(&self) -> [u32; 2] {
        [self.device.number(), self.last_path_event.load(Ordering::Relaxed)]
    }

    /// Sets the numbers of events and paths, from which it counts on.
    pub(crate) fn set_numbers(&self, [event, path]: [u32; 2]) {
        self.device.set(event);
        self.last_path_event.store(path, Ordering::Relaxed);
    }

    pub(crate) fn raise(&self) {
        let paths = std::mem::take(&mut *self.paths.lock());
        // The one that happened last is told first (kernel/dm-core.md#uevents).
        for event in paths.into_iter().rev() {
            let names = self.names.lock().clone();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let vars = vec![
                ("DM_TARGET", event.target.to_owned()),
                ("DM_ACTION", event.action.to_owned()),
                ("DM_SEQNUM", event.number.to_string()),
                ("DM_PATH", event.path.to_string()),
                ("DM_NR_VALID_PATHS", event.valid_paths.to_string()),
                ("DM_NAME", text(&names.name)),
                ("DM_UUID", text(names.uuid.as_deref().unwrap_or_default())),
            ];
            self.block.send_uevent(UeventAction::Change, vars);
        }
        self.device.raise();
        self.global.raise();
    }
}

struct PathEvent {
    target: &'static str,
    action: &'static str,
    number: u32,
    path: DevT,
    valid_paths: usize,
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

    /// Tells user space of a path, together with the next event of the table (kernel/dm-core.md#uevents): `action`
    /// is `PATH_FAILED` or `PATH_REINSTATED`, and `valid_paths` are left.
    pub fn path_changed(&self, target: &'static str, action: &'static str, path: DevT, valid_paths: usize) {
        let table = self.target.lock().upgrade();
        if let Some(table) = table {
            let number = table.last_path_event.fetch_add(1, Ordering::Relaxed) + 1;
            table.paths.lock().push(PathEvent { target, action, number, path, valid_paths });
        }
    }

    pub(crate) fn bind(&self, target: &Arc<EventTarget>) {
        *self.target.lock() = Arc::downgrade(target);
    }

    pub(crate) fn unbind(&self) {
        *self.target.lock() = Weak::new();
    }
}
