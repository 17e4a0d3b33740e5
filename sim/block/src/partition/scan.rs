//! Looking for a partition table, and making the partitions that it names.

use std::sync::Arc;

use dmlab_runtime::{Level, UeventAction};
use dmlab_units::{Errno, SECTOR_SIZE, Sector, Sectors};

use super::{PartitionNames, gpt, mbr};
use crate::buffer_errors::BufferErrors;
use crate::{BlockDevice, BlockFile, OpenMode};

/// A partition as a table names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) number: u32,
    pub(super) start: Sector,
    pub(super) len: Sectors,
    pub(super) names: PartitionNames,
}

/// Why a part of a disk can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The partition lies beyond the end.
    BeyondEnd,
    /// The device says so.
    Failed,
}

/// A scan for a partition table: the disk as it reads it, and what was found.
pub(super) struct Scan<'a> {
    file: &'a BlockFile,
    /// Bytes of a logical block.
    pub(super) block: u64,
    pub(super) capacity: Sectors,
    pub(super) found: Vec<Found>,
    /// The line of the log so far, after the disk's name.
    pub(super) text: String,
    has_read_beyond_end: bool,
    has_failed: bool,
}

impl Scan<'_> {
    /// Reads `len` bytes from a sector on.
    pub(super) fn read(&mut self, sector: u64, len: usize) -> Result<Vec<u8>, Unread> {
        let end = sector.checked_add((len as u64).div_ceil(SECTOR_SIZE));
        if end.is_none_or(|end| end > self.capacity.0) {
            self.has_read_beyond_end = true;
            return Err(Unread::BeyondEnd);
        }
        let mut bytes = vec![0; len];
        match self.file.read_pages(sector * SECTOR_SIZE, &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(_) => {
                self.has_failed = true;
                Err(Unread::Failed)
            }
        }
    }

    /// Notes a partition, if its number can be one.
    pub(super) fn put(&mut self, found: Found) {
        if found.number < super::MAX_PARTITIONS {
            let name = super::name_of(&self.disk_name(), found.number);
            let shown = name.strip_prefix(&self.disk_name()).filter(|rest| rest.starts_with('p'));
            self.text.push(' ');
            self.text.push_str(shown.unwrap_or(&name));
            self.found.push(found);
        }
    }

    fn disk_name(&self) -> String {
        self.file.device().name().to_owned()
    }

    /// A line of its own in the log.
    pub(super) fn warn(&self, text: impl Into<String>) {
        self.file.device().runtime().log(Level::Warning, text.into());
    }
}

impl BlockDevice {
    /// Forgets all partitions and makes those that the disk's table names now. None of the old ones is open. A disk
    /// without a table, or with one that can't be read, has none.
    ///
    /// # Errors
    /// EIO: it can't be read where a table could be. ENXIO: it is going away.
    pub(crate) fn scan_partitions(self: &Arc<Self>, log: &Arc<BufferErrors>) -> Result<(), Errno> {
        let file = self.open(OpenMode::READ, None).and_then(|opened| BlockFile::new(opened, log))?;
        // What is cached may be older than the disk.
        let _heard_by_fsync = self.write_back();
        self.drop_cached_pages();
        self.forget_partitions();
        if self.capacity().is_zero() || self.ops().refuses_partitions() {
            return Ok(());
        }
        let mut scan = Scan {
            file: &file,
            block: self.limits().logical_block_size.0,
            capacity: self.capacity(),
            found: Vec::new(),
            text: format!(" {}:", self.name()),
            has_read_beyond_end: false,
            has_failed: false,
        };
        let has_table = gpt::scan(&mut scan) || mbr::scan(&mut scan);
        if !has_table && scan.has_failed {
            scan.text.push_str(" unable to read partition table");
        }
        if has_table || scan.has_failed {
            self.runtime().log(Level::Info, std::mem::take(&mut scan.text));
        }
        if !has_table {
            return if scan.has_failed { Err(Errno::EIO) } else { Ok(()) };
        }
        if scan.has_read_beyond_end {
            scan.warn(format!("{}: partition table partially beyond EOD, truncated", self.name()));
        }
        self.send_uevent(UeventAction::Change, Vec::new());
        let mut found = std::mem::take(&mut scan.found);
        found.sort_by_key(|part| part.number);
        for part in found {
            self.make_found(&scan, &part);
        }
        Ok(())
    }

    fn make_found(self: &Arc<Self>, scan: &Scan<'_>, part: &Found) {
        let (number, start, capacity) = (part.number, part.start, self.capacity());
        if part.len.is_zero() {
            return;
        }
        if start.0 >= capacity.0 {
            scan.warn(format!("{}: p{number} start {start} is beyond EOD, truncated", self.name()));
            return;
        }
        let mut len = part.len;
        if len.0 > capacity.0 - start.0 {
            scan.warn(format!("{}: p{number} size {len} extends beyond EOD, truncated", self.name()));
            len = Sectors(capacity.0 - start.0);
        }
        // A number that a table names twice is taken the first time.
        let _taken = self.make_partition(number, start, len, part.names.clone(), None);
    }
}
