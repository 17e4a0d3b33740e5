//! Opens of a block device: how many, for which holder alone, and what stands on it.

use std::sync::Arc;

use dmlab_units::{DevT, Errno};

use super::BlockDevice;

/// The exclusive holder of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The device mapper as a whole: its tables may share a device among themselves.
    DeviceMapper,
    /// One open file (O_EXCL), by a number of its own.
    File(u64),
    /// The holders of its partitions, all together.
    Partitions,
}

bitflags::bitflags! {
    /// How a device is opened.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct OpenMode: u32 {
        /// For reading.
        const READ = 1 << 0;
        /// For writing.
        const WRITE = 1 << 1;
        /// O_EXCL: claim it.
        const EXCLUSIVE = 1 << 2;
        /// O_DIRECT: past the page cache.
        const DIRECT = 1 << 3;
        /// O_NONBLOCK.
        const NDELAY = 1 << 4;
        /// O_SYNC or O_DSYNC: durable at each write.
        const SYNC = 1 << 5;
    }
}

/// The opens of a device, and what stands on it.
#[derive(Default)]
pub(super) struct Openers {
    count: u32,
    claim: Option<(Holder, u32)>,
    is_dead: bool,
    /// Mapped devices that stand on this one, with the number of tables of each.
    holders: Vec<(DevT, u32)>,
}

impl Openers {
    /// Counts an open, and claims the device if it is for a holder.
    fn add(&mut self, holder: Option<Holder>) -> Result<(), Errno> {
        if let Some(holder) = holder {
            match &mut self.claim {
                None => self.claim = Some((holder, 1)),
                Some((other, count)) if *other == holder => *count += 1,
                Some(_) => return Err(Errno::EBUSY),
            }
        }
        self.count += 1;
        Ok(())
    }

    /// Takes an open back.
    fn remove(&mut self, holder: Option<Holder>) {
        if let (Some(holder), Some((claimed, count))) = (holder, &mut self.claim)
            && *claimed == holder
        {
            *count -= 1;
            if *count == 0 {
                self.claim = None;
            }
        }
        self.count -= 1;
    }
}

impl BlockDevice {
    /// How many have it open.
    pub fn open_count(&self) -> u32 {
        self.openers.lock().count
    }

    /// The exclusive holder of the device.
    pub fn claimed_by(&self) -> Option<Holder> {
        self.openers.lock().claim.map(|(holder, _)| holder)
    }

    /// Opens it, for `holder` alone if one is given. Dropping what is returned closes it.
    ///
    /// # Errors
    /// EBUSY when another holds it exclusively and this open wants to as well; ENXIO when it is going away.
    pub fn open(self: &Arc<Self>, mode: OpenMode, holder: Option<Holder>) -> Result<OpenDevice, Errno> {
        let whole = match &self.part {
            None => None,
            Some(part) => {
                let whole = part.whole().ok_or(Errno::ENXIO)?;
                let held = holder.map(|_| Holder::Partitions);
                Some(Box::new(whole.open(mode.difference(OpenMode::EXCLUSIVE), held)?))
            }
        };
        {
            let mut openers = self.openers.lock();
            if openers.is_dead || self.is_dead() {
                return Err(Errno::ENXIO);
            }
            openers.add(holder)?;
        }
        let opened = OpenDevice { device: self.clone(), mode, holder, _whole: whole };
        self.ops.open(self)?;
        Ok(opened)
    }

    /// Refuses all further opens, unless the device is open.
    ///
    /// # Errors
    /// EBUSY with the number of openers left as it is.
    pub fn lock_for_removal(&self) -> Result<(), Errno> {
        let mut openers = self.openers.lock();
        if openers.count > 0 {
            return Err(Errno::EBUSY);
        }
        openers.is_dead = true;
        Ok(())
    }

    /// A table of mapped device `holder` now stands on it (`holders/` in sysfs).
    pub fn add_holder(&self, holder: DevT) {
        let mut openers = self.openers.lock();
        match openers.holders.iter_mut().find(|(dev, _)| *dev == holder) {
            Some((_, tables)) => *tables += 1,
            None => openers.holders.push((holder, 1)),
        }
    }

    /// A table of mapped device `holder` no longer stands on it.
    pub fn remove_holder(&self, holder: DevT) {
        let mut openers = self.openers.lock();
        if let Some(i) = openers.holders.iter().position(|(dev, _)| *dev == holder) {
            openers.holders[i].1 -= 1;
            if openers.holders[i].1 == 0 {
                openers.holders.remove(i);
            }
        }
    }

    /// Mapped devices that stand on it.
    pub fn holders(&self) -> Vec<DevT> {
        self.openers.lock().holders.iter().map(|(dev, _)| *dev).collect()
    }

    fn close(self: &Arc<Self>, holder: Option<Holder>) {
        if self.open_count() == 1 {
            // The last close writes back; a file that is opened afterwards hears of errors.
            let _heard_later = self.write_back();
        }
        let left = {
            let mut openers = self.openers.lock();
            openers.remove(holder);
            if openers.count == 0 {
                self.cache.lock().take();
            }
            openers.count
        };
        self.ops.release(self, left);
    }
}

/// An open device. Dropping it closes it.
pub struct OpenDevice {
    device: Arc<BlockDevice>,
    mode: OpenMode,
    holder: Option<Holder>,
    /// The disk of an open partition, which closes after it.
    _whole: Option<Box<OpenDevice>>,
}

impl OpenDevice {
    /// The device.
    pub fn device(&self) -> &Arc<BlockDevice> {
        &self.device
    }

    /// How it was opened.
    pub fn mode(&self) -> OpenMode {
        self.mode
    }

    /// Widens the mode it was opened with.
    pub fn add_mode(&mut self, mode: OpenMode) {
        self.mode |= mode;
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        self.device.close(self.holder);
    }
}
