//! A client process as the kernel side sees it: its memory around an ioctl's argument, its paths, its descriptors.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use dmlab_machine::Interrupt;
use dmlab_machine::{Caller, DeviceBacking, FileBacking, LoopBacking, OpenMode, UserMemory};
use dmlab_recording::{Answer, Under};
use dmlab_shim_proto::STAGING_LIMIT;
use dmlab_units::{DevT, Errno};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use super::files::{Body, Files};
use crate::world::{World, errno};

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

    /// What could be read of the client's memory.
    pub(crate) fn sent(&self) -> &[u8] {
        &self.bytes[..self.readable]
    }

    /// How many bytes of it may be touched.
    pub(crate) fn room(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What has to go back to the client, and where it begins.
    pub(crate) fn written(&self) -> (usize, &[u8]) {
        match self.written {
            Some((from, to)) => (from, &self.bytes[from..to]),
            None => (0, &[]),
        }
    }
}

const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFREG: u32 = 0o100_000;

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
    /// The call as it is written down, where it is.
    pub(crate) under: Option<&'a Under<'a>>,
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
        let dev = self.absolute(path).and_then(|path| self.world.lookup_bdev(&path));
        if let Some(under) = self.under {
            under.told(Answer::Path { path: path.to_vec(), dev });
        }
        dev
    }

    fn interrupt(&self) -> Option<&Interrupt> {
        Some(self.interrupt)
    }

    fn kill(&self) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // Not a server that is asked by its own process.
        if pid != rustix::process::getpid() {
            // One that is gone already is as good as killed.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    fn backing_file(&self, _fd: i32) -> Result<Arc<dyn LoopBacking>, Errno> {
        let backing = self.backing();
        if let (Some(under), Err(errno)) = (self.under, &backing) {
            under.told(Answer::Backing(Err(*errno)));
        }
        backing
    }
}

impl Process<'_> {
    /// What the descriptor that came along stands for, under a loop device.
    fn backing(&self) -> Result<Arc<dyn LoopBacking>, Errno> {
        let descriptor = self.descriptor.lock().take().ok_or(Errno::EBADF)?;
        let stat = rustix::fs::fstat(&descriptor).map_err(errno)?;
        if let Some(file) = self.files.get(stat.st_ino).filter(|_| stat.st_mode & S_IFMT == S_IFIFO) {
            // A simulated device under a loop device, which opens it for itself.
            let Body::Block(dev, block) = &file.body else { return Err(Errno::EINVAL) };
            let mode = block.mode().difference(OpenMode::EXCLUSIVE);
            let backing = DeviceBacking::new(self.world.machine().open_block(*dev, mode)?);
            if let Some(under) = self.under {
                under.on_device(&backing, mode.bits());
            }
            return Ok(Arc::new(backing));
        }
        let writable = rustix::fs::fcntl_getfl(&descriptor).map_err(errno)?;
        let read_only = !writable.intersects(rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::RDWR);
        let name = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let path = std::fs::read_link(name).map_err(|_| Errno::EBADF)?.into_os_string().into_vec();
        if stat.st_mode & S_IFMT != S_IFREG {
            return Err(Errno::EINVAL);
        }
        let file = File::from(descriptor);
        match self.under {
            Some(under) => under.on_file(file, path, read_only),
            None => Ok(Arc::new(FileBacking::new(file, path, read_only))),
        }
    }
}
