//! The block device: what a number in `/dev` stands for.

mod openers;
mod ops;
mod queue;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use dmlab_runtime::{Level, RateLimit, Runtime, UeventAction};
use dmlab_units::{DevT, Errno, Sectors};
use parking_lot::{Mutex, RwLock};

use crate::buffer_errors::BufferErrors;
use crate::cache::{ErrSeq, PageCache};
use crate::partition::Partition;
use crate::registry::Numbers;
use crate::stats::DiskStats;
use crate::{BioFlags, Op, QueueLimits};

use openers::Openers;
pub use openers::{Holder, OpenDevice, OpenMode};
pub use ops::{DiskOps, Redirect};
use queue::Queue;

/// A block device: a disk, or a partition of one.
pub struct BlockDevice {
    dev: DevT,
    name: String,
    runtime: Arc<Runtime>,
    ops: Arc<dyn DiskOps>,
    capacity: AtomicU64,
    is_read_only: AtomicBool,
    has_warned_read_only: AtomicBool,
    is_dead: AtomicBool,
    queue: Queue,
    disk_seq: AtomicU64,
    openers: Mutex<Openers>,
    stats: DiskStats,
    eod_limit: RateLimit,
    /// The page cache, which exists while the device is open as a file.
    cache: Mutex<Option<Arc<PageCache>>>,
    /// The write-back errors, which outlive the cache: a later opener is told of those that no file has seen.
    write_back_errors: Arc<ErrSeq>,
    /// What makes it a partition.
    part: Option<Partition>,
    partitions: RwLock<BTreeMap<u32, Arc<BlockDevice>>>,
    /// Where it is known by its number.
    numbers: OnceLock<Weak<Numbers>>,
}

impl BlockDevice {
    /// Makes a device of no size that is not open and in no registry.
    pub fn new(
        dev: DevT,
        name: impl Into<String>,
        disk_seq: u64,
        runtime: Arc<Runtime>,
        ops: Arc<dyn DiskOps>,
        limits: QueueLimits,
    ) -> Arc<BlockDevice> {
        let device = BlockDevice::make(dev, name.into(), disk_seq, runtime, ops, limits, None);
        device.set_limits(limits);
        Arc::new(device)
    }

    /// A partition of `whole`, of no size.
    pub(crate) fn new_partition(
        dev: DevT,
        name: String,
        whole: &Arc<BlockDevice>,
        ops: Arc<dyn DiskOps>,
        part: Partition,
    ) -> Arc<BlockDevice> {
        let (runtime, limits) = (whole.runtime.clone(), *whole.limits());
        let device = BlockDevice::make(dev, name, 0, runtime, ops, limits, Some(part));
        device.queue.set_limits(limits);
        Arc::new(device)
    }

    fn make(
        dev: DevT,
        name: String,
        disk_seq: u64,
        runtime: Arc<Runtime>,
        ops: Arc<dyn DiskOps>,
        limits: QueueLimits,
        part: Option<Partition>,
    ) -> BlockDevice {
        BlockDevice {
            dev,
            name,
            runtime,
            ops,
            capacity: AtomicU64::new(0),
            is_read_only: AtomicBool::new(false),
            has_warned_read_only: AtomicBool::new(false),
            is_dead: AtomicBool::new(false),
            queue: Queue::new(limits),
            disk_seq: AtomicU64::new(disk_seq),
            openers: Mutex::default(),
            stats: DiskStats::default(),
            eod_limit: RateLimit::default(),
            cache: Mutex::default(),
            write_back_errors: Arc::default(),
            part,
            partitions: RwLock::default(),
            numbers: OnceLock::new(),
        }
    }

    /// What makes it a partition; `None` for a whole disk.
    pub fn partition(&self) -> Option<&Partition> {
        self.part.as_ref()
    }

    /// The disk that it is a partition of.
    fn whole(&self) -> Option<Arc<BlockDevice>> {
        self.part.as_ref()?.whole()
    }

    pub(crate) fn partition_map(&self) -> &RwLock<BTreeMap<u32, Arc<BlockDevice>>> {
        &self.partitions
    }

    pub(crate) fn numbers(&self) -> Option<Arc<Numbers>> {
        self.numbers.get()?.upgrade()
    }

    pub(crate) fn set_numbers(&self, numbers: &Arc<Numbers>) {
        // A device is added to one registry.
        let _again = self.numbers.set(Arc::downgrade(numbers));
    }

    /// The number of the device.
    pub fn dev(&self) -> DevT {
        self.dev
    }

    /// The kernel name of the device: `ram0`, `dm-3`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The machine's runtime.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The driver of the device.
    pub fn ops(&self) -> &dyn DiskOps {
        &*self.ops
    }

    /// The size of the device.
    pub fn capacity(&self) -> Sectors {
        Sectors(self.capacity.load(Ordering::Relaxed))
    }

    /// Sets the size of the device.
    pub fn set_capacity(&self, size: Sectors) {
        self.capacity.store(size.0, Ordering::Relaxed);
    }

