//! The RAM disk: sparse, forkable, and as `/dev/ram0` of Linux looks from outside.

use dmlab_units::{Bytes, Errno, Sector, Sectors};

use super::medium::{Medium, disk_of_medium};
use super::sparse::SparseMemory;
use crate::limits::{Features, PAGE_SIZE, QueueLimits};

/// What a completed write means on a disk that loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCache {
    /// A write is durable: the disk has no volatile cache and never sees a flush (brd).
    WriteThrough,
    /// A write may be lost until a flush: the disk takes flushes and forced writes.
    Volatile,
}

/// A disk in memory. Unwritten sectors read as zeros and cost nothing; [`RamDisk::fork`] copies nothing.
#[derive(Debug)]
pub struct RamDisk {
    memory: SparseMemory,
    write_cache: WriteCache,
}

impl RamDisk {
    /// A disk of `capacity` zeros.
    pub fn new(capacity: Sectors, write_cache: WriteCache) -> RamDisk {
        RamDisk { memory: SparseMemory::new(capacity.0.saturating_mul(512)), write_cache }
    }

    /// A second disk with the same contents; later writes to one are not seen by the other.
    pub fn fork(&self) -> RamDisk {
        RamDisk { memory: self.memory.fork(), write_cache: self.write_cache }
    }

    /// What the disk can take: brd's limits, plus a volatile write cache if it was made with one.
    pub fn limits(&self) -> QueueLimits {
        let mut limits = QueueLimits::brd();
        if self.write_cache == WriteCache::Volatile {
            limits.features |= Features::WRITE_CACHE | Features::FUA;
        }
        limits
    }

    /// Size of the disk.
    pub fn capacity(&self) -> Sectors {
        Sectors(self.memory.capacity() / 512)
    }

    /// The bytes of the disk, for tools that look at it from outside the machine.
    pub fn memory(&self) -> &SparseMemory {
        &self.memory
    }

    /// Frees the whole pages of a range, which then read as zeros. The parts at both ends that fill no page stay as
    /// they are, as on brd (golden/README.md).
    pub fn discard(&self, start: Sector, len: Sectors) {
        let Bytes(from) = start.to_bytes().unwrap_or(Bytes(u64::MAX));
        let end = from.saturating_add(len.0.saturating_mul(512));
        let first_page = from.div_ceil(PAGE_SIZE).saturating_mul(PAGE_SIZE);
        let last_page = end / PAGE_SIZE * PAGE_SIZE;
        if first_page < last_page {
            self.memory.zero(first_page, last_page - first_page);
        }
    }
}

disk_of_medium!(RamDisk);

impl Medium for RamDisk {
    fn has_request_queue(&self) -> bool {
        // Behind a cache it stands for a virtio disk.
        self.write_cache == WriteCache::Volatile
    }

    fn fork(&self) -> Option<std::sync::Arc<dyn crate::DiskOps>> {
        Some(std::sync::Arc::new(RamDisk::fork(self)))
    }

    fn memory(&self) -> Option<&SparseMemory> {
        Some(&self.memory)
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        self.memory.read(offset, buf);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.memory.write(offset, data);
        Ok(())
    }

    fn flush(&self) -> Result<(), Errno> {
        // Memory keeps what it was given. A disk that loses what was not flushed is made around this one.
        Ok(())
    }

    fn discard(&self, start: Sector, len: Sectors) -> Result<(), Errno> {
        RamDisk::discard(self, start, len);
        Ok(())
    }

    fn zero(&self, start: Sector, len: Sectors) -> Result<(), Errno> {
        self.memory.zero(start.0.saturating_mul(512), len.0.saturating_mul(512));
        Ok(())
    }
}
