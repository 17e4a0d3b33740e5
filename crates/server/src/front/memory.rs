//! A client process as the kernel side sees it: its memory around an ioctl's argument, its paths, its descriptors.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use dmlab_kernel_calls::{Backing, Node, Program};
use dmlab_machine::{CarriedMemory, FileBacking, Interrupt, OpenMode};
use dmlab_shim_proto::STAGING_LIMIT;
use dmlab_units::{DevT, Errno};
use parking_lot::Mutex;
use rustix::fs::FileType;
use rustix::process::{Pid, Signal, kill_process};

use super::files::{Body, Files};
use dmlab_view::{View, errno};

/// Room that is made for answers beyond what was readable.
const DATA_ROOM: u64 = 1 << 20;

/// Memory of which `bytes` came with the request and `claimed` bytes may be touched. What only gets written need not have
/// been readable; the client checks that it can be written when it copies.
pub(crate) fn carried(bytes: Vec<u8>, claimed: u64) -> CarriedMemory {
    let is_cut = bytes.len() as u64 >= STAGING_LIMIT;
    CarriedMemory::new(bytes, claimed.min(DATA_ROOM) as usize, is_cut)
}

/// The process behind a channel.
pub(crate) struct Process<'a> {
    pub(crate) view: &'a View,
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

impl Program for Process<'_> {
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        self.view.lookup_bdev(&self.absolute(path)?)
    }

    fn interrupt(&self) -> &Interrupt {
        self.interrupt
    }

    fn kill(&self) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // Not a server that is asked by its own process.
        if pid != rustix::process::getpid() {
            // One that is gone already is as good as killed.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    fn backing(&self, _fd: i32) -> Result<Backing, Errno> {
        let descriptor = self.descriptor.lock().take().ok_or(Errno::EBADF)?;
        let flags = rustix::fs::fcntl_getfl(&descriptor).map_err(errno)?;
        // It names a file and is not open on it.
        if flags.contains(rustix::fs::OFlags::PATH) {
            return Err(Errno::EBADF);
        }
        let stat = rustix::fs::fstat(&descriptor).map_err(errno)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if let Some(file) = self.files.get(stat.st_ino).filter(|_| kind == FileType::Fifo) {
            return match file.body.node() {
                // A simulated device under a loop device, which opens it for itself.
                Some(Node::Block { dev, mode }) => {
                    Ok(Backing::Device { dev, mode: mode.difference(OpenMode::EXCLUSIVE) })
                }
                // Its placeholder is open; the device is not.
                None if matches!(file.body, Body::Path) => Err(Errno::EBADF),
                _ => Err(Errno::EINVAL),
            };
        }
        let read_only = !flags.intersects(rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::RDWR);
        let name = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let path = std::fs::read_link(name).map_err(|_| Errno::EBADF)?.into_os_string().into_vec();
        if kind != FileType::RegularFile {
            return Err(Errno::EINVAL);
        }
        let file = File::from(descriptor);
        // Opened anew: the descriptor's position is the program's.
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let contents = File::open(again).ok();
        Ok(Backing::File { file: Arc::new(FileBacking::new(file, path, read_only)), contents })
    }
}
