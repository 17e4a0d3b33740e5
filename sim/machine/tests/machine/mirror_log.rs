//! The log of a mirror: what stands in it, when it is durable, and how large it may be.

use crate::kit;
use crate::mirror::{Ends, REGION, SECTOR, SIZE, start_write};

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, BlkStatus, Op, SyncIo, WriteCache};
use dmlab_units::{DevT, Errno, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::{Fails, FaultDisk};

/// The bits of the first regions, as they lie in the log on `1:2`.
fn log_bits(kit: &Kit) -> u8 {
    let dev = kit.machine.registry().get(DevT::new(1, 2)).unwrap();
    let mut sector = [0; SECTOR];
    SyncIo::default().read(&dev, Sector(2), &mut sector, |bio| bio).unwrap();
    sector[0]
}

#[test]
fn nothing_is_clean_any_more_once_a_leg_failed_a_flush() {
    let kit = Kit::new();
    let [_, second] = [0, 1].map(|i| FaultDisk::add_with(&kit, i, Sectors(SIZE), WriteCache::Volatile).1);
    let dev =
        kit.create("m", &format!("0 {SIZE} mirror disk 3 1:2 {REGION} nosync 2 7:0 0 7:1 0 1 handle_errors"));
    kit.machine.runtime().run_until_idle();
    assert_eq!(log_bits(&kit), 0xff);
    second.fail_flushes();
    let device = kit.machine.registry().get(dev).unwrap();
    for _ in 0..2 {
        SyncIo::default().submit(&device, Bio::write(Sector(40), &[1; SECTOR])).unwrap();
        kit.machine.runtime().run_until_idle();
        assert_eq!(
            kit.status("m", DmFlags::empty()),
            format!("0 {SIZE} mirror 2 7:0 7:1 8/8 1 AF 3 disk 1:2 A")
        );
        assert_eq!(log_bits(&kit), 0);
    }
    // So that the next start copies everything.
    kit.ask(Command::DevRemove, "m", DmFlags::empty()).unwrap();
    kit.create("m", &format!("0 {SIZE} mirror disk 2 1:2 {REGION} 2 7:0 0 7:1 0 1 handle_errors"));
    assert!(kit.status("m", DmFlags::empty()).contains(" 0/8 "));
}

#[test]
fn a_log_whose_flush_failed_says_so() {
    let kit = Kit::new();
    let (log, disk) = FaultDisk::add_with(&kit, 2, Sectors(8), WriteCache::Volatile);
    kit.create("m", &format!("0 {SIZE} mirror disk 3 {log} {REGION} nosync 2 1:0 0 1:1 0"));
    kit.machine.runtime().run_until_idle();
    disk.fail_flushes();
    let device = kit.machine.registry().get(kit.machine.mapper().by_name(b"m").unwrap().dev()).unwrap();
    SyncIo::default().submit(&device, Bio::write(Sector(40), &[1; SECTOR])).unwrap();
    let status = kit.status("m", DmFlags::empty());
    assert_eq!(status, format!("0 {SIZE} mirror 2 1:0 1:1 8/8 1 AA 3 disk 7:2 F"));
    assert_eq!(kit.ask(Command::DevStatus, "m", DmFlags::empty()).unwrap().event_nr(), 1);
}

/// Recorded: the log is written and flushed twice by a resume, once for each region that was recovered, once before a write,
/// and once for a write that has failed.
#[test]
fn what_changes_in_the_log_is_made_durable_at_once() {
    let kit = Kit::new();
    let second = FaultDisk::add(&kit, 1, Sectors(SIZE)).1;
    let (_, log) = FaultDisk::add_with(&kit, 2, Sectors(8), WriteCache::Volatile);
    let dev = kit.create("m", "0 128 mirror disk 2 7:2 32 2 1:0 0 7:1 0");
    kit.machine.runtime().run_until_idle();
    // How often it was written and then flushed.
    let times = || {
        let ops: Vec<Op> = log.noted().iter().map(|noted| noted.op).filter(|op| *op != Op::Read).collect();
        assert!(ops.chunks(2).all(|pair| pair == [Op::Write, Op::Flush]), "{ops:?}");
        ops.len() / 2
    };
    assert!(kit.status("m", DmFlags::empty()).contains(" 4/4 "));
    assert_eq!(times(), 2 + 4);
    kit.ask(Command::DevSuspend, "m", DmFlags::SUSPEND).unwrap();
    kit.resume("m").unwrap();
    kit.machine.runtime().run_until_idle();
    assert_eq!(times(), 2);
    let ends = Ends::default();
    start_write(&kit, dev, 0, 1, &ends);
    // That the region is clean again is written, too, but need not be durable.
    let ops: Vec<Op> = log.noted().iter().map(|noted| noted.op).collect();
    assert_eq!(ops[..2], [Op::Write, Op::Flush]);
    assert!(ops[2..].iter().all(|op| *op == Op::Write), "{ops:?}");
    second.fail(40..41, Fails::Writes);
    start_write(&kit, dev, 40, 2, &ends);
    assert!(kit.status("m", DmFlags::empty()).contains(" 3/4 1 AD "));
    assert_eq!(times(), 2);
    assert_eq!(*ends.lock(), [(1, BlkStatus::Ok), (2, BlkStatus::Ok)]);
}

/// A short line does not get a gigabyte, whether its legs are as large as it says or not.
#[test]
fn a_log_for_too_many_regions_is_refused() {
    let kit = Kit::new();
    let len = 1_u64 << 32;
    kit.create("large", &format!("0 {len} zero"));
    kit.ask(Command::DevCreate, "m", DmFlags::empty()).unwrap();
    for log in ["core 1 2", "core 2 4 nosync", "disk 2 254:0 2"] {
        for leg in ["254:0", "1:0"] {
            let before = kit.log().len();
            let loaded = kit.load("m", &format!("0 {len} mirror {log} 2 {leg} 0 {leg} 0")).map(drop);
            assert_eq!(loaded, Err(Errno::EINVAL), "{log} {leg}");
            let lines = kit.log().split_off(before);
            let refused = "device-mapper: table: 254:1: mirror: Error creating mirror dirty log (-EINVAL)";
            assert!(lines.iter().any(|line| line == refused), "{log} {leg}: {lines:?}");
        }
    }
}

#[test]
fn more_regions_than_have_a_number_are_refused() {
    let kit = Kit::new();
    kit.ask(Command::DevCreate, "m", DmFlags::empty()).unwrap();
    // One more than 2^32 - 1, and as many as there may be, which is too many for the memory.
    for (len, text) in [
        (1_u64 << 33, "region count exceeds limit of 4294967295"),
        ((1_u64 << 33) - 2, "couldn't allocate clean bitset"),
    ] {
        let before = kit.log().len();
        let loaded = kit.load("m", &format!("0 {len} mirror core 1 2 2 1:0 0 1:1 0")).map(drop);
        assert_eq!(loaded, Err(Errno::EINVAL));
        assert_eq!(
            kit.log()[before..],
            [
                format!("device-mapper: dirty region log: {text}"),
                "device-mapper: table: 254:0: mirror: Error creating mirror dirty log (-EINVAL)".to_owned(),
                "device-mapper: ioctl: error adding target to table".to_owned(),
            ]
        );
    }
}
