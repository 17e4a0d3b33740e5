//! Snapshots and merges whose devices fail at random, against a plain model.

use crate::kit;

use std::collections::BTreeSet;
use std::sync::Arc;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, SyncIo};
use dmlab_units::{DevT, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::{Fails, FaultDisk};
use proptest::prelude::*;

const SECTOR: usize = 512;
const SIZE: u64 = 128;
/// Of the persistent store: room for a record of every chunk, or not.
const STORE: u64 = 8 * 20;

#[derive(Clone, Debug)]
enum Step {
    Write(Who, u64, u64, u8),
    Read(Who),
    Break(usize, u64, u64, Fails),
    Heal(usize),
    Reload,
}

/// Which device: the origin, the snapshot with a persistent store, the one with a transient store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Origin = 0,
    Kept = 1,
    Lost = 2,
}

fn step() -> impl Strategy<Value = Step> {
    let who = || prop_oneof![Just(Who::Origin), Just(Who::Kept), Just(Who::Lost)];
    let place = || (0..SIZE, 1..24u64).prop_map(|(at, len)| (at, len.min(SIZE - at)));
    let fails = prop_oneof![Just(Fails::Reads), Just(Fails::Writes), Just(Fails::All)];
    prop_oneof![
        8 => (who(), place(), 1..255u8).prop_map(|(who, (at, len), byte)| Step::Write(who, at, len, byte)),
        4 => who().prop_map(Step::Read),
        1 => (0..3usize, 0..STORE, 1..12u64, fails).prop_map(|(disk, at, len, what)| Step::Break(disk, at, len, what)),
        2 => (0..3usize).prop_map(Step::Heal),
        1 => Just(Step::Reload),
    ]
}

type Model = Vec<BTreeSet<u8>>;

struct Lab {
    kit: Kit,
    disks: [Arc<FaultDisk>; 3],
    devs: [DevT; 3],
    models: [Model; 3],
}

fn table(who: Who) -> String {
    match who {
        Who::Origin => format!("0 {SIZE} snapshot-origin 7:0"),
        Who::Kept => format!("0 {SIZE} snapshot 7:0 7:1 P 8"),
        Who::Lost => format!("0 {SIZE} snapshot 7:0 7:2 N 4"),
    }
}

const NAMES: [&str; 3] = ["origin", "kept", "lost"];

impl Lab {
    fn new() -> Lab {
        let kit = Kit::new();
        let sizes = [SIZE, STORE, SIZE];
        let disks = [0, 1, 2].map(|i| FaultDisk::add(&kit, i, Sectors(sizes[i as usize])).1);
        let [kept, lost] = [Who::Kept, Who::Lost].map(|who| kit.create(NAMES[who as usize], &table(who)));
        let origin = kit.create("origin", &table(Who::Origin));
        let models = [(); 3].map(|()| vec![BTreeSet::from([0]); SIZE as usize]);
        Lab { kit, disks, devs: [origin, kept, lost], models }
    }

    fn status(&self, who: Who) -> String {
        self.kit.status(NAMES[who as usize], DmFlags::empty())
    }

    fn is_valid(&self, who: Who) -> bool {
        !self.status(who).contains("Invalid")
    }

    fn write(&mut self, who: Who, at: u64, len: u64, byte: u8) {
        let dev = self.kit.machine.registry().get(self.devs[who as usize]).unwrap();
        let bytes = vec![byte; len as usize * SECTOR];
        let is_ok = SyncIo::default().submit(&dev, Bio::write(Sector(at), &bytes)).is_ok();
        for allowed in &mut self.models[who as usize][at as usize..(at + len) as usize] {
            if is_ok {
                allowed.clear();
            }
            allowed.insert(byte);
        }
    }

