//! Paths that fail and come back at random, against a plain model.

use dmlab_abi::DmFlags;
use dmlab_block::BlkStatus;
use dmlab_units::{DevT, Errno};
use proptest::prelude::*;

use super::{INFO, Pending, SECTOR, TABLE, kit, read, suspend};
use crate::kit::Kit;

/// What happens to the device of the property test.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8),
    Read(u64, u64),
    /// A path's device fails from now on, or no longer; the multipath device isn't told.
    Break(usize),
    Mend(usize),
    Fail(usize),
    Reinstate(usize),
    Group(&'static str, u32),
    Queue(bool),
    Suspend(bool),
    Resume,
    Reload,
}

const SIZE: u64 = 64;
const PATHS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..SIZE, 1..16u64);
    let word = prop_oneof![Just("switch_group"), Just("disable_group"), Just("enable_group")];
    prop_oneof![
        8 => (place(), 1..255u8).prop_map(|((at, len), byte)| Step::Write(at, len.min(SIZE - at), byte)),
        3 => place().prop_map(|(at, len)| Step::Read(at, len.min(SIZE - at))),
        4 => (0..PATHS).prop_map(Step::Break),
        3 => (0..PATHS).prop_map(Step::Mend),
        2 => (0..PATHS).prop_map(Step::Fail),
        4 => (0..PATHS).prop_map(Step::Reinstate),
        2 => (word, 1..3u32).prop_map(|(word, group)| Step::Group(word, group)),
        2 => any::<bool>().prop_map(Step::Queue),
        1 => any::<bool>().prop_map(Step::Suspend),
        2 => Just(Step::Resume),
        1 => Just(Step::Reload),
    ]
}

/// The plain model of it: no selectors, no groups, no order. IO gets through if some path is in use and works.
struct Model {
    is_bio: bool,
    bytes: Vec<u8>,
    works: [bool; PATHS],
    queues: bool,
    saved: bool,
    is_suspended: bool,
    waiting: Vec<(u64, u64, u8, Pending)>,
}

impl Model {
    /// How IO ends that is neither held by a suspend nor was there before one; `None` = it waits.
    fn fate(&self, in_use: [bool; PATHS]) -> Option<BlkStatus> {
        let reaches = (0..PATHS).any(|path| in_use[path] && self.works[path]);
        match (reaches, self.queues) {
            (true, _) => Some(BlkStatus::Ok),
            (false, true) => None,
            (false, false) => Some(BlkStatus::IoErr),
        }
    }

    /// Holds that what waited has ended as it must, and takes it out.
    fn settle(&mut self, fate: Option<BlkStatus>) {
        for (at, len, byte, pending) in std::mem::take(&mut self.waiting) {
            assert_eq!(pending.end(), fate, "{len} sectors at {at}");
            match fate {
                None => self.waiting.push((at, len, byte, pending)),
                Some(BlkStatus::Ok) => self.fill(at, len, byte),
                Some(_) => {}
            }
        }
    }

    fn fill(&mut self, at: u64, len: u64, byte: u8) {
        self.bytes[at as usize * SECTOR..(at + len) as usize * SECTOR].fill(byte);
    }

    fn overlaps_a_waiting_one(&self, at: u64, len: u64) -> bool {
        self.waiting.iter().any(|(other, more, ..)| at < other + more && *other < at + len)
    }
}

/// Which paths the multipath device uses, as its status says.
fn in_use(kit: &Kit) -> [bool; PATHS] {
    let status = kit.status("m", INFO);
    let words: Vec<&str> = status.split(' ').collect();
    std::array::from_fn(|path| {
        let dev = format!("254:{path}");
        let at = words.iter().position(|word| *word == dev).unwrap();
        words[at + 1] == "A"
    })
}

