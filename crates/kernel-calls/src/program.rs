//! The program behind a call.

use std::sync::Arc;

use dmlab_machine::{Caller, DeviceBacking, Interrupt, LoopBacking, Machine, OpenMode};
use dmlab_units::{DevT, Errno};

/// The program that makes an ioctl, as its front knows it.
pub trait Program: Sync {
    /// The block device that `path` names to the program.
    ///
    /// # Errors
    /// ENOENT when nothing is there, ENOTBLK when it is no block device, EACCES when the program may not look.
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno>;

    /// What interrupts the program's waits.
    fn interrupt(&self) -> &Interrupt;

    /// Sends the program SIGKILL: it never sees what the call would have returned.
    fn kill(&self) {}

    /// What is behind one of the program's descriptors, to be put under a loop device.
    ///
    /// # Errors
    /// EBADF when the descriptor is not open, EINVAL when it is open on something else.
    fn backing(&self, fd: i32) -> Result<Backing, Errno>;
}

/// What a loop device can be put on.
pub enum Backing {
    /// Another block device of the machine, which the loop device opens for itself.
    Device {
        /// Its number.
        dev: DevT,
        /// How it is opened.
        mode: OpenMode,
    },
    /// A file of the host.
    File {
        /// The file.
        file: Arc<dyn LoopBacking>,
        /// The file once more, opened for reading by itself, if it can be read.
        contents: Option<std::fs::File>,
    },
}

/// A program as the block layer sees it.
pub(crate) struct Process<'a> {
    pub(crate) program: &'a dyn Program,
    pub(crate) machine: &'a Machine,
}

impl Caller for Process<'_> {
    fn lookup_bdev(&self, path: &[u8]) -> Result<DevT, Errno> {
        self.program.lookup_bdev(path)
    }

    fn interrupt(&self) -> Option<&Interrupt> {
        Some(self.program.interrupt())
    }

    fn kill(&self) {
        self.program.kill();
    }

    fn backing_file(&self, fd: i32) -> Result<Arc<dyn LoopBacking>, Errno> {
        match self.program.backing(fd)? {
            Backing::Device { dev, mode } => {
                Ok(Arc::new(DeviceBacking::new(self.machine.open_block(dev, mode)?)))
            }
            Backing::File { file, .. } => Ok(file),
        }
    }
}
