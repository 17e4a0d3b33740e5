//! Misuse of tables (kernel/misuse.md#rows-through-dmsetup, rows 9 to 37, 69 to 71, 76 to 78; rows 66 to 68 and 75 need
//! odd disks and are in sim/machine/tests/machine/misuse_limits.rs).
//!
//! No file system is ever mounted from a simulated device. In rows 71 to 74 an exclusive opener, which is what a mount is to
//! the device, stands for one; what a freeze does to the file system itself has no counterpart here.

use crate::*;
use dmlab::OrErrno;
use dmlab::machine::IoFlags;
use dmlab_control::{LoadOptions, Query, SuspendOptions, Table};
use dmlab_units::{Errno, Sector, Sectors};

/// The log line of a table error about device 254:0, the first of each machine here.
fn table_line(text: &str) -> String {
    format!("device-mapper: table: 254:0: {text}")
}

/// Holds that creating a device with `table` is refused by a constructor: the table's line, then the ioctl's.
#[track_caller]
fn refused_by_target(table: &str, errno: Errno, text: &str) {
    let lab = lab();
    let mut dm = lab.dm();
    refused(try_create(&mut dm, "t1", table), errno, &[&table_line(text), ADDING]);
    assert_eq!(dm.list().unwrap(), [], "a device is left behind");
}

#[test]
fn row_09_unknown_target() {
    refused_by_target("0 8 nosuch", Errno::EINVAL, "nosuch: unknown target type");
}

#[test]
fn rows_10_11_12_gaps_and_overlaps() {
    for table in ["0 8 zero\n16 8 zero", "8 8 zero", "0 8 zero\n4 8 zero"] {
        refused_by_target(table, Errno::EINVAL, "zero: Gap in table (-EINVAL)");
    }
}

#[test]
fn row_13_length_zero() {
    refused_by_target("0 0 zero", Errno::EINVAL, "zero-length target");
}

#[test]
fn rows_14_15_too_large() {
    refused_by_target("0 18014398509481984 zero", Errno::EINVAL, "too large device");
    refused_by_target("18446744073709551608 16 zero", Errno::EINVAL, "too large device");
    let lab = lab();
    create(&mut lab.dm(), "a", "0 18014398509481983 zero");
}

#[test]
fn row_19_linear_with_one_or_three_arguments() {
    for table in ["0 8 linear /dev/ram0", "0 8 linear /dev/ram0 0 0"] {
        refused_by_target(table, Errno::EINVAL, "linear: Invalid argument count (-EINVAL)");
    }
}

#[test]
fn row_20_a_path_that_is_missing() {
    refused_by_target("0 8 linear /dev/nope 0", Errno::ENOENT, "linear: Device lookup failed (-ENOENT)");
}

#[test]
fn row_21_a_path_that_is_no_block_device() {
    refused_by_target(
        "0 8 linear /dev/mapper/control 0",
        Errno::ENOTBLK,
        "linear: Device lookup failed (-ENOTBLK)",
    );
}

#[test]
fn row_22_an_offset_that_is_no_number() {
    for offset in ["x", "-1"] {
        let table = format!("0 8 linear /dev/ram0 {offset}");
        refused_by_target(&table, Errno::EINVAL, "linear: Invalid device sector (-EINVAL)");
    }
}

#[test]
fn row_23_a_number_without_a_device() {
    refused_by_target("0 8 linear 77:77 0", Errno::ENXIO, "linear: Device lookup failed (-ENXIO)");
}

#[test]
fn row_24_a_number_too_large() {
    refused_by_target("0 8 linear 5000:1 0", Errno::EOVERFLOW, "linear: Device lookup failed (-EOVERFLOW)");
}

#[test]
fn row_25_almost_a_number() {
    refused_by_target("0 8 linear 1:0x 0", Errno::ENOENT, "linear: Device lookup failed (-ENOENT)");
}

/// The two lines that follow when the limits of a first table cannot be computed.
const LIMITS: [&str; 2] = [
    "device-mapper: core: Cannot calculate initial queue limits",
    "device-mapper: ioctl: unable to set up device queue for new table.",
];

#[test]
fn rows_26_27_a_first_table_beyond_its_device() {
    for (table, facts) in [
        ("0 1000000 linear /dev/ram0 0", "start=0, len=1000000, dev_size=524288"),
        ("0 8 linear /dev/ram0 524288", "start=524288, len=8, dev_size=524288"),
    ] {
        let lab = lab();
        let line = table_line(&format!("ram0 too small for target: {facts}"));
        refused(try_create(&mut lab.dm(), "t1", table), Errno::EINVAL, &[&line, LIMITS[0], LIMITS[1]]);
    }
}

#[test]
fn row_28_zero_with_an_argument() {
    refused_by_target("0 8 zero x", Errno::EINVAL, "zero: No arguments required (-EINVAL)");
}

#[test]
fn row_36_a_device_on_itself() {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "a", "0 8 zero");
    let line = table_line("linear: Device lookup failed (-EINVAL)");
    refused(load(&mut dm, "a", "0 8 linear /dev/mapper/a 0"), Errno::EINVAL, &[&line, ADDING]);
}