#[expect(clippy::too_many_lines, reason = "the device and its model take each step side by side")]
fn run(steps: Vec<Step>, is_bio: bool, selectors: [&str; 2]) {
    let kit = kit();
    // All paths lead to one disk.
    let good = if is_bio { "linear 253:0 0" } else { "multipath 0 0 1 1 round-robin 0 1 1 253:0 1" };
    for path in 0..PATHS {
        kit.create(&format!("p{path}"), &format!("0 {SIZE} {good}"));
    }
    let switch = |path: usize, target: &str| {
        kit.load(&format!("p{path}"), &format!("0 {SIZE} {target}")).unwrap();
        kit.resume(&format!("p{path}")).unwrap();
    };
    let mode = if is_bio { "bio" } else { "rq" };
    let [first, second] = selectors;
    let groups = format!("{first} 0 2 0 254:0 254:1 {second} 0 2 0 254:2 254:3");
    let table = format!("0 {SIZE} multipath 3 queue_if_no_path queue_mode {mode} 0 2 1 {groups}");
    let dev = kit.create("m", &table);
    let mut model = Model {
        is_bio,
        bytes: vec![0; SIZE as usize * SECTOR],
        works: [true; PATHS],
        queues: true,
        saved: true,
        is_suspended: false,
        waiting: Vec::new(),
    };
    for step in steps {
        let before = in_use(&kit);
        match step {
            Step::Write(at, len, byte) if !model.overlaps_a_waiting_one(at, len) => {
                let pending = Pending::write(&kit, dev, at, &vec![byte; len as usize * SECTOR]);
                let fate = if model.is_suspended { None } else { model.fate(before) };
                assert_eq!(pending.end(), fate);
                match fate {
                    None => model.waiting.push((at, len, byte, pending)),
                    Some(BlkStatus::Ok) => model.fill(at, len, byte),
                    Some(_) => {}
                }
            }
            Step::Read(at, len) if !model.is_suspended && !model.overlaps_a_waiting_one(at, len) => {
                let fate = model.fate(before);
                let expected = match fate {
                    Some(BlkStatus::Ok) => {
                        Ok(model.bytes[at as usize * SECTOR..(at + len) as usize * SECTOR].to_vec())
                    }
                    Some(_) => Err(Errno::EIO),
                    // It waits, and nothing can help it.
                    None => continue,
                };
                assert_eq!(read(&kit, dev, at, len as usize), expected);
            }
            Step::Write(..) | Step::Read(..) => {}
            Step::Break(path) => {
                switch(path, "error");
                model.works[path] = false;
            }
            Step::Mend(path) => {
                switch(path, good);
                model.works[path] = true;
            }
            Step::Fail(path) => drop(kit.message("m", &format!("fail_path 254:{path}"))),
            Step::Reinstate(path) => {
                if kit.message("m", &format!("reinstate_path 254:{path}")).is_ok() {
                    let mut now = before;
                    now[path] = true;
                    let fate = model.fate(now);
                    // Only the first path that comes back has what waits tried again.
                    model.settle(fate);
                }
            }
            Step::Group(word, group) => drop(kit.message("m", &format!("{word} {group}"))),
            Step::Queue(on) => {
                let word = if on { "queue_if_no_path" } else { "fail_if_no_path" };
                if kit.message("m", word).is_ok() {
                    (model.queues, model.saved) = (on, on);
                    let fate = model.fate(before);
                    model.settle(fate);
                }
            }
            Step::Suspend(noflush) if !model.is_suspended => {
                suspend(&kit, "m", if noflush { DmFlags::NOFLUSH } else { INFO });
                if is_bio || !noflush {
                    (model.saved, model.queues) = (model.queues, false);
                }
                model.settle(if noflush { None } else { Some(BlkStatus::IoErr) });
                model.is_suspended = true;
            }
            Step::Suspend(_) => {}
            Step::Resume => {
                kit.resume("m").unwrap();
                kit.machine.runtime().run_until_idle();
                if std::mem::take(&mut model.is_suspended) {
                    model.queues |= model.saved;
                    let fate = model.fate(before);
                    model.settle(fate);
                }
            }
            Step::Reload => {
                // The resume suspends first, with a flush, unless it is suspended already.
                kit.load("m", &table).unwrap();
                kit.resume("m").unwrap();
                kit.machine.runtime().run_until_idle();
                if !std::mem::take(&mut model.is_suspended) {
                    model.settle(Some(BlkStatus::IoErr));
                }
                (model.queues, model.saved) = (true, true);
                let fate = model.fate([true; PATHS]);
                model.settle(fate);
            }
        }
        assert!(model.is_bio == is_bio);
        let shown = kit.status("m", TABLE).contains("queue_if_no_path");
        assert_eq!(shown, model.queues, "queueing");
    }
    // In the end everything works again, and nothing waits any more.
    for path in 0..PATHS {
        switch(path, good);
    }
    kit.resume("m").unwrap();
    kit.message("m", "fail_if_no_path").unwrap();
    for path in 0..PATHS {
        kit.message("m", &format!("reinstate_path 254:{path}")).unwrap();
    }
    for (at, len, byte, pending) in std::mem::take(&mut model.waiting) {
        let end = pending.end().expect("nothing waits any more");
        if end.is_ok() {
            model.fill(at, len, byte);
        }
    }
    assert_eq!(read(&kit, DevT::new(253, 0), 0, SIZE as usize).unwrap(), model.bytes);
    assert_eq!(read(&kit, dev, 0, SIZE as usize).unwrap(), model.bytes);
    // No selector counts anything as on its way.
    for word in ["queue-length", "service-time"] {
        if selectors == [word; 2] {
            let status = kit.status("m", INFO);
            for path in 0..PATHS {
                let words: Vec<&str> =
                    status.split(' ').skip_while(|w| *w != format!("254:{path}")).collect();
                assert_eq!(words[3], "0", "{status}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Paths that fail and come back at random, in every mode and with every selector: IO ends once, when and as the
    /// model says, and what it wrote is on the disk.
    #[test]
    fn io_ends_once_with_the_right_bytes(
        steps in prop::collection::vec(step(), 1..60),
        is_bio in any::<bool>(),
        selectors in prop::sample::select(vec![
            ["round-robin"; 2],
            ["queue-length"; 2],
            ["service-time"; 2],
            ["historical-service-time"; 2],
            ["round-robin", "service-time"],
        ]),
    ) {
        run(steps, is_bio, selectors);
    }
}
