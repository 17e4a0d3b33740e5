//! The driver behind a block device.

use std::sync::Arc;

use dmlab_abi::Geometry;
use dmlab_units::Errno;

use super::{BlockDevice, OpenMode};
use crate::{Bio, BioQueue, BlkStatus, Caller, End, FrameData, SparseMemory, UserMemory};

/// What became of a bio on the fast path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Redirect {
    /// Nothing: it goes the usual way.
    No,
    /// The bio names another device now.
    Down,
    /// The bio was taken, or has ended.
    Gone,
}

/// The driver behind a block device.
pub trait DiskOps: Send + Sync {
    /// Takes a bio: ends it, sends it on through `queue`, or keeps it (owned) to end it later.
    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, bio: Bio<'a>, queue: &mut BioQueue<'a>);

    /// Sends a bio on where it stands, if that is all there is to do with it: the fast path through stacked devices, which
    /// moves no bio in memory. A driver that answers [`Redirect::No`] has done nothing yet.
    fn redirect(&self, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>) -> Redirect {
        let _ = (dev, bio);
        Redirect::No
    }

    /// Hears how a bio ended that this driver sent on with [`Bio::push_device_frame`].
    fn end_bio(&self, dev: &Arc<BlockDevice>, bio: &mut Bio<'_>, data: FrameData, status: BlkStatus) -> End {
        let _ = (dev, bio, data);
        End::Done(status)
    }

    /// The device is about to be opened.
    ///
    /// # Errors
    /// ENXIO when it is going away.
    fn open(&self, dev: &BlockDevice) -> Result<(), Errno> {
        let _ = dev;
        Ok(())
    }

    /// The device has been closed; `openers_left` still have it open.
    fn release(&self, dev: &BlockDevice, openers_left: u32) {
        let _ = (dev, openers_left);
    }

    /// Whether the disk is scanned for partitions, so that BLKRRPART is no error.
    fn may_have_partitions(&self) -> bool {
        false
    }

    /// Whether BLKPG may not add partitions to it either.
    fn refuses_partitions(&self) -> bool {
        false
    }

    /// How many minor numbers the disk has: one for itself and the rest for its first partitions.
    fn minors(&self) -> u32 {
        1
    }

    /// Whether it has a request queue (blk-mq), so that a request-based mapped device may stand on it. Here all devices
    /// take bios; this is what Linux would say of it.
    fn takes_requests(&self) -> bool {
        false
    }

    /// A disk of its own with the same bytes, if it can be had without copying them.
    fn fork(&self) -> Option<Arc<dyn DiskOps>> {
        None
    }

    /// The bytes themselves, of a disk in memory, for tools that look at it from outside the machine.
    fn memory(&self) -> Option<&SparseMemory> {
        None
    }

    /// The device whose contents this one shows as its own, for a loop device bound to another device.
    fn stands_on(&self) -> Option<Arc<BlockDevice>> {
        None
    }

    /// What HDIO_GETGEO returns; `None` makes it ENOTTY.
    fn geometry(&self, dev: &BlockDevice) -> Option<Geometry> {
        let _ = dev;
        None
    }

    /// An ioctl that the block layer does not handle itself, on a file opened with `mode`.
    ///
    /// # Errors
    /// ENOTTY for one that the driver does not know either.
    fn ioctl(
        &self,
        dev: &Arc<BlockDevice>,
        mode: OpenMode,
        caller: &dyn Caller,
        request: u32,
        arg: u64,
        memory: &mut dyn UserMemory,
    ) -> Result<i32, Errno> {
        let _ = (dev, mode, caller, request, arg, memory);
        Err(Errno::ENOTTY)
    }
}
