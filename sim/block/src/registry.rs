//! All block devices of one machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab_runtime::Runtime;
use dmlab_units::{DevT, Errno};
use parking_lot::RwLock;

use crate::BlockDevice;
use crate::buffer_errors::BufferErrors;

/// Which device has which number.
#[derive(Default)]
pub(crate) struct Numbers {
    devices: RwLock<BTreeMap<DevT, Arc<BlockDevice>>>,
}

impl Numbers {
    pub(crate) fn add(&self, dev: Arc<BlockDevice>) -> Result<(), Errno> {
        let mut devices = self.devices.write();
        if devices.contains_key(&dev.dev()) {
            return Err(Errno::EBUSY);
        }
        devices.insert(dev.dev(), dev);
        Ok(())
    }

    pub(crate) fn remove(&self, dev: DevT) {
        self.devices.write().remove(&dev);
    }

    /// The lowest number of a major that no device has.
    pub(crate) fn free_in(&self, major: u32) -> DevT {
        let devices = self.devices.read();
        let first = DevT::new(major, 0);
        let taken = devices.range(first..).map(|(dev, _)| *dev).take_while(|dev| dev.major() == major);
        let free = (0..).zip(taken).find(|(minor, dev)| dev.minor() != *minor).map(|(minor, _)| minor);
        let all = || devices.range(first..).take_while(|(dev, _)| dev.major() == major).count() as u32;
        DevT::new(major, free.unwrap_or_else(all))
    }
}

/// All block devices of one machine, by number.
pub struct Registry {
    runtime: Arc<Runtime>,
    numbers: Arc<Numbers>,
    last_disk_seq: AtomicU64,
    last_file: AtomicU64,
    buffer_errors: Arc<BufferErrors>,
}

impl Registry {
    /// A machine without devices.
    pub fn new(runtime: Arc<Runtime>) -> Registry {
        Registry {
            runtime,
            numbers: Arc::default(),
            last_disk_seq: AtomicU64::new(0),
            last_file: AtomicU64::new(0),
            buffer_errors: Arc::default(),
        }
    }

    /// The machine's runtime.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// A new disk sequence number: one for each disk ever made.
    pub fn next_disk_seq(&self) -> u64 {
        self.last_disk_seq.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number for an open file that claims its device.
    pub(crate) fn next_file(&self) -> u64 {
        self.last_file.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What limits the log lines about failed buffered IO, all devices together.
    pub(crate) fn buffer_errors(&self) -> &Arc<BufferErrors> {
        &self.buffer_errors
    }

    /// Makes a device known under its number.
    ///
    /// # Errors
    /// EBUSY when the number is taken.
    pub fn add(&self, dev: Arc<BlockDevice>) -> Result<(), Errno> {
        dev.set_numbers(&self.numbers);
        self.numbers.add(dev)
    }

    /// Forgets a device; its openers keep it.
    pub fn remove(&self, dev: DevT) {
        self.numbers.remove(dev);
    }

    /// Looks for a partition table on a disk that was just added, and makes its partitions.
    ///
    /// # Errors
    /// EIO: the disk can't be read where a table could be; it has no partitions then.
    pub fn scan_partitions(&self, disk: &Arc<BlockDevice>) -> Result<(), Errno> {
        disk.scan_partitions(&self.buffer_errors)
    }

    /// The device with this number.
    pub fn get(&self, dev: DevT) -> Option<Arc<BlockDevice>> {
        self.numbers.devices.read().get(&dev).cloned()
    }

    /// All devices, in order of their numbers.
    pub fn all(&self) -> Vec<Arc<BlockDevice>> {
        self.numbers.devices.read().values().cloned().collect()
    }
}
