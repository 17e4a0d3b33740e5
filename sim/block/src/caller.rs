//! The process behind a call, as the kernel sees it.

use std::sync::Arc;

use dmlab_runtime::Interrupt;
use dmlab_units::{DevT, Errno};

use crate::{BlockDevice, Registry};

/// The memory of the calling process around the argument of an ioctl.
pub trait UserMemory {
    /// Copies from `offset` bytes after the argument's address (`copy_from_user`).
    ///
    /// # Errors
    /// EFAULT when not all of it can be read.
    fn read(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Errno>;

    /// Copies to `offset` bytes after the argument's address (`copy_to_user`).
    ///
    /// # Errors
    /// EFAULT when not all of it can be written.
    fn write(&mut self, offset: usize, from: &[u8]) -> Result<(), Errno>;
}

/// A buffer of this process, for callers that live in it.
impl UserMemory for Vec<u8> {
    fn read(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Errno> {
        let end = offset.checked_add(into.len()).ok_or(Errno::EFAULT)?;
        into.copy_from_slice(self.get(offset..end).ok_or(Errno::EFAULT)?);
        Ok(())
    }

    fn write(&mut self, offset: usize, from: &[u8]) -> Result<(), Errno> {
        let end = offset.checked_add(from.len()).ok_or(Errno::EFAULT)?;
        self.get_mut(offset..end).ok_or(Errno::EFAULT)?.copy_from_slice(from);
        Ok(())
    }
}

/// A program's memory around an ioctl's argument, carried to where the kernel is: what could be read of it, and room for what
/// is written back.
pub struct CarriedMemory {
    bytes: Vec<u8>,
    /// Bytes that are really the program's; behind them lies what is only written.
    readable: usize,
    /// There was more than a transport carries.
    is_cut: bool,
    /// What the kernel side wrote: from, to.
    written: Option<(usize, usize)>,
}

impl CarriedMemory {
    /// Memory of which `bytes` could be read and `room` bytes may be touched. `is_cut` says that more could have been read,
    /// but was not carried.
    pub fn new(mut bytes: Vec<u8>, room: usize, is_cut: bool) -> CarriedMemory {
        let readable = bytes.len();
        bytes.resize(room.max(readable), 0);
        CarriedMemory { bytes, readable, is_cut, written: None }
    }

    /// What could be read.
    pub fn sent(&self) -> &[u8] {
        &self.bytes[..self.readable]
    }

    /// How many bytes may be touched.
    pub fn room(&self) -> usize {
        self.bytes.len()
    }

    /// What has to go back to the program, and where it begins.
    pub fn written(&self) -> (usize, &[u8]) {
        self.written.map_or((0, &[]), |(from, to)| (from, &self.bytes[from..to]))
    }
}

impl UserMemory for CarriedMemory {
    fn read(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Errno> {
        let end = offset.checked_add(into.len()).filter(|&end| end <= self.readable);
        // All of it is there, and too long to be carried: a kernel that finds no memory for it.
        let end = end.ok_or(if self.is_cut { Errno::ENOMEM } else { Errno::EFAULT })?;
        into.copy_from_slice(&self.bytes[offset..end]);
        Ok(())
    }

    fn write(&mut self, offset: usize, from: &[u8]) -> Result<(), Errno> {
        let end = offset.checked_add(from.len()).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(Errno::EFAULT)?;
        self.bytes[offset..end].copy_from_slice(from);
        if !from.is_empty() {
            // One stretch goes back: what lies between two writes is the program's own bytes.
            let (low, high) = self.written.unwrap_or((offset, end));
            self.written = Some((low.min(offset), high.max(end)));
        }
        Ok(())
    }
}

/// What a loop device stands on.
pub trait LoopBacking: Send + Sync {
    /// Size in bytes.
    ///
    /// # Errors
    /// What the host says.
    fn size(&self) -> Result<u64, Errno>;
    /// Fills `buf` from `offset`; beyond the end, zeros.
    ///
    /// # Errors
    /// What the host says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno>;
    /// Writes `buf` at `offset`.
    ///
    /// # Errors
    /// What the host says.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno>;
    /// Makes it durable.
    ///
    /// # Errors
    /// What the host says.
    fn sync(&self) -> Result<(), Errno>;
    /// Punches a hole: a range goes back to the host and reads as zeros.
    ///
    /// # Errors
    /// EOPNOTSUPP where it can't.
    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno>;
    /// Whether it may only be read.
    fn is_read_only(&self) -> bool;
    /// The path of the file, for `/sys/block/loopN/loop/backing_file`.
    fn path(&self) -> Vec<u8>;
    /// Device and inode number of the file, as `stat` encodes them.
    fn identity(&self) -> (u64, u64);
    /// The block device that it is, if it is one.
    fn block_device(&self) -> Option<Arc<BlockDevice>> {
        None
    }
}

/// The process behind a call: its rights, its view of paths, its signals.
pub trait Caller: Sync {
    /// The block device that `path` names to this process.
    ///
    /// # Errors
    /// ENOENT when nothing is there, ENOTBLK when it is no block device, EACCES when it may not look.
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno>;

    /// Whether it has CAP_SYS_ADMIN.
    fn is_admin(&self) -> bool {
        true
    }

    /// What interrupts its waits, if signals can reach it.
    fn interrupt(&self) -> Option<&Interrupt> {
        None
    }

    /// Sends it SIGKILL: it never sees what the call would have returned. A caller that is no process ignores it.
    fn kill(&self) {}

    /// The file behind one of its descriptors, for loop devices.
    ///
    /// # Errors
    /// EBADF when the descriptor is not open.
    fn backing_file(&self, fd: i32) -> Result<Arc<dyn LoopBacking>, Errno> {
        let _ = fd;
        Err(Errno::EBADF)
    }
}

/// A caller inside this process: root, without signals, with the device names that a bare kernel makes.
pub struct Kernel<'a>(pub &'a Registry);

impl Caller for Kernel<'_> {
    /// `/dev/NAME` as devtmpfs has it: `/dev/ram0`, `/dev/dm-3`, `/dev/loop1`.
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        let name = path.strip_prefix(b"/dev/").ok_or(Errno::ENOENT)?;
        let found = self.0.all().into_iter().find(|dev| dev.name().as_bytes() == name);
        found.map(|dev| dev.dev()).ok_or(Errno::ENOENT)
    }
}
