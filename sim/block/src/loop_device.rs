//! Loop devices: `/dev/loopN`, a disk in a file or in part of another device.
//!
//! States and answers are those of Linux 6.12.95, probed with each ioctl in each state:
//!
//! - *Unbound*: size 0; nearly all ioctls give ENXIO. Limits stay as the last file left them, the logical block size
//!   goes back to 512.
//! - *Bound* by LOOP_CONFIGURE or LOOP_SET_FD.
//! - *Rundown*: LOOP_CLR_FD by the only opener. Status ioctls give ENXIO and IO fails, but the size stays and the
//!   device can't be bound again before that opener is gone. With other openers LOOP_CLR_FD only sets AUTOCLEAR (which
//!   a later LOOP_SET_STATUS may take back), and the last close unbinds.
//!
//! With PARTSCAN its partition table is read when a file is bound, and when LOOP_SET_STATUS switches it on; without, only
//! BLKPG makes partitions. They go when the file is unbound.

use std::sync::{Arc, Weak};

use dmlab_abi::{self as abi, LoopConfig, LoopFlags, LoopInfo, LoopInfo64};
use dmlab_runtime::{Level, UeventAction};
use dmlab_units::{Bytes, DevT, Errno, Sector, Sectors};
use parking_lot::{Mutex, RwLock};

use crate::disk::{Medium, serve};
use crate::limits::{Features, PAGE_SIZE, QueueLimits, is_valid_logical_block_size};
use crate::{
    Bio, BioQueue, BlkStatus, BlockDevice, Caller, DiskOps, LoopBacking, Op, OpenMode, Registry, UserMemory,
};

mod backing;
mod control;
#[cfg(test)]
mod tests;

pub use backing::{DeviceBacking, FileBacking};
pub use control::LoopControl;

/// Major number of loop devices.
pub const LOOP_MAJOR: u32 = 7;
/// Largest request (1280 KiB).
const MAX_HW_SECTORS: Sectors = Sectors(2560);
/// Largest discard and write zeroes: what 32 bits of bytes can count, in sectors.
const MAX_RANGE_SECTORS: Sectors = Sectors((u32::MAX >> 9) as u64);
/// Longest encryption key that the interface has room for; longer ones are refused, though nothing is encrypted.
const MAX_KEY_SIZE: u32 = 32;

/// The driver of one loop device.
pub struct LoopDevice {
    registry: Weak<Registry>,
    /// Held while a file is bound to any loop device, so that no two can end up on one another.
    binding: Arc<Mutex<()>>,
    state: RwLock<State>,
}

struct State {
    /// The backing file, while bound or in rundown.
    backing: Option<Arc<dyn LoopBacking>>,
    is_rundown: bool,
    /// The offset in the file, in bytes.
    offset: u64,
    /// The limit of the size in bytes; 0 = none.
    sizelimit: u64,
    flags: LoopFlags,
    file_name: [u8; 64],
}

/// `/sys/block/loopN/loop/`, which exists while the device is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the files' own")]
pub struct LoopAttributes {
    pub backing_file: Vec<u8>,
    pub offset: Bytes,
    pub sizelimit: Bytes,
    pub autoclear: bool,
    pub partscan: bool,
    pub dio: bool,
}

impl Default for State {
    /// Unbound.
    fn default() -> State {
        State {
            backing: None,
            is_rundown: false,
            offset: 0,
            sizelimit: 0,
            flags: LoopFlags::empty(),
            file_name: [0; 64],
        }
    }
}

impl State {
    /// The backing file, if status ioctls may speak of it.
    fn bound(&self) -> Result<&Arc<dyn LoopBacking>, Errno> {
        if self.is_rundown {
            return Err(Errno::ENXIO);
        }
        self.backing.as_ref().ok_or(Errno::ENXIO)
    }

    /// Size of the device: whole sectors of the file from the offset on, up to the limit.
    fn size(&self, backing: &dyn LoopBacking) -> Result<Sectors, Errno> {
        let mut bytes = backing.size()?.saturating_sub(self.offset);
        if self.sizelimit > 0 {
            bytes = bytes.min(self.sizelimit);
        }
        Ok(Bytes(bytes).sectors_floor())
    }

