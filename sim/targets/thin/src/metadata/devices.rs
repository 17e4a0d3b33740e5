//! Thin devices: made, deleted, opened, and written down when they changed.

use dmlab_formats::thin::DeviceDetails;
use dmlab_runtime::Level;
use dmlab_units::{Errno, ThinId};

use super::ThinMetadata;
use super::errors::errno;
use super::trees::{bottom, details};

/// A thin device in memory.
#[derive(Clone, Debug)]
pub(super) struct InCore {
    pub(super) id: ThinId,
    pub(super) details: DeviceDetails,
    /// How many targets have it open.
    pub(super) openers: u32,
    /// Whether the details differ from those in the tree.
    pub(super) is_changed: bool,
}

impl ThinMetadata {
    async fn stored_details(&mut self, id: ThinId) -> Result<Option<DeviceDetails>, Errno> {
        details().lookup(&mut self.tm, self.details_root, id.0).await.map_err(errno)
    }

    /// The entry of a device, made from the tree if it is not in memory.
    pub(super) async fn in_core(&mut self, id: ThinId) -> Result<usize, Errno> {
        if let Some(at) = self.devices.iter().position(|device| device.id == id) {
            return Ok(at);
        }
        let details = self.stored_details(id).await?.ok_or(Errno::ENODATA)?;
        self.devices.insert(0, InCore { id, details, openers: 0, is_changed: false });
        Ok(0)
    }

    /// A new device's entry, which the next commit writes down.
    fn add(&mut self, id: ThinId, details: DeviceDetails) {
        self.devices.insert(0, InCore { id, details, openers: 0, is_changed: true });
    }

    /// Makes an empty thin device.
    ///
    /// # Errors
    /// EEXIST; ENOSPC; what reading the trees says.
    pub async fn create_thin(&mut self, id: ThinId) -> Result<(), Errno> {
        self.is_in_service = true;
        if self.stored_details(id).await?.is_some() {
            return Err(Errno::EEXIST);
        }
        let root = bottom(&mut self.data).empty(&mut self.tm).await.map_err(errno)?;
        self.insert_root(id, root).await?;
        let details = DeviceDetails {
            mapped_blocks: 0,
            transaction_id: self.trans_id,
            creation_time: self.time,
            snapshotted_time: self.time,
        };
        self.add(id, details);
        Ok(())
    }

    /// Makes a thin device that begins as a copy of another, sharing all its blocks.
    ///
    /// # Errors
    /// EEXIST; ENODATA without the origin; ENOSPC; what reading the trees says.
    pub async fn create_snapshot(&mut self, id: ThinId, origin: ThinId) -> Result<(), Errno> {
        self.is_in_service = true;
        if self.stored_details(id).await?.is_some() {
            return Err(Errno::EEXIST);
        }
        let root = self.root_of(origin).await?.ok_or(Errno::ENODATA)?;
        self.tm.inc(root).await.map_err(errno)?;
        self.insert_root(id, root).await?;
        self.time = self.time.wrapping_add(1);
        let details = DeviceDetails {
            mapped_blocks: 0,
            transaction_id: self.trans_id,
            creation_time: self.time,
            snapshotted_time: self.time,
        };
        self.add(id, details);
        let at = self.in_core(origin).await?;
        let time = self.time;
        let origin = &mut self.devices[at];
        origin.details.snapshotted_time = time;
        origin.is_changed = true;
        let mapped_blocks = origin.details.mapped_blocks;
        let at = self.in_core(id).await?;
        self.devices[at].details.mapped_blocks = mapped_blocks;
        Ok(())
    }

    /// Deletes a thin device and gives back what only it used.
    ///
    /// # Errors
    /// ENODATA; EBUSY while it is open; what reading or changing the trees says.
    pub async fn delete_thin(&mut self, id: ThinId) -> Result<(), Errno> {
        self.is_in_service = true;
        let at = self.in_core(id).await?;
        if self.devices[at].openers > 0 {
            return Err(Errno::EBUSY);
        }
        self.devices.remove(at);
        let removed = details().remove(&mut self.tm, self.details_root, id.0).await;
        self.details_root = removed.map_err(errno)?;
        self.remove_root(id).await
    }

    /// Opens a device for a target.
    ///
    /// # Errors
    /// ENODATA when there is none; what reading the tree says.
    pub async fn open_thin(&mut self, id: ThinId) -> Result<(), Errno> {
        let at = self.in_core(id).await?;
        self.devices[at].openers += 1;
        Ok(())
    }

    /// Closes a device.
    pub fn close_thin(&mut self, id: ThinId) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.id == id) {
            device.openers = device.openers.saturating_sub(1);
        }
    }

    /// Logs how many thin devices are open, if any is: metadata with open devices can't be closed. Returns whether one is.
    pub fn tells_of_open_thins(&self) -> bool {
        let open = self.devices.iter().filter(|device| device.openers > 0).count();
        if open > 0 {
            self.log(Level::Err, format_args!("attempt to close pmd when {open} device(s) are still open"));
        }
        open > 0
    }

    fn open_device(&self, id: ThinId) -> Option<&InCore> {
        self.devices.iter().find(|device| device.id == id)
    }

    /// What is known of an open device, uncommitted changes included.
    pub fn details(&self, id: ThinId) -> Option<DeviceDetails> {
        self.open_device(id).map(|device| device.details)
    }

    /// Whether an open device changed in this transaction.
    pub fn is_changed(&self, id: ThinId) -> bool {
        self.open_device(id).is_some_and(|device| device.is_changed)
    }

    /// Notes a change of an open device's mappings.
    pub(super) fn changed(&mut self, id: ThinId, mapped: i64) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.id == id) {
            device.details.mapped_blocks = device.details.mapped_blocks.saturating_add_signed(mapped);
            device.is_changed = true;
        }
    }

    /// Writes down the details of every changed device, the newest first; those that are not open are forgotten.
    pub(super) async fn write_details(&mut self) -> Result<(), Errno> {
        let mut at = 0;
        while at < self.devices.len() {
            let device = self.devices[at].clone();
            if !device.is_changed {
                at += 1;
                continue;
            }
            let (id, known) = (device.id.0, device.details);
            let inserted = details().insert(&mut self.tm, self.details_root, id, known).await;
            let (root, _) = inserted.map_err(errno)?;
            self.details_root = root;
            if device.openers > 0 {
                self.devices[at].is_changed = false;
                at += 1;
            } else {
                self.devices.remove(at);
            }
        }
        Ok(())
    }
}
