//! `/dev/loop-control`.

use std::collections::BTreeMap;
use std::sync::Arc;

use dmlab_abi as abi;
use dmlab_runtime::UeventAction;
use dmlab_units::{DevT, Errno};
use parking_lot::Mutex;

use super::LoopDevice;
use crate::{BlockDevice, Registry};

/// All loop devices of a machine, and the file that makes and removes them.
pub struct LoopControl {
    registry: Arc<Registry>,
    devices: Mutex<BTreeMap<u32, Entry>>,
    binding: Arc<Mutex<()>>,
}

/// A loop device and its driver.
type Entry = (Arc<BlockDevice>, Arc<LoopDevice>);

impl LoopControl {
    /// A machine without loop devices.
    pub fn new(registry: Arc<Registry>) -> LoopControl {
        LoopControl { registry, devices: Mutex::default(), binding: Arc::default() }
    }

    /// The driver of `loopN`.
    pub fn get(&self, number: u32) -> Option<Arc<LoopDevice>> {
        self.devices.lock().get(&number).map(|(_, driver)| driver.clone())
    }

    /// Carries out an ioctl on `/dev/loop-control`.
    ///
    /// # Errors
    /// ENOSYS for one that it does not know, else see the single requests.
    pub fn ioctl(&self, request: u32, arg: u64) -> Result<i32, Errno> {
        // The argument is a signed number that programs pass as a long.
        let number = arg as i32;
        match request {
            abi::LOOP_CTL_ADD => self.add(u32::try_from(number).ok()),
            abi::LOOP_CTL_REMOVE => {
                self.remove(u32::try_from(number).map_err(|_| Errno::EINVAL)?).map(|()| 0)
            }
            abi::LOOP_CTL_GET_FREE => self.get_free(),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Makes `loopN`, or with no number the lowest that does not exist. Returns the number.
    ///
    /// # Errors
    /// EEXIST; EINVAL when the number is no minor number.
    pub fn add(&self, number: Option<u32>) -> Result<i32, Errno> {
        let mut devices = self.devices.lock();
        let number = match number {
            Some(number) if number > DevT::MINOR_MAX => return Err(Errno::EINVAL),
            Some(number) if devices.contains_key(&number) => return Err(Errno::EEXIST),
            Some(number) => number,
            None => {
                (0..).zip(devices.keys()).find(|(n, key)| n != *key).map_or(devices.len() as u32, |(n, _)| n)
            }
        };
        let (device, driver) = LoopDevice::create(&self.registry, &self.binding, number);
        self.registry.add(device.clone()).map_err(|_| Errno::EEXIST)?;
        self.bdi_uevent(UeventAction::Add, number);
        device.send_uevent(UeventAction::Add, Vec::new());
        devices.insert(number, (device, driver));
        i32::try_from(number).map_err(|_| Errno::EINVAL)
    }

    /// Removes `loopN`.
    ///
    /// # Errors
    /// ENODEV when there is none; EBUSY while it is open or bound.
    pub fn remove(&self, number: u32) -> Result<(), Errno> {
        let mut devices = self.devices.lock();
        let (device, driver) = devices.get(&number).ok_or(Errno::ENODEV)?;
        if !driver.is_unbound() {
            return Err(Errno::EBUSY);
        }
        device.lock_for_removal()?;
        device.mark_dead();
        self.registry.remove(device.dev());
        self.bdi_uevent(UeventAction::Remove, number);
        device.send_uevent(UeventAction::Remove, Vec::new());
        devices.remove(&number);
        Ok(())
    }

    /// Number of the first loop device that nothing is bound to, made if there is none.
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn get_free(&self) -> Result<i32, Errno> {
        let free = self.devices.lock().iter().find(|(_, (_, driver))| driver.is_unbound()).map(|(&n, _)| n);
        match free {
            Some(number) => i32::try_from(number).map_err(|_| Errno::EINVAL),
            None => self.add(None),
        }
    }

    fn bdi_uevent(&self, action: UeventAction, number: u32) {
        let dev = DevT::new(super::LOOP_MAJOR, number);
        let path = format!("/devices/virtual/bdi/{dev}");
        self.registry.runtime().uevents().send(action, path, "bdi", Vec::new());
    }
}
