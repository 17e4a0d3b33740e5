//! Mirrors whose legs fail at random, against a plain model.

use crate::kit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, BlkStatus, SyncIo, submit};
use dmlab_dm::SuspendFlags;
use dmlab_runtime::Interrupt;
use dmlab_units::{DevT, Errno, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::{Fails, FaultDisk};
use parking_lot::Mutex;
use proptest::prelude::*;

pub(crate) const SECTOR: usize = 512;
pub(crate) const SIZE: u64 = 250;
pub(crate) const REGION: u64 = 32;
/// Of the second leg: it does not begin at its device's start.
const OFFSET: u64 = 7;

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8),
    Read(u64, u64),
    Break(usize, u64, u64, Fails),
    Heal(usize),
    Restart {
        noflush: bool,
    },
    /// Writes to one region, at places that do not meet, and in which order the disks answer.
    Together {
        recovers: bool,
        region: u64,
        writes: BTreeMap<u64, u8>,
        order: Vec<prop::sample::Index>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..SIZE, 1..48u64).prop_map(|(at, len)| (at, len.min(SIZE - at)));
    let fails = prop_oneof![Just(Fails::Reads), Just(Fails::Writes), Just(Fails::All)];
    prop_oneof![
        6 => (place(), 1..255u8).prop_map(|((at, len), byte)| Step::Write(at, len, byte)),
        4 => place().prop_map(|(at, len)| Step::Read(at, len)),
        1 => (0..2usize, place(), fails).prop_map(|(leg, (at, len), what)| Step::Break(leg, at, len, what)),
        1 => (0..2usize).prop_map(Step::Heal),
        1 => any::<bool>().prop_map(|noflush| Step::Restart { noflush }),
        2 => (
            any::<bool>(),
            0..SIZE / REGION,
            prop::collection::btree_map(0..REGION, 1..255u8, 2..5),
            prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        )
            .prop_map(|(recovers, region, writes, order)| Step::Together { recovers, region, writes, order }),
    ]
}

/// What each sector may hold: one value after a write that succeeded, more after one that did not.
struct Model(Vec<BTreeSet<u8>>);

impl Model {
    fn write(&mut self, at: u64, len: u64, byte: u8, is_sure: bool) {
        for allowed in &mut self.0[at as usize..(at + len) as usize] {
            if is_sure {
                allowed.clear();
            }
            allowed.insert(byte);
        }
    }
}

type Ended = Arc<Mutex<Option<BlkStatus>>>;

struct Mirror {
    kit: Kit,
    legs: [Arc<FaultDisk>; 2],
    dev: DevT,
    model: Model,
    /// Writes that have not ended yet.
    held: Vec<(u64, u64, u8, Ended)>,
}

impl Mirror {
    fn new(log: &str, features: &str) -> Mirror {
        let kit = Kit::new();
        let legs = [0, 1].map(|minor| FaultDisk::add(&kit, minor, Sectors(SIZE + OFFSET)).1);
        let table = format!("0 {SIZE} mirror {log} 2 7:0 0 7:1 {OFFSET} {features}");
        let dev = kit.create("m", &table);
        kit.machine.runtime().run_until_idle();
        let model = Model(vec![BTreeSet::from([0]); SIZE as usize]);
        Mirror { kit, legs, dev, model, held: Vec::new() }
    }

    fn write(&mut self, at: u64, len: u64, byte: u8) {
        let ended = self.start(at, len, byte);
        self.note(at, len, byte, ended);
    }

    fn start(&self, at: u64, len: u64, byte: u8) -> Ended {
        let dev = self.kit.machine.registry().get(self.dev).unwrap();
        let ended = Ended::default();
        let tell = ended.clone();
        let data: Arc<[u8]> = vec![byte; len as usize * SECTOR].into();
        let bio = Bio::write_owned(Sector(at), data).on_end(move |status, _| *tell.lock() = Some(status));
        submit(bio.to(&dev));
        self.kit.machine.runtime().run_until_idle();
        ended
    }

    fn note(&mut self, at: u64, len: u64, byte: u8, ended: Ended) {
        let status = *ended.lock();
        self.model.write(at, len, byte, status == Some(BlkStatus::Ok));
        if status.is_none() {
            self.held.push((at, len, byte, ended));
        }
    }

