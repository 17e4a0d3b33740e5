//! The ioctls of a block device (kernel/program-surface.md#ioctls-of-block-devices; order of checks seen on Linux 6.12.95).

use std::ops::Range;

use dmlab_abi as abi;
use dmlab_units::{Errno, Sectors};

use super::BlockFile;
use super::ranges::Fallback;
use crate::limits::{Features, is_valid_logical_block_size};
use crate::{Caller, Op, OpenMode, UserMemory};

impl BlockFile {
    /// Carries out ioctl `request`. `arg` is its argument as a number, `memory` the caller's memory where it points.
    ///
    /// # Errors
    /// Those of the single request; ENOTTY for one that neither the block layer nor the driver knows.
    pub fn ioctl(
        &self,
        caller: &dyn Caller,
        request: u32,
        arg: u64,
        memory: &mut dyn UserMemory,
    ) -> Result<i32, Errno> {
        match self.generic_ioctl(caller, request, arg, memory) {
            Some(answer) => answer.map(|()| 0),
            None => self.device().ops().ioctl(self.device(), self.mode(), caller, request, arg, memory),
        }
    }

    /// What the block layer answers before any driver is asked; `None` = not its business.
    fn generic_ioctl(
        &self,
        caller: &dyn Caller,
        request: u32,
        arg: u64,
        memory: &mut dyn UserMemory,
    ) -> Option<Result<(), Errno>> {
        let device = self.device();
        let limits = device.limits();
        Some(match request {
            abi::BLKROGET => memory.write(0, &u32::from(device.is_read_only()).to_ne_bytes()),
            abi::BLKROSET => self.set_read_only(caller, memory),
            abi::BLKGETSIZE => memory.write(0, &device.capacity().0.to_ne_bytes()),
            abi::BLKGETSIZE64 => memory.write(0, &self.size().to_ne_bytes()),
            abi::BLKSSZGET => put_u32(memory, limits.logical_block_size.0),
            abi::BLKPBSZGET => put_u32(memory, limits.physical_block_size.0),
            abi::BLKIOMIN => put_u32(memory, limits.io_min.0),
            abi::BLKIOOPT => put_u32(memory, limits.io_opt.0),
            abi::BLKALIGNOFF => memory.write(0, &(limits.shown_alignment_offset() as i32).to_ne_bytes()),
            abi::BLKSECTGET => {
                let sectors = limits.max_sectors.0.min(u64::from(u16::MAX)) as u16;
                memory.write(0, &sectors.to_ne_bytes())
            }
            abi::BLKROTATIONAL => {
                let is_rotational = u16::from(limits.features.contains(Features::ROTATIONAL));
                memory.write(0, &is_rotational.to_ne_bytes())
            }
            abi::BLKDISCARDZEROES | abi::BLKGETZONESZ | abi::BLKGETNRZONES => put_u32(memory, 0),
            abi::BLKGETDISKSEQ => memory.write(0, &device.disk_seq().to_ne_bytes()),
            abi::BLKRAGET | abi::BLKFRAGET => memory.write(0, &device.read_ahead().0.to_ne_bytes()),
            abi::BLKRASET | abi::BLKFRASET => {
                admin(caller).map(|()| device.set_read_ahead(Sectors(arg.min(u64::from(u32::MAX)))))
            }
            abi::BLKBSZGET => put_u32(memory, self.cache.block_size()),
            abi::BLKBSZSET => self.set_block_size(caller, memory),
            // The block size of the file system that the node lies in, which is the device's business in no way.
            abi::FIGETBSZ => put_u32(memory, crate::PAGE_SIZE),
            abi::BLKFLSBUF => admin(caller).map(|()| {
                // Errors are left to fsync.
                let _heard_by_fsync = self.cache.write_back(device, 0..u64::MAX);
                self.cache.drop_clean();
            }),
            abi::BLKRRPART => admin(caller).and_then(|()| self.reread_partitions()),
            abi::BLKPG => admin(caller).and_then(|()| self.change_partition(memory)),
            abi::BLKDISCARD => self.ioctl_discard(memory),
            abi::BLKSECDISCARD => self.ioctl_secure_erase(memory),
            abi::BLKZEROOUT => self.ioctl_zero_out(memory),
            abi::HDIO_GETGEO => self.geometry(arg, memory),
            // No trace is ever set up here.
            abi::BLKTRACESTART | abi::BLKTRACESTOP | abi::BLKTRACETEARDOWN => {
                admin(caller).and(Err(Errno::EINVAL))
            }
            abi::BLKREPORTZONE => Err(Errno::ENOTTY),
            _ => return None,
        })
    }