    /// Whether it may only be read.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only.load(Ordering::Relaxed) || self.whole().is_some_and(|whole| whole.is_read_only())
    }

    /// Makes it read-only or not. Returns whether that was a change.
    pub fn set_read_only(&self, read_only: bool) -> bool {
        self.is_read_only.swap(read_only, Ordering::Relaxed) != read_only
    }

    /// A write from above reached a read-only device: it goes through. There is one line in the log, however often the device
    /// becomes read-only (kernel/dm-core.md#opening-devices).
    pub(crate) fn warn_read_only(&self) {
        if !self.has_warned_read_only.swap(true, Ordering::Relaxed) {
            let text = format!("Trying to write to read-only block-device {}", self.name);
            self.runtime.log(Level::Warning, text);
        }
    }

    pub(crate) fn eod_limit(&self) -> &RateLimit {
        &self.eod_limit
    }

    /// Whether it is gone: bios fail, opens give ENXIO.
    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Marks the device dead: all further bios fail.
    pub fn mark_dead(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// Number of the disk among all that this machine ever had.
    pub fn disk_seq(&self) -> u64 {
        if let Some(whole) = self.whole() {
            return whole.disk_seq();
        }
        self.disk_seq.load(Ordering::Relaxed)
    }

    /// Sets the sequence number: it is another disk from here on, on the same device (a loop device with another file).
    pub fn set_disk_seq(&self, disk_seq: u64) {
        self.disk_seq.store(disk_seq, Ordering::Relaxed);
    }

    /// Sends an event of the disk to user space. `extra` stands between SUBSYSTEM and MAJOR.
    pub fn send_uevent(&self, action: UeventAction, extra: Vec<(&'static str, String)>) {
        let mut vars = extra;
        vars.push(("MAJOR", self.dev.major().to_string()));
        vars.push(("MINOR", self.dev.minor().to_string()));
        vars.push(("DEVNAME", self.name.clone()));
        vars.push(("DEVTYPE", if self.part.is_some() { "partition" } else { "disk" }.to_owned()));
        vars.push(("DISKSEQ", self.disk_seq().to_string()));
        let mut path = "/devices/virtual/block".to_owned();
        if let Some(part) = &self.part {
            vars.push(("PARTN", part.number.to_string()));
            if !part.names.volume.is_empty() {
                vars.push(("PARTNAME", part.names.volume.clone()));
            }
            if let Some(whole) = part.whole() {
                path = format!("{path}/{}", whole.name);
            }
        }
        let path = format!("{path}/{}", self.name);
        self.runtime.uevents().send(action, path, "block", vars);
    }

    /// IO statistics, kept by drivers that count (device mapper, loop).
    pub fn stats(&self) -> &DiskStats {
        &self.stats
    }

    /// Whether IO of the device is counted.
    pub fn keeps_stats(&self) -> bool {
        self.queue.keeps_stats()
    }

    /// What the device can take.
    pub fn limits(&self) -> Arc<QueueLimits> {
        self.queue.limits()
    }

    /// Replaces what the device can take, and its partitions with it.
    pub fn set_limits(&self, limits: QueueLimits) {
        // New limits raise what the user or other limits had chosen, and never lower it (recorded: `raw/suspend`).
        self.set_read_ahead(self.read_ahead().max(limits.default_read_ahead()));
        self.queue.set_limits(limits);
        for part in self.partitions.read().values() {
            part.queue.set_limits(limits);
        }
    }

    /// Masks of what positions and lengths, and what memory addresses, of direct IO must be multiples of.
    pub(crate) fn direct_io_masks(&self) -> (u64, u64) {
        self.queue.direct_io_masks()
    }

    /// Whether the device has a volatile write cache, so that flushes reach its driver.
    pub fn has_write_cache(&self) -> bool {
        self.queue.has_write_cache()
    }

    /// Whether a discard, secure erase or write zeroes would be taken.
    pub fn supports(&self, op: Op) -> bool {
        self.queue.supports(op)
    }

    /// How far a sequential buffered reader is read ahead of (`queue/read_ahead_kb`).
    pub fn read_ahead(&self) -> Sectors {
        if let Some(whole) = self.whole() {
            return whole.read_ahead();
        }
        self.queue.read_ahead()
    }

    /// Sets how far to read ahead, rounded down to whole pages.
    pub fn set_read_ahead(&self, sectors: Sectors) {
        if let Some(whole) = self.whole() {
            return whole.set_read_ahead(sectors);
        }
        self.queue.set_read_ahead(sectors);
    }

    /// The page cache of the device, made if this is the first time that it is opened as a file.
    pub(crate) fn page_cache(&self, log: &Arc<BufferErrors>) -> Arc<PageCache> {
        let mut cache = self.cache.lock();
        let made = || Arc::new(PageCache::new(self, self.write_back_errors.clone(), log.clone()));
        cache.get_or_insert_with(made).clone()
    }

    /// Writes all dirty pages of its page cache to it, and waits (`sync_blockdev`): what a suspend does first.
    ///
    /// # Errors
    /// EIO when some of it failed; files that are open on it hear of that as well.
    pub fn write_back(self: &Arc<Self>) -> Result<(), Errno> {
        let cache = self.cache.lock().clone();
        cache.map_or(Ok(()), |cache| cache.write_back(self, 0..u64::MAX))
    }

    /// Writes back as `sync` does it: its bios are not marked as waited for (recorded: `flakey/bio-flags`).
    ///
    /// # Errors
    /// As [`BlockDevice::write_back`].
    pub fn write_back_unhurried(self: &Arc<Self>) -> Result<(), Errno> {
        let cache = self.cache.lock().clone();
        cache.map_or(Ok(()), |cache| cache.write_back_as(self, 0..u64::MAX, BioFlags::empty()))
    }

    /// Drops the clean pages of its page cache: the device below them has changed.
    pub(crate) fn drop_cached_pages(&self) {
        if let Some(cache) = &*self.cache.lock() {
            cache.drop_clean();
        }
    }
}
