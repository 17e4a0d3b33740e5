//! Typed tables: the kernel takes each, and its table line is read back as the same.

use std::time::Duration;

use dmlab::control::{
    Delay, Dust, Ebs, Flakey, LogWrites, Mirror, MirrorHealth, Multipath, PathGroup, Snapshot, SnapshotMerge,
    Switch, Table, TargetLine, TargetStatus, Unstriped,
};
use dmlab::units::{Bytes, Sector, Sectors};
use dmlab::{Lab, OrErrno};

const LEN: Sectors = Sectors(1024);

/// Loads it, has it do IO, and reads back what the kernel says it is.
fn back<T: TargetLine>(lab: &Lab, target: T) -> T {
    lab.create("a", Table::new().then(LEN, target)).unwrap_or_else(|error| panic!("{}: {error}", T::TYPE));
    assert_eq!(
        lab.read("/dev/mapper/a", Sector(0), Sectors(8)).or_errno().map(|bytes| bytes.len()),
        Ok(4096),
        "{}",
        T::TYPE
    );
    let table: Table = lab.table("a").unwrap().parse().unwrap();
    lab.remove("a").unwrap();
    T::parse(&table.lines[0].params).unwrap()
}

#[test]
fn what_is_loaded_is_what_is_shown() {
    let lab = Lab::new(1);
    fn same<T: TargetLine + Clone + PartialEq + std::fmt::Debug>(lab: &Lab, target: T) {
        assert_eq!(back(lab, target.clone()), target);
    }
    let legs = [("1:0", Sector(0)), ("1:1", Sector(8))];
    same(&lab, Mirror::new(Sectors(128), legs));
    same(&lab, Mirror::new(Sectors(128), legs).log("1:2").in_sync().feature("handle_errors"));
    same(&lab, Switch::new(Sectors(8), legs));
    same(&lab, Unstriped { stripes: 2, chunk: Sectors(8), stripe: 1, device: ("1:0".into(), Sector(0)) });
    same(&lab, Delay::new("1:0", Sector(8), Duration::from_millis(20)));
    let (up, down) = (Duration::from_secs(5), Duration::from_secs(1));
    same(&lab, Flakey::new("1:0", Sector(0), up, down).feature("drop_writes"));
    same(&lab, Flakey::new("1:0", Sector(0), up, down).feature("corrupt_bio_byte 32 r 1 0"));
    same(&lab, Dust::new("1:0", Sector(0), Bytes(512)));
    same(&lab, LogWrites::new("1:3", "1:4"));
    same(&lab, Ebs { device: ("1:0".into(), Sector(0)), emulated: Sectors(1), underlying: Some(Sectors(8)) });
    // Made by a snapshot, then merged.
    let snapshot = Snapshot::persistent("1:5", "1:6", Sectors(16));
    same(&lab, snapshot.clone());
    same(&lab, SnapshotMerge(snapshot));
}

#[test]
fn a_multipath_shows_more_than_it_was_given() {
    let lab = Lab::new(1);
    let group = |selector| PathGroup::new(selector, ["1:0", "1:1"]);
    let paths = Multipath::of_bios([group("round-robin"), group("queue-length"), group("service-time")]);
    let shown = back(&lab, paths.feature("queue_if_no_path"));
    assert_eq!((shown.groups.len(), shown.first), (3, 1));
    let selectors: Vec<&str> = shown.groups.iter().map(|group| &*group.selector).collect();
    assert_eq!(selectors, ["round-robin", "queue-length", "service-time"]);
    assert!(shown.features.iter().any(|word| word == "queue_if_no_path"));
    // And that it takes again.
    assert_eq!(back(&lab, shown.clone()), shown);
}

#[test]
fn mirrors_and_paths_say_how_they_are() {
    let lab = Lab::new(1);
    let legs = [("/dev/ram0", Sector(0)), ("/dev/ram1", Sector(0))];
    let mirror = Mirror::new(Sectors(128), legs).log("/dev/ram2").in_sync();
    lab.create("m", Table::new().then(LEN, mirror)).unwrap();
    let Ok(Some(TargetStatus::Mirror(status))) = lab.target_status("m") else { panic!("a mirror's") };
    assert_eq!((status.regions.used, status.regions.total), (8, 8));
    assert_eq!(status.legs.iter().map(|(_, health)| *health).collect::<Vec<_>>(), [MirrorHealth::Alive; 2]);
    assert!(matches!(status.log, Some((_, MirrorHealth::Alive))));
    let _held = lab.force().mirror_leg_dead("m", 1).unwrap();
    let Ok(Some(TargetStatus::Mirror(status))) = lab.target_status("m") else { panic!("a mirror's") };
    assert_eq!(status.legs[1].1, MirrorHealth::WriteFailed);

    let group = |selector| PathGroup::new(selector, ["/dev/ram3", "/dev/ram4"]);
    let paths = Multipath::of_bios(["round-robin", "service-time", "historical-service-time"].map(group));
    lab.create("p", Table::new().then(LEN, paths)).unwrap();
    lab.message("p", "fail_path /dev/ram3").unwrap();
    let Ok(Some(TargetStatus::Multipath(status))) = lab.target_status("p") else { panic!("a multipath's") };
    let states: Vec<bool> =
        status.groups.iter().flat_map(|group| &group.paths).map(|path| path.is_active).collect();
    assert_eq!(states, [false, true].repeat(3));
}
