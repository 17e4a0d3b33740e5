//! Devices come, go, stop, start and change their names.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dmlab_abi::{DmFlags, Geometry, GeometryError, nul_terminated};
use dmlab_runtime::{Level, UeventAction};
use dmlab_units::{DM_NAME_MAX, DM_UUID_MAX, DmName, Errno, NameError};

use super::{ControlFile, Request};
use crate::device_mapper::Minor;
use crate::{DeviceMapper, MappedDevice, SuspendFlags};

impl ControlFile {
    fn check_name(&self, name: &[u8]) -> Result<(), Errno> {
        match DmName::new(name) {
            Err(NameError::Slash) => {
                self.log(format_args!("device name cannot contain '/'"));
                Err(Errno::EINVAL)
            }
            Err(NameError::Reserved) => {
                self.log(format_args!("device name cannot be \"control\", \".\", or \"..\""));
                Err(Errno::EINVAL)
            }
            Err(NameError::Empty | NameError::TooLong(..) | NameError::Nul) => Err(Errno::EINVAL),
            Ok(_) => Ok(()),
        }
    }

    /// DEV_CREATE: a device without a table. It has no disk yet and is not suspended.
    pub(super) fn dev_create(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let header = &request.header;
        self.check_name(header.name())?;
        let minor = match header.dev() {
            Some(dev) if request.has(DmFlags::PERSISTENT_DEV) => Minor::Exactly(dev.minor()),
            None if request.has(DmFlags::PERSISTENT_DEV) => Minor::Exactly(0),
            _ => Minor::Any,
        };
        let device = self.mapper.create(header.name(), header.uuid(), minor)?;
        request.header.set_flag(DmFlags::INACTIVE_PRESENT, false);
        self.fill_status(&device, request);
        Ok(())
    }

    /// DEV_REMOVE. A device that is open can only be marked, to go when its last opener does.
    pub(super) async fn dev_remove(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let as_sent = request.header.clone();
        let device = self.find(request)?;
        // The answer keeps number and event number as they were sent.
        request.header.set_dev(as_sent.dev());
        if let Err(errno) = self.mapper.lock_for_removal(&device) {
            if request.has(DmFlags::DEFERRED_REMOVE) {
                device.is_deferred_remove.store(true, Ordering::Release);
                return Ok(());
            }
            return Err(errno);
        }
        self.mapper.unhash(&device).await;
        request.header.set_flag(DmFlags::DEFERRED_REMOVE, false);
        if device.cookie_uevent(UeventAction::Remove, as_sent.event_nr(), false) {
            request.header.set_flag(DmFlags::UEVENT_GENERATED, true);
        }
        self.mapper.destroy(&device).await;
        Ok(())
    }

    /// REMOVE_ALL: removes every device that is not open, stacks from the top down.
    pub(super) async fn remove_all(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let marks = request.has(DmFlags::DEFERRED_REMOVE);
        let mut next = self.mapper.next_by_name(Bound::Unbounded);
        while let Some(device) = next {
            let name = device.names().name;
            next = match self.mapper.lock_for_removal(&device) {
                Ok(()) => {
                    let below = lower_devices(&self.mapper, &device);
                    self.mapper.unhash(&device).await;
                    self.mapper.destroy(&device).await;
                    drop(device);
                    // As if the walk began anew: of the devices it has passed, only those below can be free now.
                    let freed = below.into_iter().min().filter(|freed| *freed < name);
                    match freed {
                        Some(freed) => self.mapper.next_by_name(Bound::Included(&freed)),
                        None => self.mapper.next_by_name(Bound::Excluded(&name)),
                    }
                }
                Err(_) => {
                    if marks {
                        device.is_deferred_remove.store(true, Ordering::Release);
                    }
                    self.mapper.next_by_name(Bound::Excluded(&name))
                }
            };
        }
        let left = if marks { 0 } else { self.mapper.all().len() };
        if left > 0 {
            let text = format!("device-mapper: ioctl: remove_all left {left} open device(s)");
            self.mapper.runtime().log(Level::Warning, text);
        }
        request.is_silent = true;
        Ok(())
    }

    /// DEV_RENAME: another name, or a first uuid. The answer carries the old name (recorded: `raw/ioctls`).
    pub(super) fn dev_rename(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let header = &request.header;
        let to_uuid = request.has(DmFlags::UUID);
        let limit = if to_uuid { DM_UUID_MAX } else { DM_NAME_MAX };
        let new = match nul_terminated(&request.input, header.data_start()) {
            Some(new) if !new.is_empty() && new.len() <= limit => new.to_vec(),
            _ => {
                self.log(format_args!("Invalid new mapped device name or uuid string supplied."));
                return Err(Errno::EINVAL);
            }
        };
        if !to_uuid {
            self.check_name(&new)?;
        }
        let old = header.name().to_vec();
        let device = self.rename_checked(&old, &new, to_uuid)?;
        if to_uuid {
            self.mapper.set_uuid(&device, &new);
        } else {
            self.mapper.rename(&device, &new);
        }
        if let Some(table) = device.live_table() {
            table.raise_event();
        }
        if device.cookie_uevent(UeventAction::Change, request.header.event_nr(), false) {
            request.header.set_flag(DmFlags::UEVENT_GENERATED, true);
        }
        // Whether there is an inactive table stays as the caller sent it (recorded: `raw/ioctls`): no lookup has looked.
        self.fill_status(&device, request);
        Ok(())
    }

