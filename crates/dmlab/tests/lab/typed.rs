//! Typed tables: the kernel takes each, and its table line is read back as the same.

use std::time::Duration;

use dmlab::control::{
    Delay, Dust, Ebs, Flakey, LogWrites, Mirror, Multipath, PathGroup, Snapshot, SnapshotMerge, Switch,
    Table, TargetLine, Unstriped,
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
