//! The queue of a block device: what the device can take, and what each bio looks at of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dmlab_units::Sectors;
use parking_lot::RwLock;

use crate::{Features, Op, QueueLimits};

/// Limits of a device, and those of them that the way of a bio needs once more without a lock (`struct request_queue`).
pub(super) struct Queue {
    limits: RwLock<Arc<QueueLimits>>,
    has_write_cache: AtomicBool,
    /// Logical block size less one in the upper half, `dma_alignment` in the lower: what each direct IO looks at.
    alignment: AtomicU64,
    /// Whether IO is counted (QUEUE_FLAG_IO_STAT).
    keeps_stats: AtomicBool,
    read_ahead: AtomicU64,
}

impl Queue {
    /// A queue with limits that nothing has looked at yet; see [`Queue::set_limits`].
    pub(super) fn new(limits: QueueLimits) -> Queue {
        Queue {
            limits: RwLock::new(Arc::new(limits)),
            has_write_cache: AtomicBool::new(false),
            alignment: AtomicU64::new(0),
            keeps_stats: AtomicBool::new(false),
            read_ahead: AtomicU64::new(0),
        }
    }

    pub(super) fn limits(&self) -> Arc<QueueLimits> {
        self.limits.read().clone()
    }

    pub(super) fn set_limits(&self, limits: QueueLimits) {
        self.keeps_stats.store(limits.features.contains(Features::IO_STAT), Ordering::Relaxed);
        self.has_write_cache.store(limits.has_write_cache(), Ordering::Relaxed);
        let block_mask = limits.logical_block_size.0.saturating_sub(1);
        self.alignment.store(block_mask << 32 | u64::from(limits.dma_alignment), Ordering::Relaxed);
        *self.limits.write() = Arc::new(limits);
    }

    #[inline]
    pub(super) fn keeps_stats(&self) -> bool {
        self.keeps_stats.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn has_write_cache(&self) -> bool {
        self.has_write_cache.load(Ordering::Relaxed)
    }

    /// Masks of what positions and lengths, and what memory addresses, of direct IO must be multiples of.
    pub(super) fn direct_io_masks(&self) -> (u64, u64) {
        let both = self.alignment.load(Ordering::Relaxed);
        (both >> 32, both & u64::from(u32::MAX))
    }

    pub(super) fn supports(&self, op: Op) -> bool {
        let limits = self.limits.read();
        match op {
            Op::Discard => !limits.max_discard_sectors.is_zero(),
            Op::SecureErase => !limits.max_secure_erase_sectors.is_zero(),
            Op::WriteZeroes => !limits.max_write_zeroes_sectors.is_zero(),
            Op::Read | Op::Write | Op::Flush => true,
        }
    }

    pub(super) fn read_ahead(&self) -> Sectors {
        Sectors(self.read_ahead.load(Ordering::Relaxed))
    }

    /// Sets how far to read ahead, rounded down to whole pages.
    pub(super) fn set_read_ahead(&self, sectors: Sectors) {
        self.read_ahead.store(sectors.0 & !7, Ordering::Relaxed);
    }
}
