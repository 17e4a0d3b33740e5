use crate::with_pool;
use dmlab::machine::ForkError;
use dmlab::units::{Bytes, Errno, Sector, Sectors};
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
fn what_messages_have_set_comes_along() {
    let lab = Lab::new(1);
    lab.create("dust", "0 64 dust /dev/ram0 0 512").unwrap();
    for message in ["addbadblock 3", "addbadblock 5 2", "enable", "quiet"] {
        lab.message("dust", message).unwrap();
    }
    lab.create("switch", "0 64 switch 2 8 0 /dev/ram1 0 /dev/ram2 0").unwrap();
    lab.message("switch", "set_region_mappings 0:1 1:1 5:0").unwrap();
    let paths = "round-robin 0 2 1 /dev/ram3 1 /dev/ram4 1 service-time 0 1 1 /dev/ram5 1";
    lab.create("paths", format!("0 64 multipath 2 queue_mode bio 0 2 1 {paths}")).unwrap();
    for message in ["fail_path 1:3", "reinstate_path 1:3", "fail_path 1:3", "disable_group 2"] {
        lab.message("paths", message).unwrap();
    }
    lab.write("/dev/mapper/paths", Sector(0), &[3; 512]).unwrap();
    lab.message("dust", "@stats_create - /1").unwrap();
    lab.write("/dev/mapper/dust", Sector(16), &[4; 4096]).unwrap();
    lab.settle();
    let all = |lab: &Lab| {
        let status = ["dust", "switch", "paths"].map(|name| lab.status(name).unwrap());
        let table = ["dust", "switch", "paths"].map(|name| lab.table(name).unwrap());
        let events = ["dust", "switch", "paths"].map(|name| lab.info(name).unwrap().event_nr);
        let said = ["listbadblocks", "@stats_list", "@stats_print 0"];
        let said = said.map(|message| lab.message("dust", message).unwrap());
        (status, table, events, said)
    };
    let before = all(&lab);
    assert!(before.0[2].contains("1:3 F 2") && before.2[2] > 0, "{before:?}");
    assert!(before.3[0].as_deref().is_some_and(|list| list.contains('5')), "{before:?}");
    let mut other = lab.fork().unwrap();
    assert_eq!(all(&other), before);
    // It is no mere display: blocks fail, writes count, regions go where they should, groups are bypassed.
    for lab in [&lab, &other] {
        assert!(lab.read("/dev/mapper/dust", Sector(3), Sectors(1)).is_err());
        let write = || lab.write("/dev/mapper/dust", Sector(5), &[7; 512]).is_ok();
        assert_eq!([write(), write(), write()], [false, false, true]);
        lab.write("/dev/mapper/switch", Sector(0), &[5; 512]).unwrap();
        assert_eq!((read(lab, "/dev/ram2", 0), read(lab, "/dev/ram1", 0)), (5, 0));
        lab.write("/dev/mapper/paths", Sector(8), &[6; 512]).unwrap();
        assert_eq!((read(lab, "/dev/ram4", 8), read(lab, "/dev/ram5", 8)), (6, 0));
    }
    // And a checkpoint is a fork.
    let there = other.checkpoint().unwrap();
    let then = all(&other);
    other.message("dust", "clearbadblocks").unwrap();
    other.message("paths", "reinstate_path 1:3").unwrap();
    other.settle();
    assert_ne!(all(&other), then);
    other.restore(&there).unwrap();
    assert_eq!(all(&other), then);
}

#[test]
fn what_only_memory_holds_comes_along() {
    let lab = Lab::new(1);
    // A transient snapshot: its exceptions are nowhere else.
    lab.create("origin", "0 64 snapshot-origin /dev/ram0").unwrap();
    lab.create("snap", "0 64 snapshot /dev/ram0 /dev/ram1 N 8").unwrap();
    lab.write("/dev/mapper/snap", Sector(0), &[1; 512]).unwrap();
    lab.write("/dev/mapper/origin", Sector(8), &[2; 512]).unwrap();
    // A mirror that copied its legs, whose first one could not be read once, with a log in memory.
    lab.create("mirror", "0 256 mirror core 1 64 2 /dev/ram2 0 /dev/ram3 0 1 handle_errors").unwrap();
    lab.advance(Duration::from_secs(5));
    lab.faults().on("/dev/ram2").reads().fail(Errno::EIO).once().add().unwrap();
    read(&lab, "/dev/mapper/mirror", 0);
    // A log with an entry that was flushed and one that was not.
    lab.create("logged", "0 64 log-writes /dev/ram4 /dev/ram5").unwrap();
    lab.write("/dev/mapper/logged", Sector(0), &[1; 512]).unwrap();
    lab.flush("/dev/mapper/logged").unwrap();
    lab.write("/dev/mapper/logged", Sector(8), &[2; 512]).unwrap();
    // A device in the middle of its turn.
    lab.create("flakey", "0 64 flakey /dev/ram6 0 3 2").unwrap();
    lab.advance(Duration::from_millis(2500));
    let names = ["snap", "mirror", "logged", "flakey"];
    let status = |lab: &Lab| names.map(|name| lab.status(name).unwrap());
    let before = status(&lab);
    assert!(before[1].contains(" 4/4 1 RA "), "{before:?}");
    let other = lab.fork().unwrap();
    assert_eq!(status(&other), before);
    let after = [&lab, &other].map(|lab| {
        assert_eq!((read(lab, "/dev/mapper/snap", 0), read(lab, "/dev/mapper/snap", 8)), (1, 0));
        // The next exception goes behind those that are there.
        lab.write("/dev/mapper/snap", Sector(16), &[9; 512]).unwrap();
        assert_eq!((read(lab, "/dev/mapper/snap", 0), read(lab, "/dev/mapper/snap", 16)), (1, 9));
        lab.flush("/dev/mapper/logged").unwrap();
        lab.settle();
        // The leg that works is the one that is read.
        let leg = lab.faults().on("/dev/ram3").reads().watch().add().unwrap();
        read(lab, "/dev/mapper/mirror", 0);
        assert_eq!(lab.faults().hits_of(leg), 1);
        assert!(lab.read("/dev/mapper/flakey", Sector(0), Sectors(1)).is_ok());
        lab.advance(Duration::from_secs(1));
        assert!(
            lab.read("/dev/mapper/flakey", Sector(0), Sectors(1)).is_err(),
            "it is down from second 3 on"
        );
        (status(lab), lab.read("/dev/ram5", Sector(0), Sectors(64)).unwrap())
    });
    let mut sectors = after[0].1.chunks(512);
    assert!(sectors.any(|bytes| bytes == [2; 512]), "what was not flushed is logged in the end");
    assert!(after[0] == after[1], "{:?} and {:?}", after[0].0, after[1].0);
}

