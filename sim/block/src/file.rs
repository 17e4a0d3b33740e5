//! An open file of a block device: what a descriptor of `/dev/X` stands for.
//!
//! The rules are those of kernel/program-surface.md#files-of-block-devices; what was seen on Linux 6.12.95 beyond it
//! stands beside the code. Positions and lengths are in bytes.

use std::ops::Range;
use std::sync::Arc;

use dmlab_units::{DevT, Errno, SECTOR_SIZE, Sector, Sectors};
use parking_lot::Mutex;

use crate::buffer_errors::BufferErrors;
use crate::cache::{Miss, PageCache, ReadAhead, Seen};
use crate::{Bio, BioFlags, BlockDevice, Holder, IoFailed, OpenDevice, OpenMode, Registry, SyncIo};

mod blkpg;
mod fallocate;
mod ioctl;
mod ranges;
#[cfg(test)]
mod tests;

/// How one read or write is done, on top of how the file was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IoFlags {
    /// Past the page cache.
    pub is_direct: bool,
    /// EAGAIN rather than wait (RWF_NOWAIT).
    pub is_nowait: bool,
    /// Durable when it returns (RWF_DSYNC).
    pub is_dsync: bool,
    /// All memory addresses of the caller's buffers, or-ed: direct IO looks at their alignment.
    pub address_bits: usize,
    /// All lengths of the caller's buffers, or-ed, for the same reason; 0 when there is one buffer.
    pub length_bits: usize,
}

impl IoFlags {
    /// The flags of an IO of which only what lies on the device is left: alignment is looked at after the cut
    /// (recorded: `descriptors/vectors.txt`).
    fn cut(self, is_cut: bool) -> IoFlags {
        IoFlags { length_bits: if is_cut { 0 } else { self.length_bits }, ..self }
    }
}

/// An open file of a block device. Dropping it closes it; when it was the last one, that writes back and
/// drops its page cache.
pub struct BlockFile {
    opened: OpenDevice,
    cache: Arc<PageCache>,
    seen: Mutex<Seen>,
    read_ahead: Mutex<ReadAhead>,
    /// Kept for direct IO, which is then done without allocating; a second thread at once makes one of its own.
    io: Mutex<SyncIo>,
    log: Arc<BufferErrors>,
}

impl Registry {
    /// Opens the device with this number as a file.
    ///
    /// Opening a read-only device for writing succeeds; the writes fail.
    ///
    /// # Errors
    /// ENXIO when there is no such device (a mapped device is none before its first table). EBUSY with
    /// [`OpenMode::EXCLUSIVE`] when a table, a loop device or another exclusive open holds it.
    pub fn open(&self, dev: DevT, mode: OpenMode) -> Result<BlockFile, Errno> {
        let device = self.get(dev).ok_or(Errno::ENXIO)?;
        let holder = mode.contains(OpenMode::EXCLUSIVE).then(|| Holder::File(self.next_file()));
        BlockFile::new(device.open(mode, holder)?, self.buffer_errors())
    }

    /// Writes the dirty pages of all devices back, in order of their numbers (`sync`). Errors are left to the files.
    pub fn sync(&self) {
        for device in self.all() {
            let _heard_by_fsync = device.write_back_unhurried();
        }
    }
}

impl BlockFile {
    pub(crate) fn new(opened: OpenDevice, log: &Arc<BufferErrors>) -> Result<BlockFile, Errno> {
        let cache = opened.device().page_cache(log);
        let seen = cache.errors().sample();
        Ok(BlockFile {
            opened,
            cache,
            seen: Mutex::new(seen),
            read_ahead: Mutex::default(),
            io: Mutex::default(),
            log: log.clone(),
        })
    }

    /// The device.
    pub fn device(&self) -> &Arc<BlockDevice> {
        self.opened.device()
    }

    /// How it was opened.
    pub fn mode(&self) -> OpenMode {
        self.opened.mode()
    }

    /// The size of the device: where `lseek(SEEK_END)` ends up.
    pub fn size(&self) -> u64 {
        self.device().capacity().0.saturating_mul(SECTOR_SIZE)
    }

