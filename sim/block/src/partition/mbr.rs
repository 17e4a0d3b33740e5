//! The table of a DOS disk: four entries at the end of sector 0, and a chain of such tables in an extended partition.

use dmlab_units::{SECTOR_SIZE, Sector, Sectors};

use super::PartitionNames;
use super::scan::{Found, Scan};

const TABLE: usize = 446;
const ENTRY: usize = 16;
/// What the boot indicator of an entry may be.
const BOOT_INDICATORS: [u8; 2] = [0x00, 0x80];
/// The type of the entry that guards a GPT.
pub(super) const GUARD: u8 = 0xee;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Number of the first partition in an extended one.
const FIRST_LOGICAL: u32 = 5;
/// Tables without a partition in a chain, after which it is no longer followed.
const MAX_EMPTY: u32 = 100;

/// One entry, in sectors of 512 bytes.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    boot: u8,
    pub(super) kind: u8,
    /// The first block, in logical blocks, as it stands in the table.
    pub(super) first: u32,
    start: u64,
    len: u64,
}

/// The four entries of a sector, if it ends as such a sector does.
pub(super) fn entries(sector: &[u8], block: u64) -> Option<[Entry; 4]> {
    if sector.get(510..512)? != [0x55, 0xaa] {
        return None;
    }
    let factor = block / SECTOR_SIZE;
    Some([0, 1, 2, 3].map(|i| {
        let bytes = &sector[TABLE + i * ENTRY..][..ENTRY];
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Entry {
            boot: bytes[0],
            kind: bytes[4],
            first: word(8),
            start: u64::from(word(8)) * factor,
            len: u64::from(word(12)) * factor,
        }
    }))
}

impl Entry {
    fn is_extended(self) -> bool {
        EXTENDED.contains(&self.kind)
    }

    fn found(self, number: u32, base: u64, signature: u32) -> Found {
        let names =
            PartitionNames { uuid: format!("{signature:08x}-{number:02x}"), ..PartitionNames::default() };
        Found { number, start: Sector(base + self.start), len: Sectors(self.len), names }
    }
}

/// A FAT file system without partitions begins with a sector that ends in the same way.
fn is_fat(sector: &[u8]) -> bool {
    let (reserved, tables, media) = (u16::from_le_bytes([sector[14], sector[15]]), sector[16], sector[21]);
    reserved != 0 && tables != 0 && (media >= 0xf8 || media == 0xf0)
}

/// Looks for a DOS table.
pub(super) fn scan(scan: &mut Scan<'_>) -> bool {
    let Ok(sector) = scan.read(0, SECTOR_SIZE as usize) else { return false };
    let Some(table) = entries(&sector, scan.block) else { return false };
    if let Some(odd) = table.iter().position(|entry| !BOOT_INDICATORS.contains(&entry.boot)) {
        // A file system that fills the disk: it was recognised, and has no partitions.
        return odd == 0 && is_fat(&sector);
    }
    if table.iter().any(|entry| entry.kind == GUARD) {
        return false;
    }
    let signature = u32::from_le_bytes([sector[440], sector[441], sector[442], sector[443]]);
    let mut next = FIRST_LOGICAL;
    for (entry, number) in table.into_iter().zip(1..).filter(|(entry, _)| entry.len > 0) {
        if !entry.is_extended() {
            scan.put(entry.found(number, 0, signature));
            continue;
        }
        // Room for a boot loader, and not for a file system.
        let shown = entry.len.min((scan.block / SECTOR_SIZE).max(2));
        scan.put(Entry { len: shown, ..entry }.found(number, 0, signature));
        scan.text.push_str(" <");
        follow(scan, entry, signature, &mut next);
        scan.text.push_str(" >");
    }
    true
}

/// Follows the chain of tables in an extended partition.
fn follow(scan: &mut Scan<'_>, extended: Entry, signature: u32, next: &mut u32) {
    let (mut at, mut len) = (extended.start, extended.len);
    let end = extended.start + extended.len;
    let mut empty = 0;
    loop {
        empty += 1;
        if empty > MAX_EMPTY || *next == super::MAX_PARTITIONS {
            return;
        }
        let Ok(sector) = scan.read(at, SECTOR_SIZE as usize) else { return };
        let Some(table) = entries(&sector, scan.block) else { return };
        for (i, entry) in table.iter().enumerate().filter(|(_, entry)| entry.len > 0 && !entry.is_extended())
        {
            let start = at + entry.start;
            // The last two should be empty. Those that make sense there are taken.
            let is_odd = entry.start + entry.len > len || start < extended.start || start + entry.len > end;
            if i >= 2 && is_odd {
                continue;
            }
            scan.put(entry.found(*next, at, signature));
            empty = 0;
            *next += 1;
            if *next == super::MAX_PARTITIONS {
                return;
            }
        }
        let Some(link) = table.iter().find(|entry| entry.len > 0 && entry.is_extended()) else { return };
        (at, len) = (extended.start + link.start, link.len);
    }
}
