//! When a rule strikes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dmlab::machine::faults::{Event, RuleError};
use dmlab::units::{Errno, Sector, Sectors};
use dmlab::{Lab, twice};

fn write(lab: &Lab) -> bool {
    lab.write("/dev/ram0", Sector(0), &[7; 512]).is_ok()
}

#[test]
fn between_two_times() {
    let lab = Lab::new(1);
    lab.faults()
        .on("/dev/ram0")
        .fail(Errno::EIO)
        .from(Duration::from_secs(10))
        .until(Duration::from_secs(20))
        .add()
        .unwrap();
    let mut went_well = Vec::new();
    for _ in 0..4 {
        went_well.push(write(&lab));
        lab.advance(Duration::from_secs(7));
    }
    assert_eq!(went_well, [true, true, false, true]);
    assert_eq!(lab.faults().list()[0].counts.matches, 1);
}

#[test]
fn between_two_events() {
    let lab = Lab::new(1);
    lab.faults().on("/dev/ram1").watch().named("begin").add().unwrap();
    lab.faults().on("/dev/ram2").watch().named("end").add().unwrap();
    lab.faults().on("/dev/ram0").fail(Errno::EIO).from_rule("begin").until_rule("end").add().unwrap();
    assert!(write(&lab));
    lab.read("/dev/ram1", Sector(0), Sectors(1)).unwrap();
    assert!(!write(&lab) && !write(&lab));
    lab.read("/dev/ram2", Sector(0), Sectors(1)).unwrap();
    assert!(write(&lab));
    let stranger = lab.faults().anywhere().hang().from_rule("nobody").add();
    assert_eq!(stranger, Err(RuleError::NoSuchRule("nobody".into())));
    let again = lab.faults().anywhere().hang().named("end").add();
    assert_eq!(again, Err(RuleError::NameTaken("end".into())));
}

#[test]
fn while_a_predicate_holds() {
    let lab = Lab::new(1);
    let is_bad = Arc::new(AtomicBool::new(false));
    let asked = is_bad.clone();
    let holds = move |event: &Event<'_>| {
        let is_marked = matches!(event, Event::Bio(_, bio) if bio.bytes().is_some_and(|bytes| bytes[0] == 7));
        is_marked && asked.load(Ordering::Relaxed)
    };
    lab.faults().on("/dev/ram0").writes().fail(Errno::EIO).only_while(holds).add().unwrap();
    assert!(write(&lab));
    is_bad.store(true, Ordering::Relaxed);
    assert!(!write(&lab));
    assert!(lab.write("/dev/ram0", Sector(0), &[8; 512]).is_ok());
}

#[test]
fn mistakes_of_a_builder_are_told_at_the_end() {
    let lab = Lab::new(1);
    let text = |result: Result<_, RuleError>| result.map(|_| ()).unwrap_err().to_string();
    assert!(text(lab.faults().anywhere().add()).contains("this one has none"));
    assert!(text(lab.faults().anywhere().hang().lose().add()).contains("make two rules"));
    assert!(text(lab.faults().anywhere().owner(3).hang().add()).contains("say meaning(…) first"));
    assert!(text(lab.faults().anywhere().then_fail(Errno::EIO).hang().add()).contains("say torn(…) first"));
    assert!(text(lab.faults().anywhere().kill().add()).contains("only an ioctl"));
    assert!(text(lab.faults().ioctl("reboot").kill().add()).contains("table_load"));
    assert!(text(lab.faults().ioctl("any").writes().kill().add()).contains("are of bios"));
    assert!(text(lab.faults().anywhere().hang().when_done().add()).contains("only an ioctl"));
    assert!(text(lab.faults().anywhere().fail(Errno::EPERM).add()).contains("EREMOTEIO"));
    assert!(text(lab.faults().on("a").sectors(8..8).hang().add()).contains("are none"));
    assert!(lab.faults().list().is_empty());
}

#[test]
fn one_seed_one_run() {
    let story = |lab: &Lab| {
        lab.create("a", "0 64 linear /dev/ram0 0").unwrap();
        lab.faults().on("a").writes().fail(Errno::EIO).chance(0.3).add().unwrap();
        lab.faults().on("/dev/ram0").writes().torn_somewhere().chance(0.3).add().unwrap();
        lab.faults().on("/dev/ram0").delay(Duration::from_millis(3)).every(5).add().unwrap();
        for i in 0..100u8 {
            let _told = lab.write("/dev/mapper/a", Sector(u64::from(i) % 60), &[i; 2048]);
        }
        lab.faults().hits().iter().map(std::string::ToString::to_string).collect::<Vec<_>>()
    };
    let run = |seed| story(&Lab::new(seed));
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
    twice(5, Lab::new, |lab| drop(story(lab)));
}

#[test]
fn a_rule_more_shifts_no_other() {
    let run = |with_another: bool| {
        let lab = Lab::new(3);
        lab.faults().on("/dev/ram0").fail(Errno::EIO).chance(0.5).named("first").add().unwrap();
        if with_another {
            lab.faults().on("/dev/ram1").fail(Errno::EIO).chance(0.5).add().unwrap();
        }
        (0..50)
            .map(|_| {
                let _ = lab.read("/dev/ram1", Sector(0), Sectors(1));
                write(&lab)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(run(false), run(true));
}
