//! Misuse of disks with large blocks and of read-only disks (kernel/misuse.md#rows-through-dmsetup, rows 66, 67, 68 and
//! 75). The other rows of that table are in crates/dmlab/tests/misuse.

use crate::kit;

use std::sync::Arc;

use dmlab_block::{BlockDevice, QueueLimits, RamDisk, WriteCache};
use dmlab_units::{Bytes, DevT, Errno, Sectors};
use kit::Kit;

/// A machine with a further disk `nullb0` (252:0) of 4096-byte logical blocks.
fn kit() -> Kit {
    let kit = Kit::new();
    let size = Sectors(32768);
    let disk = RamDisk::new(size, WriteCache::WriteThrough);
    let block = Bytes(4096);
    let limits =
        QueueLimits { logical_block_size: block, physical_block_size: block, io_min: block, ..disk.limits() };
    let runtime = kit.machine.runtime().clone();
    let name = "nullb0".to_owned();
    let device = BlockDevice::new(DevT::new(252, 0), name, 100, runtime, Arc::new(disk), limits);
    device.set_capacity(size);
    kit.machine.registry().add(device).unwrap();
    kit
}

/// Loads a first table; the errno, and the log lines about it without their common prefix.
fn refused(table: &str) -> (Option<Errno>, Vec<String>) {
    let kit = kit();
    kit.ask(dmlab_abi::Command::DevCreate, "t1", dmlab_abi::DmFlags::empty()).unwrap();
    let before = kit.machine.klog().next_seq();
    let errno = kit.load("t1", table).err();
    let lines = kit.machine.klog().since(before).into_iter();
    (errno, lines.map(|line| line.text.strip_prefix("device-mapper: ").unwrap().to_owned()).collect())
}

/// What follows when the limits of a first table cannot be computed.
const LAST: [&str; 2] =
    ["core: Cannot calculate initial queue limits", "ioctl: unable to set up device queue for new table."];

#[test]
fn row_66_a_start_inside_a_block() {
    let (errno, log) = refused("0 8 linear /dev/nullb0 1");
    assert_eq!(errno, Some(Errno::EINVAL));
    let want = [
        "table: 254:0: adding target device nullb0 caused an alignment inconsistency: physical_block_size=4096, logical_block_size=4096, alignment_offset=0, start=512",
        "table: 254:0: start=1 not aligned to h/w logical block size 4096 of nullb0",
        LAST[0],
        LAST[1],
    ];
    assert_eq!(log, want);
}

#[test]
fn row_67_a_length_of_no_whole_blocks() {
    let (errno, log) = refused("0 9 linear /dev/nullb0 0");
    assert_eq!(errno, Some(Errno::EINVAL));
    let want = ["table: 254:0: len=9 not aligned to h/w logical block size 4096 of nullb0", LAST[0], LAST[1]];
    assert_eq!(log, want);
}

#[test]
fn row_68_a_line_that_begins_inside_a_block() {
    let (errno, log) = refused("0 9 linear /dev/ram0 0\n9 8 linear /dev/nullb0 0");
    assert_eq!(errno, Some(Errno::EINVAL));
    let line = "table: 254:0: table line 1 (start sect 9 len 8) not aligned to h/w logical block size 4096";
    assert_eq!(log, [line, LAST[0], LAST[1]]);
}

#[test]
fn row_75_a_writable_table_over_a_read_only_disk() {
    let kit = Kit::new();
    let ram0 = kit.machine.registry().get(DevT::new(1, 0)).unwrap();
    ram0.set_read_only(true);
    kit.create("a", "0 8 linear /dev/ram0 0");
    assert!(!kit.machine.device(DevT::new(254, 0)).unwrap().read_only);
}

/// An error target inherits the limits of its device, but a discard of any length can fail there.
#[test]
fn an_error_target_takes_discards_of_any_length() {
    let kit = kit();
    let below = kit.create("below", "0 1024 snapshot 1:0 1:1 N 8 1 discard_zeroes_cow");
    assert_eq!(kit.machine.device(below).unwrap().limits.max_discard_sectors, Sectors(8));
    let error = kit.create("error", "0 1024 error 254:0 0");
    let limits = kit.machine.device(error).unwrap().limits;
    assert_eq!(limits.max_discard_sectors, Sectors(u64::from(u32::MAX)));
    assert_eq!((limits.discard_granularity, limits.physical_block_size), (Bytes(4096), Bytes(4096)));
    let error = kit.create("blocks", "0 1024 error /dev/nullb0 0");
    assert_eq!(kit.machine.device(error).unwrap().limits.logical_block_size, Bytes(4096));
}

/// `/sys` shows the alignment of blocks as that of discards, even where discards are not supported.
#[test]
fn the_alignment_of_discards_as_it_is_shown() {
    let kit = kit();
    let shown = |name: &str, table: &str| {
        let limits = kit.machine.device(kit.create(name, table)).unwrap().limits;
        (limits.shown_discard_alignment(), limits.discard_granularity)
    };
    assert_eq!(shown("error", "0 384 error 1:0 3"), (2560, Bytes(4096)));
    assert_eq!(shown("half", "0 64 linear 1:0 3\n64 64 unstriped 2 8 0 1:1 0"), (2560, Bytes(0)));
}