    /// Writes that are under way at the same time, and a recovery, too.
    fn write_together(
        &mut self,
        recovers: bool,
        region: u64,
        writes: BTreeMap<u64, u8>,
        order: &[prop::sample::Index],
    ) {
        if recovers {
            self.restart_with(false, true);
        }
        self.legs.iter().for_each(|leg| leg.hold(true));
        let mut order = order.iter();
        let mut started = Vec::new();
        for (at, byte) in writes {
            let at = region * REGION + at;
            started.push((at, byte, self.start(at, 1, byte)));
            // One may end before the next begins.
            self.let_one_go(order.next());
        }
        while self.let_one_go(order.next()) {}
        self.legs.iter().for_each(|leg| leg.hold(false));
        for (at, byte, ended) in started {
            self.note(at, 1, byte, ended);
        }
    }

    /// Lets the disks answer the drawn one of what they hold, or the last; whether there was any.
    fn let_one_go(&self, drawn: Option<&prop::sample::Index>) -> bool {
        let [first, second] = [0, 1].map(|leg| self.legs[leg].held());
        if first + second == 0 {
            return false;
        }
        let index = drawn.map_or(first + second - 1, |drawn| drawn.index(first + second));
        match index.checked_sub(first) {
            None => self.legs[0].let_go(index),
            Some(index) => self.legs[1].let_go(index),
        }
        self.kit.machine.runtime().run_until_idle();
        true
    }

    fn read(&self, at: u64, len: u64) -> Option<Vec<u8>> {
        let dev = self.kit.machine.registry().get(self.dev).unwrap();
        let mut buf = vec![0; len as usize * SECTOR];
        SyncIo::default().read(&dev, Sector(at), &mut buf, |bio| bio).ok()?;
        Some(buf.chunks(SECTOR).map(|sector| sector[0]).collect())
    }

    fn check(&self, at: u64, got: &[u8]) {
        for (sector, byte) in (at..).zip(got) {
            let allowed = &self.model.0[sector as usize];
            assert!(allowed.contains(byte), "sector {sector} reads {byte}, not one of {allowed:?}");
        }
    }

    fn restart(&mut self, noflush: bool) {
        self.restart_with(noflush, false);
    }

    fn restart_with(&mut self, noflush: bool, holds: bool) {
        let flags = if noflush { DmFlags::SUSPEND | DmFlags::NOFLUSH } else { DmFlags::SUSPEND };
        self.kit.ask(Command::DevSuspend, "m", flags).unwrap();
        if !noflush {
            let answered = self.held.iter().filter(|(.., ended)| ended.lock().is_some()).count();
            assert_eq!(answered, self.held.len(), "a suspend answers what was held");
        }
        self.legs.iter().for_each(|leg| leg.hold(holds));
        self.kit.resume("m").unwrap();
        self.kit.machine.runtime().run_until_idle();
        // With an error; or well, if a write waited for a recovery that waited for one that was held. Those that were
        // queued again have been written in any order, or are held again.
        let (answered, held): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|(.., ended)| ended.lock().is_some());
        self.held = held;
        let is_alone = answered.len() == 1 && self.held.is_empty();
        for (at, len, byte, ended) in answered {
            // Of one that was cut, a part may have been written long ago.
            let is_whole = at / REGION == (at + len - 1) / REGION;
            let is_sure = is_alone && is_whole && *ended.lock() == Some(BlkStatus::Ok);
            self.model.write(at, len, byte, is_sure);
        }
    }

    fn status(&self) -> String {
        self.kit.status("m", DmFlags::empty())
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Write(at, len, byte) => self.write(at, len, byte),
            Step::Read(at, len) => {
                if let Some(got) = self.read(at, len) {
                    self.check(at, &got);
                }
            }
            Step::Break(leg, at, len, what) => {
                let at = at + leg as u64 * OFFSET;
                self.legs[leg].fail(at..at + len, what);
            }
            Step::Heal(leg) => self.legs[leg].heal(),
            Step::Restart { noflush } => self.restart(noflush),
            Step::Together { recovers, region, writes, order } => {
                self.write_together(recovers, region, writes, &order);
            }
        }
    }

    /// When all is good again, all legs hold the same, and what was written.
    fn end(&mut self) {
        self.legs.iter().for_each(|leg| leg.heal());
        self.restart(false);
        assert!(self.held.is_empty());
        let status = self.status();
        let regions = SIZE.div_ceil(REGION);
        // A leg that could not be read keeps its `R` as long as no region is out of sync.
        assert!(status.contains(&format!(" {regions}/{regions} 1 ")), "{status}");
        let [first, second] = [0, OFFSET].map(|offset| {
            let leg = &self.legs[usize::from(offset != 0)];
            (0..SIZE).map(|sector| leg.byte(sector + offset)).collect::<Vec<u8>>()
        });
        assert_eq!(first, second);
        self.check(0, &first);
    }
}

