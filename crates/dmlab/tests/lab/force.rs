use crate::with_pool;
use dmlab::control::{PoolMode, PoolStatus};
use dmlab::units::{Errno, Sector, Sectors};
use dmlab::{Lab, OrErrno};

fn read(lab: &Lab, name: &str) -> Result<Vec<u8>, Errno> {
    lab.read(&format!("/dev/mapper/{name}"), Sector(0), Sectors(1)).or_errno()
}

fn write(lab: &Lab, name: &str, at: u64) -> Result<(), Errno> {
    lab.write(&format!("/dev/mapper/{name}"), Sector(at), &[1; 512]).or_errno()
}

fn mode(lab: &Lab) -> (PoolMode, bool) {
    match lab.pool("pool").status().unwrap() {
        PoolStatus::Working { mode, needs_check, .. } => (mode, needs_check),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pools_are_in_every_mode() {
    let lab = Lab::new(1);
    with_pool(&lab);
    write(&lab, "thin", 0).unwrap();
    let forced = |force: fn(&Lab)| {
        let other = lab.fork().unwrap();
        force(&other);
        other
    };
    let read_only = forced(|lab| lab.force().pool_read_only("pool").unwrap());
    assert_eq!(mode(&read_only), (PoolMode::ReadOnly, false));
    assert_eq!(
        (read(&read_only, "thin").map(|b| b[0]), write(&read_only, "thin", 256)),
        (Ok(1), Err(Errno::EIO))
    );

    let needs_check = forced(|lab| lab.force().pool_needs_check("pool").unwrap());
    assert_eq!(mode(&needs_check), (PoolMode::ReadOnly, true));
    assert_eq!(read(&needs_check, "thin").map(|b| b[0]), Ok(1));

    let failed = forced(|lab| lab.force().pool_failed("pool").unwrap());
    assert_eq!(failed.status("thin").unwrap(), "0 4096 thin Fail");
    assert_eq!(read(&failed, "thin"), Err(Errno::EIO));

    let full = forced(|lab| lab.force().pool_out_of_data("pool").unwrap());
    assert_eq!(mode(&full), (PoolMode::OutOfDataSpace, false));
    full.pool("pool").delete(dmlab::FILLER).unwrap();
    write(&full, "thin", 256).unwrap();
    assert_eq!(mode(&full), (PoolMode::Write, false));

    let mismatch = forced(|lab| lab.force().pool_transaction_mismatch("pool").unwrap());
    let refused = mismatch.message("pool", "set_transaction_id 0 1").unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::EINVAL));
    assert_eq!(mode(&lab), (PoolMode::Write, false), "the lab that was forked has seen nothing of this");
}

#[test]
fn a_pool_runs_out_of_metadata() {
    let lab = Lab::new(1);
    lab.create("metadata", "0 512 linear /dev/ram0 0").unwrap();
    lab.create("pool", "0 2048 thin-pool /dev/mapper/metadata /dev/ram1 128 0").unwrap();
    lab.force().pool_out_of_metadata("pool").unwrap();
    assert_eq!(mode(&lab).0, PoolMode::ReadOnly);
}

#[test]
fn a_snapshot_is_invalid() {
    let lab = Lab::new(1);
    lab.create("origin", "0 1024 snapshot-origin /dev/ram0").unwrap();
    lab.create("snap", "0 1024 snapshot /dev/ram0 /dev/ram1 P 16").unwrap();
    write(&lab, "snap", 0).unwrap();
    lab.force().snapshot_invalid("snap").unwrap();
    assert_eq!(lab.status("snap").unwrap(), "0 1024 snapshot Invalid");
    assert_eq!(read(&lab, "snap"), Err(Errno::EIO));
    assert!(lab.force().snapshot_invalid("origin").is_err());
}