    /// Reads into `buf` from `pos` on. Returns the number of bytes: fewer at the end of the device or before a page
    /// that can't be read, 0 at the end and past it.
    ///
    /// # Errors
    /// EBADF: not opened for reading. Direct: EINVAL when position, length or memory are not aligned, else the
    /// device's error. Buffered: EIO. EAGAIN where it may not wait and would have to.
    pub fn read_at(&self, pos: u64, buf: &mut [u8], flags: IoFlags) -> Result<usize, Errno> {
        if !self.mode().contains(OpenMode::READ) {
            return Err(Errno::EBADF);
        }
        check_position(pos, buf.len())?;
        // No bytes and the end come before alignment: such unaligned direct reads return 0
        // (recorded: `descriptors/vectors.txt`).
        if buf.is_empty() {
            return Ok(0);
        }
        let Some(len) = self.until_end(pos, buf.len()) else { return Ok(0) };
        let flags = flags.cut(len < buf.len());
        let buf = &mut buf[..len];
        if self.is_direct(flags) {
            self.read_direct(pos, buf, flags)
        } else if flags.is_nowait {
            self.cache.read(self.device(), pos, buf, Miss::Refuse)
        } else {
            self.cache.read(self.device(), pos, buf, Miss::ReadAhead(&mut self.read_ahead.lock()))
        }
    }