fn log() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(format!("core 1 {REGION}")),
        Just(format!("core 2 {REGION} nosync")),
        Just(format!("disk 2 1:2 {REGION}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    /// Whatever fails: a read that succeeds shows what was written.
    #[test]
    fn no_write_that_succeeded_is_lost(
        log in log(),
        keep_log in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let features = if keep_log { "2 handle_errors keep_log" } else { "1 handle_errors" };
        let mut mirror = Mirror::new(&log, features);
        for step in steps {
            mirror.run(step);
        }
        mirror.end();
    }

    /// Without features errors are not heeded, but as long as the first leg is good, so is the mirror.
    #[test]
    fn the_first_leg_is_enough(log in log(), steps in prop::collection::vec(step(), 1..60)) {
        let mut mirror = Mirror::new(&log, "");
        for step in steps {
            match step {
                Step::Break(0, ..) => continue,
                Step::Read(at, len) => {
                    let got = mirror.read(at, len).expect("the first leg is good");
                    mirror.check(at, &got);
                }
                step => mirror.run(step),
            }
            prop_assert!(mirror.held.is_empty(), "nothing is held without handle_errors");
        }
    }
}

#[test]
fn legs_that_fail_in_one_write_are_one_event() {
    let kit = Kit::new();
    for name in ["e0", "e1"] {
        kit.create(name, &format!("0 {SIZE} error"));
    }
    let legs = "3 1:0 0 254:0 0 254:1 0 2 handle_errors keep_log";
    let dev = kit.create("m", &format!("0 {SIZE} mirror core 2 {REGION} nosync {legs}"));
    let device = kit.machine.registry().get(dev).unwrap();
    SyncIo::default().submit(&device, Bio::write(Sector(40), &[1; SECTOR])).unwrap();
    kit.machine.runtime().run_until_idle();
    let status = kit.status("m", DmFlags::empty());
    assert_eq!(status, format!("0 {SIZE} mirror 3 1:0 254:0 254:1 7/8 1 ADD 1 core"));
    assert_eq!(kit.ask(Command::DevStatus, "m", DmFlags::empty()).unwrap().event_nr(), 1);
}

/// A leg that cuts a read and fails one of its pieces: the whole is read anew from another.
#[test]
fn a_read_that_a_leg_has_cut_is_tried_whole_on_another() {
    let kit = Kit::new();
    kit.create("half", "0 8 linear 1:0 0\n8 8 error");
    let submit = |dev: DevT, bio: Bio<'static>| {
        let dev = kit.machine.registry().get(dev).unwrap();
        SyncIo::default().submit(&dev, bio).unwrap();
    };
    submit(DevT::new(1, 1), Bio::write_owned(Sector(0), vec![9; 16 * 512].into()));
    let dev = kit.create("m", "0 16 mirror core 2 16 nosync 2 254:0 0 1:1 0 1 handle_errors");
    let dev = kit.machine.registry().get(dev).unwrap();
    let mut buf = vec![0; 16 * 512];
    assert_eq!(SyncIo::default().read(&dev, Sector(0), &mut buf, |bio| bio), Ok(()));
    assert_eq!(buf, vec![9; 16 * 512]);
}

/// Each write of a test, and how it has ended: once, or not yet.
pub(crate) type Ends = Arc<Mutex<Vec<(u8, BlkStatus)>>>;

pub(crate) fn start_write(kit: &Kit, dev: DevT, at: u64, byte: u8, ends: &Ends) {
    let dev = kit.machine.registry().get(dev).unwrap();
    let ends = ends.clone();
    let data: Arc<[u8]> = vec![byte; SECTOR].into();
    let bio = Bio::write_owned(Sector(at), data).on_end(move |status, _| ends.lock().push((byte, status)));
    submit(bio.to(&dev));
    kit.machine.runtime().run_until_idle();
}

