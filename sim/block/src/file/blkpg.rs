//! BLKPG: partitions made, removed and resized one by one.

use dmlab_units::{Errno, SECTOR_SIZE, Sector, Sectors};

use super::BlockFile;
use crate::UserMemory;

const ADD: u32 = 1;
const DELETE: u32 = 2;
const RESIZE: u32 = 3;

/// Bytes of `struct blkpg_ioctl_arg`. What it points to comes right after it.
const ARGUMENT: usize = 24;
/// Bytes of `struct blkpg_partition` that mean something: start, length, number. Its names are not used.
const PARTITION: usize = 20;

impl BlockFile {
    /// Carries out BLKPG. `memory` is the argument and, after it, the partition that it points to.
    ///
    /// # Errors
    /// In this order: EFAULT; EINVAL on a partition, for a number that is not positive, for an unknown operation, a range
    /// that is empty, not in logical blocks or not on the disk; then those of the single operation.
    pub(super) fn change_partition(&self, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        let mut argument = [0; ARGUMENT];
        memory.read(0, &mut argument)?;
        let mut partition = [0; PARTITION];
        memory.read(ARGUMENT, &mut partition)?;
        let long = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&partition[at..at + 8]);
            i64::from_ne_bytes(bytes)
        };
        let number = i32::from_ne_bytes([partition[16], partition[17], partition[18], partition[19]]);
        let operation = u32::from_ne_bytes([argument[0], argument[1], argument[2], argument[3]]);
        let device = self.device();
        let number = u32::try_from(number).ok().filter(|&number| number > 0).ok_or(Errno::EINVAL)?;
        if device.partition().is_some() {
            return Err(Errno::EINVAL);
        }
        if operation == DELETE {
            return device.delete_partition(number);
        }
        let (start, len) = self.partition_range(long(0), long(8))?;
        match operation {
            ADD => device.add_partition(number, start, len),
            RESIZE => device.resize_partition(number, start, len),
            _ => Err(Errno::EINVAL),
        }
    }

    fn partition_range(&self, start: i64, len: i64) -> Result<(Sector, Sectors), Errno> {
        let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
        let len = u64::try_from(len).ok().filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
        let block = self.device().limits().logical_block_size.0;
        let is_aligned = start.is_multiple_of(block) && len.is_multiple_of(block);
        let is_inside = start.checked_add(len).is_some_and(|end| end <= self.size());
        match is_aligned && is_inside {
            true => Ok((Sector(start / SECTOR_SIZE), Sectors(len / SECTOR_SIZE))),
            false => Err(Errno::EINVAL),
        }
    }
}
