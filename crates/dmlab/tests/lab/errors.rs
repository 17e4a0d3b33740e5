//! What a failing test shows: the error's `Debug` form, which `?` out of a test prints.

use crate::with_pool;
use dmlab::control::PoolStatus;
use dmlab::units::{Errno, Sector, Sectors};
use dmlab::{ErrorKind, Lab, OrErrno};

#[test]
fn io_that_failed_says_what_was_asked_of_which_device() {
    let lab = Lab::new(42);
    lab.create("vol", "0 64 linear /dev/ram0 0").unwrap();
    assert!(lab.create("broken", "0 8 linear /dev/nope 0").is_err(), "so that the log has a line");
    lab.faults().on("/dev/ram0").sectors(9..10).fail(Errno::ENODATA).add().unwrap();
    let error = lab.write("/dev/mapper/vol", Sector(8), &[7; 1024]).unwrap_err();
    let shown = format!("{error:?}");
    let want = "\
write of sectors 8+2 of /dev/mapper/vol failed: No data available (ENODATA)
the lab has seed 42; its kernel log ends with
";
    assert!(shown.starts_with(want), "{shown}");
    assert!(shown.ends_with("device-mapper: ioctl: error adding target to table"), "{shown}");
    assert_eq!(error, Errno::ENODATA);
    let ErrorKind::Io(failure) = error.kind() else { panic!("{error:?}") };
    assert_eq!((failure.operation, failure.range), ("write", Some((Sector(8), Sectors(2)))));
    let quiet = Lab::new(3).open("/dev/none").map(drop).unwrap_err();
    assert_eq!(
        format!("{quiet:?}").lines().next(),
        Some("open of /dev/none failed: No such file or directory (ENOENT)")
    );
}

#[test]
fn a_refused_table_says_why_and_from_which_seed() {
    let lab = Lab::new(7);
    let shown = format!("{:?}", lab.create("a", "0 8 linear /dev/ram0 x").unwrap_err());
    assert!(shown.contains("linear: Invalid device sector (-EINVAL)"), "{shown}");
    assert!(shown.contains("seed 7"), "{shown}");
}

#[test]
fn a_thin_device_is_a_handle() {
    let lab = Lab::new(1);
    with_pool(&lab);
    let pool = lab.pool("pool");
    let vol = pool.create("vol", 10, Sectors(1024)).unwrap();
    vol.write(Sector(0), &[1; 4096]).unwrap();
    let snap = vol.snapshot("snap", 11).unwrap();
    vol.write(Sector(0), &[2; 4096]).unwrap();
    assert_eq!(snap.read(Sector(0), Sectors(8)).unwrap(), [1; 4096]);
    assert_eq!(vol.read(Sector(0), Sectors(8)).unwrap(), [2; 4096]);
    assert_eq!((snap.id(), snap.path(), vol.name()), (11, "/dev/mapper/snap", "vol"));
    vol.flush().unwrap();
    assert_eq!(vol.clone().remove().or_errno(), Ok(()));
    assert_eq!(lab.read(vol.path(), Sector(0), Sectors(1)).or_errno().err(), Some(Errno::ENOENT));
    pool.delete(10).unwrap();
    assert!(matches!(pool.status().unwrap(), PoolStatus::Working { .. }));
}