#[test]
fn a_pool_that_has_failed_has_failed_in_the_fork() {
    let lab = Lab::new(1);
    with_pool(&lab);
    let well = lab.fork().unwrap();
    lab.force().pool_failed("pool").unwrap();
    // The table line of a thin device says nothing but `Fail` now.
    assert!(matches!(lab.fork(), Err(LabForkError::Device { device, .. }) if device == "thin"));
    lab.remove("thin").unwrap();
    let other = lab.fork().unwrap();
    for (lab, status) in [(&well, " rw "), (&lab, " Fail"), (&other, " Fail")] {
        let said = lab.status("pool").unwrap();
        assert!(said.contains(status), "{said}");
        assert_eq!(lab.pool("pool").create_thin(7).is_ok(), status == " rw ");
    }
    // It takes no new table; the fork has the one that was there before, and takes no more of them either.
    let again = Lab::new(1);
    with_pool(&again);
    let table = again.table("pool").unwrap();
    again.load("pool", table.as_str()).unwrap();
    again.force().pool_failed("pool").unwrap();
    again.remove("thin").unwrap();
    let other = again.fork().unwrap();
    for lab in [&again, &other] {
        assert!(lab.info("pool").unwrap().has_inactive_table());
        assert_eq!(lab.load("pool", table.as_str()).unwrap_err().errno(), Some(Errno::EINVAL));
    }
    // One that must be checked says so on its disk.
    well.force().pool_needs_check("pool").unwrap();
    let other = well.fork().unwrap();
    assert_eq!(other.status("pool").unwrap(), well.status("pool").unwrap());
}

#[test]
fn rules_come_along_and_go_on_counting() {
    let lab = Lab::new(7);
    lab.create("a", "0 64 linear /dev/ram0 0").unwrap();
    with_pool(&lab);
    let write = |lab: &Lab| lab.write("/dev/mapper/a", Sector(0), &[1; 512]).is_ok();
    let third = lab.faults().on("a").writes().fail(Errno::EIO).nth(3).named("third").add().unwrap();
    let seldom = lab.faults().on("a").reads().chance(0.5).watch().add().unwrap();
    // What would be struck by stopping and making the devices.
    let calls = lab.faults().ioctl("any").watch().add().unwrap();
    let commits = lab.faults().meaning("superblock").fail(Errno::EIO).add().unwrap();
    lab.write(THIN, Sector(0), &[1; 512]).unwrap();
    assert!(write(&lab));
    for _ in 0..20 {
        read(&lab, "/dev/mapper/a", 0);
    }
    let hits = lab.faults().hits();
    let listed = |lab: &Lab| -> Vec<_> {
        lab.faults().list().into_iter().map(|listed| (listed.id, listed.rule, listed.counts)).collect()
    };
    let before = listed(&lab);
    let other = lab.fork().unwrap();
    assert_eq!((listed(&other), other.faults().hits()), (before.clone(), hits.clone()));
    assert_eq!((listed(&lab), lab.faults().hits()), (before, hits), "forking is nothing that rules see");
    let seen = [&lab, &other].map(|lab| {
        // No commit has failed, and none does once the rule is gone.
        assert!(lab.faults().remove(commits));
        assert!(lab.status("pool").unwrap().contains(" rw "), "{}", lab.status("pool").unwrap());
        assert_eq!([write(lab), write(lab), write(lab)], [true, false, true]);
        for _ in 0..20 {
            read(lab, "/dev/mapper/a", 0);
        }
        assert_eq!(lab.faults().hits_of(third), 1);
        let matches: Vec<u64> =
            lab.faults().hits().iter().filter(|hit| hit.rule == seldom).map(|hit| hit.match_nr).collect();
        let again = lab.faults().on("a").writes().watch().add().unwrap();
        (matches, again)
    });
    assert_eq!(seen[0], seen[1], "the same draws, the same numbers");
    // Each has its own from here on.
    other.faults().clear();
    assert_eq!((lab.faults().list().len(), other.faults().list().len()), (4, 0));
    assert!(lab.faults().hits_of(calls) > 0);
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