    /// Takes over what `info` says of offset, limit and name.
    fn set_info(&mut self, info: &LoopInfo64) -> Result<(), Errno> {
        if info.encrypt_key_size > MAX_KEY_SIZE || info.encrypt_type != 0 {
            return Err(Errno::EINVAL);
        }
        // Both must fit in the kernel's signed file offsets.
        if i64::try_from(info.offset).is_err() || i64::try_from(info.sizelimit).is_err() {
            return Err(Errno::EOVERFLOW);
        }
        self.offset = info.offset;
        self.sizelimit = info.sizelimit;
        self.file_name = info.file_name;
        self.file_name[63] = 0;
        Ok(())
    }

    fn info(&self, number: u32) -> Result<LoopInfo64, Errno> {
        let backing = self.bound()?;
        let (device, inode) = backing.identity();
        Ok(LoopInfo64 {
            device,
            inode,
            rdevice: backing.block_device().map_or(0, |below| below.dev().to_huge()),
            offset: self.offset,
            sizelimit: self.sizelimit,
            number,
            flags: self.flags,
            file_name: self.file_name,
            ..LoopInfo64::default()
        })
    }
}

impl LoopDevice {
    /// Makes an unbound device `loopN` that is in no registry yet.
    fn create(
        registry: &Arc<Registry>,
        binding: &Arc<Mutex<()>>,
        number: u32,
    ) -> (Arc<BlockDevice>, Arc<LoopDevice>) {
        let driver = Arc::new(LoopDevice {
            registry: Arc::downgrade(registry),
            binding: binding.clone(),
            state: RwLock::default(),
        });
        let limits = QueueLimits {
            features: Features::IO_STAT | Features::NOWAIT,
            max_hw_sectors: MAX_HW_SECTORS,
            max_sectors: MAX_HW_SECTORS,
            ..QueueLimits::plain()
        };
        let device = BlockDevice::new(
            DevT::new(LOOP_MAJOR, number),
            format!("loop{number}"),
            registry.next_disk_seq(),
            registry.runtime().clone(),
            driver.clone(),
            limits,
        );
        (device, driver)
    }

    /// What `/sys/block/loopN/loop/` shows; `None` when it does not exist.
    pub fn attributes(&self) -> Option<LoopAttributes> {
        let state = self.state.read();
        let backing = state.bound().ok()?;
        Some(LoopAttributes {
            backing_file: backing.path(),
            offset: Bytes(state.offset),
            sizelimit: Bytes(state.sizelimit),
            autoclear: state.flags.contains(LoopFlags::AUTOCLEAR),
            partscan: state.flags.contains(LoopFlags::PARTSCAN),
            dio: state.flags.contains(LoopFlags::DIRECT_IO),
        })
    }

    /// Whether nothing is bound to it, not even for a last opener.
    fn is_unbound(&self) -> bool {
        self.state.read().backing.is_none()
    }

    /// Binds a file and sets everything up at once (LOOP_CONFIGURE).
    fn configure(
        &self,
        dev: &Arc<BlockDevice>,
        mode: OpenMode,
        backing: Arc<dyn LoopBacking>,
        config: &LoopConfig,
    ) -> Result<(), Errno> {
        exclusive(dev, mode)?;
        let _one_at_a_time = self.binding.lock();
        if !self.is_unbound() {
            return Err(Errno::EBUSY);
        }
        check_backing(dev, &*backing)?;
        let settable =
            LoopFlags::READ_ONLY | LoopFlags::AUTOCLEAR | LoopFlags::PARTSCAN | LoopFlags::DIRECT_IO;
        if !settable.contains(config.info.flags) {
            return Err(Errno::EINVAL);
        }
        let block_size = Bytes(u64::from(config.block_size));
        if block_size.0 != 0 && !is_valid_logical_block_size(block_size) {
            return Err(Errno::EINVAL);
        }
        let mut fresh = State { flags: config.info.flags, ..State::default() };
        fresh.set_info(&config.info)?;
        if !mode.contains(OpenMode::WRITE) || backing.is_read_only() {
            fresh.flags |= LoopFlags::READ_ONLY;
        }
        let size = fresh.size(&*backing)?;
        let is_read_only = fresh.flags.contains(LoopFlags::READ_ONLY);
        dev.set_limits(bound_limits(&*backing, block_size, is_read_only));
        dev.set_read_only(is_read_only);
        self.next_disk(dev);
        tell_of_size(dev, size);
        dev.set_capacity(size);
        let is_scanned = fresh.flags.contains(LoopFlags::PARTSCAN);
        *self.state.write() = State { backing: Some(backing), ..fresh };
        dev.send_uevent(UeventAction::Change, Vec::new());
        if is_scanned {
            self.scan(dev);
        }
        Ok(())
    }