    fn set_read_only(&self, caller: &dyn Caller, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        admin(caller)?;
        let wanted = get_u32(memory)?;
        self.device().set_read_only(wanted != 0);
        Ok(())
    }

    fn set_block_size(&self, caller: &dyn Caller, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        admin(caller)?;
        let size = dmlab_units::Bytes(u64::from(get_u32(memory)?));
        let is_ours = self.mode().contains(OpenMode::EXCLUSIVE);
        if !is_ours && self.device().claimed_by().is_some() {
            return Err(Errno::EBUSY);
        }
        if !is_valid_logical_block_size(size) || size < self.device().limits().logical_block_size {
            return Err(Errno::EINVAL);
        }
        self.cache.set_block_size(self.device(), size.0);
        Ok(())
    }

    fn ioctl_discard(&self, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        let (start, len) = get_range(memory)?;
        if !self.device().supports(Op::Discard) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.writable()?;
        if self.device().is_read_only() {
            return Err(Errno::EPERM);
        }
        let range = self.checked_range(start, len, self.device().limits().logical_block_size.0)?;
        self.forget(&range);
        self.discard(&range)
    }

    fn ioctl_secure_erase(&self, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        self.writable()?;
        if !self.device().supports(Op::SecureErase) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (start, len) = get_range(memory)?;
        let range = self.checked_range(start, len, 512)?;
        self.forget(&range);
        if self.device().is_read_only() {
            return Err(Errno::EPERM);
        }
        self.secure_erase(&range)
    }

    fn ioctl_zero_out(&self, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        self.writable()?;
        let (start, len) = get_range(memory)?;
        let range = self.checked_range(start, len, 512)?;
        self.forget(&range);
        if self.device().is_read_only() {
            return Err(Errno::EPERM);
        }
        let block = self.device().limits().logical_block_size.0;
        if !start.is_multiple_of(block) || !len.is_multiple_of(block) {
            return Err(Errno::EINVAL);
        }
        self.zero_out(&range, Fallback::Write)
    }

    fn writable(&self) -> Result<(), Errno> {
        if self.mode().contains(OpenMode::WRITE) { Ok(()) } else { Err(Errno::EBADF) }
    }

    fn checked_range(&self, start: u64, len: u64, unit: u64) -> Result<Range<u64>, Errno> {
        let end = start.checked_add(len).filter(|&end| end <= self.size()).ok_or(Errno::EINVAL)?;
        if len == 0 || !start.is_multiple_of(unit) || !len.is_multiple_of(unit) {
            return Err(Errno::EINVAL);
        }
        Ok(start..end)
    }

    /// `struct hd_geometry`: heads, sectors, cylinders (16 bits), padding, start (64 bits).
    fn geometry(&self, arg: u64, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        if arg == 0 {
            return Err(Errno::EINVAL);
        }
        let geometry = self.device().ops().geometry(self.device()).ok_or(Errno::ENOTTY)?;
        let mut bytes = [0; 16];
        bytes[0] = geometry.heads;
        bytes[1] = geometry.sectors;
        bytes[2..4].copy_from_slice(&geometry.cylinders.to_ne_bytes());
        bytes[8..].copy_from_slice(&geometry.start.to_ne_bytes());
        memory.write(0, &bytes)
    }
}

fn admin(caller: &dyn Caller) -> Result<(), Errno> {
    if caller.is_admin() { Ok(()) } else { Err(Errno::EACCES) }
}

fn put_u32(memory: &mut dyn UserMemory, value: u64) -> Result<(), Errno> {
    memory.write(0, &u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes())
}

fn get_u32(memory: &mut dyn UserMemory) -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    memory.read(0, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

/// `u64[2]`: start and length in bytes.
fn get_range(memory: &mut dyn UserMemory) -> Result<(u64, u64), Errno> {
    let mut bytes = [[0; 8]; 2];
    memory.read(0, bytes.as_flattened_mut())?;
    Ok((u64::from_ne_bytes(bytes[0]), u64::from_ne_bytes(bytes[1])))
}
