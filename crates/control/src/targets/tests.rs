use super::*;
use dmlab_units::{Bytes, Sectors};
use std::time::Duration;

/// A target's parameters are this text, and are read from it again.
fn same<T: TargetLine + PartialEq + fmt::Debug>(target: &T, text: &str) {
    assert_eq!(target.params().to_string(), text);
    assert_eq!(T::parse(&Params::from_text(text.as_bytes())).as_ref(), Ok(target));
}

fn of(text: &str) -> Params {
    Params::from_text(text.as_bytes())
}

#[test]
fn lines_of_several_devices_come_back_as_they_were() {
    let mirror = Mirror::new(Sectors(1024), [("1:0", Sector(0)), ("1:1", Sector(8))]);
    same(&mirror, "core 1 1024 2 1:0 0 1:1 8");
    same(&mirror.clone().in_sync(), "core 2 1024 nosync 2 1:0 0 1:1 8");
    let on_disk = mirror.log("1:2").feature("handle_errors");
    same(&on_disk, "disk 2 1:2 1024 2 1:0 0 1:1 8 1 handle_errors");
    same(
        &Mirror { sync: MirrorSync::Copied, ..on_disk },
        "disk 3 1:2 1024 sync 2 1:0 0 1:1 8 1 handle_errors",
    );

    let mut weighted = PathGroup::new("service-time", ["1:1", "1:2"]);
    weighted.paths.iter_mut().for_each(|(_, arguments)| *arguments = vec!["1".to_owned(), "9".to_owned()]);
    let paths = Multipath::of_bios([PathGroup::round_robin(["1:0"]), weighted]);
    let groups = "2 1 round-robin 0 1 0 1:0 service-time 0 2 2 1:1 1 9 1:2 1 9";
    same(&paths, &format!("2 queue_mode bio 0 {groups}"));
    same(&paths.feature("queue_if_no_path"), &format!("3 queue_mode bio queue_if_no_path 0 {groups}"));
    same(&Multipath::of_bios([]), "2 queue_mode bio 0 0 0");

    same(&Switch::new(Sectors(8), [("1:0", Sector(0)), ("1:1", Sector(64))]), "2 8 0 1:0 0 1:1 64");
    let stripe = Unstriped { stripes: 2, chunk: Sectors(8), stripe: 1, device: ("254:0".into(), Sector(0)) };
    same(&stripe, "2 8 1 254:0 0");
}

#[test]
fn wrong_lines_of_several_devices_say_what_would_be_right() {
    let parsed = |text: &str| Mirror::parse(&Params::from_text(text.as_bytes()));
    for text in [
        "",
        "core",
        "userspace 1 8 2 a 0 b 0",
        "core 1 8 3 a 0 b 0",
        "core 3 8 sync x 2 a 0 b 0",
        "disk 1 8 2 a 0 b 0",
    ] {
        let error = parsed(text).unwrap_err().to_string();
        assert!(error.starts_with("mirror ") && error.contains("mirror takes core|disk N_LOG"), "{error}");
    }
    for text in ["", "0", "0 0 1 1", "0 0 99999 1", "0 0 1 1 round-robin 0 2 0 1:0", "0 0 0 0 more"] {
        assert!(Multipath::parse(&Params::from_text(text.as_bytes())).is_err(), "{text}");
    }
    assert!(Switch::parse(&Params::from_text(b"2 8 1 a 0 b 0")).is_err());
    assert!(Switch::parse(&Params::from_text(b"18446744073709551615 8 0")).is_err());
    assert!(Unstriped::parse(&Params::from_text(b"2 8 1 a")).is_err());
}

#[test]
fn lines_that_put_software_to_the_test_come_back_as_they_were() {
    let delay = Delay::new("1:0", Sector(8), Duration::from_millis(500));
    same(&delay, "1:0 8 500");
    let writes = Some(Delayed { device: ("1:1".into(), Sector(0)), by: Duration::from_secs(2) });
    same(&Delay { writes, ..delay }, "1:0 8 500 1:1 0 2000");
    let flakey = Flakey::new("1:0", Sector(0), Duration::from_secs(5), Duration::from_secs(1));
    same(&flakey, "1:0 0 5 1");
    let text = "1:0 0 5 1 6 drop_writes corrupt_bio_byte 32 r 1 0";
    same(&flakey.feature("drop_writes").feature("corrupt_bio_byte 32 r 1 0"), text);
    same(&Dust::new("1:0", Sector(0), Bytes(4096)), "1:0 0 4096");
    same(&LogWrites::new("1:0", "1:1"), "1:0 1:1");
    let ebs = Ebs { device: ("1:0".into(), Sector(0)), emulated: Sectors(1), underlying: None };
    same(&ebs, "1:0 0 1");
    same(&Ebs { underlying: Some(Sectors(8)), ..ebs }, "1:0 0 1 8");
}

#[test]
fn wrong_lines_that_put_software_to_the_test_say_what_would_be_right() {
    for text in ["", "1:0", "1:0 0", "1:0 0 x", "1:0 0 1 1:0", "1:0 0 4294967296", "a 0 1 b 0 1 c 0 1 d"] {
        assert!(
            Delay::parse(&of(text)).unwrap_err().to_string().contains("delay takes DEVICE OFFSET MS ["),
            "{text}"
        );
    }
    for text in ["1:0 0 5", "1:0 0 5 1 2 drop_writes", "1:0 0 5 1 0 more"] {
        assert!(Flakey::parse(&of(text)).is_err(), "{text}");
    }
    assert!(Dust::parse(&of("1:0 0")).is_err() && LogWrites::parse(&of("1:0")).is_err());
    assert!(Ebs::parse(&of("1:0 0 1 8 9")).is_err());
}

