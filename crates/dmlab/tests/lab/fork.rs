use crate::with_pool;
use dmlab::machine::ForkError;
use dmlab::units::{Bytes, Sector, Sectors};
use dmlab::{Lab, LabForkError};
use std::time::Duration;

const THIN: &str = "/dev/mapper/thin";

fn read(lab: &Lab, path: &str, at: u64) -> u8 {
    lab.read(path, Sector(at), Sectors(1)).unwrap()[0]
}

#[test]
fn a_fork_goes_its_own_way() {
    let lab = Lab::new(3);
    with_pool(&lab);
    lab.write(THIN, Sector(0), &[1; 512]).unwrap();
    lab.advance(Duration::from_millis(300));
    let other = lab.fork().unwrap();
    assert_eq!(other.now(), lab.now());
    assert_eq!(other.tree(), lab.tree());
    assert_eq!(other.table("thin").unwrap(), lab.table("thin").unwrap());
    assert_eq!(read(&other, THIN, 0), 1, "what was not committed yet is there");
    other.write(THIN, Sector(0), &[2; 512]).unwrap();
    other.remove("thin").unwrap();
    other.pool("pool").delete(0).unwrap();
    lab.write(THIN, Sector(256), &[3; 512]).unwrap();
    assert_eq!((read(&lab, THIN, 0), read(&lab, THIN, 256)), (1, 3));
    assert!(lab.status("pool").unwrap().contains(" 2/16 "), "{}", lab.status("pool").unwrap());
    assert!(other.status("pool").unwrap().contains(" 0/16 "));
}

#[test]
fn everything_of_a_device_comes_along() {
    let lab = Lab::builder(1).ram_disks(1, Bytes::mib(1)).disk(Bytes::mib(1)).boot().unwrap();
    lab.create("filler", "0 8 zero").unwrap();
    lab.create("a", "0 64 linear /dev/ram0 8").unwrap();
    lab.remove("filler").unwrap();
    lab.load("a", "0 128 linear /dev/vda 0").unwrap();
    lab.create("b", "0 64 linear /dev/mapper/a 0").unwrap();
    lab.suspend("b").unwrap();
    let pending = lab.start_write("/dev/mapper/a", Sector(0), &[9; 512]).unwrap();
    pending.wait().unwrap();
    let other = lab.fork().unwrap();
    assert_eq!(other.machine().devices().len(), lab.machine().devices().len());
    let (a, b) = (other.info("a").unwrap(), other.info("b").unwrap());
    assert!(a.dev == lab.info("a").unwrap().dev && a.has_inactive_table() && !a.is_suspended());
    assert!(b.is_suspended());
    assert_eq!(read(&other, "/dev/ram0", 8), 9);
    // The inactive table is as good as it was.
    other.suspend("a").unwrap();
    other.resume("a").unwrap();
    assert_eq!(other.table("a").unwrap(), "0 128 linear 253:0 0");
}

#[test]
fn a_lab_with_bios_in_flight_says_so_and_goes_on() {
    let lab = Lab::new(1);
    lab.create("slow", "0 64 delay /dev/ram0 0 1000").unwrap();
    let write = lab.start_write("/dev/mapper/slow", Sector(0), &[5; 512]).unwrap();
    let Err(LabForkError::Machine(ForkError::InFlight { device, bios: 1 })) = lab.fork() else {
        panic!("a write is under way")
    };
    assert_eq!(device, "slow");
    // The kernel rounds a delay of a second up by some ticks.
    lab.advance(Duration::from_millis(1100));
    assert_eq!(write.result(), Some(Ok(())));
    assert_eq!(read(&lab.fork().unwrap(), "/dev/mapper/slow", 0), 5);
}

#[test]
fn there_and_back_again() {
    let mut lab = Lab::new(1);
    with_pool(&lab);
    lab.write(THIN, Sector(0), &[1; 512]).unwrap();
    let before = lab.checkpoint().unwrap();
    for round in 2..5u8 {
        lab.write(THIN, Sector(0), &[round; 512]).unwrap();
        lab.remove("thin").unwrap();
        lab.restore(&before).unwrap();
        assert_eq!(read(&lab, THIN, 0), 1);
    }
}

#[test]
fn a_lab_on_files_or_real_time_cannot_be_forked() {
    let path = std::env::temp_dir().join(format!("dmlab-fork-{}", std::process::id()));
    std::fs::write(&path, vec![0; 4096]).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let lab = Lab::builder(1).file_disk(file).boot().unwrap();
    let error = lab.fork().err().unwrap().to_string();
    assert!(error.starts_with("vda cannot be forked"), "{error}");
    let lab = Lab::builder(1).on_real_time().boot().unwrap();
    assert!(matches!(lab.fork(), Err(LabForkError::RealTime)));
    std::fs::remove_file(path).unwrap();
}
