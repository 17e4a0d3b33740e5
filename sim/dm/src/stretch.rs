//! A stretch of one device, moved: what a target shows that does nothing of its own at the moment.

use std::sync::Arc;

use dmlab_block::{Bio, BlockDevice};
use dmlab_units::{Sector, Sectors};

use crate::{Area, TableDevice};

/// A stretch of a device, as one line of a table shows it.
pub struct Stretch {
    /// The device.
    pub device: TableDevice,
    /// First sector of the stretch on `device`.
    pub offset: Sector,
    /// First sector of the line in the mapped device.
    pub start: Sector,
    /// How many sectors it has.
    pub len: Sectors,
}

impl Stretch {
    /// Where a sector of the mapped device lies on the device. An offset near 2^64 is refused when the limits are computed,
    /// so that nothing wraps but the place of a flush.
    pub fn sector(&self, sector: Sector) -> Sector {
        Sector(self.offset.0.wrapping_add(sector.0.wrapping_sub(self.start.0)))
    }

    /// Sends a bio on. A flush too has a sector, 0, that is moved like any other: a log of writes shows it.
    pub fn send(&self, bio: &mut Bio<'_>) {
        bio.set_dev(self.device.device());
        bio.sector = self.sector(bio.sector);
    }

    /// The device that gets ioctls, and whether all of it is mapped ([`Target::prepare_ioctl`]).
    ///
    /// [`Target::prepare_ioctl`]: crate::Target::prepare_ioctl
    pub fn ioctl_device(&self) -> (Arc<BlockDevice>, bool) {
        let device = self.device.device();
        (device.clone(), self.offset == Sector::ZERO && self.len == device.capacity())
    }

    /// What is used of the device.
    pub fn area(&self) -> Area<'_> {
        Area { dev: &self.device, start: self.offset, len: self.len }
    }
}
