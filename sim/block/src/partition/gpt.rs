//! The GUID partition table: a header in block 1 with its entries, a second one in the last block, and a DOS table that
//! guards both.

use dmlab_units::{SECTOR_SIZE, Sector, Sectors};

use super::PartitionNames;
use super::mbr;
use super::scan::{Found, Scan};

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Bytes of a header that have a meaning.
const HEADER: usize = 92;
/// Bytes of an entry.
const ENTRY: usize = 128;
/// More bytes of entries than this are no table.
const MAX_ENTRIES: u64 = 4 << 20;

struct Header {
    own_block: u64,
    other_block: u64,
    last_usable: u64,
    entries: Vec<u8>,
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    long(bytes, at) as u32
}

/// Whether sector 0 guards a GPT: one of its entries has the type for that and begins in block 1.
fn is_guarded(scan: &mut Scan<'_>) -> bool {
    let Ok(sector) = scan.read(0, SECTOR_SIZE as usize) else { return false };
    let table = mbr::entries(&sector, scan.block);
    table.is_some_and(|table| table.iter().any(|entry| entry.kind == mbr::GUARD && entry.first == 1))
}

/// The header in this block with its entries, if all of it is sound.
fn header(scan: &mut Scan<'_>, block: u64, last: u64) -> Option<Header> {
    let factor = scan.block / SECTOR_SIZE;
    let mut bytes = scan.read(block.checked_mul(factor)?, scan.block as usize).ok()?;
    let size = word(&bytes, 12) as usize;
    if bytes[..8] != SIGNATURE[..] || !(HEADER..=bytes.len()).contains(&size) {
        return None;
    }
    let sum = word(&bytes, 16);
    bytes[16..20].fill(0);
    if crc32fast::hash(&bytes[..size]) != sum || long(&bytes, 24) != block {
        return None;
    }
    let (first_usable, last_usable) = (long(&bytes, 40), long(&bytes, 48));
    if first_usable > last || last_usable > last || last_usable < first_usable {
        return None;
    }
    let (nr, each) = (word(&bytes, 80), word(&bytes, 84));
    let len = u64::from(nr) * u64::from(each);
    if each as usize != ENTRY || len > MAX_ENTRIES {
        return None;
    }
    let entries = scan.read(long(&bytes, 72).checked_mul(factor)?, len as usize).ok()?;
    if crc32fast::hash(&entries) != word(&bytes, 88) {
        return None;
    }
    Some(Header { own_block: block, other_block: long(&bytes, 32), last_usable, entries })
}

/// Looks for a GPT. The second header is only held against the first: it never takes its place.
pub(super) fn scan(scan: &mut Scan<'_>) -> bool {
    let factor = scan.block / SECTOR_SIZE;
    let Some(last) = (scan.capacity.0 / factor).checked_sub(1) else { return false };
    if !is_guarded(scan) {
        return false;
    }
    let Some(first) = header(scan, 1, last) else { return false };
    match header(scan, first.other_block, last) {
        Some(second) => compare(scan, &first, &second, last),
        None => scan.warn("Alternate GPT is invalid, using primary GPT."),
    }
    for (entry, number) in first.entries.chunks_exact(ENTRY).zip(1..super::MAX_PARTITIONS) {
        let (start, end) = (long(entry, 32), long(entry, 40));
        if entry[..16] == [0; 16]
            || start > last
            || end > last
            || end < start
            || end > first.last_usable.max(last)
        {
            continue;
        }
        scan.put(Found {
            number,
            start: Sector(start * factor),
            len: Sectors((end - start + 1) * factor),
            names: PartitionNames { volume: volume(&entry[56..]), uuid: guid(&entry[16..32]) },
        });
    }
    true
}

/// Logs what does not fit when a table was copied from a smaller disk.
fn compare(scan: &Scan<'_>, first: &Header, second: &Header, last: u64) {
    let mut is_odd = false;
    for (block, text) in [
        (first.other_block, "GPT:Primary header thinks Alt. header is not at the end of the disk."),
        (second.own_block, "GPT:Alternate GPT header not at the end of the disk."),
    ] {
        if block != last {
            scan.warn(text);
            scan.warn(format!("GPT:{block} != {last}"));
            is_odd = true;
        }
    }
    if is_odd {
        scan.warn("GPT: Use GNU Parted to correct GPT errors.");
    }
}

/// A GUID as text: its first three numbers are stored with the lowest byte first.
fn guid(bytes: &[u8]) -> String {
    let hex = |order: &[usize]| order.iter().map(|&at| format!("{:02x}", bytes[at])).collect::<String>();
    [&[3, 2, 1, 0][..], &[5, 4], &[7, 6], &[8, 9], &[10, 11, 12, 13, 14, 15]].map(hex).join("-")
}

/// The name of a partition: UTF-16 in the table, seven bits of each unit for programs
/// (recorded: `partitions/tables.txt`).
fn volume(units: &[u8]) -> String {
    let units = units.chunks_exact(2).map(|unit| unit[0] & 0x7f);
    let shown = units.take_while(|&unit| unit != 0).map(|unit| match unit {
        0x20..=0x7e => char::from(unit),
        _ => '!',
    });
    shown.collect()
}