    /// Fills `buf`, which lies on the device, through the page cache and without reading ahead.
    pub(crate) fn read_pages(&self, pos: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let got = self.cache.read(self.device(), pos, buf, Miss::PageByPage)?;
        if got == buf.len() { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Reads the disk's partition table anew, as BLKRRPART does.
    ///
    /// # Errors
    /// EINVAL: it is never scanned. EBUSY: a partition is open, or another has claimed the disk.
    pub fn reread_partitions(&self) -> Result<(), Errno> {
        self.device().reread_partitions(&self.log, self.mode().contains(OpenMode::EXCLUSIVE))
    }

    fn read_direct(&self, pos: u64, buf: &mut [u8], flags: IoFlags) -> Result<usize, Errno> {
        let device = self.device();
        self.check_aligned(pos, buf.len(), flags)?;
        if !self.cache.is_empty() {
            self.cache.write_back(device, pos..pos + buf.len() as u64)?;
        }
        let modifiers = nowait(flags) | BioFlags::SYNC;
        self.with_io(|io| io.read(device, sector(pos), buf, |bio| bio.with_flags(modifiers)))?;
        Ok(buf.len())
    }

    /// Writes `data` at `pos`. Returns the number of bytes: fewer at the end of the device or before a block that had
    /// to be read first and could not be.
    ///
    /// # Errors
    /// EBADF: not opened for writing. EPERM: the device is read-only. ENOSPC: `pos` is at or past the end. Direct:
    /// EINVAL when not aligned, else the device's error. Buffered: EIO; EOPNOTSUPP when it may not wait. With
    /// O_DSYNC also what [`BlockFile::sync`] returns.
    pub fn write_at(&self, pos: u64, data: &[u8], flags: IoFlags) -> Result<usize, Errno> {
        if !self.mode().contains(OpenMode::WRITE) {
            return Err(Errno::EBADF);
        }
        check_position(pos, data.len())?;
        if self.device().is_read_only() {
            return Err(Errno::EPERM);
        }
        if data.is_empty() {
            return Ok(0);
        }
        let len = self.until_end(pos, data.len()).ok_or(Errno::ENOSPC)?;
        let flags = flags.cut(len < data.len());
        let data = &data[..len];
        let is_dsync = flags.is_dsync || self.mode().contains(OpenMode::SYNC);
        let written = if self.is_direct(flags) {
            self.write_direct(pos, data, flags, is_dsync)?
        } else if flags.is_nowait {
            return Err(Errno::EOPNOTSUPP);
        } else {
            self.cache.write(self.device(), pos, data)?
        };
        if is_dsync {
            self.sync_range(pos..pos + written as u64)?;
        }
        Ok(written)
    }

    fn write_direct(&self, pos: u64, data: &[u8], flags: IoFlags, is_dsync: bool) -> Result<usize, Errno> {
        let device = self.device();
        self.check_aligned(pos, data.len(), flags)?;
        let range = pos..pos + data.len() as u64;
        if !self.cache.is_empty() {
            self.cache.write_back(device, range.clone())?;
            self.cache.invalidate(range.clone());
        }
        let mut modifiers = nowait(flags) | BioFlags::SYNC | BioFlags::IDLE;
        if is_dsync {
            modifiers |= BioFlags::FUA;
        }
        self.with_io(|io| io.submit(device, Bio::write(sector(pos), data).with_flags(modifiers)))?;
        // A buffered reader may have brought old pages in while the write was under way.
        if !self.cache.is_empty() {
            self.cache.invalidate(range);
        }
        Ok(data.len())
    }

    /// Makes everything durable that was written before (`fsync`, `fdatasync`): writes back all dirty pages, then
    /// sends a flush.
    ///
    /// # Errors
    /// EIO: a write-back failed since this file last asked, whatever started it; reported once to each file, also when
    /// the device said ENOSPC (seen on Linux). Else the flush's error.
    pub fn sync(&self) -> Result<(), Errno> {
        self.sync_range(0..u64::MAX)
    }

    /// Writes the dirty pages of a range of bytes back, without a flush after them.
    ///
    /// # Errors
    /// As [`BlockFile::sync`], but for the flush.
    pub fn write_back(&self, range: Range<u64>) -> Result<(), Errno> {
        let written_back = self.cache.write_back(self.device(), range);
        self.cache.errors().check(&mut self.seen.lock())?;
        match written_back {
            Err(Errno::EDEADLK) => Err(Errno::EDEADLK),
            _ => Ok(()),
        }
    }

    fn sync_range(&self, range: Range<u64>) -> Result<(), Errno> {
        let device = self.device();
        let written_back = self.cache.write_back(device, range);
        self.cache.errors().check(&mut self.seen.lock())?;
        if let Err(Errno::EDEADLK) = written_back {
            return Err(Errno::EDEADLK);
        }
        match self
            .with_io(|io| io.submit(device, Bio::flush().with_flags(BioFlags::PREFLUSH | BioFlags::SYNC)))
        {
            Err(Errno::EOPNOTSUPP) => Ok(()),
            answer => answer,
        }
    }

    fn is_direct(&self, flags: IoFlags) -> bool {
        flags.is_direct || self.mode().contains(OpenMode::DIRECT)
    }

    /// How much of `len` bytes at `pos` lies on the device; `None` when `pos` is at or past the end.
    fn until_end(&self, pos: u64, len: usize) -> Option<usize> {
        let left = self.size().checked_sub(pos).filter(|&left| left > 0)?;
        Some((len as u64).min(left) as usize)
    }

    fn check_aligned(&self, pos: u64, len: usize, flags: IoFlags) -> Result<(), Errno> {
        let (block, memory) = self.device().direct_io_masks();
        let lengths = len as u64 | flags.length_bits as u64;
        if (pos | lengths) & block != 0 || flags.address_bits as u64 & memory != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    fn with_io(&self, work: impl FnOnce(&mut SyncIo) -> Result<(), IoFailed>) -> Result<(), Errno> {
        let result = match self.io.try_lock() {
            Some(mut io) => work(&mut io),
            None => work(&mut SyncIo::default()),
        };
        result.map_err(IoFailed::errno)
    }
}

/// Positions are signed: nothing may end beyond the largest.
fn check_position(pos: u64, len: usize) -> Result<(), Errno> {
    match pos.checked_add(len as u64) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

fn nowait(flags: IoFlags) -> BioFlags {
    if flags.is_nowait { BioFlags::NOWAIT } else { BioFlags::empty() }
}

fn sector(pos: u64) -> Sector {
    Sector(pos / SECTOR_SIZE)
}

/// A range of whole sectors in bytes, as sectors.
fn sectors(bytes: &Range<u64>) -> (Sector, Sectors) {
    (sector(bytes.start), Sectors((bytes.end - bytes.start) / SECTOR_SIZE))
}
