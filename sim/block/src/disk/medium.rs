//! What the disks share: how a bio is carried out on something that holds bytes.

use dmlab_units::{Errno, Sector, Sectors};

use crate::{Bio, BioFlags, BlkStatus, Op};

/// Bytes that a disk keeps, wherever it keeps them. Offsets are in bytes from the start of the disk; ranges have been
/// checked against its size.
pub(crate) trait Medium {
    /// Fills `buf` from `offset` on.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno>;
    /// Stores `data` from `offset` on.
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno>;
    /// Makes durable what was written.
    fn flush(&self) -> Result<(), Errno>;
    /// Discards a range: its memory goes back.
    fn discard(&self, start: Sector, len: Sectors) -> Result<(), Errno>;
    /// Makes a range zero.
    fn zero(&self, start: Sector, len: Sectors) -> Result<(), Errno>;
    /// A medium with the same bytes, if none need be copied.
    fn fork(&self) -> Option<std::sync::Arc<dyn crate::DiskOps>> {
        None
    }
    /// The memory it is, if it is that.
    fn memory(&self) -> Option<&crate::SparseMemory> {
        None
    }
    /// Whether the disk it stands for has a request queue: virtio disks have, RAM disks don't.
    fn has_request_queue(&self) -> bool {
        true
    }
}

/// Carries `bio` out on `medium` and ends it.
pub(crate) fn serve(medium: &impl Medium, mut bio: Bio<'_>) {
    let result = perform(medium, &mut bio);
    bio.end(result.map_or_else(BlkStatus::from, |()| BlkStatus::Ok));
}

fn perform(medium: &impl Medium, bio: &mut Bio<'_>) -> Result<(), Errno> {
    if bio.flags.contains(BioFlags::PREFLUSH) || bio.op == Op::Flush {
        medium.flush()?;
    }
    let (start, len) = (bio.sector, bio.len());
    let offset = start.0 << dmlab_units::SECTOR_SHIFT;
    match bio.op {
        Op::Read => medium.read(offset, bio.bytes_mut().ok_or(Errno::EIO)?)?,
        Op::Write if bio.is_empty() => {}
        Op::Write => medium.write(offset, bio.bytes().ok_or(Errno::EIO)?)?,
        Op::Flush => {}
        Op::Discard => medium.discard(start, len)?,
        Op::WriteZeroes => medium.zero(start, len)?,
        Op::SecureErase => return Err(Errno::EOPNOTSUPP),
    }
    // A forced write on a disk that knows no such thing is a write and a flush.
    if bio.flags.contains(BioFlags::FUA) { medium.flush() } else { Ok(()) }
}

/// Makes a disk out of a medium.
macro_rules! disk_of_medium {
    ($type:ty) => {
        impl crate::DiskOps for $type {
            fn submit_bio<'a>(
                &self,
                dev: &std::sync::Arc<crate::BlockDevice>,
                bio: crate::Bio<'a>,
                _queue: &mut crate::BioQueue<'a>,
            ) {
                if dev.keeps_stats() {
                    dev.stats().count(bio.op, bio.len());
                }
                crate::disk::medium::serve(self, bio);
            }

            fn takes_requests(&self) -> bool {
                crate::disk::medium::Medium::has_request_queue(self)
            }

            fn fork(&self) -> Option<std::sync::Arc<dyn crate::DiskOps>> {
                crate::disk::medium::Medium::fork(self)
            }

            fn memory(&self) -> Option<&crate::SparseMemory> {
                crate::disk::medium::Medium::memory(self)
            }

            fn may_have_partitions(&self) -> bool {
                true
            }

            fn minors(&self) -> u32 {
                // Virtio disks leave room for partitions among their own numbers.
                if crate::disk::medium::Medium::has_request_queue(self) { 16 } else { 1 }
            }
        }
    };
}
pub(crate) use disk_of_medium;
