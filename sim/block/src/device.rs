//! The block device: what a number in `/dev` stands for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use dmlab_abi::Geometry;
use dmlab_runtime::{Level, RateLimit, Runtime, UeventAction};
use dmlab_units::{DevT, Errno, Sectors};
use parking_lot::{Mutex, RwLock};

use crate::buffer_errors::BufferErrors;
use crate::cache::{ErrSeq, PageCache};
use crate::partition::Partition;
use crate::registry::Numbers;
use crate::stats::DiskStats;
use crate::{
    Bio, BioFlags, BioQueue, BlkStatus, Caller, End, Features, FrameData, Op, QueueLimits, SparseMemory,
    UserMemory,
};

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

#[derive(Default)]
struct Openers {
    count: u32,
    claim: Option<(Holder, u32)>,
    is_dead: bool,
    /// Mapped devices that stand on this one, with the number of tables of each.
    holders: Vec<(DevT, u32)>,
}

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
    has_write_cache: AtomicBool,
    /// Logical block size less one in the upper half, `dma_alignment` in the lower: what each direct IO looks at.
    alignment: AtomicU64,
    limits: RwLock<Arc<QueueLimits>>,
    disk_seq: AtomicU64,
    openers: Mutex<Openers>,
    stats: DiskStats,
    eod_limit: RateLimit,
    /// The page cache, which exists while the device is open as a file.
    cache: Mutex<Option<Arc<PageCache>>>,
    /// The write-back errors, which outlive the cache: a later opener is told of those that no file has seen.
    write_back_errors: Arc<ErrSeq>,
    read_ahead: AtomicU64,
    /// Whether IO is counted (QUEUE_FLAG_IO_STAT).
    keeps_stats: AtomicBool,
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
        device.keep_limits(limits);
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
            has_write_cache: AtomicBool::new(false),
            alignment: AtomicU64::new(0),
            limits: RwLock::new(Arc::new(limits)),
            disk_seq: AtomicU64::new(disk_seq),
            openers: Mutex::default(),
            stats: DiskStats::default(),
            eod_limit: RateLimit::default(),
            cache: Mutex::default(),
            write_back_errors: Arc::default(),
            read_ahead: AtomicU64::new(0),
            keeps_stats: AtomicBool::new(false),
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

    /// Whether its IO is counted.
    pub fn keeps_stats(&self) -> bool {
        self.keeps_stats.load(Ordering::Relaxed)
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

    /// What it can take.
    pub fn limits(&self) -> Arc<QueueLimits> {
        self.limits.read().clone()
    }

    /// Replaces what it can take, and its partitions with it.
    pub fn set_limits(&self, limits: QueueLimits) {
        // New limits raise what the user or other limits had chosen, and never lower it (recorded: `raw/suspend`).
        self.set_read_ahead(self.read_ahead().max(limits.default_read_ahead()));
        self.keep_limits(limits);
        for part in self.partitions.read().values() {
            part.keep_limits(limits);
        }
    }

    fn keep_limits(&self, limits: QueueLimits) {
        self.keeps_stats.store(limits.features.contains(Features::IO_STAT), Ordering::Relaxed);
        self.has_write_cache.store(limits.has_write_cache(), Ordering::Relaxed);
        let block_mask = limits.logical_block_size.0.saturating_sub(1);
        self.alignment.store(block_mask << 32 | u64::from(limits.dma_alignment), Ordering::Relaxed);
        *self.limits.write() = Arc::new(limits);
    }

    /// Masks of what positions and lengths, and what memory addresses, of direct IO must be multiples of.
    pub(crate) fn direct_io_masks(&self) -> (u64, u64) {
        let both = self.alignment.load(Ordering::Relaxed);
        (both >> 32, both & u64::from(u32::MAX))
    }

    /// Whether it has a volatile write cache, so that flushes reach its driver.
    pub fn has_write_cache(&self) -> bool {
        self.has_write_cache.load(Ordering::Relaxed)
    }

    /// Whether a discard, secure erase or write zeroes would be taken.
    pub fn supports(&self, op: Op) -> bool {
        let limits = self.limits.read();
        match op {
            Op::Discard => !limits.max_discard_sectors.is_zero(),
            Op::SecureErase => !limits.max_secure_erase_sectors.is_zero(),
            Op::WriteZeroes => !limits.max_write_zeroes_sectors.is_zero(),
            Op::Read | Op::Write | Op::Flush => true,
        }
    }

    /// How far a sequential buffered reader is read ahead of (`queue/read_ahead_kb`).
    pub fn read_ahead(&self) -> Sectors {
        if let Some(whole) = self.whole() {
            return whole.read_ahead();
        }
        Sectors(self.read_ahead.load(Ordering::Relaxed))
    }

    /// Sets how far to read ahead, rounded down to whole pages.
    pub fn set_read_ahead(&self, sectors: Sectors) {
        if let Some(whole) = self.whole() {
            return whole.set_read_ahead(sectors);
        }
        self.read_ahead.store(sectors.0 & !7, Ordering::Relaxed);
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
            if let Some(holder) = holder {
                match &mut openers.claim {
                    None => openers.claim = Some((holder, 1)),
                    Some((other, count)) if *other == holder => *count += 1,
                    Some(_) => return Err(Errno::EBUSY),
                }
            }
            openers.count += 1;
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
            if let (Some(holder), Some((claimed, count))) = (holder, &mut openers.claim)
                && *claimed == holder
            {
                *count -= 1;
                if *count == 0 {
                    openers.claim = None;
                }
            }
            openers.count -= 1;
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
