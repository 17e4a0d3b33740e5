//! Snapshots and merges whose disks take their time, with bios that overlap, against a plain model.

use crate::kit;

use std::collections::BTreeSet;
use std::sync::Arc;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, BlkStatus, SyncIo, submit};
use dmlab_units::{DevT, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::FaultDisk;
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::sample::Index;

const SECTOR: usize = 512;
const SIZE: u64 = 64;
const STORE: u64 = 8 * 20;

const NAMES: [&str; 3] = ["origin", "kept", "lost"];

/// One bio: to which device, where, and what it writes if it is no read.
#[derive(Clone, Debug)]
struct Op {
    who: usize,
    at: u64,
    len: u64,
    byte: Option<u8>,
}

/// Bios that are under way together, and in which order the disks answer.
#[derive(Clone, Debug)]
struct Round {
    ops: Vec<Op>,
    order: Vec<Index>,
}

fn round() -> impl Strategy<Value = Round> {
    let op = (0..3usize, 0..SIZE, 1..20u64, prop::option::weighted(0.7, 1..255u8))
        .prop_map(|(who, at, len, byte)| Op { who, at, len: len.min(SIZE - at), byte });
    (prop::collection::vec(op, 1..7), prop::collection::vec(any::<Index>(), 0..40))
        .prop_map(|(ops, order)| Round { ops, order })
}

/// How a bio has ended, and what it has read.
type Ended = Arc<Mutex<Option<(BlkStatus, Vec<u8>)>>>;

struct Lab {
    kit: Kit,
    disks: [Arc<FaultDisk>; 3],
    devs: [DevT; 3],
    /// What each sector of each device may hold.
    models: [Vec<BTreeSet<u8>>; 3],
}

impl Lab {
    fn new() -> Lab {
        let kit = Kit::new();
        let sizes = [SIZE, STORE, STORE];
        let disks = [0, 1, 2].map(|i| FaultDisk::add(&kit, i, Sectors(sizes[i as usize])).1);
        let kept = kit.create("kept", &format!("0 {SIZE} snapshot 7:0 7:1 P 8"));
        let lost = kit.create("lost", &format!("0 {SIZE} snapshot 7:0 7:2 N 4"));
        let origin = kit.create("origin", &format!("0 {SIZE} snapshot-origin 7:0"));
        let models = [(); 3].map(|()| vec![BTreeSet::from([0]); SIZE as usize]);
        Lab { kit, disks, devs: [origin, kept, lost], models }
    }

    fn hold(&self, holds: bool) {
        self.disks.iter().for_each(|disk| disk.hold(holds));
    }

    fn start(&self, op: &Op) -> Ended {
        let dev = self.kit.machine.registry().get(self.devs[op.who]).unwrap();
        let ended = Ended::default();
        let tell = ended.clone();
        let bio = match op.byte {
            Some(byte) => Bio::write_owned(Sector(op.at), vec![byte; op.len as usize * SECTOR].into()),
            None => Bio::read_owned(Sector(op.at), Sectors(op.len)),
        };
        let is_read = op.byte.is_none();
        let done = move |status, mut parts: Vec<dmlab_block::Part>| {
            parts.sort_by_key(|part| part.offset);
            let bytes = parts.iter().flat_map(|part| part.data.chunks(SECTOR)).map(|sector| sector[0]);
            let bytes = if is_read { bytes.collect() } else { Vec::new() };
            assert!(tell.lock().replace((status, bytes)).is_none(), "a bio has ended twice");
        };
        submit(bio.on_end(done).to(&dev));
        self.kit.machine.runtime().run_until_idle();
        ended
    }

    /// Lets the disks answer the drawn one of what they hold, or the first; whether there was any.
    fn let_one_go(&self, drawn: Option<&Index>) -> bool {
        let held: Vec<(usize, usize)> = (self.disks.iter().enumerate())
            .flat_map(|(disk, held)| (0..held.held()).map(move |index| (disk, index)))
            .collect();
        if held.is_empty() {
            return false;
        }
        let (disk, index) = held[drawn.map_or(0, |drawn| drawn.index(held.len()))];
        self.disks[disk].let_go(index);
        self.kit.machine.runtime().run_until_idle();
        true
    }

    fn run(&mut self, Round { ops, order }: &Round) {
        self.hold(true);
        self.run_held(ops, order);
    }

    /// Runs the operations while the disks hold already.
    fn run_held(&mut self, ops: &[Op], order: &[Index]) {
        let mut order = order.iter();
        let mut started = Vec::new();
        for op in ops {
            started.push((op, self.start(op)));
            // Some end before the next begins.
            if let Some(drawn) = order.next()
                && drawn.index(2) == 0
            {
                self.let_one_go(order.next());
            }
        }
        while self.let_one_go(order.next()) {}
        self.hold(false);
        let before = self.models.clone();
        let mut written = [(); 3].map(|()| vec![BTreeSet::new(); SIZE as usize]);
        for (Op { who, at, len, byte }, ended) in &started {
            assert_eq!(ended.lock().as_ref().map(|(status, _)| *status), Some(BlkStatus::Ok));
            for sector in *at..at + len {
                written[*who][sector as usize].extend(byte);
            }
        }
        for (Op { who, at, byte, .. }, ended) in &started {
            let ended = ended.lock();
            let Some((_, bytes)) = ended.as_ref().filter(|_| byte.is_none()) else { continue };
            for (sector, byte) in (*at as usize..).zip(bytes) {
                let (before, written) = (&before[*who][sector], &written[*who][sector]);
                let is_right = before.contains(byte) || written.contains(byte);
                assert!(
                    is_right,
                    "{}: sector {sector} read {byte}, not of {before:?} {written:?}",
                    NAMES[*who]
                );
            }
        }
        for (model, written) in self.models.iter_mut().zip(written) {
            for (allowed, written) in model.iter_mut().zip(written).filter(|(_, written)| !written.is_empty())
            {
                *allowed = written;
            }
        }
    }

    /// Reads a device. From then on each sector holds what was read.
    fn look(&mut self, who: usize) {
        let dev = self.kit.machine.registry().get(self.devs[who]).unwrap();
        let mut buf = vec![0; SIZE as usize * SECTOR];
        SyncIo::default().read(&dev, Sector(0), &mut buf, |bio| bio).unwrap();
        for (sector, (allowed, bytes)) in self.models[who].iter_mut().zip(buf.chunks(SECTOR)).enumerate() {
            assert!(
                allowed.contains(&bytes[0]),
                "{}: sector {sector} is {}, not of {allowed:?}",
                NAMES[who],
                bytes[0]
            );
            *allowed = BTreeSet::from([bytes[0]]);
        }
    }

    fn status(&self, name: &str) -> String {
        self.kit.status(name, DmFlags::empty())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever waits for what: no write to one device is ever seen on another, and none is lost.
    #[test]
    fn origin_and_snapshots_keep_apart(rounds in prop::collection::vec(round(), 1..12)) {
        let mut lab = Lab::new();
        for round in &rounds {
            lab.run(round);
            (0..3).for_each(|who| lab.look(who));
        }
        // What the persistent one remembers is what it showed.
        lab.kit.ask(Command::DevRemove, "kept", DmFlags::empty()).unwrap();
        lab.devs[1] = lab.kit.create("kept", &format!("0 {SIZE} snapshot 7:0 7:1 P 8"));
        lab.look(1);
    }

    /// Bios that meet a merge: its device shows what the snapshot had and what was written since.
    #[test]
    fn a_merge_goes_on_under_io(
        before in prop::collection::vec(round(), 1..4),
        during in prop::collection::vec(round(), 1..6),
    ) {
        let mut lab = Lab::new();
        lab.kit.ask(Command::DevRemove, "lost", DmFlags::empty()).unwrap();
        let without_lost = |round: &Round| {
            let ops = round.ops.iter().filter(|op| op.who != 2).cloned().collect();
            Round { ops, order: round.order.clone() }
        };
        for round in &before {
            lab.run(&without_lost(round));
            (0..2).for_each(|who| lab.look(who));
        }
        for name in ["origin", "kept"] {
            lab.kit.ask(Command::DevSuspend, name, DmFlags::SUSPEND).unwrap();
        }
        lab.kit.load("origin", &format!("0 {SIZE} snapshot-merge 7:0 7:1 P 8")).unwrap();
        // From the first moment on, the disks answer when they are told to.
        lab.hold(true);
        lab.kit.resume("origin").unwrap();
        lab.models[0] = lab.models[1].clone();
        for round in &during {
            let ops: Vec<_> = round.ops.iter().map(|op| Op { who: 0, ..op.clone() }).collect();
            lab.run_held(&ops, &round.order);
            lab.look(0);
            lab.hold(true);
        }
        lab.hold(false);
        prop_assert_eq!(lab.status("origin"), format!("0 {SIZE} snapshot-merge 16/{STORE} 16"));
        for (sector, allowed) in lab.models[0].iter().enumerate() {
            prop_assert!(allowed.contains(&lab.disks[0].byte(sector as u64)), "sector {}", sector);
        }
    }
}
