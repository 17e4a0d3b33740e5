//! IO past the page cache: blocking, or begun and waited for later.

use std::sync::Arc;

use dmlab_block::{Bio, Op, SyncIo};
use dmlab_machine::{BlockFile, IoFlags, OpenMode};
use dmlab_units::{DevT, Errno, SECTOR_SIZE, Sector, Sectors};

use crate::{Error, IoFailure, Lab, Pending, caller, turns};

const DIRECT: IoFlags =
    IoFlags { is_direct: true, is_nowait: false, is_dsync: false, address_bits: 0, length_bits: 0 };

fn offset(start: Sector) -> Result<u64, Errno> {
    start.to_bytes().map(|bytes| bytes.0).ok_or(Errno::EINVAL)
}

/// Whole sectors of so many bytes.
fn sectors(bytes: &[u8]) -> Sectors {
    Sectors((bytes.len() as u64).div_ceil(SECTOR_SIZE))
}

impl Lab {
    /// Does IO, and says on failure what was done to which device.
    fn io<T>(
        &self,
        operation: &'static str,
        device: &str,
        range: Option<(Sector, Sectors)>,
        work: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Error> {
        work().map_err(|errno| {
            Error::from(IoFailure { errno, operation, device: device.to_owned(), range }).seen_in(self)
        })
    }

    /// The number of the device at `path`: `/dev/ram0`, `/dev/dm-3`, `/dev/mapper/NAME`, or `MAJOR:MINOR`.
    ///
    /// # Errors
    /// ENOENT when nothing is there.
    pub fn device(&self, path: &str) -> Result<DevT, Error> {
        self.io("look-up", path, None, || self.look_up(path))
    }

    fn look_up(&self, path: &str) -> Result<DevT, Errno> {
        path.parse().or_else(|_| caller::lookup(self.machine(), path.as_bytes()))
    }

    /// Opens a device for reading and writing past the page cache; it counts as open until the file is dropped.
    ///
    /// # Errors
    /// ENOENT; ENXIO for a mapped device that never had a table.
    pub fn open(&self, path: &str) -> Result<BlockFile, Error> {
        self.io("open", path, None, || self.direct(path))
    }

    /// Opens a device as most programs do, by way of the page cache.
    ///
    /// # Errors
    /// As [`Lab::open`].
    pub fn open_buffered(&self, path: &str) -> Result<BlockFile, Error> {
        self.io("open", path, None, || self.open_with(path, OpenMode::empty()))
    }

    /// Opens a device and claims it (O_EXCL), as a mount does.
    ///
    /// # Errors
    /// As [`Lab::open`], and EBUSY when it has a holder already.
    pub fn open_exclusive(&self, path: &str) -> Result<BlockFile, Error> {
        self.io("exclusive open", path, None, || self.open_with(path, OpenMode::EXCLUSIVE | OpenMode::DIRECT))
    }

    fn direct(&self, path: &str) -> Result<BlockFile, Errno> {
        self.open_with(path, OpenMode::DIRECT)
    }

    fn open_with(&self, path: &str, mode: OpenMode) -> Result<BlockFile, Errno> {
        turns::pass();
        let mode = mode | OpenMode::READ | OpenMode::WRITE;
        self.machine().registry().open(self.look_up(path)?, mode)
    }

    /// Reads `len` sectors from `start` on, past the page cache. Shorter at the end of the device.
    ///
    /// # Errors
    /// As [`Lab::open`], and the device's error. EDEADLK when the read waits for something that can't happen any more,
    /// such as the resume of a device that no other client is there to resume.
    pub fn read(&self, path: &str, start: Sector, len: Sectors) -> Result<Vec<u8>, Error> {
        self.io("read", path, Some((start, len)), || {
            let bytes = len.to_bytes().and_then(|b| usize::try_from(b.0).ok()).ok_or(Errno::EINVAL)?;
            let mut buf = vec![0; bytes];
            let read = self.direct(path)?.read_at(offset(start)?, &mut buf, DIRECT)?;
            buf.truncate(read);
            Ok(buf)
        })
    }

    /// Writes whole sectors from `start` on, past the page cache.
    ///
    /// # Errors
    /// As [`Lab::read`]; EINVAL when `bytes` are no whole number of sectors; ENOSPC when not all of them fit.
    pub fn write(&self, path: &str, start: Sector, bytes: &[u8]) -> Result<(), Error> {
        self.io("write", path, Some((start, sectors(bytes))), || {
            let written = self.direct(path)?.write_at(offset(start)?, bytes, DIRECT)?;
            if written == bytes.len() { Ok(()) } else { Err(Errno::ENOSPC) }
        })
    }

    /// Makes durable what was written to a device before.
    ///
    /// # Errors
    /// As [`Lab::read`].
    pub fn flush(&self, path: &str) -> Result<(), Error> {
        self.io("flush", path, None, || self.direct(path)?.sync())
    }

    /// Tells a device that sectors are not needed any more.
    ///
    /// # Errors
    /// As [`Lab::read`]; EOPNOTSUPP where nothing can be discarded.
    pub fn discard(&self, path: &str, start: Sector, len: Sectors) -> Result<(), Error> {
        self.range("discard", path, Op::Discard, start, len)
    }

    /// Makes sectors zero without sending zeros.
    ///
    /// # Errors
    /// As [`Lab::read`]; EOPNOTSUPP where a device cannot.
    pub fn write_zeroes(&self, path: &str, start: Sector, len: Sectors) -> Result<(), Error> {
        self.range("write of zeroes", path, Op::WriteZeroes, start, len)
    }

    fn range(
        &self,
        operation: &'static str,
        path: &str,
        op: Op,
        start: Sector,
        len: Sectors,
    ) -> Result<(), Error> {
        self.io(operation, path, Some((start, len)), || self.end_of(path, Bio::range(op, start, len)))
    }

    /// Sends a bio of the caller's making to a device and waits for its end.
    ///
    /// # Errors
    /// As [`Lab::read`].
    pub fn submit(&self, path: &str, bio: Bio<'_>) -> Result<(), Error> {
        self.io("bio", path, None, || self.end_of(path, bio))
    }

    fn end_of(&self, path: &str, bio: Bio<'_>) -> Result<(), Errno> {
        let file = self.direct(path)?;
        SyncIo::default().submit(file.device(), bio).map_err(dmlab_block::IoFailed::errno)
    }

    /// Begins a write of whole sectors and does not wait for its end.
    ///
    /// # Errors
    /// As [`Lab::open`]; EINVAL when `bytes` are no whole number of sectors.
    pub fn start_write(&self, path: &str, start: Sector, bytes: &[u8]) -> Result<Pending<()>, Error> {
        let file = self.io("write", path, Some((start, sectors(bytes))), || {
            if (bytes.len() as u64).is_multiple_of(SECTOR_SIZE) {
                self.direct(path)
            } else {
                Err(Errno::EINVAL)
            }
        })?;
        let data = Arc::<[u8]>::from(bytes);
        // The task holds the file, so the device is open until the IO ends.
        Ok(Pending::start(self.machine(), async move {
            dmlab_machine::write_async(file.device(), start, data).await.map_err(errno)
        }))
    }

    /// Begins a read of whole sectors and does not wait for its end.
    ///
    /// # Errors
    /// As [`Lab::open`].
    pub fn start_read(&self, path: &str, start: Sector, len: Sectors) -> Result<Pending<Arc<[u8]>>, Error> {
        let file = self.open(path)?;
        Ok(Pending::start(self.machine(), async move {
            dmlab_machine::read_async(file.device(), start, len).await.map_err(errno)
        }))
    }

    /// Begins a flush and does not wait for its end.
    ///
    /// # Errors
    /// As [`Lab::open`].
    pub fn start_flush(&self, path: &str) -> Result<Pending<()>, Error> {
        let file = self.open(path)?;
        Ok(Pending::start(self.machine(), async move {
            dmlab_block::run_async(Bio::flush().to(file.device())).await.map_err(errno)
        }))
    }
}

fn errno(status: dmlab_block::BlkStatus) -> Errno {
    status.errno().unwrap_or(Errno::EIO)
}