    /// LOOP_CLR_FD. With other openers this only marks the device to be unbound by the last of them.
    fn clear_fd(&self, dev: &BlockDevice) -> Result<(), Errno> {
        let mut state = self.state.write();
        state.bound()?;
        state.flags |= LoopFlags::AUTOCLEAR;
        state.is_rundown = dev.open_count() == 1;
        Ok(())
    }

    /// Unbinds: the last opener of a device to be cleared is gone.
    fn unbind(&self, dev: &BlockDevice) {
        *self.state.write() = State::default();
        let mut limits = *dev.limits();
        limits.logical_block_size = Bytes(512);
        limits.physical_block_size = Bytes(512);
        limits.io_min = Bytes(512);
        dev.set_limits(limits);
        dev.set_read_only(false);
        dev.set_capacity(Sectors(0));
        dev.send_uevent(UeventAction::Change, Vec::new());
        dev.send_uevent(UeventAction::Change, vec![("DISK_MEDIA_CHANGE", "1".to_owned())]);
        self.next_disk(dev);
        dev.forget_partitions();
    }

    fn set_status(&self, dev: &Arc<BlockDevice>, info: &LoopInfo64) -> Result<(), Errno> {
        self.state.read().bound()?;
        // What is cached belongs to the old place in the file.
        let _heard_by_fsync = dev.write_back();
        let mut state = self.state.write();
        let backing = state.bound()?.clone();
        let place = (state.offset, state.sizelimit);
        let was_scanned = state.flags.contains(LoopFlags::PARTSCAN);
        state.set_info(info)?;
        // AUTOCLEAR comes and goes with each call; PARTSCAN can only be switched on here.
        state.flags.remove(LoopFlags::AUTOCLEAR);
        state.flags |= info.flags & (LoopFlags::AUTOCLEAR | LoopFlags::PARTSCAN);
        if place == (state.offset, state.sizelimit) {
            drop(state);
        } else {
            let size = state.size(&*backing)?;
            drop(state);
            dev.drop_cached_pages();
            set_size(dev, size);
        }
        if !was_scanned && self.may_have_partitions() {
            self.scan(dev);
        }
        Ok(())
    }

    /// Reads the partition table, unless a partition is open.
    fn scan(&self, dev: &Arc<BlockDevice>) {
        let is_open = dev.partitions().iter().any(|part| part.open_count() > 0);
        let Some(registry) = self.registry.upgrade().filter(|_| !is_open) else { return };
        if let Err(errno) = registry.scan_partitions(dev) {
            let file =
                self.attributes().map(|shown| String::from_utf8_lossy(&shown.backing_file).into_owned());
            let (name, file) = (dev.name(), file.unwrap_or_default());
            let text = format!(
                "loop_reread_partitions: partition scan of {name} ({file}) failed (rc=-{})",
                errno.raw()
            );
            dev.runtime().log(Level::Warning, text);
        }
    }

    fn set_capacity(&self, dev: &BlockDevice) -> Result<(), Errno> {
        let state = self.state.read();
        let size = state.size(&**state.bound()?)?;
        drop(state);
        set_size(dev, size);
        Ok(())
    }

    fn set_block_size(&self, dev: &Arc<BlockDevice>, mode: OpenMode, size: u64) -> Result<(), Errno> {
        exclusive(dev, mode)?;
        self.state.read().bound()?;
        let size = Bytes(size);
        if dev.limits().logical_block_size == size {
            return Ok(());
        }
        if !is_valid_logical_block_size(size) {
            return Err(Errno::EINVAL);
        }
        let _heard_by_fsync = dev.write_back();
        dev.drop_cached_pages();
        let mut limits = *dev.limits();
        limits.logical_block_size = size;
        limits.physical_block_size = size;
        limits.io_min = size;
        limits.validate_for(dev.runtime().personality())?;
        dev.set_limits(limits);
        Ok(())
    }

    fn set_direct_io(&self, on: bool) -> Result<(), Errno> {
        let mut state = self.state.write();
        state.bound()?;
        // How the backing file is reached is the user side's business; the flag is what programs see of it.
        state.flags.set(LoopFlags::DIRECT_IO, on);
        Ok(())
    }

    /// Replaces the file of a read-only device by another of the same size (LOOP_CHANGE_FD).
    fn change_fd(&self, dev: &BlockDevice, caller: &dyn Caller, fd: i32) -> Result<(), Errno> {
        let backing = caller.backing_file(fd)?;
        let changed = self.swap_backing(dev, backing);
        // Sent whether it worked or not.
        dev.send_uevent(UeventAction::Change, Vec::new());
        changed
    }

