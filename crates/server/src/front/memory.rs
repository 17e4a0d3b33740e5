//! A client process as the kernel side sees it: its memory around an ioctl's argument, its paths, its descriptors.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use dmlab_block::{Caller, LoopBacking, UserMemory};
use dmlab_runtime::Interrupt;
use dmlab_shim_proto::STAGING_LIMIT;
use dmlab_units::{DevT, Errno};
use parking_lot::Mutex;

use super::files::{Body, Files, OpenFile};
use crate::world::{World, errno};
use dmlab_block::{BlockFile, IoFlags};

/// An ioctl argument that came with its request.
pub(crate) struct Staged {
    /// What the client could read of its memory.
    bytes: Vec<u8>,
    /// Bytes that are really its own; behind them lies what is only written.
    readable: usize,
    /// What the kernel side wrote: from, to.
    written: Option<(usize, usize)>,
}

impl Staged {
    /// Memory of which `bytes` could be read and `claimed` bytes may be touched.
    pub(crate) fn new(mut bytes: Vec<u8>, claimed: u64) -> Staged {
        let readable = bytes.len();
        // What only gets written need not have been readable. The client checks that it can be written when it copies.
        let len = claimed.min(DATA_ROOM).max(readable as u64) as usize;
        bytes.resize(len, 0);
        Staged { bytes, readable, written: None }
    }

    /// What has to go back to the client, and where it begins.
    pub(crate) fn written(&self) -> (usize, &[u8]) {
        match self.written {
            Some((from, to)) => (from, &self.bytes[from..to]),
            None => (0, &[]),
        }
    }
}

/// Room that is made for answers beyond what was readable.
const DATA_ROOM: u64 = 1 << 20;

impl UserMemory for Staged {
    fn read(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Errno> {
        let end = offset.checked_add(into.len()).ok_or(Errno::EFAULT)?;
        if end > self.readable {
            // Longer than anybody carries, and all of it there: a kernel that finds no memory for it.
            let is_limit = self.readable as u64 >= STAGING_LIMIT;
            return Err(if is_limit { Errno::ENOMEM } else { Errno::EFAULT });
        }
        into.copy_from_slice(&self.bytes[offset..end]);
        Ok(())
    }

    fn write(&mut self, offset: usize, from: &[u8]) -> Result<(), Errno> {
        let end =
            offset.checked_add(from.len()).filter(|&end| end <= self.bytes.len()).ok_or(Errno::EFAULT)?;
        self.bytes[offset..end].copy_from_slice(from);
        if !from.is_empty() {
            // One stretch goes back: what lies between two writes is the client's own bytes.
            let (low, high) = self.written.unwrap_or((offset, end));
            self.written = Some((low.min(offset), high.max(end)));
        }
        Ok(())
    }
}

/// The process behind a channel.
pub(crate) struct Process<'a> {
    pub(crate) world: &'a World,
    pub(crate) files: &'a Files,
    pub(crate) pid: i32,
    pub(crate) interrupt: &'a Interrupt,
    /// A descriptor that came with the request.
    pub(crate) descriptor: Mutex<Option<OwnedFd>>,
}

impl Process<'_> {
    /// Makes a path absolute for this process.
    fn absolute(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        if path.starts_with(b"/") {
            return Ok(path.to_vec());
        }
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", self.pid)).map_err(|_| Errno::ENOENT)?;
        Ok([cwd.into_os_string().into_vec().as_slice(), b"/", path].concat())
    }
}

impl Caller for Process<'_> {
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        self.world.lookup_bdev(&self.absolute(path)?)
    }

    fn interrupt(&self) -> Option<&Interrupt> {
        Some(self.interrupt)
    }

    fn backing_file(&self, _fd: i32) -> Result<Arc<dyn LoopBacking>, Errno> {
        let descriptor = self.descriptor.lock().take().ok_or(Errno::EBADF)?;
        let stat = rustix::fs::fstat(&descriptor).map_err(errno)?;
        if let Some(file) = self.files.get(stat.st_ino).filter(|_| stat.st_mode & 0o170_000 == 0o010_000) {
            return Ok(Arc::new(DeviceBacking { file, _placeholder: descriptor }));
        }
        let writable = rustix::fs::fcntl_getfl(&descriptor).map_err(errno)?;
        let read_only = !writable.intersects(rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::RDWR);
        let name = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let path = std::fs::read_link(name).map_err(|_| Errno::EBADF)?.into_os_string().into_vec();
        if stat.st_mode & 0o170_000 != 0o100_000 {
            return Err(Errno::EINVAL);
        }
        Ok(Arc::new(FileBacking { file: File::from(descriptor), path, read_only }))
    }
}

/// A regular file of the host under a loop device.
struct FileBacking {
    file: File,
    path: Vec<u8>,
    read_only: bool,
}

fn host(error: std::io::Error) -> Errno {
    error.raw_os_error().and_then(Errno::from_raw).unwrap_or(Errno::EIO)
}

impl LoopBacking for FileBacking {
    fn size(&self) -> Result<u64, Errno> {
        self.file.metadata().map(|meta| meta.len()).map_err(host)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => {
                    buf[done..].fill(0);
                    break;
                }
                Ok(n) => done += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(host(error)),
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        self.file.write_all_at(buf, offset).map_err(host)
    }

    fn sync(&self) -> Result<(), Errno> {
        self.file.sync_data().map_err(host)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        use rustix::fs::FallocateFlags as Flags;
        rustix::fs::fallocate(&self.file, Flags::PUNCH_HOLE | Flags::KEEP_SIZE, offset, len).map_err(errno)
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn path(&self) -> Vec<u8> {
        self.path.clone()
    }

    fn identity(&self) -> (u64, u64) {
        self.file.metadata().map_or((0, 0), |meta| (meta.dev(), meta.ino()))
    }
}

/// A simulated block device under a loop device. Keeping a copy of its placeholder keeps it open.
struct DeviceBacking {
    file: Arc<OpenFile>,
    _placeholder: OwnedFd,
}

impl DeviceBacking {
    fn block(&self) -> Result<&BlockFile, Errno> {
        match &self.file.body {
            Body::Block(_, block) => Ok(block),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl LoopBacking for DeviceBacking {
    fn size(&self) -> Result<u64, Errno> {
        self.block().map(|block| block.size())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let got = self.block()?.read_at(offset, buf, IoFlags::default())?;
        buf[got..].fill(0);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        match self.block()?.write_at(offset, buf, IoFlags::default())? {
            n if n == buf.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    fn sync(&self) -> Result<(), Errno> {
        self.block()?.sync()
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        // PUNCH_HOLE | KEEP_SIZE
        let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else {
            return Err(Errno::EINVAL);
        };
        self.block()?.fallocate(3, offset, len)
    }

    fn is_read_only(&self) -> bool {
        self.file.flags.load(std::sync::atomic::Ordering::Relaxed) & 3 == 0
    }

    fn path(&self) -> Vec<u8> {
        self.file.path.clone()
    }

    fn identity(&self) -> (u64, u64) {
        let inode = self.file.inode.lock();
        (6, inode.ino)
    }
}