    /// Each sector for itself, so that one that fails hides no other.
    fn read(&self, who: Who, must_succeed: bool) {
        let dev = self.kit.machine.registry().get(self.devs[who as usize]).unwrap();
        for (sector, allowed) in self.models[who as usize].iter().enumerate() {
            let mut buf = [0; SECTOR];
            let read = SyncIo::default().read(&dev, Sector(sector as u64), &mut buf, |bio| bio);
            assert!(read.is_ok() || !must_succeed, "{who:?}: sector {sector}: {read:?}");
            if read.is_ok() {
                assert!(
                    allowed.contains(&buf[0]),
                    "{who:?}: sector {sector} is {}, not of {allowed:?}",
                    buf[0]
                );
            }
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Write(who, at, len, byte) => self.write(who, at, len, byte),
            Step::Read(who) => self.read(who, false),
            Step::Break(disk, at, len, what) => self.disks[disk].fail(at..at + len, what),
            Step::Heal(disk) => self.disks[disk].heal(),
            // What failed in memory only is good again on disk: such a snapshot is not looked at any more.
            Step::Reload if self.is_valid(Who::Kept) => {
                self.heal();
                self.kit.ask(Command::DevRemove, "kept", DmFlags::empty()).unwrap();
                self.devs[1] = self.kit.create("kept", &table(Who::Kept));
                self.read(Who::Kept, true);
            }
            Step::Reload => {}
        }
    }

    fn heal(&self) {
        self.disks.iter().for_each(|disk| disk.heal());
    }

    fn restart_origin(&self) {
        self.kit.ask(Command::DevSuspend, "origin", DmFlags::SUSPEND).unwrap();
        self.kit.resume("origin").unwrap();
    }

    /// Merges the persistent snapshot: from then on the origin's device shows what the snapshot had.
    fn begin_merge(&mut self) {
        for name in ["origin", "kept"] {
            self.kit.ask(Command::DevSuspend, name, DmFlags::SUSPEND).unwrap();
        }
        self.kit.load("origin", &format!("0 {SIZE} snapshot-merge 7:0 7:1 P 8")).unwrap();
        self.kit.resume("origin").unwrap();
        self.models[0] = self.models[1].clone();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever fails: what can be read is right, and a failing store never hurts the origin.
    #[test]
    fn a_valid_snapshot_shows_the_past(steps in prop::collection::vec(step(), 1..60)) {
        let mut lab = Lab::new();
        lab.restart_origin();
        for step in steps {
            lab.run(step);
        }
        lab.heal();
        lab.read(Who::Origin, true);
        for who in [Who::Kept, Who::Lost] {
            if lab.is_valid(who) {
                lab.read(who, true);
            }
        }
    }

    /// A merge that fails loses nothing: its device shows the snapshot as before, and loaded anew it comes to its end.
    #[test]
    fn a_merge_keeps_the_snapshot(
        before in prop::collection::vec(step(), 1..30),
        during in prop::collection::vec(step(), 1..30),
    ) {
        let mut lab = Lab::new();
        lab.restart_origin();
        for step in before {
            lab.run(step);
        }
        if !lab.is_valid(Who::Kept) {
            return Ok(());
        }
        lab.begin_merge();
        for step in during {
            match step {
                Step::Write(Who::Kept, ..) | Step::Read(Who::Kept) => {}
                Step::Reload => lab.restart_origin(),
                step => lab.run(step),
            }
            lab.kit.machine.runtime().run_until_idle();
        }
        lab.heal();
        lab.read(Who::Origin, true);
        if lab.is_valid(Who::Lost) {
            lab.read(Who::Lost, true);
        }
        lab.kit.ask(Command::DevRemove, "kept", DmFlags::empty()).unwrap();
        lab.kit.ask(Command::DevRemove, "origin", DmFlags::empty()).unwrap();
        lab.devs[0] = lab.kit.create("origin", &format!("0 {SIZE} snapshot-merge 7:0 7:1 P 8"));
        lab.kit.machine.runtime().run_until_idle();
        prop_assert_eq!(lab.status(Who::Origin), format!("0 {SIZE} snapshot-merge 16/{STORE} 16"));
        lab.read(Who::Origin, true);
        for (sector, allowed) in lab.models[0].iter().enumerate() {
            prop_assert!(allowed.contains(&lab.disks[0].byte(sector as u64)), "sector {}", sector);
        }
        if lab.is_valid(Who::Lost) {
            lab.read(Who::Lost, true);
        }
    }
}
