//! Where a log is, and where it is replayed to: the host's files and devices, and a machine's devices.

use crate::kernel::{Disk, Failure, Kernel, Meant, Where, block_device};
use dmlab_control::Dm;
use dmlab_replay_log::Source;
use rustix::fs::{FallocateFlags, fallocate};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::rc::Rc;

type Machine = Rc<RefCell<Dm<Box<dyn Kernel>>>>;

/// Zeros that are written where nothing can be discarded.
const ZEROS: usize = 1 << 16;

/// Opens media; one connection serves all that are a machine's.
pub(super) struct Media<'a> {
    kernel: &'a Where,
    meant: &'a Meant,
    machine: RefCell<Option<Machine>>,
}

/// One of them.
pub(super) enum Medium {
    File(File),
    Device { machine: Machine, disk: Disk },
}

impl<'a> Media<'a> {
    pub(super) fn new(kernel: &'a Where, meant: &'a Meant) -> Media<'a> {
        Media { kernel, meant, machine: RefCell::new(None) }
    }

    /// A regular file is the host's. Anything else is a device: of the machine if there is one, else of the host.
    pub(super) fn open(&self, name: &str, is_written: bool) -> Result<Medium, Failure> {
        let path = Path::new(name);
        let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
        let is_file = kind.as_ref().is_ok_and(std::fs::FileType::is_file);
        let is_host_device =
            kind.is_ok_and(|kind| kind.is_block_device()) && !self.kernel.names_a_machine(self.meant);
        if is_file || is_host_device {
            let file = OpenOptions::new().read(true).write(is_written).open(path);
            return Ok(Medium::File(file.map_err(|e| format!("{name}: {e}"))?));
        }
        if !self.kernel.names_a_machine(self.meant) {
            return Err(format!("{name}: no such file, and no machine that could have such a device").into());
        }
        let mut known = self.machine.borrow_mut();
        let machine = match &*known {
            Some(machine) => machine.clone(),
            None => known.insert(Rc::new(RefCell::new(self.kernel.open(self.meant)?))).clone(),
        };
        let disk = block_device(&mut machine.borrow_mut(), name)?;
        Ok(Medium::Device { machine, disk })
    }
}

impl Medium {
    /// Makes what was written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match self {
            Medium::File(file) => file.sync_data(),
            // A machine's device is written through.
            Medium::Device { .. } => Ok(()),
        }
    }

    fn write_zeros(&mut self, mut at: u64, len: u64) -> io::Result<()> {
        let zeros = [0; ZEROS];
        let end = at + len;
        while at < end {
            let piece = (end - at).min(ZEROS as u64);
            dmlab_replay_log::Disk::write(self, at, &zeros[..piece as usize])?;
            at += piece;
        }
        Ok(())
    }
}

impl Source for Medium {
    fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        match self {
            Medium::File(file) => file.read_exact_at(buf, at),
            Medium::Device { machine, disk } => machine.borrow_mut().transport().read(disk, at, buf),
        }
    }
}

/// That a regular file has room for a write. A file would grow; the disk that it stands for has a size.
fn expect_room(file: &File, at: u64, len: usize) -> io::Result<()> {
    let metadata = file.metadata()?;
    let end = at.checked_add(len as u64);
    if !metadata.is_file() || end.is_some_and(|end| end <= metadata.len()) {
        return Ok(());
    }
    let text = format!(
        "{len} bytes at byte {at} are beyond the end of the file, which has {} bytes (`truncate -s` makes it as large as the disk)",
        metadata.len()
    );
    Err(io::Error::other(text))
}

impl dmlab_replay_log::Disk for Medium {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Medium::File(file) => {
                expect_room(file, at, bytes.len())?;
                file.write_all_at(bytes, at)
            }
            Medium::Device { machine, disk } => machine.borrow_mut().transport().write(disk, at, bytes),
        }
    }

    /// A file gets a hole, or zeros where its file system makes none; so does a device. A file does not grow by it.
    fn discard(&mut self, at: u64, len: u64) -> io::Result<()> {
        let mut len = len;
        if let Medium::File(file) = self {
            let metadata = file.metadata()?;
            if metadata.is_file() {
                len = len.min(metadata.len().saturating_sub(at));
            }
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if len == 0 || fallocate(&*file, hole, at, len).is_ok() {
                return Ok(());
            }
        }
        self.write_zeros(at, len)
    }
}