    fn swap_backing(&self, dev: &BlockDevice, backing: Arc<dyn LoopBacking>) -> Result<(), Errno> {
        let _one_at_a_time = self.binding.lock();
        check_backing(dev, &*backing)?;
        let mut state = self.state.write();
        let old = state.bound()?;
        if !state.flags.contains(LoopFlags::READ_ONLY) {
            return Err(Errno::EINVAL);
        }
        if state.size(&*backing)? != state.size(&**old)? {
            return Err(Errno::EINVAL);
        }
        state.backing = Some(backing);
        self.next_disk(dev);
        Ok(())
    }

    fn next_disk(&self, dev: &BlockDevice) {
        if let Some(registry) = self.registry.upgrade() {
            dev.set_disk_seq(registry.next_disk_seq());
        }
    }
}

impl DiskOps for LoopDevice {
    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, bio: Bio<'a>, _queue: &mut BioQueue<'a>) {
        let (backing, offset, flags) = {
            let state = self.state.read();
            match state.bound() {
                Ok(backing) => (backing.clone(), state.offset, state.flags),
                Err(_) => return bio.end(BlkStatus::IoErr),
            }
        };
        if bio.op.is_write() && bio.op != Op::Flush && flags.contains(LoopFlags::READ_ONLY) {
            return bio.end(BlkStatus::IoErr);
        }
        dev.stats().count(bio.op, bio.len());
        serve(&Place { backing: &*backing, offset }, bio);
    }

    fn release(&self, dev: &BlockDevice, openers_left: u32) {
        let ends = |state: &State| {
            state.backing.is_some() && (state.is_rundown || state.flags.contains(LoopFlags::AUTOCLEAR))
        };
        if openers_left == 0 && ends(&self.state.read()) {
            self.unbind(dev);
        }
    }

    fn takes_requests(&self) -> bool {
        true
    }

    fn stands_on(&self) -> Option<Arc<BlockDevice>> {
        self.state.read().backing.as_ref()?.block_device()
    }

    fn may_have_partitions(&self) -> bool {
        self.state.read().flags.contains(LoopFlags::PARTSCAN)
    }

    fn ioctl(
        &self,
        dev: &Arc<BlockDevice>,
        mode: OpenMode,
        caller: &dyn Caller,
        request: u32,
        arg: u64,
        memory: &mut dyn UserMemory,
    ) -> Result<i32, Errno> {
        let may_change = mode.contains(OpenMode::WRITE) || caller.is_admin();
        match request {
            abi::LOOP_SET_FD => {
                let backing = caller.backing_file(arg as i32)?;
                self.configure(dev, mode, backing, &LoopConfig::default())
            }
            abi::LOOP_CONFIGURE => {
                let mut bytes = [0; LoopConfig::SIZE];
                memory.read(0, &mut bytes)?;
                let config = LoopConfig::decode(&bytes);
                self.configure(dev, mode, caller.backing_file(config.fd as i32)?, &config)
            }
            abi::LOOP_CHANGE_FD => self.change_fd(dev, caller, arg as i32),
            abi::LOOP_CLR_FD => self.clear_fd(dev),
            abi::LOOP_SET_STATUS | abi::LOOP_SET_STATUS64 if !may_change => Err(Errno::EPERM),
            abi::LOOP_SET_STATUS => {
                let mut bytes = [0; LoopInfo::SIZE];
                memory.read(0, &mut bytes)?;
                self.set_status(dev, &LoopInfo64::from(&LoopInfo::decode(&bytes)))
            }
            abi::LOOP_SET_STATUS64 => {
                let mut bytes = [0; LoopInfo64::SIZE];
                memory.read(0, &mut bytes)?;
                self.set_status(dev, &LoopInfo64::decode(&bytes))
            }
            // Without memory to write to, even the state does not matter.
            abi::LOOP_GET_STATUS | abi::LOOP_GET_STATUS64 if arg == 0 => Err(Errno::EINVAL),
            abi::LOOP_GET_STATUS => {
                let info = self.state.read().info(dev.dev().minor())?;
                memory.write(0, &info.to_old().ok_or(Errno::EOVERFLOW)?.encode())
            }
            abi::LOOP_GET_STATUS64 => {
                let info = self.state.read().info(dev.dev().minor())?;
                memory.write(0, &info.encode())
            }
            abi::LOOP_SET_CAPACITY | abi::LOOP_SET_DIRECT_IO | abi::LOOP_SET_BLOCK_SIZE if !may_change => {
                Err(Errno::EPERM)
            }
            abi::LOOP_SET_CAPACITY => self.set_capacity(dev),
            abi::LOOP_SET_DIRECT_IO => self.set_direct_io(arg != 0),
            abi::LOOP_SET_BLOCK_SIZE => self.set_block_size(dev, mode, arg),
            // Unlike other drivers, this one calls an unknown request invalid.
            _ => Err(Errno::EINVAL),
        }
        .map(|()| 0)
    }
}

