//! Partitions: block devices that are a stretch of a disk.
//!
//! Rules and texts are those of Linux 6.12, asked with each call on each kind of disk:
//!
//! - A partition's number is its disk's, counted on, as long as the disk has such minor numbers; else the lowest free one
//!   of major 259.
//! - It has a page cache, a size, holders and statistics of its own; limits, read-ahead and the disk's sequence number are
//!   its disk's, and it is read-only when its disk is.
//! - An open of it opens its disk as well. A claim of it claims the disk for its partitions: then the whole cannot be
//!   claimed, and the other way round.

use std::sync::{Arc, Weak};

use dmlab_runtime::UeventAction;
use dmlab_units::{DevT, Errno, Sector, Sectors};

use crate::buffer_errors::BufferErrors;
use crate::registry::Numbers;
use crate::{Bio, BioQueue, BlockDevice, Caller, DiskOps, Geometry, OpenMode, Redirect, UserMemory};

mod gpt;
mod mbr;
mod scan;
#[cfg(test)]
mod tests;

/// Major number of partitions that their disk has no minor number for.
pub const EXTENDED_MAJOR: u32 = 259;
/// One more than the highest number of a partition.
const MAX_PARTITIONS: u32 = 256;

/// What makes a block device a partition.
pub struct Partition {
    whole: Weak<BlockDevice>,
    /// The number of the partition on the disk, from 1 on.
    pub number: u32,
    /// Where on the disk it begins.
    pub start: Sector,
    /// What the partition table calls it.
    pub names: PartitionNames,
}

/// What a partition table calls a partition; both are empty for one that BLKPG made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionNames {
    /// The name of the partition, which only a GPT gives.
    pub volume: String,
    /// The UUID of the partition, or its disk's signature and its number.
    pub uuid: String,
}

impl Partition {
    /// The disk; `None` when it is gone.
    pub fn whole(&self) -> Option<Arc<BlockDevice>> {
        self.whole.upgrade()
    }
}

/// The driver of a partition: its disk, further on.
struct Stretch {
    whole: Weak<BlockDevice>,
    start: Sector,
}

impl Stretch {
    /// Sends a bio to the disk. False when there is none any more.
    fn shift(&self, dev: &BlockDevice, bio: &mut Bio<'_>) -> bool {
        let Some(whole) = self.whole.upgrade() else { return false };
        if dev.keeps_stats() {
            dev.stats().count(bio.op, bio.len());
        }
        bio.sector = Sector(bio.sector.0 + self.start.0);
        bio.set_dev(&whole);
        true
    }
}

impl DiskOps for Stretch {
    fn redirect(&self, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>) -> Redirect {
        if self.shift(dev, bio) { Redirect::Down } else { Redirect::No }
    }

    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, mut bio: Bio<'a>, queue: &mut BioQueue<'a>) {
        // Only without a disk: then the bio names no device, which ends it.
        if self.shift(dev, &mut bio) {
            queue.push(bio);
        } else {
            bio.end(crate::BlkStatus::IoErr);
        }
    }

    fn takes_requests(&self) -> bool {
        self.whole.upgrade().is_some_and(|whole| whole.ops().takes_requests())
    }

    fn stands_on(&self) -> Option<Arc<BlockDevice>> {
        self.whole.upgrade()
    }

    fn geometry(&self, _dev: &BlockDevice) -> Option<Geometry> {
        let whole = self.whole.upgrade()?;
        let geometry = whole.ops().geometry(&whole)?;
        Some(Geometry { start: self.start.0, ..geometry })
    }

    fn ioctl(
        &self,
        _dev: &Arc<BlockDevice>,
        mode: OpenMode,
        caller: &dyn Caller,
        request: u32,
        arg: u64,
        memory: &mut dyn UserMemory,
    ) -> Result<i32, Errno> {
        let whole = self.whole.upgrade().ok_or(Errno::ENXIO)?;
        whole.ops().ioctl(&whole, mode, caller, request, arg, memory)
    }
}

/// What a partition is called after the disk's name.
fn name_of(disk: &str, number: u32) -> String {
    let between = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}{number}")
}

impl BlockDevice {
    /// The partition with this number.
    pub fn partition_numbered(&self, number: u32) -> Option<Arc<BlockDevice>> {
        self.partition_map().read().get(&number).cloned()
    }

    /// The partitions of the disk, in order of their numbers.
    pub fn partitions(&self) -> Vec<Arc<BlockDevice>> {
        self.partition_map().read().values().cloned().collect()
    }

    /// Where on its disk it begins; 0 for a whole disk.
    pub fn start_sector(&self) -> Sector {
        self.partition().map_or(Sector::ZERO, |part| part.start)
    }

