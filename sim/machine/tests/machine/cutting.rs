//! How discards are cut on their way through a mapped device, and what its statistics count. All of it recorded.

use crate::kit;

use std::sync::Arc;

use dmlab_block::{Bio, BlockDevice, Op, SyncIo};
use dmlab_machine::{BootOptions, Disk, DiskKind};
use dmlab_units::{Bytes, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::FaultDisk;

fn discard(device: &Arc<BlockDevice>, at: u64, len: u64) {
    SyncIo::default().submit(device, Bio::range(Op::Discard, Sector(at), Sectors(len))).unwrap();
}

/// First the queue's own limit, to whole units of the disk; then the lines. What the limit has cut off goes before what a
/// line has left.
#[test]
fn a_discard_goes_down_in_pieces_of_a_known_order() {
    let lines = "0 64 linear 7:0 0\n64 4032 linear 7:0 64";
    let stripes = "0 64 striped 2 8 7:0 0 7:0 512\n64 4032 linear 7:0 64";
    for (table, at, len, expected) in [
        ("0 4096 linear 7:0 0", 3, 80, &[(3, 29), (32, 32), (64, 19)][..]),
        (lines, 40, 50, &[(40, 24), (72, 18), (64, 8)]),
        (lines, 40, 100, &[(40, 24), (72, 32), (104, 32), (136, 4), (64, 8)]),
        (stripes, 40, 100, &[(24, 8), (528, 16), (72, 32), (104, 32), (136, 4), (64, 8)]),
    ] {
        let kit = Kit::new();
        let (_, disk) = FaultDisk::add(&kit, 0, Sectors(4096));
        let dev = kit.create("m", table);
        let device = kit.machine.registry().get(dev).unwrap();
        let mut limits = *device.limits();
        assert_eq!(limits.discard_granularity, Bytes(4096));
        limits.max_discard_sectors = Sectors(32);
        device.set_limits(limits);
        discard(&device, at, len);
        let went: Vec<_> = disk.noted().iter().map(|noted| (noted.sector, noted.len)).collect();
        assert_eq!(went, expected, "{at}+{len} of {table}");
        assert!(disk.noted().is_empty());
    }
}

/// A thin device is cut at multiples of its largest discard, counted from where its line begins.
#[test]
fn discards_of_thin_devices_are_cut_at_multiples_of_the_largest() {
    let kit = Kit::new();
    kit.create("pool", "0 16384 thin-pool 1:0 1:1 128 0");
    kit.message("pool", "create_thin 0").unwrap();
    for (table, expected) in [
        ("0 2097152 thin 254:0 0", [(0, 64, 1), (32, 64, 2), (32, 128, 4), (0, 256, 4)]),
        (
            "0 2048 linear 1:2 0\n2048 1048576 thin 254:0 0",
            [(1, 64, 1), (33, 64, 2), (33, 128, 4), (32, 64, 2)],
        ),
    ] {
        let dev = kit.create("thin", table);
        let device = kit.machine.registry().get(dev).unwrap();
        assert_eq!(device.limits().max_discard_sectors, Sectors(64 << 11));
        for (at, len, pieces) in expected {
            let before = device.stats().of(Op::Discard).0;
            discard(&device, at << 11, len << 11);
            let went = device.stats().of(Op::Discard).0 - before;
            assert_eq!(went, pieces, "{len} MiB from {at} MiB on of {table}");
        }
        kit.ask(dmlab_abi::Command::DevRemove, "thin", dmlab_abi::DmFlags::empty()).unwrap();
    }
}

#[test]
fn a_flush_of_a_mapped_device_counts_as_a_write_of_no_sectors() {
    let disk = Disk { kind: DiskKind::VolatileRam(Bytes::mib(1)), read_only: false };
    let kit = Kit::with(BootOptions { disks: vec![disk], ..BootOptions::default() });
    let dev = kit.create("m", "0 2048 linear 253:0 0");
    let device = kit.machine.registry().get(dev).unwrap();
    let counted = || (device.stats().of(Op::Write), device.stats().of(Op::Flush).0);
    SyncIo::default().submit(&device, Bio::write(Sector(0), &[1; 4096])).unwrap();
    assert_eq!(counted(), ((1, Sectors(8)), 0));
    SyncIo::default().submit(&device, Bio::flush()).unwrap();
    assert_eq!(counted(), ((2, Sectors(8)), 0));
}

/// A flush reaches `linear` through `map` where another line of the table wants that, the first line first. Its sector, 0, is
/// moved as any other: so Linux 6.12.113 logs it.
#[test]
fn a_flush_of_a_linear_line_is_moved() {
    let kit = Kit::new();
    let log = kit.create("log", "0 1024 log-writes 1:0 1:1");
    let dev = kit.create("m", &format!("0 8 linear {log} 8\n8 8 delay {log} 8 0"));
    let device = kit.machine.registry().get(dev).unwrap();
    SyncIo::default().submit(&device, Bio::flush()).unwrap();
    kit.machine.runtime().run_until_idle();
    let disk = kit.machine.registry().get(dmlab_units::DevT::new(1, 1)).unwrap();
    let mut entries = [0; 1024];
    SyncIo::default().read(&disk, Sector(1), &mut entries, |bio| bio).unwrap();
    // Sector, length and flags of both entries: one flush for each line.
    let entry = |at: usize| [0, 8, 16].map(|byte| entries[at + byte]);
    assert_eq!([entry(0), entry(512)], [[8, 0, 1], [0, 0, 1]]);
}
