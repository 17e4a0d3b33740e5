//! A disk in a memory-mapped file of the host.

use std::fs::File;

use dmlab_units::{Errno, Sector, Sectors};
use memmap2::MmapMut;
use parking_lot::RwLock;

use super::file::errno_of;
use super::medium::{Medium, disk_of_medium};
use crate::limits::{Features, QueueLimits};

/// Bytes mapped in one piece; a writer keeps others out of one piece only.
const PIECE: u64 = 16 << 20;

/// A disk whose sectors are a shared mapping of a host file: no system call per IO, contents survive the process.
///
/// The host writes pages back when it likes, so the disk has a volatile write cache and a flush is `msync`.
#[derive(Debug)]
pub struct MmapDisk {
    pieces: Box<[RwLock<MmapMut>]>,
    capacity: Sectors,
}

impl MmapDisk {
    /// Maps as many whole sectors as `file` has now. The file must be open for reading and writing, and must not
    /// be shortened as long as the disk exists: the host would kill the process at the next access.
    ///
    /// # Errors
    /// What asking for the size or `mmap` fails with.
    pub fn new(file: &File) -> Result<MmapDisk, Errno> {
        let capacity = Sectors(file.metadata().map_err(errno_of)?.len() / 512);
        let bytes = capacity.0 * 512;
        let pieces = (0..bytes.div_ceil(PIECE))
            .map(|i| {
                let start = i * PIECE;
                map(file, start, (bytes - start).min(PIECE)).map(RwLock::new)
            })
            .collect::<Result<_, _>>()?;
        Ok(MmapDisk { pieces, capacity })
    }

    /// Size of the disk.
    pub fn capacity(&self) -> Sectors {
        self.capacity
    }

    /// What the disk can take: as a driver that names no limits, with a volatile write cache.
    pub fn limits(&self) -> QueueLimits {
        QueueLimits { features: Features::IO_STAT | Features::WRITE_CACHE, ..QueueLimits::plain() }
    }

    /// Fills `buf` from byte `offset` on.
    ///
    /// # Errors
    /// EIO past the end.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < buf.len() {
            let (piece, at) = self.piece(offset + done as u64)?;
            let bytes = piece.read();
            let source = bytes.get(at..).filter(|rest| !rest.is_empty()).ok_or(Errno::EIO)?;
            let len = source.len().min(buf.len() - done);
            buf[done..done + len].copy_from_slice(&source[..len]);
            done += len;
        }
        Ok(())
    }

    /// Stores `data` from byte `offset` on.
    ///
    /// # Errors
    /// EIO past the end.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < data.len() {
            let (piece, at) = self.piece(offset + done as u64)?;
            let mut bytes = piece.write();
            let target = bytes.get_mut(at..).filter(|rest| !rest.is_empty()).ok_or(Errno::EIO)?;
            let len = target.len().min(data.len() - done);
            target[..len].copy_from_slice(&data[done..done + len]);
            done += len;
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// What the host's `msync` fails with.
    pub fn flush(&self) -> Result<(), Errno> {
        self.pieces.iter().try_for_each(|piece| piece.read().flush().map_err(errno_of))
    }

    fn piece(&self, offset: u64) -> Result<(&RwLock<MmapMut>, usize), Errno> {
        let piece = self.pieces.get((offset / PIECE) as usize).ok_or(Errno::EIO)?;
        Ok((piece, (offset % PIECE) as usize))
    }
}

disk_of_medium!(MmapDisk);

impl Medium for MmapDisk {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        MmapDisk::read(self, offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        MmapDisk::write(self, offset, data)
    }

    fn flush(&self) -> Result<(), Errno> {
        MmapDisk::flush(self)
    }

    fn discard(&self, _start: Sector, _len: Sectors) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn zero(&self, _start: Sector, _len: Sectors) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
}

#[allow(unsafe_code, reason = "memmap2 cannot know what other processes do to the file")]
fn map(file: &File, start: u64, len: u64) -> Result<MmapMut, Errno> {
    let mut options = memmap2::MmapOptions::new();
    options.offset(start).len(len as usize);
    // SAFETY: the mapping is disk contents, not data of this program: bytes are only copied in and out under the
    // piece's lock, and no reference into it outlives such a copy. Another process that writes to the file changes
    // what the disk holds, as a second writer of a real disk would. Shortening the file is excluded by the
    // constructor's contract.
    let mapping = unsafe { options.map_mut(file) };
    mapping.map_err(errno_of)
}
