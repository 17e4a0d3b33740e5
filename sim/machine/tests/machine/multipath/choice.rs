//! Which path a selector takes.

use std::time::Duration;

use dmlab_block::BlkStatus;
use dmlab_units::DevT;

use super::{INFO, Pending, kit, read, suspend};
use crate::kit::Kit;

/// Four paths that are linear devices, so that each one's IO can be counted.
fn four_paths(kit: &Kit, selector: &str, args: [&str; 4]) -> (DevT, [DevT; 4]) {
    let devs = std::array::from_fn(|i| kit.create(&format!("p{i}"), &format!("0 2048 linear 1:{i} 0")));
    let words = args[0].split_whitespace().count();
    let paths: String =
        devs.iter().zip(args).map(|(dev, args): (&DevT, &str)| format!(" {dev} {args}")).collect();
    (kit.create("m", &format!("0 2048 multipath 2 queue_mode bio 0 1 1 {selector} 4 {words}{paths}")), devs)
}

/// The path that the next read takes.
fn next(kit: &Kit, dev: DevT, paths: &[DevT; 4]) -> usize {
    let counts = || paths.map(|path| kit.machine.device(path).unwrap().stat[0]);
    let before = counts();
    assert!(read(kit, dev, 0, 1).is_ok());
    let after = counts();
    let taken: Vec<usize> = (0..4).filter(|&i| after[i] != before[i]).collect();
    assert_eq!(taken.len(), 1);
    taken[0]
}

#[test]
fn the_order_of_paths() {
    for (selector, expected) in [
        ("round-robin 0", [0, 1, 2, 1, 2, 1, 2, 0, 1, 2, 0, 3, 1, 2, 0]),
        ("queue-length 0", [0, 1, 2, 1, 2, 1, 2, 1, 2, 0, 1, 2, 0, 1, 3]),
    ] {
        let kit = kit();
        let (dev, paths) = four_paths(&kit, selector, ["1"; 4]);
        let mut order = Vec::new();
        for (message, count) in [
            ("", 2),
            ("fail_path 254:0", 1),
            ("fail_path 254:3", 4),
            ("reinstate_path 254:0", 4),
            ("reinstate_path 254:3", 4),
        ] {
            if !message.is_empty() {
                kit.message("m", message).unwrap();
            }
            order.extend((0..count).map(|_| next(&kit, dev, &paths)));
        }
        assert_eq!(order, expected, "{selector}");
    }
}

#[test]
fn busy_paths_are_avoided() {
    let kit = kit();
    let (dev, paths) = four_paths(&kit, "service-time 0", ["1 1", "1 50", "1 50", "1 0"]);
    assert_eq!([(); 4].map(|()| next(&kit, dev, &paths)), [1, 2, 1, 2]);
    suspend(&kit, "p1", INFO);
    let held = Pending::write(&kit, dev, 0, &[1; 4096]);
    let line = |one: u64, two: u64| {
        format!(
            "0 2048 multipath 2 0 0 0 1 1 A 0 4 2 254:0 A 0 0 1 254:1 A 0 {one} 50 254:2 A 0 {two} 50 254:3 A 0 0 0 "
        )
    };
    assert_eq!(kit.status("m", INFO), line(4096, 0));
    assert_eq!([(); 2].map(|()| next(&kit, dev, &paths)), [2, 2]);
    suspend(&kit, "p2", INFO);
    let more = [8, 16, 24].map(|sector| Pending::write(&kit, dev, sector, &[2; 4096]));
    assert_eq!(kit.status("m", INFO), line(8192, 8192));
    kit.resume("p1").unwrap();
    kit.resume("p2").unwrap();
    assert!(more.iter().chain([&held]).all(|write| write.end() == Some(BlkStatus::Ok)));
    assert_eq!(kit.status("m", INFO), line(0, 0));

    let kit = super::kit();
    let (dev, paths) = four_paths(&kit, "queue-length 0", ["1"; 4]);
    suspend(&kit, "p1", INFO);
    assert_eq!(next(&kit, dev, &paths), 0);
    let held = Pending::write(&kit, dev, 0, &[1; 512]);
    assert_eq!([(); 5].map(|()| next(&kit, dev, &paths)), [2, 3, 0, 2, 3]);
    assert!(kit.status("m", INFO).contains("254:1 A 0 1 "));
    // A path that fails meanwhile changes nothing for what is on its way.
    kit.message("m", "fail_path 254:1").unwrap();
    kit.resume("p1").unwrap();
    assert_eq!(held.end(), Some(BlkStatus::Ok));
    assert!(kit.status("m", INFO).contains("254:1 F 1 0 "));
}

/// Times of paths that a `delay`-like device would give: here each path waits for as long as the test keeps it suspended.
#[test]
fn the_historically_faster_path_is_taken() {
    let kit = kit();
    let (dev, paths) = four_paths(&kit, "historical-service-time 0", [""; 4].map(|_| "1"));
    // Each path once, the second with a bio that takes a second.
    for i in 0..4 {
        if i == 1 {
            suspend(&kit, "p1", INFO);
            let slow = Pending::write(&kit, dev, 0, &[1; 512]);
            kit.advance(Duration::from_secs(1));
            kit.resume("p1").unwrap();
            assert_eq!(slow.end(), Some(BlkStatus::Ok));
        } else {
            assert_eq!(next(&kit, dev, &paths), i);
        }
    }
    let status = kit.status("m", INFO);
    // A second, in fixed-point nanoseconds: the weight of so slow a bio is 972/1024 to the power of 60.
    let average: u64 = status.split("254:1 A 0 ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(average > 900_000_000 << 10 && average <= 1_000_000_000 << 10, "{status}");
    // It is not taken again while others are idle.
    for _ in 0..12 {
        assert_ne!(next(&kit, dev, &paths), 1);
    }
}
