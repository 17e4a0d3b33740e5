//! A disk in a file of the host.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use dmlab_units::{Errno, Sector, Sectors};
use rustix::fs::{FallocateFlags, fallocate};

use super::medium::{Medium, disk_of_medium};
use crate::limits::{Features, PAGE_SIZE, QueueLimits, UNLIMITED_SECTORS};

/// A disk whose sectors are the bytes of a host file, opened by the user side.
///
/// Writes go to the host's page cache, so the disk has a volatile write cache and a flush is `fdatasync`. What lies
/// past the end of the file reads as zeros, should the file be shorter than the disk.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    capacity: Sectors,
    is_read_only: bool,
}

impl FileDisk {
    /// A disk of as many whole sectors as `file` has now.
    ///
    /// # Errors
    /// What asking for the file's size fails with.
    pub fn new(file: File, is_read_only: bool) -> Result<FileDisk, Errno> {
        let capacity = Sectors(file.metadata().map_err(errno_of)?.len() / 512);
        Ok(FileDisk { file, capacity, is_read_only })
    }

    /// Size of the disk.
    pub fn capacity(&self) -> Sectors {
        self.capacity
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// What the disk can take: 512-byte blocks, 1280 KiB a request, discards and zeroing by punching holes, a
    /// volatile write cache.
    pub fn limits(&self) -> QueueLimits {
        QueueLimits {
            features: Features::IO_STAT | Features::WRITE_CACHE,
            max_hw_sectors: Sectors(2560),
            max_sectors: Sectors(2560),
            max_hw_discard_sectors: UNLIMITED_SECTORS,
            max_discard_sectors: UNLIMITED_SECTORS,
            discard_granularity: dmlab_units::Bytes(PAGE_SIZE),
            max_write_zeroes_sectors: UNLIMITED_SECTORS,
            ..QueueLimits::plain()
        }
    }

    /// Fills `buf` from byte `offset` on.
    ///
    /// # Errors
    /// What the host's `pread` fails with.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        read_or_zeros(&self.file, offset, buf)
    }

    /// Stores `data` from byte `offset` on.
    ///
    /// # Errors
    /// What the host's `pwrite` fails with, ENOSPC among them.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.file.write_all_at(data, offset).map_err(errno_of)
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// What the host's `fdatasync` fails with.
    pub fn flush(&self) -> Result<(), Errno> {
        self.file.sync_data().map_err(errno_of)
    }

    /// Frees a range, which then reads as zeros.
    ///
    /// # Errors
    /// EOPNOTSUPP when the host's file system cannot punch holes, or what else it says.
    pub fn punch_hole(&self, start: Sector, len: Sectors) -> Result<(), Errno> {
        punch_hole(&self.file, start.0.saturating_mul(512), len.0.saturating_mul(512))
    }

    /// Makes a range zero: by a hole where that is possible, else by writing.
    ///
    /// # Errors
    /// What the host says.
    pub fn zero(&self, start: Sector, len: Sectors) -> Result<(), Errno> {
        match self.punch_hole(start, len) {
            Err(Errno::EOPNOTSUPP) => self.write_zeros(start.0 * 512, len.0 * 512),
            answer => answer,
        }
    }

    fn write_zeros(&self, mut offset: u64, len: u64) -> Result<(), Errno> {
        let zeros = [0; 64 << 10];
        let end = offset + len;
        while offset < end {
            let piece = (end - offset).min(zeros.len() as u64);
            self.write(offset, &zeros[..piece as usize])?;
            offset += piece;
        }
        Ok(())
    }
}

disk_of_medium!(FileDisk);

impl Medium for FileDisk {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        FileDisk::read(self, offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        FileDisk::write(self, offset, data)
    }

    fn flush(&self) -> Result<(), Errno> {
        FileDisk::flush(self)
    }

    fn discard(&self, start: Sector, len: Sectors) -> Result<(), Errno> {
        self.punch_hole(start, len)
    }

    fn zero(&self, start: Sector, len: Sectors) -> Result<(), Errno> {
        FileDisk::zero(self, start, len)
    }
}

/// Fills `buf` from byte `offset` of `file` on, with zeros for what lies past its end.
///
/// # Errors
/// What the host's `pread` fails with.
pub(crate) fn read_or_zeros(file: &File, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => {
                buf[done..].fill(0);
                break;
            }
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(errno_of(error)),
        }
    }
    Ok(())
}

/// Frees `len` bytes of `file` from `offset` on; they read as zeros afterwards.
///
/// # Errors
/// EOPNOTSUPP when the host's file system cannot, or what else it says.
pub(crate) fn punch_hole(file: &File, offset: u64, len: u64) -> Result<(), Errno> {
    if len == 0 {
        return Ok(());
    }
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()).unwrap_or(Errno::EIO))
}

/// The host's errno as ours; an error that is none of the system's is EIO.
pub(crate) fn errno_of(error: io::Error) -> Errno {
    error.raw_os_error().and_then(Errno::from_raw).unwrap_or(Errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a host without holes in its files gets.
    #[test]
    fn zeros_are_written_where_there_can_be_no_hole() {
        let fd = rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::empty()).unwrap();
        let disk = FileDisk { file: File::from(fd), capacity: Sectors(1024), is_read_only: false };
        let mut expected = vec![7; 1024 * 512];
        disk.write(0, &expected).unwrap();
        // Pieces of 64 KiB and a rest.
        let range = 512..512 + 200 * 1024;
        disk.write_zeros(range.start as u64, range.len() as u64).unwrap();
        expected[range].fill(0);
        let mut all = vec![1; expected.len()];
        disk.read(0, &mut all).unwrap();
        assert!(all == expected);
    }
}
