//! All block devices of one machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab_runtime::Runtime;
use dmlab_units::{DevT, Errno};
use parking_lot::RwLock;

use crate::BlockDevice;
use crate::buffer_errors::BufferErrors;

/// All block devices of one machine, by number.
pub struct Registry {
    runtime: Arc<Runtime>,
    devices: RwLock<BTreeMap<DevT, Arc<BlockDevice>>>,
    last_disk_seq: AtomicU64,
    last_file: AtomicU64,
    buffer_errors: Arc<BufferErrors>,
}

impl Registry {
    /// A machine without devices.
    pub fn new(runtime: Arc<Runtime>) -> Registry {
        Registry {
            runtime,
            devices: RwLock::default(),
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
        let mut devices = self.devices.write();
        if devices.contains_key(&dev.dev()) {
            return Err(Errno::EBUSY);
        }
        devices.insert(dev.dev(), dev);
        Ok(())
    }

    /// Forgets a device; those who have it open keep it.
    pub fn remove(&self, dev: DevT) {
        self.devices.write().remove(&dev);
    }

    /// The device with this number.
    pub fn get(&self, dev: DevT) -> Option<Arc<BlockDevice>> {
        self.devices.read().get(&dev).cloned()
    }

    /// All devices, in order of their numbers.
    pub fn all(&self) -> Vec<Arc<BlockDevice>> {
        self.devices.read().values().cloned().collect()
    }
}
