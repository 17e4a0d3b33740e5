//! A stretch of one device, moved: what a target shows that does nothing of its own at the moment.

use dmlab_block::Bio;
use dmlab_units::{Sector, Sectors};

use crate::{DeviceRange, IoctlRoute, TableDevice};

/// A stretch of a device, as one line of a table shows it (`struct linear_c` and `linear_map_sector` of `dm-linear.c`).
pub struct LinearExtent {
    /// The device.
    pub device: TableDevice,
    /// First sector of the stretch on `device`.
    pub offset: Sector,
    /// First sector of the line in the mapped device.
    pub start: Sector,
    /// How many sectors it has.
    pub len: Sectors,
}

impl LinearExtent {
    /// Where a sector of the mapped device lies on the device. An offset near 2^64 is refused when the limits are computed,
    /// so that nothing wraps but the place of a flush.
    pub fn sector(&self, sector: Sector) -> Sector {
        Sector(self.offset.0.wrapping_add(sector.0.wrapping_sub(self.start.0)))
    }

    /// Points a bio at its place on the device. A flush too has a sector, 0, that is moved like any other: a log of writes
    /// shows it.
    pub fn remap(&self, bio: &mut Bio<'_>) {
        bio.set_dev(self.device.device());
        bio.sector = self.sector(bio.sector);
    }

    /// Sends ioctls to the device; freely only if all of it is mapped.
    pub fn route_ioctl(&self) -> IoctlRoute<'static> {
        let device = self.device.device().clone();
        let is_whole = self.offset == Sector::ZERO && self.len == device.capacity();
        IoctlRoute::To { device, is_whole }
    }

    /// The range that is used of the device.
    pub fn range(&self) -> DeviceRange {
        DeviceRange::new(&self.device, self.offset, self.len)
    }
}