/// A backing file from an offset on.
struct Place<'a> {
    backing: &'a dyn LoopBacking,
    offset: u64,
}

impl Place<'_> {
    fn range(&self, start: Sector, len: Sectors) -> (u64, u64) {
        (self.offset + start.0 * 512, len.0 * 512)
    }
}

impl Medium for Place<'_> {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        self.backing.read_at(self.offset + offset, buf).map_err(|_| Errno::EIO)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.backing.write_at(self.offset + offset, data).map_err(|errno| match errno {
            Errno::ENOSPC => Errno::ENOSPC,
            _ => Errno::EIO,
        })
    }

    fn flush(&self) -> Result<(), Errno> {
        self.backing.sync().map_err(|_| Errno::EIO)
    }

    fn discard(&self, start: Sector, len: Sectors) -> Result<(), Errno> {
        let (offset, len) = self.range(start, len);
        self.backing.punch_hole(offset, len)
    }

    fn zero(&self, start: Sector, len: Sectors) -> Result<(), Errno> {
        self.discard(start, len)
    }
}

/// Limits of a device bound to `backing`. On a file: discards and zeroing by punching holes. On a block device: only
/// if that can zero without writing.
fn bound_limits(backing: &dyn LoopBacking, block_size: Bytes, is_read_only: bool) -> QueueLimits {
    let block_size = if block_size.0 == 0 { Bytes(512) } else { block_size };
    let (max_range, granularity) = match backing.block_device() {
        None => (MAX_RANGE_SECTORS, Bytes(PAGE_SIZE)),
        Some(below) => {
            let limits = below.limits();
            (limits.max_write_zeroes_sectors.min(MAX_RANGE_SECTORS), limits.physical_block_size)
        }
    };
    let mut features = Features::IO_STAT | Features::NOWAIT;
    if !is_read_only {
        features |= Features::WRITE_CACHE;
    }
    QueueLimits {
        features,
        logical_block_size: block_size,
        physical_block_size: block_size,
        io_min: block_size,
        max_hw_sectors: MAX_HW_SECTORS,
        max_sectors: MAX_HW_SECTORS,
        max_hw_discard_sectors: max_range,
        max_discard_sectors: max_range,
        discard_granularity: if max_range.is_zero() { Bytes(0) } else { granularity },
        max_write_zeroes_sectors: max_range,
        ..QueueLimits::plain()
    }
}

/// Refuses a device as its own ground, however many loop devices lie between.
fn check_backing(dev: &BlockDevice, backing: &dyn LoopBacking) -> Result<(), Errno> {
    let mut below = backing.block_device();
    while let Some(device) = below {
        if device.dev() == dev.dev() {
            return Err(Errno::EBADF);
        }
        below = device.ops().stands_on();
    }
    Ok(())
}

/// Checks that the opener is the exclusive one, or that there is none.
fn exclusive(dev: &BlockDevice, mode: OpenMode) -> Result<(), Errno> {
    if mode.contains(OpenMode::EXCLUSIVE) || dev.claimed_by().is_none() { Ok(()) } else { Err(Errno::EBUSY) }
}

/// The kernel logs each other size of a bound device.
fn tell_of_size(dev: &BlockDevice, size: Sectors) {
    let old = dev.capacity();
    if old != size {
        let text = format!("{}: detected capacity change from {old} to {size}", dev.name());
        dev.runtime().log(Level::Info, text);
    }
}

/// Sets the size of a bound device and tells user space: with RESIZE=1 unless the size was or becomes 0, or stays.
fn set_size(dev: &BlockDevice, size: Sectors) {
    let old = dev.capacity();
    tell_of_size(dev, size);
    dev.set_capacity(size);
    let is_resize = old != size && !old.is_zero() && !size.is_zero();
    let extra = if is_resize { vec![("RESIZE", "1".to_owned())] } else { Vec::new() };
    dev.send_uevent(UeventAction::Change, extra);
}
