use crate::with_pool;
use dmlab::machine::UeventAction;
use dmlab::units::{Errno, Sector, Sectors};
use dmlab::{Lab, TimedOut, twice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn bios_are_seen_on_their_way() {
    let lab = Lab::new(1);
    lab.create("a", "0 64 linear /dev/ram0 100").unwrap();
    let trace = lab.trace();
    lab.write("/dev/mapper/a", Sector(8), &[0; 1024]).unwrap();
    let lines = trace.lines();
    assert_eq!(lines[0], "0.000000 254:0 Q W 8 + 2");
    assert_eq!(lines[1], "0.000000 254:0 A W 8 + 2 -> 1:0 108");
    assert!(lines.last().unwrap().ends_with("254:0 C W 8 + 2 [0]"), "{lines:?}");
    drop(trace);
    lab.write("/dev/mapper/a", Sector(8), &[0; 1024]).unwrap();
}

#[test]
fn events_are_values_and_can_be_waited_for() {
    let lab = Lab::new(1);
    with_pool(&lab);
    let seen = lab.info("pool").unwrap().event_nr;
    let write = |block: u64| lab.write("/dev/mapper/thin", Sector(block * 128), &[1; 512]);
    (0..16).for_each(|block| write(block).unwrap());
    let _waits = lab.start_write("/dev/mapper/thin", Sector(16 * 128), &[1; 512]).unwrap();
    let now = lab.wait_event("pool", seen, Duration::from_secs(1)).unwrap();
    assert!(now > seen);
    assert_eq!(
        lab.wait_event("pool", now, Duration::from_secs(1)).unwrap_err().errno(),
        Some(Errno::ETIMEDOUT)
    );
    let last = lab.uevents().into_iter().rfind(|event| event.action == UeventAction::Add).unwrap();
    assert_eq!(last.var("DEVNAME"), Some("dm-1"));
}

#[test]
fn waiting_goes_from_timer_to_timer() {
    let lab = Lab::new(1);
    lab.create("slow", "0 64 delay /dev/ram0 0 250").unwrap();
    let write = lab.start_write("/dev/mapper/slow", Sector(0), &[0; 512]).unwrap();
    lab.wait_until(Duration::from_secs(3600), |_| write.result().is_some()).unwrap();
    assert!(lab.now().as_nanos() < 1_000_000_000, "not the whole hour");
    assert_eq!(lab.wait_until(Duration::from_secs(5), |_| false), Err(TimedOut(Duration::from_secs(5))));
}

#[test]
fn reads_can_be_begun_and_waited_for() {
    let lab = Lab::new(1);
    lab.create("slow", "0 64 delay /dev/ram0 0 10").unwrap();
    lab.write("/dev/ram0", Sector(3), &[4; 512]).unwrap();
    let read = lab.start_read("/dev/mapper/slow", Sector(3), Sectors(1)).unwrap();
    assert_eq!(read.result(), None);
    assert_eq!(read.wait().unwrap()[..], [4; 512]);
    let (a, b) = (
        lab.start_read("/dev/mapper/slow", Sector(3), Sectors(1)).unwrap(),
        lab.start_flush("/dev/mapper/slow").unwrap(),
    );
    let both = lab.block_on(async { (a.await.map(|bytes| bytes[0]), b.await) });
    assert_eq!(both, Ok((Ok(4), Ok(()))));
}

#[test]
fn two_runs_of_a_seed_are_the_same_and_a_clock_from_outside_is_found_out() {
    twice(1, Lab::new, with_pool);
    let outside = std::cell::Cell::new(0u8);
    let unlike = catch_unwind(AssertUnwindSafe(|| {
        twice(1, Lab::new, |lab| {
            outside.set(outside.get() + 1);
            lab.create(&format!("d{}", outside.get()), "0 8 zero").unwrap();
            lab.remove(&format!("d{}", outside.get())).unwrap();
            lab.write("/dev/ram0", Sector(0), &[outside.get(); 512]).unwrap();
        });
    }));
    let text = unlike.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("seed 1 gives two different runs"), "{text}");
}

#[test]
fn a_lab_tells_of_itself() {
    let lab = Lab::new(77);
    with_pool(&lab);
    let text = lab.describe();
    assert!(
        text.contains("seed 77") && text.contains("thin (254:1)\n `-pool (254:0)\n    |-ram0 (1:0)"),
        "{text}"
    );
    assert!(text.contains("kernel log, last"), "{text}");
}

#[test]
fn threads_share_a_lab_on_real_time() {
    let lab = Arc::new(Lab::builder(1).on_real_time().boot().unwrap());
    with_pool(&lab);
    let threads: Vec<_> = (0..4u64)
        .map(|lane| {
            let lab = lab.clone();
            std::thread::spawn(move || {
                for round in 0..50u8 {
                    lab.write("/dev/mapper/thin", Sector(lane * 512), &[round; 4096]).unwrap();
                    assert_eq!(
                        lab.read("/dev/mapper/thin", Sector(lane * 512), Sectors(8)).unwrap(),
                        [round; 4096]
                    );
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    lab.advance(Duration::from_millis(2));
    assert!(lab.now().as_nanos() > 0);
}
