//! The exception store of a persistent snapshot. This judge reads its bytes on its own: it does not share the target's codec.

use std::collections::BTreeMap;
use std::sync::Arc;

use dmlab_units::{SECTOR_SIZE, Sectors};

use super::{Judge, JudgeKind, number};
use crate::crash::Moment;

/// `SnAp`.
const MAGIC: &[u8] = b"SnAp";
const RECORD: u64 = 16;

pub(super) static KIND: JudgeKind = JudgeKind {
    name: "snapshot-store",
    form: "N:LEN",
    example: "1:128",
    checks: "the store of the snapshot on /dev/ramN; the size of the origin is sectors",
    of_words: |words| {
        let (disk, len) = words.split_once(':')?;
        Some(Arc::new(SnapshotStore::on(number(disk)?, Sectors(number(len)?))))
    },
};

/// Checks the exception store of a persistent snapshot: its header, that each record names an old chunk that the origin
/// has and a new one that the store has and that holds data, and that none is named twice. A disk without the store's
/// magic is that of a snapshot which was never made, and sound; so is a store that was marked as invalid.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotStore {
    disk: usize,
    origin: Sectors,
}

impl SnapshotStore {
    /// The store fills this disk; its origin has this size.
    pub fn on(disk: usize, origin: Sectors) -> SnapshotStore {
        SnapshotStore { disk, origin }
    }
}

impl Judge for SnapshotStore {
    fn name(&self) -> &'static str {
        "snapshot store"
    }

    fn judge(&self, moment: &Moment<'_>) -> Result<(), String> {
        let disk = moment.disk(self.disk)?;
        let read = |at: u64| {
            let mut bytes = [0; RECORD as usize];
            disk.read(at, &mut bytes);
            bytes
        };
        let header = read(0);
        if &header[..4] != MAGIC {
            return Ok(());
        }
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (valid, version, chunk) = (word(4), word(8), u64::from(word(12)));
        if valid == 0 {
            return Ok(());
        }
        if version != 1 || !chunk.is_power_of_two() {
            return Err(format!("the header has version {version} and chunks of {chunk} sectors"));
        }
        let (records, chunks) = (chunk * SECTOR_SIZE / RECORD, disk.capacity().0 / chunk);
        let old_chunks = self.origin.0.div_ceil(chunk);
        let (mut old_seen, mut new_seen) = (BTreeMap::new(), BTreeMap::new());
        let mut number = 0u64;
        loop {
            let area = 1 + number / records * (records + 1);
            if area >= chunks {
                // A full store ends with the disk.
                return Ok(());
            }
            let record = read(area * chunk * SECTOR_SIZE + number % records * RECORD);
            let half = |at: usize| record[at..at + 8].iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
            let (old, new) = (half(0), half(8));
            if new == 0 {
                return Ok(());
            }
            let named = format!("record {number} ({old} → {new})");
            if old >= old_chunks {
                return Err(format!("{named} names an old chunk behind the origin's {old_chunks}"));
            }
            if new >= chunks || new % (records + 1) == 1 {
                return Err(format!("{named} names a new chunk that holds no data"));
            }
            if let Some(other) = old_seen.insert(old, number) {
                return Err(format!("{named} names the same old chunk as record {other}"));
            }
            if let Some(other) = new_seen.insert(new, number) {
                return Err(format!("{named} names the same new chunk as record {other}"));
            }
            number += 1;
        }
    }
}
