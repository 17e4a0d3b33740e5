//! Partitions without programs: where their IO goes, what a table may say, and that none leads astray.

use std::sync::Arc;

use dmlab_units::{DevT, Errno, Sector, Sectors};
use proptest::prelude::*;

use super::PartitionNames;
use crate::test_disk::TestMachine;
use crate::{BlockDevice, Holder, IoFlags, OpenMode};

const SIZE: Sectors = Sectors(4096);

fn machine() -> TestMachine {
    TestMachine::new(SIZE, |_| {})
}

fn add(disk: &Arc<BlockDevice>, number: u32, start: u64, len: u64) -> Arc<BlockDevice> {
    disk.make_partition(number, Sector(start), Sectors(len), PartitionNames::default(), None).unwrap();
    disk.partition_numbered(number).unwrap()
}

/// Number, start and length of each partition.
fn places(disk: &BlockDevice) -> Vec<(u32, u64, u64)> {
    let place = |part: &Arc<BlockDevice>| {
        let number = part.partition().unwrap().number;
        (number, part.start_sector().0, part.capacity().0)
    };
    disk.partitions().iter().map(place).collect()
}

/// Writes a sector that ends as tables do, with these entries: type, start, length.
fn put_table(machine: &TestMachine, at: u64, entries: &[(u8, u32, u32)]) {
    let mut sector = [0; 512];
    for (i, (kind, start, len)) in entries.iter().enumerate() {
        let entry = &mut sector[446 + 16 * i..][..16];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&len.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    machine.disk.ram.memory().write(at * 512, &sector);
}

#[test]
fn io_goes_to_the_disk_further_on() {
    let machine = machine();
    let part = add(&machine.device, 1, 8, 16);
    let file =
        machine.registry.open(part.dev(), OpenMode::READ | OpenMode::WRITE | OpenMode::DIRECT).unwrap();
    assert_eq!(file.write_at(512, &[7; 512], IoFlags::default()), Ok(512));
    assert_eq!(file.size(), 16 * 512);
    assert_eq!(file.write_at(16 * 512, &[7; 512], IoFlags::default()), Err(Errno::ENOSPC));
    assert_eq!(file.read_at(15 * 512, &mut [0; 1024], IoFlags::default()), Ok(512));
    assert_eq!(machine.disk.bios(), ["W 9+1", "R 23+1"]);
}

#[test]
fn numbers_are_the_lowest_free_ones() {
    let machine = machine();
    let disk = &machine.device;
    let minors = |numbers: [u32; 3]| numbers.map(|number| disk.partition_numbered(number).unwrap().dev());
    for number in [1, 2, 200] {
        add(disk, number, u64::from(number) * 8, 8);
    }
    assert_eq!(minors([1, 2, 200]), [0, 1, 2].map(|minor| DevT::new(259, minor)));
    disk.delete_partition(2).unwrap();
    add(disk, 3, 24, 8);
    assert_eq!(minors([1, 3, 200]), [0, 1, 2].map(|minor| DevT::new(259, minor)));
}

#[test]
fn a_claim_of_a_part_keeps_the_whole_from_others() {
    let machine = machine();
    let disk = &machine.device;
    let (one, two) = (add(disk, 1, 8, 8), add(disk, 2, 16, 8));
    let claim = |device: &Arc<BlockDevice>, holder| device.open(OpenMode::READ, Some(holder)).map(drop);
    let held = one.open(OpenMode::READ, Some(Holder::DeviceMapper)).unwrap();
    assert_eq!(claim(disk, Holder::DeviceMapper), Err(Errno::EBUSY));
    assert_eq!(claim(&two, Holder::File(1)), Ok(()));
    assert_eq!(disk.open_count(), 1);
    drop(held);
    assert_eq!(disk.open_count(), 0);
    let held = disk.open(OpenMode::READ, Some(Holder::DeviceMapper)).unwrap();
    assert_eq!(claim(&one, Holder::DeviceMapper), Err(Errno::EBUSY));
    drop(held);
    assert_eq!(claim(&one, Holder::DeviceMapper), Ok(()));
}

#[test]
fn limits_and_read_only_are_the_disks() {
    let machine = machine();
    let part = add(&machine.device, 1, 8, 8);
    let mut limits = *machine.device.limits();
    limits.max_sectors = Sectors(64);
    machine.device.set_limits(limits);
    assert_eq!(part.limits().max_sectors, Sectors(64));
    machine.device.set_read_only(true);
    assert!(part.is_read_only());
    machine.device.set_read_only(false);
    part.set_read_only(true);
    assert!(part.is_read_only() && !machine.device.is_read_only());
}

#[test]
fn a_chain_that_leads_back_ends() {
    let machine = machine();
    put_table(&machine, 0, &[(0x83, 8, 8), (0x05, 100, 1000)]);
    // Its one link is to itself.
    put_table(&machine, 100, &[(0x05, 0, 1000)]);
    machine.registry.scan_partitions(&machine.device).unwrap();
    assert_eq!(places(&machine.device), [(1, 8, 8), (2, 100, 2)]);
    assert_eq!(machine.log(), ["<6> ram0: p1 p2 < >"]);
    // One with a partition in it goes on until there are no numbers left.
    put_table(&machine, 100, &[(0x83, 8, 8), (0x05, 0, 1000)]);
    machine.registry.scan_partitions(&machine.device).unwrap();
    assert_eq!(machine.device.partitions().len(), 2 + 255 - 4);
}

/// Recorded: what is said of a sector that ends as a table does, and what is not one. Boot indicator of the first entry, and
/// what a FAT file system says there of reserved sectors, its tables and the medium.
#[test]
fn a_fat_file_system_is_a_disk_without_partitions() {
    for (boot, reserved, tables, media, is_known) in [
        (0x61, 1, 2, 0xf8, true),
        (0x61, 0, 2, 0xf8, false),
        (0x61, 1, 0, 0xf8, false),
        (0x61, 1, 2, 0xf7, false),
        (0x61, 1, 2, 0xf0, true),
        (0x61, 1, 2, 0xf1, false),
        (0x80, 1, 2, 0xf0, true),
        (0, 0, 0, 0, true),
    ] {
        let machine = machine();
        put_table(&machine, 0, &[]);
        for (at, byte) in [(446, boot), (14, reserved), (16, tables), (21, media)] {
            machine.disk.ram.memory().write(at, &[byte]);
        }
        machine.registry.scan_partitions(&machine.device).unwrap();
        let expected: &[&str] = if is_known { &["<6> ram0:"] } else { &[] };
        assert_eq!(machine.log(), expected, "{boot:#x} {reserved} {tables} {media:#x}");
        assert!(machine.device.partitions().is_empty());
    }
}

/// Recorded: a link in the chain is followed however short it says that the next one is.
#[test]
fn a_chain_is_followed_over_a_link_of_one_sector() {
    let machine = machine();
    put_table(&machine, 0, &[(0x05, 100, 1000)]);
    put_table(&machine, 100, &[(0x83, 8, 8), (0x05, 40, 1)]);
    put_table(&machine, 140, &[(0x83, 8, 8)]);
    machine.registry.scan_partitions(&machine.device).unwrap();
    assert_eq!(places(&machine.device), [(1, 100, 2), (5, 108, 8), (6, 148, 8)]);
    assert_eq!(machine.log(), ["<6> ram0: p1 < p5 p6 >"]);
}

/// Entries without a type are unused, and those that do not lie on the disk are none.
#[test]
fn entries_of_a_gpt_that_are_no_partitions() {
    let machine = machine();
    put_table(&machine, 0, &[(0xee, 1, 4095)]);
    let mut entries = vec![0; 128 * 6];
    for (entry, (kind, start, end)) in entries.chunks_exact_mut(128).zip([
        (0_u8, 40_u64, 47_u64),
        (1, 48, 55),
        (1, 4096, 4100),
        (1, 56, 4096),
        (1, 64, 63),
        (1, 4088, 4095),
    ]) {
        entry[0] = kind;
        entry[32..40].copy_from_slice(&start.to_le_bytes());
        entry[40..48].copy_from_slice(&end.to_le_bytes());
    }
    let mut header = vec![0; 512];
    header[..8].copy_from_slice(b"EFI PART");
    for (at, value) in [(24, 1u64), (32, 4095), (40, 34), (48, 4000), (72, 2)] {
        header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    for (at, value) in [(80, 6u32), (84, 128), (88, crc32fast::hash(&entries)), (12, 92)] {
        header[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let sum = crc32fast::hash(&header[..92]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    machine.disk.ram.memory().write(512, &header);
    machine.disk.ram.memory().write(1024, &entries);
    machine.registry.scan_partitions(&machine.device).unwrap();
    assert_eq!(places(&machine.device), [(2, 48, 8), (6, 4088, 8)]);
}

/// Recorded: the last sector is still on the disk, the one behind it is not.
#[test]
fn a_partition_ends_with_its_disk() {
    for (len, lines) in [
        (4088, &["<6> ram0: p1"][..]),
        (4089, &["<6> ram0: p1", "<4>ram0: p1 size 4089 extends beyond EOD, truncated"]),
    ] {
        let machine = machine();
        put_table(&machine, 0, &[(0x83, 8, len)]);
        machine.registry.scan_partitions(&machine.device).unwrap();
        assert_eq!(places(&machine.device), [(1, 8, 4088)]);
        assert_eq!(machine.log(), lines);
    }
}

#[test]
fn a_disk_that_cant_be_read_has_no_partitions() {
    let machine = machine();
    put_table(&machine, 0, &[(0x83, 8, 8)]);
    machine.disk.fail([0]);
    assert_eq!(machine.registry.scan_partitions(&machine.device), Err(Errno::EIO));
    assert!(machine.device.partitions().is_empty());
    assert!(
        machine.log().contains(&"<6> ram0: unable to read partition table".to_owned()),
        "{:?}",
        machine.log()
    );
    machine.disk.heal();
    machine.registry.scan_partitions(&machine.device).unwrap();
    assert_eq!(places(&machine.device), [(1, 8, 8)]);
}

proptest! {
    /// Whatever the entries say, partitions lie on the disk and have numbers of their own.
    #[test]
    fn no_table_leads_astray(
        first in prop::collection::vec((0u8..=255, any::<u32>(), any::<u32>()), 4),
        near in prop::collection::vec((prop::sample::select(vec![0x05u8, 0x0f, 0x83, 0xee]), 0u32..5000, 0u32..5000), 4),
        next in prop::collection::vec((prop::sample::select(vec![0x05u8, 0x83]), 0u32..5000, 0u32..5000), 4),
        is_near in any::<bool>(),
    ) {
        let machine = machine();
        let table = if is_near { &near } else { &first };
        put_table(&machine, 0, table);
        for (kind, start, _) in table {
            if *kind != 0x83 && *start < 4095 && *start > 0 {
                put_table(&machine, u64::from(*start), &next);
            }
        }
        machine.registry.scan_partitions(&machine.device).unwrap();
        for (number, start, len) in places(&machine.device) {
            prop_assert!((1..256).contains(&number) && len > 0 && start + len <= SIZE.0);
        }
    }

    /// Nor do the bytes of a GPT, sound sums or not.
    #[test]
    fn no_gpt_leads_astray(
        mut header in prop::collection::vec(any::<u8>(), 512),
        entries in prop::collection::vec(any::<u8>(), 128 * 8),
        near in prop::collection::vec((0u64..5000, 0u64..5000), 8),
        has_sums in any::<bool>(),
    ) {
        let machine = machine();
        put_table(&machine, 0, &[(0xee, 1, 4095)]);
        let mut entries = entries;
        for (entry, (start, end)) in entries.chunks_exact_mut(128).zip(near) {
            entry[32..40].copy_from_slice(&start.to_le_bytes());
            entry[40..48].copy_from_slice(&end.to_le_bytes());
        }
        header[..8].copy_from_slice(b"EFI PART");
        if has_sums {
            for (at, value) in [(24, 1u64), (32, 4095), (40, 34), (48, 4000), (72, 2)] {
                header[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            header[80..84].copy_from_slice(&8u32.to_le_bytes());
            header[84..88].copy_from_slice(&128u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
            header[12..16].copy_from_slice(&92u32.to_le_bytes());
            header[16..20].fill(0);
            let sum = crc32fast::hash(&header[..92]);
            header[16..20].copy_from_slice(&sum.to_le_bytes());
        }
        machine.disk.ram.memory().write(512, &header);
        machine.disk.ram.memory().write(1024, &entries);
        machine.registry.scan_partitions(&machine.device).unwrap();
        for (number, start, len) in places(&machine.device) {
            prop_assert!(has_sums && (1..=8).contains(&number) && len > 0 && start + len <= SIZE.0);
        }
    }
}
