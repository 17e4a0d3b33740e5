//! Partitions of a machine's disks: made by ioctl, under tables, and in a fork.

use dmlab_machine::{CarriedMemory, IoFlags, Kernel, OpenMode, VirtualDriver};
use dmlab_units::{DevT, Errno};

use crate::kit::Kit;

const BLKPG: u32 = 0x1269;
const ADD: u32 = 1;
const RW: OpenMode = OpenMode::READ.union(OpenMode::WRITE);

/// The argument of BLKPG with the partition that it points to behind it, as a front carries them.
fn blkpg(kit: &Kit, disk: DevT, operation: u32, number: i32, start: i64, len: i64) -> Result<i32, Errno> {
    let mut bytes = vec![0; 176];
    bytes[..4].copy_from_slice(&operation.to_ne_bytes());
    bytes[24..32].copy_from_slice(&start.to_ne_bytes());
    bytes[32..40].copy_from_slice(&len.to_ne_bytes());
    bytes[40..44].copy_from_slice(&number.to_ne_bytes());
    let file = kit.machine.open_block(disk, RW).unwrap();
    file.ioctl(&Kernel(kit.machine.registry()), BLKPG, 0, &mut CarriedMemory::new(bytes, 176, false))
}

#[test]
fn a_fork_has_the_same_partitions_under_the_same_numbers() {
    let kit = Kit::new();
    let disk = DevT::new(1, 0);
    for (number, start) in [(1, 1), (2, 2), (5, 3)] {
        assert_eq!(blkpg(&kit, disk, ADD, number, start << 20, 1 << 20), Ok(0));
    }
    assert_eq!(blkpg(&kit, disk, 2, 2, 0, 0), Ok(0));
    let last = DevT::new(259, 2);
    kit.create("p", "0 2048 linear 259:2 0");
    // Buffered: what is in the partition's page cache is forked, too.
    let file = kit.machine.open_block(last, RW).unwrap();
    assert_eq!(file.write_at(0, &[5; 4096], IoFlags::default()), Ok(4096));

    let forked = kit.machine.fork_disks(VirtualDriver::new()).unwrap().machine;
    let places = |machine: &dmlab_machine::Machine| -> Vec<(DevT, String, u64)> {
        let all = machine.devices().into_iter().filter(|device| device.partition.is_some());
        all.map(|device| (device.dev, device.name, device.partition.unwrap().start.0)).collect()
    };
    assert_eq!(places(&forked), places(&kit.machine));
    assert_eq!(places(&forked).last(), Some(&(last, "ram0p5".to_owned(), 3 << 11)));
    let mut there = [0; 4096];
    forked.open_block(last, OpenMode::READ).unwrap().read_at(0, &mut there, IoFlags::default()).unwrap();
    assert_eq!(there, [5; 4096]);
    let mut on_the_disk = [0; 4096];
    let whole = forked.open_block(disk, OpenMode::READ).unwrap();
    whole.read_at(3 << 20, &mut on_the_disk, IoFlags::default()).unwrap();
    assert_eq!(on_the_disk, [5; 4096]);
}

#[test]
fn devices_by_disk_lists_partitions_behind_their_disk() {
    let kit = Kit::new();
    blkpg(&kit, DevT::new(1, 1), ADD, 2, 1 << 20, 1 << 20).unwrap();
    let names: Vec<String> = kit.machine.devices_by_disk().into_iter().map(|device| device.name).collect();
    assert_eq!(names[..4], ["ram0", "ram1", "ram1p2", "ram2"]);
}