    fn overlaps(&self, start: Sector, len: Sectors, but: u32) -> bool {
        self.partition_map().read().iter().any(|(&number, part)| {
            let (from, to) = (part.start_sector().0, part.start_sector().0 + part.capacity().0);
            number != but && start.0 < to && from < start.0 + len.0
        })
    }

    /// Makes a partition, under the device number `dev` if one is given. It lies on the disk; whether it overlaps others is not looked at, for a partition
    /// table may say so.
    ///
    /// # Errors
    /// EINVAL: no such number. EBUSY: it is taken.
    pub fn make_partition(
        self: &Arc<Self>,
        number: u32,
        start: Sector,
        len: Sectors,
        names: PartitionNames,
        dev: Option<DevT>,
    ) -> Result<(), Errno> {
        if number >= MAX_PARTITIONS {
            return Err(Errno::EINVAL);
        }
        if self.partition_map().read().contains_key(&number) {
            return Err(Errno::EBUSY);
        }
        let numbers = self.numbers().ok_or(Errno::ENXIO)?;
        let dev = dev.unwrap_or_else(|| numbers.of_partition(self, number));
        let part = Partition { whole: Arc::downgrade(self), number, start, names };
        let driver = Arc::new(Stretch { whole: Arc::downgrade(self), start });
        let name = name_of(self.name(), number);
        let device = BlockDevice::new_partition(dev, name, self, driver, part);
        device.set_capacity(len);
        numbers.add(device.clone())?;
        self.partition_map().write().insert(number, device.clone());
        device.send_uevent(UeventAction::Add, Vec::new());
        Ok(())
    }

    fn forget_partition(&self, number: u32) {
        let Some(part) = self.partition_map().write().remove(&number) else { return };
        part.mark_dead();
        if let Some(numbers) = self.numbers() {
            numbers.remove(part.dev());
        }
        part.send_uevent(UeventAction::Remove, Vec::new());
    }

    /// Forgets all partitions of the disk, none of which is open.
    pub(crate) fn forget_partitions(&self) {
        for part in self.partitions() {
            self.forget_partition(part.partition().map_or(0, |part| part.number));
        }
    }

    /// BLKPG_ADD_PARTITION.
    pub(crate) fn add_partition(
        self: &Arc<Self>,
        number: u32,
        start: Sector,
        len: Sectors,
    ) -> Result<(), Errno> {
        if self.ops().refuses_partitions() {
            return Err(Errno::EINVAL);
        }
        if self.overlaps(start, len, 0) {
            return Err(Errno::EBUSY);
        }
        self.make_partition(number, start, len, PartitionNames::default(), None)
    }

    /// BLKPG_DEL_PARTITION.
    pub(crate) fn delete_partition(&self, number: u32) -> Result<(), Errno> {
        let part = self.partition_numbered(number).ok_or(Errno::ENXIO)?;
        if part.open_count() > 0 {
            return Err(Errno::EBUSY);
        }
        self.forget_partition(number);
        Ok(())
    }

    /// BLKPG_RESIZE_PARTITION.
    pub(crate) fn resize_partition(&self, number: u32, start: Sector, len: Sectors) -> Result<(), Errno> {
        let part = self.partition_numbered(number).ok_or(Errno::ENXIO)?;
        if start != part.start_sector() {
            return Err(Errno::EINVAL);
        }
        if self.overlaps(start, len, number) {
            return Err(Errno::EBUSY);
        }
        part.set_capacity(len);
        Ok(())
    }

    /// Reads the disk's partition table anew (BLKRRPART). `is_exclusive`: the caller has claimed the disk.
    ///
    /// # Errors
    /// EINVAL: it is a disk that is never scanned. EBUSY: a partition is open, or another has claimed the disk. EIO: it can't
    /// be read.
    pub(crate) fn reread_partitions(
        self: &Arc<Self>,
        log: &Arc<BufferErrors>,
        is_exclusive: bool,
    ) -> Result<(), Errno> {
        if self.partition().is_some() || !self.ops().may_have_partitions() {
            return Err(Errno::EINVAL);
        }
        let is_open = self.partitions().iter().any(|part| part.open_count() > 0);
        if is_open || (!is_exclusive && self.claimed_by().is_some()) {
            return Err(Errno::EBUSY);
        }
        self.scan_partitions(log)
    }
}

impl Numbers {
    /// The number of a new partition.
    fn of_partition(&self, disk: &BlockDevice, number: u32) -> DevT {
        let (major, minor) = (disk.dev().major(), disk.dev().minor());
        if number < disk.ops().minors() {
            return DevT::new(major, minor + number);
        }
        self.free_in(EXTENDED_MAJOR)
    }
}