#[test]
fn a_mirror_has_a_dead_leg_or_stands_in_its_resync() {
    let lab = Lab::new(1);
    let table = "0 10000 mirror core 2 100 nosync 2 /dev/ram0 0 /dev/ram1 64 1 handle_errors";
    assert!(lab.create("m", table).is_err(), "a region is a power of two");
    lab.create("m", "0 8192 mirror core 2 64 nosync 2 /dev/ram0 0 /dev/ram1 64 1 handle_errors").unwrap();
    let held = lab.force().mirror_leg_dead("m", 1).unwrap();
    assert!(lab.status("m").unwrap().contains(" 1 AD "), "{}", lab.status("m").unwrap());
    held.release(&lab);

    lab.create("r", "0 8192 mirror core 1 64 2 /dev/ram2 0 /dev/ram3 64").unwrap();
    let held = lab.force().mirror_resyncing("r", 25).unwrap();
    assert!(lab.status("r").unwrap().contains(" 32/128 "), "{}", lab.status("r").unwrap());
    held.release(&lab);
    lab.advance(std::time::Duration::from_secs(5));
    assert!(lab.status("r").unwrap().contains(" 128/128 "), "{}", lab.status("r").unwrap());
}

#[test]
fn a_mirror_with_a_log_on_disk_stands_in_its_resync() {
    let lab = Lab::new(1);
    // 200 regions: more than one word of bits, and not a whole number of words.
    for (name, log) in [("r", "disk 2 /dev/ram4 64"), ("s", "disk 3 /dev/ram5 64 sync")] {
        let legs = if name == "r" { ["/dev/ram0", "/dev/ram1"] } else { ["/dev/ram2", "/dev/ram3"] };
        lab.create(name, format!("0 12800 mirror {log} 2 {} 0 {} 64", legs[0], legs[1])).unwrap();
        lab.advance(std::time::Duration::from_secs(5));
        let at = |what: &str| {
            let status = lab.status(name).unwrap();
            assert!(status.contains(what), "{status} has no {what}");
        };
        at(" 200/200 ");
        let table = lab.table(name).unwrap();
        for percent in [50, 0, 99] {
            let held = lab.force().mirror_resyncing(name, percent).unwrap();
            at(&format!(" {}/200 ", 2 * percent));
            // Region 60 goes to both legs if it was copied, else only to the first. One that is just being copied would wait.
            lab.write(&format!("/dev/mapper/{name}"), Sector(3840), &[percent as u8 + 1; 512]).unwrap();
            lab.advance(std::time::Duration::from_secs(60));
            at(&format!(" {}/200 ", 2 * percent));
            assert_eq!(lab.table(name).unwrap(), table);
            held.release(&lab);
            lab.advance(std::time::Duration::from_secs(5));
            at(" 200/200 ");
            assert_eq!(lab.read(legs[1], Sector(64 + 3840), Sectors(1)).unwrap(), [percent as u8 + 1; 512]);
        }
    }
    // What takes itself to be in sync cannot be made to copy.
    lab.create("never", "0 64 mirror core 2 64 nosync 2 /dev/ram6 0 /dev/ram7 0").unwrap();
    assert!(lab.force().mirror_resyncing("never", 10).is_err());
    assert!(!lab.info("never").unwrap().is_suspended());
    assert!(lab.force().mirror_resyncing("r", 100).is_err());
}

#[test]
fn paths_are_down_and_devices_in_use() {
    let lab = Lab::new(1);
    lab.create("m", "0 64 multipath 2 queue_mode bio 0 1 1 round-robin 0 2 1 /dev/ram0 1 /dev/ram1 1")
        .unwrap();
    lab.force().multipath_all_paths_down("m").unwrap();
    assert_eq!(write(&lab, "m", 0), Err(Errno::EIO));

    lab.create("a", "0 64 zero").unwrap();
    let files = lab.force().open_count("a", 3).unwrap();
    assert_eq!(lab.info("a").unwrap().open_count, 3);
    assert_eq!(lab.remove("a").unwrap_err().errno(), Some(Errno::EBUSY));
    drop(files);
    lab.force().suspended("a").unwrap();
    assert!(lab.info("a").unwrap().is_suspended());
    lab.resume("a").unwrap();
    let file = lab.force().deferred_remove_pending("a").unwrap();
    assert!(lab.info("a").unwrap().is_deferred_remove());
    drop(file);
    lab.settle();
    assert!(lab.info("a").is_err());
}