#[test]
fn lines_of_thin_provisioning_come_back_as_they_were() {
    let pool = ThinPool::new("/dev/ram0", "1:1", Sectors(128));
    same(&pool, "/dev/ram0 1:1 128 0");
    same(&pool.low_water(7).feature("skip_block_zeroing"), "/dev/ram0 1:1 128 7 1 skip_block_zeroing");
    same(&Thin::new("254:0", 3), "254:0 3");
    same(&Thin::new("254:0", 3).with_external_origin("1:2"), "254:0 3 1:2");
    same(&Snapshot::persistent("1:0", "1:1", Sectors(16)), "1:0 1:1 P 16");
    same(&Snapshot::transient("1:0", "1:1", Sectors(8)), "1:0 1:1 N 8");
    same(&SnapshotOrigin::new("1:0"), "1:0");
    same(&SnapshotMerge(Snapshot::persistent("1:0", "1:1", Sectors(16))), "1:0 1:1 P 16");
}

#[test]
fn wrong_lines_of_thin_provisioning_say_what_would_be_right() {
    for text in ["", "a b", "a b 128", "a b x 0", "a b 128 0 2 skip_block_zeroing", "a b 128 0 x"] {
        let error = ThinPool::parse(&Params::from_text(text.as_bytes())).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("thin-pool takes METADATA DATA BLOCK_SIZE LOW_WATER [N_FEATURES FEATURE…]"),
            "{error}"
        );
    }
    assert!(Thin::parse(&Params::from_text(b"254:0 x")).is_err());
    assert!(Thin::parse(&Params::from_text(b"254:0 1 1:0 2")).is_err());
    assert!(Snapshot::parse(&Params::from_text(b"1:0 1:1 P")).is_err());
    assert!(SnapshotOrigin::parse(&Params::from_text(b"1:0 1:1")).is_err());
}

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

#[test]
fn a_pool_says_all_it_knows() {
    let line = "5 14/1024 3/16 - out_of_data_space discard_passdown error_if_no_space needs_check 256";
    let want = PoolStatus::Working {
        transaction: 5,
        metadata: Usage { used: 14, total: 1024 },
        data: Usage { used: 3, total: 16 },
        held_root: None,
        mode: PoolMode::OutOfDataSpace,
        discards: "discard_passdown".into(),
        errors_if_no_space: true,
        needs_check: true,
        metadata_low_water: 256,
    };
    assert_eq!(PoolStatus::parse(&words(line)), Some(want));
    assert_eq!(PoolStatus::parse(&words("Fail")), Some(PoolStatus::Failed));
    assert_eq!(PoolStatus::parse(&words("5 14/1024 3/16 - rw")), None);
}

#[test]
fn thin_devices_and_snapshots_do_too() {
    let working = ThinStatus::Working { mapped: Sectors(256), highest: Some(Sector(383)) };
    assert_eq!(ThinStatus::parse(&words("256 383")), Some(working));
    let empty = ThinStatus::Working { mapped: Sectors(0), highest: None };
    assert_eq!(ThinStatus::parse(&words("0 -")), Some(empty));
    let cow = Usage { used: Sectors(32), total: Sectors(1024) };
    let working = SnapshotStatus::Working { cow, metadata: Sectors(16) };
    assert_eq!(SnapshotStatus::parse(&words("32/1024 16")), Some(working));
    assert_eq!(SnapshotStatus::parse(&words("Merge failed")), Some(SnapshotStatus::MergeFailed));
}

#[test]
fn mirrors_and_paths_say_which_device_is_well() {
    let status = MirrorStatus::parse(&words("2 1:0 1:1 1/200 1 AD 3 disk 1:2 F")).unwrap();
    let (ram0, ram1, ram2) = (DevT::new(1, 0), DevT::new(1, 1), DevT::new(1, 2));
    assert_eq!(status.legs, [(ram0, MirrorHealth::Alive), (ram1, MirrorHealth::WriteFailed)]);
    assert_eq!(status.regions, Usage { used: 1, total: 200 });
    assert_eq!(status.log, Some((ram2, MirrorHealth::FlushFailed)));
    assert_eq!(MirrorStatus::parse(&words("2 1:0 1:1 1/200 1 AR 1 core")).unwrap().log, None);
    for odd in ["", "3 1:0 1:1 1/2 1 AA 1 core", "2 1:0 1:1 1/2 1 AX 1 core", "2 1:0 1:1 1/2 1 AA 2 core"] {
        assert_eq!(MirrorStatus::parse(&words(odd)), None, "{odd}");
    }

    let line = |text: &str| {
        let (target_type, text) = (b"multipath".to_vec(), text.as_bytes().to_vec());
        crate::StatusLine { start: Sector(0), len: Sectors(8), target_type, text }.status()
    };
    let crate::TargetStatus::Multipath(status) =
        line("2 1 0 0 2 2 A 0 1 1 1:0 F 3 0 E 0 2 2 1:1 A 0 0 5 1:2 A 1 0 9 ")
    else {
        panic!("it is one")
    };
    assert_eq!((status.queues_io, status.group, status.groups.len()), (true, 2, 2));
    assert_eq!(status.groups[0].state, PathGroupState::Active);
    assert_eq!(status.groups[0].paths, [PathStatus { device: ram0, is_active: false, failures: 3 }]);
    assert_eq!(status.groups[1].paths[1], PathStatus { device: ram2, is_active: true, failures: 1 });
    for odd in
        ["", "2 0 0 0 1 1 E 0 1 0 1:0 A", "2 0 0 0 1 1 E 0 1 0 1:0 X 0", "2 0 0 0 0 0 more", "1 0 0 0 0"]
    {
        assert!(matches!(line(odd), crate::TargetStatus::Other(_)), "{odd}");
    }
}