    /// The device called `old`, if `new` may become its name or uuid; checks in the kernel's order.
    fn rename_checked(&self, old: &[u8], new: &[u8], to_uuid: bool) -> Result<Arc<MappedDevice>, Errno> {
        let (shown_old, shown_new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
        let what = if to_uuid { "uuid" } else { "name" };
        let taken = if to_uuid { self.mapper.by_uuid(new) } else { self.mapper.by_name(new) };
        if taken.is_some() {
            self.log(format_args!(
                "Unable to change {what} on mapped device {shown_old} to one that already exists: {shown_new}"
            ));
            return Err(Errno::EBUSY);
        }
        let Some(device) = self.mapper.by_name(old) else {
            let what = if to_uuid { "uuid " } else { "" };
            self.log(format_args!("Unable to rename non-existent device, {shown_old} to {what}{shown_new}"));
            return Err(Errno::ENXIO);
        };
        if let (true, Some(uuid)) = (to_uuid, device.names().uuid) {
            let uuid = String::from_utf8_lossy(&uuid);
            self.log(format_args!(
                "Unable to change uuid of mapped device {shown_old} to {shown_new} because uuid is already set to {uuid}"
            ));
            return Err(Errno::EINVAL);
        }
        Ok(device)
    }

    /// DEV_SUSPEND with the suspend flag.
    pub(super) async fn dev_suspend(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let device = self.find(request)?;
        device.suspend(suspend_flags(request), request.caller.interrupt()).await?;
        self.fill_status(&device, request);
        Ok(())
    }

    /// DEV_SUSPEND without the suspend flag: resume, with the inactive table if there is one.
    pub(super) async fn dev_resume(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let device = self.find(request)?;
        let new = device.inactive.lock().take();
        request.header.set_flag(DmFlags::INACTIVE_PRESENT, false);
        let mut old = None;
        let mut resized = false;
        if let Some(new) = new {
            if let Err(errno) = device.suspend(suspend_flags(request), request.caller.interrupt()).await {
                let is_free = {
                    let mut inactive = device.inactive.lock();
                    if inactive.is_none() {
                        *inactive = Some(new.clone());
                    }
                    inactive.as_ref().is_some_and(|table| Arc::ptr_eq(table, &new))
                };
                if is_free {
                    return Err(errno);
                }
                // Another was loaded meanwhile.
                new.destroy().await;
                return Err(Errno::ENXIO);
            }
            let size_before = device.block().capacity();
            old = match device.swap_table(&new) {
                Ok(old) => old,
                Err(errno) => {
                    new.destroy().await;
                    return Err(errno);
                }
            };
            let size = device.block().capacity();
            resized = size_before != size && !size_before.is_zero() && !size.is_zero();
            self.mapper.global_event().raise();
            device.follow_table_mode(&new);
        }
        let mut resumed = Ok(());
        if device.is_suspended() {
            resumed = device.resume().await;
            if resumed.is_ok()
                && device.cookie_uevent(UeventAction::Change, request.header.event_nr(), resized)
            {
                request.header.set_flag(DmFlags::UEVENT_GENERATED, true);
            }
        }
        // The old table goes once the new one runs.
        if let Some(old) = old {
            old.destroy().await;
        }
        resumed?;
        self.fill_status(&device, request);
        Ok(())
    }

    /// DEV_SET_GEOMETRY.
    pub(super) fn set_geometry(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let device = self.find(request)?;
        let Some(text) = nul_terminated(&request.input, request.header.data_start()) else {
            self.log(format_args!("Invalid geometry supplied."));
            return Err(Errno::EINVAL);
        };
        let geometry = Geometry::parse(text).map_err(|error: GeometryError| {
            self.log(format_args!("{error}"));
            Errno::EINVAL
        })?;
        if geometry.start > geometry.capacity() {
            let text = "device-mapper: core: Start sector is beyond the geometry limits.";
            self.mapper.runtime().log(Level::Err, text);
            return Err(Errno::EINVAL);
        }
        *device.disk.geometry.lock() = geometry;
        request.is_silent = true;
        Ok(())
    }
}

/// Names of the mapped devices that a device's tables stand on.
fn lower_devices(mapper: &DeviceMapper, device: &MappedDevice) -> Vec<Vec<u8>> {
    let tables = [device.live_table(), device.inactive_table()];
    let devices = tables.iter().flatten().flat_map(|table| table.devices());
    devices.filter_map(|below| mapper.by_dev(below.dev())).map(|below| below.names().name).collect()
}

fn suspend_flags(request: &Request<'_>) -> SuspendFlags {
    SuspendFlags {
        noflush: request.flags().contains(DmFlags::NOFLUSH),
        skip_lockfs: request.flags().contains(DmFlags::SKIP_LOCKFS),
    }
}