#[test]
fn row_37_a_circle_is_accepted_and_its_io_fails() {
    // No disk is at its end that could answer.
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "a", "0 8 zero");
    create(&mut dm, "b", "0 8 linear /dev/mapper/a 0");
    create(&mut dm, "cc", "0 8 linear /dev/mapper/b 0");
    load(&mut dm, "a", "0 8 linear /dev/mapper/cc 0").unwrap();
    resume(&mut dm, "a").unwrap();
    for device in ["a", "b", "cc"] {
        assert_eq!(dm.info(&id(device), Query::default()).unwrap().open_count, 1, "{device}");
    }
    assert_eq!(lab.read("/dev/mapper/a", Sector(0), Sectors(1)).or_errno(), Err(Errno::EIO));
}

#[test]
fn a_merge_of_a_store_that_nobody_filled_is_refused() {
    refused_by_target(
        "0 1024 snapshot-merge /dev/ram0 /dev/ram1 N 8",
        Errno::EINVAL,
        "snapshot-merge: Snapshot exception store does not support snapshot-merge. (-EINVAL)",
    );
}

#[test]
fn row_70_a_table_too_long_on_a_live_device() {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "a", "0 8 linear /dev/ram0 0");
    load(&mut dm, "a", "0 1000000 linear /dev/ram0 0").unwrap();
    let line = table_line("ram0 too small for target: start=0, len=1000000, dev_size=524288");
    refused(resume(&mut dm, "a"), Errno::EINVAL, &[&line]);
    let report = dm.table(&id("a"), Query::default()).unwrap();
    assert!(report.info.is_suspended() && !report.info.has_inactive_table());
    assert_eq!(report.lines[0].to_string(), "0 8 linear 1:0 0");
    resume(&mut dm, "a").unwrap();
    assert!(!dm.info(&id("a"), Query::default()).unwrap().is_suspended());
}

#[test]
fn row_71_a_disk_that_somebody_claimed() {
    let lab = lab();
    let mut dm = lab.dm();
    let claim = lab.open_exclusive("/dev/ram0").unwrap();
    let line = table_line("linear: Device lookup failed (-EBUSY)");
    refused(try_create(&mut dm, "t1", "0 8 linear /dev/ram0 0"), Errno::EBUSY, &[&line, ADDING]);
    drop(claim);
    create(&mut dm, "t1", "0 8 linear /dev/ram0 0");
    assert_eq!(
        lab.open_exclusive("/dev/ram0").or_errno().err(),
        Some(Errno::EBUSY),
        "row 72: dm holds it now"
    );
}

#[test]
fn row_77_writes_to_a_read_only_table() {
    let lab = lab();
    let mut dm = lab.dm();
    let table: Table = "0 8 linear /dev/ram0 0".parse().unwrap();
    let load = LoadOptions { read_only: true, secure: false };
    dm.create_with_table(&name("a"), &Default::default(), &table, load).unwrap();
    assert_eq!(lab.write("/dev/mapper/a", Sector(0), &[1; 512]).or_errno(), Err(Errno::EPERM));
}

#[test]
fn row_78_reads_of_the_error_target() {
    let lab = lab();
    create(&mut lab.dm(), "a", "0 8 error");
    assert_eq!(lab.read("/dev/mapper/a", Sector(0), Sectors(1)).or_errno(), Err(Errno::EIO));
}

#[test]
fn resume_of_a_suspended_device_without_a_table() {
    let lab = lab();
    let mut dm = lab.dm();
    dm.create(&name("a"), &Default::default()).unwrap();
    dm.suspend(&id("a"), SuspendOptions::default()).unwrap();
    refused(resume(&mut dm, "a"), Errno::EINVAL, &[]);
    assert!(dm.info(&id("a"), Query::default()).unwrap().is_suspended());
}

#[test]
fn row_73_removing_a_device_that_somebody_claimed() {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "a", "0 8 linear /dev/ram0 0");
    let claim = lab.open_exclusive("/dev/mapper/a").unwrap();
    refused(dm.remove(&id("a"), false), Errno::EBUSY, &[]);
    dm.suspend(&id("a"), SuspendOptions::default()).unwrap();
    refused(dm.remove(&id("a"), false), Errno::EBUSY, &[]);
    resume(&mut dm, "a").unwrap();
    drop(claim);
    dm.remove(&id("a"), false).unwrap();
}

#[test]
fn row_74_suspending_a_device_that_somebody_claimed() {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "a", "0 8 linear /dev/ram0 0");
    let claim = lab.open_exclusive("/dev/mapper/a").unwrap();
    let cached = IoFlags { is_direct: false, ..IoFlags::default() };
    claim.write_at(0, &[1; 4096], cached).unwrap();
    dm.suspend(&id("a"), SuspendOptions::default()).unwrap();
    assert!(dm.info(&id("a"), Query::default()).unwrap().is_suspended());
    // What the claimant had written through the page cache is below, as after the freeze of a file system.
    assert_eq!(lab.read("/dev/ram0", Sector(7), Sectors(1)).unwrap(), [1; 512]);
    let held = lab.start_write("/dev/mapper/a", Sector(0), &[2; 512]).unwrap();
    assert_eq!(held.result(), None);
    resume(&mut dm, "a").unwrap();
    assert_eq!(held.result(), Some(Ok(())));
    assert_eq!(lab.read("/dev/mapper/a", Sector(0), Sectors(1)).unwrap(), [2; 512]);
}

