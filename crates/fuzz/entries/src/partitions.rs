//! Disks with wrong partition tables: GPT with its checksums made right, and DOS tables with their chains.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab::Lab;

const SECTOR: usize = 512;
/// The disk's size; what is given lies at its beginning.
const DISK: usize = 64 * 1024;

/// Boots a machine with these bytes as a disk, which is scanned, and looks at its partitions.
pub(crate) fn scan(bytes: &[u8]) {
    let mut disk = bytes[..bytes.len().min(DISK)].to_vec();
    disk.resize(DISK, 0);
    make_sums_right(&mut disk);
    let Some(file) = unnamed_file(&disk) else { return };
    let lab =
        Lab::builder(1).ram_disks(0, dmlab_units::Bytes::mib(1)).file_disk(file).boot().expect("it boots");
    let devices = lab.machine().devices_by_disk();
    let whole = devices.first().expect("the disk itself").size;
    for part in &devices[1..] {
        assert!(part.size <= whole, "{} is larger than its disk", part.name);
        // Reading it never leaves the disk.
        let _ = lab.read(&format!("/dev/{}", part.name), dmlab_units::Sector(0), dmlab_units::Sectors(1));
    }
}

/// Gives a GPT header in sector 1 the sums of what it says: else hardly a mutation would come past them.
fn make_sums_right(disk: &mut [u8]) {
    let word =
        |disk: &[u8], at: usize| u32::from_le_bytes([disk[at], disk[at + 1], disk[at + 2], disk[at + 3]]);
    if !disk[SECTOR..].starts_with(b"EFI PART") {
        return;
    }
    let first = u64::from(word(disk, SECTOR + 72)).saturating_mul(SECTOR as u64) as usize;
    let len = (word(disk, SECTOR + 80) as usize).saturating_mul(word(disk, SECTOR + 84) as usize);
    if let Some(entries) = first.checked_add(len).and_then(|end| disk.get(first..end)) {
        let sum = crc32fast::hash(entries);
        disk[SECTOR + 88..][..4].copy_from_slice(&sum.to_le_bytes());
    }
    let size = word(disk, SECTOR + 12) as usize;
    if (92..=SECTOR).contains(&size) {
        disk[SECTOR + 16..][..4].fill(0);
        let sum = crc32fast::hash(&disk[SECTOR..SECTOR + size]);
        disk[SECTOR + 16..][..4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A file without a name.
fn unnamed_file(bytes: &[u8]) -> Option<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nr = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("dmlab-fuzz-{}-{nr}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).ok()?;
    let _ = std::fs::remove_file(&path);
    file.write_all(bytes).ok()?;
    Some(file)
}

/// A GPT with two partitions, and DOS tables with a chain of logical ones.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    vec![gpt(), dos()]
}

fn gpt() -> Vec<u8> {
    let mut disk = vec![0; 4 * SECTOR];
    disk[446 + 4] = 0xee;
    disk[446 + 8] = 1;
    disk[446 + 12] = 127;
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let header = &mut disk[SECTOR..2 * SECTOR];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&[0, 0, 1, 0]);
    header[12] = 92;
    let numbers = [(24, 1u64), (32, 127), (40, 4), (48, 120), (72, 2)];
    for (at, number) in numbers {
        header[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    header[80] = 4;
    header[84] = 128;
    for (entry, (start, end)) in [(8u64, 15u64), (16, 31)].into_iter().enumerate() {
        let entry = &mut disk[2 * SECTOR + 128 * entry..][..128];
        entry[..32].fill(7);
        entry[32..40].copy_from_slice(&start.to_le_bytes());
        entry[40..48].copy_from_slice(&end.to_le_bytes());
        entry[56] = b'a';
    }
    disk
}

fn dos() -> Vec<u8> {
    let mut disk = vec![0; 36 * SECTOR];
    let mut table = |sector: usize, entries: &[(u8, u32, u32)]| {
        for (i, (kind, start, len)) in entries.iter().enumerate() {
            let entry = &mut disk[sector * SECTOR + 446 + 16 * i..][..16];
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..16].copy_from_slice(&len.to_le_bytes());
        }
        disk[sector * SECTOR + 510..][..2].copy_from_slice(&[0x55, 0xaa]);
    };
    table(0, &[(0x83, 8, 8), (0x05, 32, 64)]);
    table(32, &[(0x83, 1, 1), (0x05, 2, 4)]);
    table(34, &[(0x83, 1, 1)]);
    disk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_tables() {
        for (sample, parts) in samples().into_iter().zip([2, 4]) {
            let mut disk = sample.clone();
            disk.resize(DISK, 0);
            make_sums_right(&mut disk);
            let lab = Lab::builder(1).file_disk(unnamed_file(&disk).unwrap()).boot().unwrap();
            let devices = lab.machine().devices_by_disk();
            let found =
                devices.iter().filter(|device| device.name.starts_with("vda") && device.name != "vda");
            assert_eq!(found.count(), parts);
            scan(&sample);
        }
    }
}
