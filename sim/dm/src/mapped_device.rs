//! The mapped device: its name, its two tables, its disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dmlab_abi::Geometry;
use dmlab_block::{BlockDevice, QueueLimits, Registry};
use dmlab_runtime::{AsyncMutex, UeventAction, WaitQueue};
use dmlab_units::{DevT, Errno};
use parking_lot::Mutex;

use crate::events::{EventCounter, EventTarget};
use crate::io_state::{IoState, SUSPENDED};
use crate::live::MappedDisk;
use crate::table::SharedDevices;
use crate::{Table, TargetType};

/// Name and uuid of a device, as the ioctls know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The name of the device.
    pub name: Vec<u8>,
    /// The uuid of the device, if it has one.
    pub uuid: Option<Vec<u8>>,
}

/// How bios reach the targets of a device (kernel/dm-core.md#the-type-of-a-table).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum QueueMode {
    /// No table was ever loaded.
    None = 0,
    /// Bios.
    Bio = 1,
    /// Requests.
    Request = 2,
    /// Bios, and direct access.
    DaxBio = 3,
}

/// A device made of other devices.
pub struct MappedDevice {
    pub(crate) dev: DevT,
    pub(crate) registry: Arc<Registry>,
    pub(crate) io: Arc<IoState>,
    pub(crate) disk: Arc<MappedDisk>,
    pub(crate) block: Arc<BlockDevice>,
    pub(crate) names: Arc<Mutex<Names>>,
    pub(crate) inactive: Mutex<Option<Arc<Table>>>,
    /// Held over every suspend, resume and swap.
    pub(crate) suspend_lock: AsyncMutex<()>,
    /// How many internal suspends are in force, and the tasks that wait for their end.
    pub(crate) internal_suspends: AtomicU32,
    pub(crate) internal_changed: WaitQueue,
    pub(crate) shared: Arc<SharedDevices>,
    pub(crate) events: Arc<EventCounter>,
    pub(crate) event_target: Arc<EventTarget>,
    pub(crate) mode: Mutex<QueueMode>,
    /// The disk is known to the system: a table was loaded once.
    pub(crate) is_added: AtomicBool,
    pub(crate) is_deferred_remove: AtomicBool,
    pub(crate) is_deleting: AtomicBool,
}

impl MappedDevice {
    pub(crate) fn new(
        dev: DevT,
        names: Names,
        registry: Arc<Registry>,
        global_event: Arc<EventCounter>,
        on_release: Box<dyn Fn(u32) + Send + Sync>,
    ) -> Arc<MappedDevice> {
        let runtime = registry.runtime().clone();
        let io = IoState::new(dev, runtime.clone());
        let disk = Arc::new(MappedDisk::new(io.clone(), on_release));
        let name = format!("dm-{}", dev.minor());
        let disk_seq = registry.next_disk_seq();
        let block = BlockDevice::new(dev, name, disk_seq, runtime, disk.clone(), QueueLimits::stacking());
        let events = Arc::new(EventCounter::default());
        let names = Arc::new(Mutex::new(names));
        let event_target = EventTarget::new(events.clone(), global_event, block.clone(), names.clone());
        let event_target = Arc::new(event_target);
        Arc::new(MappedDevice {
            dev,
            registry,
            io,
            disk,
            block,
            names,
            inactive: Mutex::default(),
            suspend_lock: AsyncMutex::new(()),
            internal_suspends: AtomicU32::new(0),
            internal_changed: WaitQueue::default(),
            shared: Arc::default(),
            events,
            event_target,
            mode: Mutex::new(QueueMode::None),
            is_added: AtomicBool::new(false),
            is_deferred_remove: AtomicBool::new(false),
            is_deleting: AtomicBool::new(false),
        })
    }

    /// The number of the device.
    pub fn dev(&self) -> DevT {
        self.dev
    }

    /// The disk of the device.
    pub fn block(&self) -> &Arc<BlockDevice> {
        &self.block
    }

    /// The name and uuid of the device.
    pub fn names(&self) -> Names {
        self.names.lock().clone()
    }

    /// The live table of the device.
    pub fn live_table(&self) -> Option<Arc<Table>> {
        self.disk.live.load_full()
    }

    /// The inactive table of the device.
    pub fn inactive_table(&self) -> Option<Arc<Table>> {
        self.inactive.lock().clone()
    }

    /// Whether it is suspended.
    pub fn is_suspended(&self) -> bool {
        self.io.has(SUSPENDED)
    }

    /// How many bios it has taken that have not ended.
    pub fn in_flight(&self) -> u64 {
        u64::try_from(self.io.in_flight.count()).unwrap_or(0)
    }

    /// Whether it has a disk: true from the first load on.
    pub fn is_added(&self) -> bool {
        self.is_added.load(Ordering::Acquire)
    }

    /// The event counter of the device.
    pub fn events(&self) -> &Arc<EventCounter> {
        &self.events
    }

    /// The type that only itself may replace, if it is live here.
    pub fn immutable_type(&self) -> Option<&'static TargetType> {
        self.live_table()?.immutable_type()
    }

    /// The geometry that was set.
    pub fn geometry(&self) -> Geometry {
        *self.disk.geometry.lock()
    }

    pub(crate) fn set_live(&self, table: Option<Arc<Table>>) -> Option<Arc<Table>> {
        if let Some(table) = &table {
            table.bind_events(&self.event_target);
        }
        let old = self.disk.live.swap(table)?;
        old.unbind_events();
        Some(old)
    }

    /// Sends an event of the disk. `extra` stands between SUBSYSTEM and MAJOR.
    pub(crate) fn uevent(&self, action: UeventAction, extra: Vec<(&'static str, String)>) {
        let mut vars = extra;
        vars.push(("MAJOR", self.dev.major().to_string()));
        vars.push(("MINOR", self.dev.minor().to_string()));
        vars.push(("DEVNAME", self.block.name().to_owned()));
        vars.push(("DEVTYPE", "disk".to_owned()));
        vars.push(("DISKSEQ", self.block.disk_seq().to_string()));
        let path = format!("/devices/virtual/block/{}", self.block.name());
        self.io.runtime.uevents().send(action, path, "block", vars);
    }

    fn bdi_uevent(&self, action: UeventAction) {
        let path = format!("/devices/virtual/bdi/{}", self.dev);
        self.io.runtime.uevents().send(action, path, "bdi", Vec::new());
    }

    /// Sends the event that a caller with a udev cookie waits for. `false`: there is no disk to send it for.
    pub(crate) fn cookie_uevent(&self, action: UeventAction, cookie: u32, resized: bool) -> bool {
        if !self.is_added() {
            return false;
        }
        let mut extra = Vec::new();
        if cookie != 0 {
            extra.push(("DM_COOKIE", cookie.to_string()));
        }
        if resized {
            extra.push(("RESIZE", "1".to_owned()));
        }
        self.uevent(action, extra);
        true
    }

    /// Makes the disk known to the system, at the first load.
    pub(crate) fn add_disk(&self) -> Result<(), Errno> {
        if self.is_added.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.registry.add(self.block.clone())?;
        self.bdi_uevent(UeventAction::Add);
        self.uevent(UeventAction::Add, Vec::new());
        Ok(())
    }

    /// Makes the disk unknown again.
    pub(crate) fn delete_disk(&self) {
        self.block.mark_dead();
        if self.is_added() {
            self.registry.remove(self.dev);
            self.bdi_uevent(UeventAction::Remove);
            self.uevent(UeventAction::Remove, Vec::new());
        }
    }
}