/// The turn of a region comes between the failures of two writes to it, and a third waits for that recovery.
fn a_turn_between_two_failures(features: &str, suspends_early: bool, expected: BlkStatus) {
    let kit = Kit::new();
    let [first, second] = [0, 1].map(|minor| FaultDisk::add(&kit, minor, Sectors(SIZE)).1);
    // Reads, and so the copy of a region, take longer than writes.
    kit.create("slow", &format!("0 {SIZE} delay 7:0 0 2000 7:0 0 600"));
    let dev = kit.create("m", &format!("0 {SIZE} mirror core 2 {REGION} nosync 2 254:0 0 7:1 0 {features}"));
    let advance = |millis| kit.advance(Duration::from_millis(millis));
    let suspend = || kit.ask(Command::DevSuspend, "m", DmFlags::SUSPEND).unwrap();
    let ends = Ends::default();
    // Region 0 is out of sync, and recovered after the resume.
    second.fail(0..REGION, Fails::Writes);
    start_write(&kit, dev, 0, 1, &ends);
    advance(700);
    suspend();
    assert_eq!(*ends.lock(), [(1, expected)]);
    ends.lock().clear();
    second.heal();
    kit.resume("m").unwrap();
    kit.machine.runtime().run_until_idle();

    let place = 3 * REGION;
    second.fail(place..place + REGION, Fails::Writes);
    advance(1100);
    start_write(&kit, dev, place, 2, &ends);
    advance(500);
    start_write(&kit, dev, place + 1, 3, &ends);
    advance(200);
    assert!(kit.status("m", DmFlags::empty()).contains(" 6/8 "), "the first has failed, region 0 is copied");
    advance(300);
    assert!(kit.status("m", DmFlags::empty()).contains(" 7/8 "), "region 0 is recovered: region 3's turn");
    start_write(&kit, dev, place + 2, 4, &ends);
    if !suspends_early {
        advance(1500);
    }
    suspend();
    let mut ended = std::mem::take(&mut *ends.lock());
    ended.sort_by_key(|&(byte, _)| byte);
    assert_eq!(ended, [2, 3, 4].map(|byte| (byte, expected)));
    let status = kit.status("m", DmFlags::empty());
    assert!(status.contains(" 7/8 "), "{status}");
    let differs = |sector: &u64| first.byte(*sector) != second.byte(*sector);
    assert!((0..SIZE).filter(differs).all(|sector| sector / REGION == 3), "in sync, but not the same");
    second.heal();
    kit.resume("m").unwrap();
    advance(4000);
    assert!(kit.status("m", DmFlags::empty()).contains(" 8/8 1 AA "));
    assert_eq!((0..SIZE).find(differs), None);
    assert!(ends.lock().is_empty());
}

#[test]
fn a_write_that_fails_in_a_region_whose_turn_has_come_ends_its_recovery() {
    for suspends_early in [false, true] {
        a_turn_between_two_failures("", suspends_early, BlkStatus::Ok);
        a_turn_between_two_failures("2 handle_errors keep_log", suspends_early, BlkStatus::Ok);
        a_turn_between_two_failures("1 handle_errors", suspends_early, BlkStatus::IoErr);
    }
}

/// Recorded: a suspend that comes while a region is being copied ends when that one is done, and the next is not begun.
#[test]
fn a_suspend_waits_for_the_region_that_is_being_copied() {
    let kit = Kit::new();
    let second = FaultDisk::add(&kit, 1, Sectors(SIZE)).1;
    kit.create("slow", &format!("0 {SIZE} delay 1:0 0 2000 1:0 0 0"));
    kit.create("m", &format!("0 {SIZE} mirror core 1 {REGION} 2 254:0 0 7:1 0"));
    kit.advance(Duration::from_millis(500));
    assert_eq!(second.noted(), []);
    kit.ask(Command::DevSuspend, "m", DmFlags::SUSPEND).unwrap();
    let suspended = format!("0 {SIZE} mirror 2 254:0 7:1 1/8 1 AA 1 core");
    assert_eq!(kit.status("m", DmFlags::empty()), suspended);
    assert!(second.noted().iter().all(|noted| noted.sector < REGION), "the one region was copied");
    kit.advance(Duration::from_secs(5));
    assert_eq!((second.noted(), kit.status("m", DmFlags::empty())), (vec![], suspended));
}

