//! What loop devices stand on.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use dmlab_units::Errno;

use crate::disk::{errno_of, punch_hole, read_or_zeros};
use crate::{BlockDevice, BlockFile, IoFlags, LoopBacking, OpenMode};

/// A file of the host.
#[derive(Debug)]
pub struct FileBacking {
    file: File,
    path: Vec<u8>,
    is_read_only: bool,
}

impl FileBacking {
    /// `file`, which programs know as `path`.
    pub fn new(file: File, path: impl Into<Vec<u8>>, is_read_only: bool) -> FileBacking {
        FileBacking { file, path: path.into(), is_read_only }
    }
}

impl LoopBacking for FileBacking {
    fn size(&self) -> Result<u64, Errno> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(errno_of)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        read_or_zeros(&self.file, offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        self.file.write_all_at(buf, offset).map_err(errno_of)
    }

    fn sync(&self) -> Result<(), Errno> {
        self.file.sync_data().map_err(errno_of)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        punch_hole(&self.file, offset, len)
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn path(&self) -> Vec<u8> {
        self.path.clone()
    }

    fn identity(&self) -> (u64, u64) {
        self.file.metadata().map_or((0, 0), |metadata| (metadata.dev(), metadata.ino()))
    }
}

/// Another block device of the machine, opened as a file.
pub struct DeviceBacking(BlockFile);

impl DeviceBacking {
    /// `file`; the loop device keeps it open.
    pub fn new(file: BlockFile) -> DeviceBacking {
        DeviceBacking(file)
    }
}

impl LoopBacking for DeviceBacking {
    fn size(&self) -> Result<u64, Errno> {
        Ok(self.0.size())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(offset + done as u64, &mut buf[done..], IoFlags::default())? {
                0 => {
                    buf[done..].fill(0);
                    break;
                }
                n => done += n,
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < buf.len() {
            done += self.0.write_at(offset + done as u64, &buf[done..], IoFlags::default())?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Errno> {
        self.0.sync()
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let signed = |n: u64| i64::try_from(n).map_err(|_| Errno::EINVAL);
        // PUNCH_HOLE | KEEP_SIZE.
        self.0.fallocate(3, signed(offset)?, signed(len)?)
    }

    fn is_read_only(&self) -> bool {
        !self.0.mode().contains(OpenMode::WRITE) || self.0.device().is_read_only()
    }

    /// `/dev/NAME`, the node that the kernel makes.
    fn path(&self) -> Vec<u8> {
        format!("/dev/{}", self.0.device().name()).into_bytes()
    }

    fn identity(&self) -> (u64, u64) {
        // Nodes lie in a file system of the user side, which the kernel side knows nothing of.
        (0, 0)
    }

    fn block_device(&self) -> Option<Arc<BlockDevice>> {
        Some(self.0.device().clone())
    }
}