const BIO_PATHS: &str = "0 2048 multipath 2 queue_mode bio 0 1 1 round-robin 0 1 1 /dev/ram0 1";

#[test]
fn row_30_multipath_stands_alone() {
    refused_by_target(
        &format!("{BIO_PATHS}\n2048 8 zero"),
        Errno::EINVAL,
        "target type multipath must appear alone in table",
    );
    refused_by_target(
        &format!("0 8 zero\n{}", BIO_PATHS.replace("0 2048", "8 2048")),
        Errno::EINVAL,
        "multipath: singleton target type must appear alone in table (-EINVAL)",
    );
}

#[test]
fn row_35_requests_for_a_ram_disk() {
    let lab = lab();
    let table = "0 2048 multipath 0 0 1 1 round-robin 0 1 1 /dev/ram0 1";
    let lines = [
        "device-mapper: table: table load rejected: including non-request-stackable devices",
        "device-mapper: table: unable to determine table type",
    ];
    refused(try_create(&mut lab.dm(), "t1", table), Errno::EINVAL, &lines);
}

#[test]
fn row_69_a_request_based_device_stays_one() {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "mp", "0 2048 multipath 0 0 0 0");
    load(&mut dm, "mp", "0 2048 error").unwrap();
    resume(&mut dm, "mp").unwrap();
    let line = "device-mapper: ioctl: can't change device type (old=2 vs new=1) after initial table load.";
    refused(load(&mut dm, "mp", "0 2048 linear /dev/ram0 0"), Errno::EINVAL, &[line]);
}

#[test]
fn row_76_what_may_follow_a_bio_based_multipath() {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "mpb", BIO_PATHS);
    let line = "device-mapper: ioctl: can't replace immutable target type multipath";
    refused(load(&mut dm, "mpb", "0 2048 linear /dev/ram0 0"), Errno::EINVAL, &[line]);
    load(&mut dm, "mpb", "0 2048 error").unwrap();
    resume(&mut dm, "mpb").unwrap();
    load(&mut dm, "mpb", "0 2048 linear /dev/ram0 0").unwrap();
}

const POOL: &str = "0 2048 thin-pool /dev/ram0 /dev/ram1 128 0";

#[test]
fn rows_29_30_a_pool_stands_alone() {
    refused_by_target(
        &format!("0 8 zero\n{}", POOL.replace("0 2048", "8 2048")),
        Errno::EINVAL,
        "thin-pool: singleton target type must appear alone in table (-EINVAL)",
    );
    refused_by_target(
        &format!("{POOL}\n2048 8 zero"),
        Errno::EINVAL,
        "target type thin-pool must appear alone in table",
    );
}

#[test]
fn row_31_a_pool_is_always_written() {
    let lab = lab();
    let mut dm = lab.dm();
    let (table, options): (Table, _) =
        (POOL.parse().unwrap(), LoadOptions { read_only: true, ..LoadOptions::default() });
    let made = dm.create_with_table(&name("t1"), &CreateOptions::default(), &table, options);
    let line = table_line("thin-pool: target type may not be included in a read-only table (-EINVAL)");
    refused(made, Errno::EINVAL, &[&line, ADDING]);
}

#[test]
fn rows_32_33_34_what_may_follow_a_pool() {
    let lab = lab();
    let mut dm = lab.dm();
    create(&mut dm, "pool", POOL);
    let line = "device-mapper: ioctl: can't replace immutable target type thin-pool";
    refused(load(&mut dm, "pool", "0 2048 linear /dev/ram2 0"), Errno::EINVAL, &[line]);
    load(&mut dm, "pool", "0 2048 error").unwrap();
    let other = POOL.replace("ram0", "ram2");
    let line = table_line("thin-pool: different pool cannot replace a pool (-EINVAL)");
    refused(load(&mut dm, "pool", &other), Errno::EINVAL, &[&line, ADDING]);
}

/// Recorded on Linux 6.12: a map of regions that no memory holds is asked for last.
#[test]
fn a_switch_opens_its_paths_before_it_makes_its_map() {
    let table = |paths: &str| format!("0 1099511627776 switch 2 1 0 {paths} /dev/ram0 0");
    for (paths, errno, text) in [
        ("/dev/nope 0", Errno::ENOENT, "switch: Device lookup failed (-ENOENT)"),
        ("/dev/ram1 x", Errno::EINVAL, "switch: Invalid device starting offset (-EINVAL)"),
        ("/dev/ram1 0", Errno::ENOMEM, "switch: Cannot allocate region table (-ENOMEM)"),
    ] {
        refused_by_target(&table(paths), errno, text);
    }
}
