//! `fallocate` on a block device.

use dmlab_units::Errno;

use super::BlockFile;
use super::ranges::Fallback;
use crate::OpenMode;

const KEEP_SIZE: u32 = 0x01;
const PUNCH_HOLE: u32 = 0x02;
const COLLAPSE_RANGE: u32 = 0x08;
const ZERO_RANGE: u32 = 0x10;
const INSERT_RANGE: u32 = 0x20;
const UNSHARE_RANGE: u32 = 0x40;

/// Refuses a mode that no file has, before the file itself is looked at.
fn check_mode(mode: u32) -> Result<(), Errno> {
    match mode & !KEEP_SIZE {
        0 | ZERO_RANGE | UNSHARE_RANGE => Ok(()),
        PUNCH_HOLE if mode & KEEP_SIZE != 0 => Ok(()),
        COLLAPSE_RANGE | INSERT_RANGE if mode & KEEP_SIZE == 0 => Ok(()),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

impl BlockFile {
    /// Zeroes a range (ZERO_RANGE) or gives it back such that it reads as zeros (PUNCH_HOLE with KEEP_SIZE).
    ///
    /// # Errors
    /// In this order, as on Linux 6.12: EINVAL (negative position, length not positive), EOPNOTSUPP (modes that no file has),
    /// EBADF (not opened for writing), EFBIG (the end is no position), EOPNOTSUPP (other modes), EINVAL (start at or past the end; end past it without KEEP_SIZE, which cuts;
    /// not in logical blocks), EPERM (read-only device), EOPNOTSUPP (a hole in a device that can't zero without
    /// writing), else the device's error.
    pub fn fallocate(&self, mode: u32, offset: i64, len: i64) -> Result<(), Errno> {
        let start = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let len = u64::try_from(len).ok().filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
        check_mode(mode)?;
        if !self.mode().contains(OpenMode::WRITE) {
            return Err(Errno::EBADF);
        }
        let mut end = start.checked_add(len).filter(|&end| i64::try_from(end).is_ok()).ok_or(Errno::EFBIG)?;
        let fallback = match mode {
            ZERO_RANGE => Fallback::Write,
            _ if mode == ZERO_RANGE | KEEP_SIZE => Fallback::Write,
            _ if mode == PUNCH_HOLE | KEEP_SIZE => Fallback::Refuse,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let size = self.size();
        if start >= size {
            return Err(Errno::EINVAL);
        }
        if end > size {
            if mode & KEEP_SIZE == 0 {
                return Err(Errno::EINVAL);
            }
            end = size;
        }
        let block = self.device().limits().logical_block_size.0;
        if !start.is_multiple_of(block) || !(end - start).is_multiple_of(block) {
            return Err(Errno::EINVAL);
        }
        self.forget(&(start..end));
        if self.device().is_read_only() {
            return Err(Errno::EPERM);
        }
        self.zero_out(&(start..end), fallback)
    }
}
