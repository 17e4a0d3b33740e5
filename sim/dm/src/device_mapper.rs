//! All mapped devices of one machine, by number, name and uuid.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use dmlab_block::Registry;
use dmlab_runtime::{Level, Runtime, WorkQueue};
use dmlab_units::{DevT, Errno};
use parking_lot::{Mutex, RwLock};

use crate::events::EventCounter;
use crate::io_state::SUSPENDED;
use crate::mapped_device::Names;
use crate::{IoctlHook, MachineStates, MappedDevice, TargetType};

/// Which minor number a new device gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minor {
    /// The lowest free one.
    Any,
    /// The minor number that the caller chose.
    Exactly(u32),
}

/// A device and, beside it, what a list of all devices tells of each: a list of many thousands would else spend its time
/// waiting for their memory.
pub(crate) struct IndexEntry {
    device: Arc<MappedDevice>,
    pub(crate) dev: DevT,
    pub(crate) uuid: Option<Vec<u8>>,
    pub(crate) events: Arc<EventCounter>,
}

impl IndexEntry {
    fn new(device: &Arc<MappedDevice>, names: &Names) -> IndexEntry {
        IndexEntry {
            device: device.clone(),
            dev: device.dev,
            uuid: names.uuid.clone(),
            events: device.events.clone(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Devices {
    by_minor: BTreeMap<u32, Arc<MappedDevice>>,
    by_name: BTreeMap<Vec<u8>, IndexEntry>,
    by_uuid: BTreeMap<Vec<u8>, Arc<MappedDevice>>,
    /// Every minor number below this is taken.
    no_free_minor_below: u32,
}

impl Devices {
    fn lowest_free_minor(&mut self) -> Option<u32> {
        let mut minor = self.no_free_minor_below;
        for taken in self.by_minor.range(minor..).map(|(taken, _)| *taken) {
            if taken != minor {
                break;
            }
            minor += 1;
        }
        self.no_free_minor_below = minor;
        (minor <= DevT::MINOR_MAX).then_some(minor)
    }
}

/// The device mapper of one machine.
pub struct DeviceMapper {
    major: u32,
    registry: Arc<Registry>,
    types: RwLock<Vec<&'static TargetType>>,
    devices: Mutex<Devices>,
    global_event: Arc<EventCounter>,
    remove_queue: WorkQueue,
    states: Arc<MachineStates>,
    ioctl_hook: OnceLock<Arc<dyn IoctlHook>>,
    this: Weak<DeviceMapper>,
}

impl DeviceMapper {
    /// A device mapper without targets or devices; its devices get `major`. Logs what a kernel logs at boot.
    pub fn new(registry: Arc<Registry>, major: u32) -> Arc<DeviceMapper> {
        let runtime = registry.runtime().clone();
        let personality = runtime.personality();
        let [major_version, minor_version, patch] = personality.dm_version;
        let initialised = format!(
            "ioctl: {major_version}.{minor_version}.{patch}-ioctl ({}) initialised: {}",
            personality.dm_version_date, personality.dm_contact
        );
        let lines = [
            (
                Level::Warning,
                "core: CONFIG_IMA_DISABLE_HTABLE is disabled. Duplicate IMA measurements will not be recorded in the IMA log.",
            ),
            (Level::Info, "uevent: version 1.0.3"),
            (Level::Info, &initialised),
        ];
        for (level, text) in lines {
            runtime.log(level, format!("device-mapper: {text}"));
        }
        Arc::new_cyclic(|this| DeviceMapper {
            major,
            registry,
            types: RwLock::default(),
            devices: Mutex::default(),
            global_event: Arc::default(),
            remove_queue: WorkQueue::new("kdmremove"),
            states: Arc::default(),
            ioctl_hook: OnceLock::new(),
            this: this.clone(),
        })
    }

    /// Shows each ioctl of its control node to `hook` from now on. The first call counts.
    pub fn set_ioctl_hook(&self, hook: Arc<dyn IoctlHook>) {
        let _ = self.ioctl_hook.set(hook);
    }

    pub(crate) fn ioctl_hook(&self) -> Option<&Arc<dyn IoctlHook>> {
        self.ioctl_hook.get()
    }

    /// Major number of its devices.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The machine's block devices.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The machine's runtime.
    pub fn runtime(&self) -> &Arc<Runtime> {
        self.registry.runtime()
    }

    /// Makes a kind of target known.
    ///
    /// # Errors
    /// EEXIST when its name is taken.
    pub fn register(&self, kind: &'static TargetType) -> Result<(), Errno> {
        let mut types = self.types.write();
        if types.iter().any(|known| known.name == kind.name) {
            return Err(Errno::EEXIST);
        }
        types.push(kind);
        Ok(())
    }

    /// The kind of target with this name.
    pub fn find_type(&self, name: &[u8]) -> Option<&'static TargetType> {
        self.types.read().iter().copied().find(|kind| kind.name.as_bytes() == name)
    }

    /// All kinds of target, the one registered last first.
    pub fn types(&self) -> Vec<&'static TargetType> {
        self.types.read().iter().rev().copied().collect()
    }

    /// What targets share within this machine.
    pub fn states(&self) -> &Arc<MachineStates> {
        &self.states
    }

    /// Moves whenever something happens that a poller of the control node may want to look at.
    pub fn global_event(&self) -> &Arc<EventCounter> {
        &self.global_event
    }

    /// The device with this name.
    pub fn by_name(&self, name: &[u8]) -> Option<Arc<MappedDevice>> {
        self.devices.lock().by_name.get(name).map(|named| named.device.clone())
    }

    /// The name of the device with this number, also of one that is on its way out.
    pub fn name_of(&self, dev: DevT) -> Option<Vec<u8>> {
        let device = self.devices.lock().by_minor.get(&dev.minor()).cloned()?;
        (dev.major() == self.major).then(|| device.names().name)
    }

    /// The device with this uuid.
    pub fn by_uuid(&self, uuid: &[u8]) -> Option<Arc<MappedDevice>> {
        self.devices.lock().by_uuid.get(uuid).cloned()
    }

    /// The device with this number.
    pub fn by_dev(&self, dev: DevT) -> Option<Arc<MappedDevice>> {
        if dev.major() != self.major {
            return None;
        }
        let device = self.devices.lock().by_minor.get(&dev.minor()).cloned()?;
        (!device.is_deleting.load(Ordering::Acquire)).then_some(device)
    }

    /// All devices that have a name, in byte order of it.
    pub fn all(&self) -> Vec<Arc<MappedDevice>> {
        self.devices.lock().by_name.values().map(|named| named.device.clone()).collect()
    }

    /// Shows every device that has a name to `visit`, in byte order of names. No device comes, goes or is renamed
    /// meanwhile.
    pub(crate) fn each_named(&self, mut visit: impl FnMut(&[u8], &IndexEntry)) {
        for (name, named) in &self.devices.lock().by_name {
            visit(name, named);
        }
    }

    /// The first device in byte order of names from `name` on, or after it.
    pub(crate) fn next_by_name(&self, name: Bound<&[u8]>) -> Option<Arc<MappedDevice>> {
        let devices = self.devices.lock();
        devices
            .by_name
            .range::<[u8], _>((name, Bound::Unbounded))
            .next()
            .map(|(_, named)| named.device.clone())
    }

    /// Makes a device without a table.
    ///
    /// # Errors
    /// ENXIO when the minor number can't be had, then EBUSY when the name or uuid is taken.
    pub fn create(&self, name: &[u8], uuid: &[u8], minor: Minor) -> Result<Arc<MappedDevice>, Errno> {
        let mut devices = self.devices.lock();
        let minor = match minor {
            Minor::Exactly(minor) if minor > DevT::MINOR_MAX => return Err(Errno::ENXIO),
            Minor::Exactly(minor) if devices.by_minor.contains_key(&minor) => return Err(Errno::ENXIO),
            Minor::Exactly(minor) => minor,
            Minor::Any => devices.lowest_free_minor().ok_or(Errno::ENXIO)?,
        };
        if devices.by_name.contains_key(name) || (!uuid.is_empty() && devices.by_uuid.contains_key(uuid)) {
            return Err(Errno::EBUSY);
        }
        let names = Names { name: name.to_vec(), uuid: (!uuid.is_empty()).then(|| uuid.to_vec()) };
        let mapper = self.this.clone();
        let on_release = move |openers_left| {
            if let (0, Some(mapper)) = (openers_left, mapper.upgrade()) {
                mapper.after_last_close(minor);
            }
        };
        let device = MappedDevice::new(
            DevT::new(self.major, minor),
            names.clone(),
            self.registry.clone(),
            self.global_event.clone(),
            Box::new(on_release),
        );
        devices.by_minor.insert(minor, device.clone());
        devices.by_name.insert(name.to_vec(), IndexEntry::new(&device, &names));
        if !uuid.is_empty() {
            devices.by_uuid.insert(uuid.to_vec(), device.clone());
        }
        Ok(device)
    }

    /// Changes what a device is called.
    pub(crate) fn rename(&self, device: &Arc<MappedDevice>, name: &[u8]) {
        let mut devices = self.devices.lock();
        let mut names = device.names.lock();
        devices.by_name.remove(&names.name);
        names.name = name.to_vec();
        devices.by_name.insert(name.to_vec(), IndexEntry::new(device, &names));
    }

    /// Gives a device its uuid.
    pub(crate) fn set_uuid(&self, device: &Arc<MappedDevice>, uuid: &[u8]) {
        let mut devices = self.devices.lock();
        let mut names = device.names.lock();
        names.uuid = Some(uuid.to_vec());
        devices.by_name.insert(names.name.clone(), IndexEntry::new(device, &names));
        devices.by_uuid.insert(uuid.to_vec(), device.clone());
    }

    /// Makes a device that is not open unfindable: the first half of its removal.
    pub(crate) async fn unhash(&self, device: &Arc<MappedDevice>) {
        {
            let mut devices = self.devices.lock();
            let names = device.names.lock();
            devices.by_name.remove(&names.name);
            if let Some(uuid) = &names.uuid {
                devices.by_uuid.remove(uuid);
            }
        }
        if let Some(table) = device.live_table() {
            table.raise_event();
        }
        // Dropped without any lock: closing its devices may set off the removal of others.
        let inactive = device.inactive.lock().take();
        if let Some(inactive) = inactive {
            inactive.destroy().await;
        }
    }

    /// Takes an unfindable device apart: the second half of its removal.
    pub(crate) async fn destroy(&self, device: &Arc<MappedDevice>) {
        let held = device.suspend_lock.lock().await;
        if let (false, Some(table)) = (device.is_suspended(), device.live_table()) {
            for line in table.lines() {
                line.target.presuspend(false).await;
            }
            device.io.set(SUSPENDED, true);
            for line in table.lines() {
                line.target.postsuspend().await;
            }
        }
        drop(held);
        // It is not open, but bios of its last opener may still be on their way.
        device.io.in_flight.drain().await;
        device.io.fail_deferred();
        if let Some(table) = device.set_live(None) {
            table.destroy().await;
        }
        device.delete_disk();
        let mut devices = self.devices.lock();
        let minor = device.dev().minor();
        devices.by_minor.remove(&minor);
        devices.no_free_minor_below = devices.no_free_minor_below.min(minor);
    }

    /// The last opener of a device went away: if it is marked, it and whatever that sets free is removed.
    fn after_last_close(&self, minor: u32) {
        let device = self.devices.lock().by_minor.get(&minor).cloned();
        let Some(device) = device else { return };
        if !device.is_deferred_remove.load(Ordering::Acquire) {
            return;
        }
        let Some(mapper) = self.this.upgrade() else { return };
        self.remove_queue.queue(self.runtime(), async move { mapper.remove_marked().await });
    }

    async fn remove_marked(&self) {
        loop {
            let next = self.all().into_iter().find(|device| {
                device.is_deferred_remove.load(Ordering::Acquire) && self.lock_for_removal(device).is_ok()
            });
            let Some(device) = next else { return };
            self.unhash(&device).await;
            self.destroy(&device).await;
        }
    }

    /// Keeps a device that is not open from being opened, or found by number, from here on.
    ///
    /// # Errors
    /// EBUSY when it is open.
    pub(crate) fn lock_for_removal(&self, device: &MappedDevice) -> Result<(), Errno> {
        device.block.lock_for_removal()?;
        device.is_deleting.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for DeviceMapper {
    /// Devices that map each other in a loop, or hold bios that wait for a resume, would otherwise stay for ever.
    fn drop(&mut self) {
        for device in self.devices.get_mut().by_minor.values() {
            device.io.fail_deferred();
            *device.inactive.lock() = None;
            drop(device.set_live(None));
        }
    }
}