/// Recorded: with a write in flight the suspend is given up, and what was not recovered by then waits for the next resume.
#[test]
fn after_a_suspend_that_was_given_up_nothing_is_recovered() {
    let kit = Kit::new();
    kit.create("l0", "0 2048 delay 1:0 0 0 1:0 0 6000");
    kit.create("l1", "0 2048 delay 1:1 0 0 1:1 0 1000");
    let dev = kit.create("m", "0 2048 mirror core 1 512 2 254:0 0 254:1 0");
    let ends = Ends::default();
    start_write(&kit, dev, 2000, 1, &ends);
    kit.advance(Duration::from_millis(400));
    let device = kit.machine.mapper().by_name(b"m").unwrap();
    let signal = Interrupt::default();
    signal.raise();
    let suspend = device.suspend(SuspendFlags::default(), Some(&signal));
    assert_eq!(kit.machine.runtime().block_on(suspend).unwrap(), Err(Errno::EINTR));
    kit.advance(Duration::from_secs(10));
    assert_eq!(*ends.lock(), [(1, BlkStatus::Ok)]);
    assert_eq!(kit.status("m", DmFlags::empty()), "0 2048 mirror 2 254:0 254:1 1/4 1 AA 1 core");
    kit.ask(Command::DevSuspend, "m", DmFlags::SUSPEND).unwrap();
    kit.resume("m").unwrap();
    kit.advance(Duration::from_secs(10));
    assert_eq!(kit.status("m", DmFlags::empty()), "0 2048 mirror 2 254:0 254:1 4/4 1 AA 1 core");
}

/// Wherever the bios of a mirror wait: for a suspend, for a recovery, for the worker, which waits for the log.
#[test]
fn a_machine_that_ends_ends_what_is_held() {
    let failed = |bytes: std::ops::Range<u8>| bytes.map(|byte| (byte, BlkStatus::IoErr)).collect::<Vec<_>>();
    let end = |kit: Kit, ends: Ends| {
        assert_eq!(*ends.lock(), []);
        drop(kit);
        let mut ended = std::mem::take(&mut *ends.lock());
        ended.sort_by_key(|&(byte, _)| byte);
        ended
    };
    let minute = "60000";

    // Held.
    let (kit, ends) = (Kit::new(), Ends::default());
    let second = FaultDisk::add(&kit, 1, Sectors(SIZE)).1;
    second.fail(0..SIZE, Fails::Writes);
    let dev =
        kit.create("m", &format!("0 {SIZE} mirror core 2 {REGION} nosync 2 1:0 0 7:1 0 1 handle_errors"));
    start_write(&kit, dev, 0, 1, &ends);
    start_write(&kit, dev, REGION, 2, &ends);
    assert_eq!(end(kit, ends), failed(1..3));

    // Delayed until region 0 is recovered.
    let (kit, ends) = (Kit::new(), Ends::default());
    kit.create("slow", &format!("0 {SIZE} delay 1:0 0 {minute}"));
    let dev = kit.create("m", &format!("0 {SIZE} mirror core 1 {REGION} 2 254:0 0 1:1 0"));
    start_write(&kit, dev, 0, 1, &ends);
    start_write(&kit, dev, 1, 2, &ends);
    assert_eq!(end(kit, ends), failed(1..3));

    // The first is with the worker, the others are queued behind it.
    let (kit, ends) = (Kit::new(), Ends::default());
    kit.create("slow", &format!("0 {SIZE} delay 1:2 0 {minute}"));
    let dev = kit.create("m", &format!("0 {SIZE} mirror disk 3 254:0 {REGION} nosync 2 1:0 0 1:1 0"));
    kit.advance(Duration::from_secs(600));
    start_write(&kit, dev, 0, 1, &ends);
    start_write(&kit, dev, REGION, 2, &ends);
    start_write(&kit, dev, 0, 3, &ends);
    assert_eq!(end(kit, ends), failed(1..4));
}
