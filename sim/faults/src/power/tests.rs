use std::collections::BTreeSet;
use std::sync::Arc;

use dmlab_block::{Bio, BioFlags, BlockDevice, Op, run_async};
use dmlab_runtime::{Runtime, VirtualDriver};
use dmlab_units::{DevT, SECTOR_SIZE, Sector, Sectors};
use proptest::prelude::*;

use super::*;

const DISKS: usize = 2;
const SECTORS: u64 = 12;

struct Bench {
    runtime: Arc<Runtime>,
    devices: Vec<Arc<BlockDevice>>,
    recorder: Recorder,
}

impl Bench {
    fn new() -> Bench {
        let (runtime, recorder) = (Runtime::new(0, VirtualDriver::new()), Recorder::new());
        let device = |number: u32| {
            let disk = RecordedDisk::new(Sectors(SECTORS), &recorder);
            let (dev, limits) = (DevT::new(1, number), disk.limits());
            let name = format!("ram{number}");
            let device =
                BlockDevice::new(dev, name, u64::from(number), runtime.clone(), Arc::new(disk), limits);
            device.set_capacity(Sectors(SECTORS));
            device
        };
        let devices = (0..DISKS as u32).map(device).collect();
        Bench { runtime, devices, recorder }
    }

    fn run(&self, disk: usize, bio: Bio<'static>) {
        self.runtime.block_on(run_async(bio.to(&self.devices[disk]))).unwrap().unwrap();
    }

    /// Sectors that all hold the same number.
    fn write(&self, disk: usize, sector: u64, sectors: u64, value: u64, flags: BioFlags) {
        let bytes = value.to_le_bytes().repeat((sectors * SECTOR_SIZE / 8) as usize);
        self.run(disk, Bio::write_owned(Sector(sector), bytes.into()).with_flags(flags));
    }
}

/// The numbers on a disk; `None` for a sector that is none.
fn values(disk: &LeftDisk) -> Vec<u64> {
    let mut bytes = vec![0; (SECTORS * SECTOR_SIZE) as usize];
    disk.read(0, &mut bytes);
    let value = |sector: &[u8]| {
        let value = u64::from_le_bytes(sector[..8].try_into().unwrap());
        assert!(sector.chunks(8).all(|word| word == value.to_le_bytes()), "a sector is half there");
        value
    };
    bytes.chunks(SECTOR_SIZE as usize).map(value).collect()
}

fn images(recording: &Recording, boundary: usize, limit: usize) -> BTreeSet<Vec<Vec<u64>>> {
    let mut walk = Walk::new(recording);
    let mut images = BTreeSet::new();
    // What is left of earlier boundaries since the last flush counts as well: a later write may be lost whole.
    while walk.boundary() <= boundary {
        for id in states_here(&walk, Limits { per_boundary: limit, seed: 1 }) {
            images.insert(walk.disks(&id.choice).iter().map(values).collect());
        }
        if walk.step().is_none() {
            break;
        }
        if matches!(walk.last(), Some(Event::Flush(_))) {
            images.clear();
        }
    }
    images
}

#[test]
fn few_writes_are_gone_through_in_every_combination() {
    let bench = Bench::new();
    for sector in 0..4 {
        bench.write(0, sector, 1, sector + 1, BioFlags::empty());
    }
    let images = images(&bench.recorder.take(), 4, 64);
    let all = (0..16u64).map(|mask| {
        let kept = (0..SECTORS).map(|sector| if mask & 1 << sector != 0 { sector + 1 } else { 0 });
        vec![kept.collect(), vec![0; SECTORS as usize]]
    });
    assert_eq!(images, all.collect());
}

#[test]
fn a_write_is_torn_at_each_of_its_sectors_and_lies_below_or_above() {
    let bench = Bench::new();
    bench.write(1, 0, 3, 7, BioFlags::empty());
    bench.write(1, 2, 2, 8, BioFlags::empty());
    let images = images(&bench.recorder.take(), 2, 64);
    let heads: BTreeSet<Vec<u64>> = images.iter().map(|disks| disks[1][..4].to_vec()).collect();
    for head in [
        [0, 0, 0, 0],
        [7, 7, 7, 0],
        [7, 0, 0, 0],
        [0, 0, 7, 0],
        [7, 7, 8, 8],
        [7, 7, 7, 8],
        [7, 7, 8, 0],
        [0, 0, 8, 0],
    ] {
        assert!(heads.contains(&head[..]), "{head:?} is not among {heads:?}");
    }
    assert!(!heads.contains(&[8, 0, 0, 0][..]));
}

#[test]
fn a_forced_write_is_there_and_on_top_and_flushes_nothing_else() {
    let bench = Bench::new();
    bench.write(0, 0, 2, 7, BioFlags::empty());
    bench.write(0, 1, 2, 8, BioFlags::FUA);
    let images = images(&bench.recorder.take(), 2, 64);
    let heads: BTreeSet<Vec<u64>> = images.iter().map(|disks| disks[0][..3].to_vec()).collect();
    // The states before it was told, too.
    let before = [[0, 0, 0], [7, 7, 0], [7, 0, 0], [0, 7, 0]];
    let after = [[0, 8, 8], [7, 8, 8]];
    assert_eq!(heads, before.into_iter().chain(after).map(Vec::from).collect());
}

#[derive(Clone, Debug)]
enum Step {
    Write { disk: usize, sector: u64, sectors: u64, is_forced: bool, flushes_first: bool },
    Discard { disk: usize, sector: u64, sectors: u64 },
    Flush(usize),
    Mark,
}

fn any_step() -> impl Strategy<Value = Step> {
    let range = (0..DISKS, 0..SECTORS, 1..5u64);
    let range = range.prop_map(|(disk, sector, len)| (disk, sector, len.min(SECTORS - sector)));
    prop_oneof![
        6 => (range.clone(), prop::bool::weighted(0.2), prop::bool::weighted(0.2)).prop_map(
            |((disk, sector, sectors), is_forced, flushes_first)| Step::Write { disk, sector, sectors, is_forced, flushes_first }
        ),
        2 => range.prop_map(|(disk, sector, sectors)| Step::Discard { disk, sector, sectors }),
        2 => (0..DISKS).prop_map(Step::Flush),
        1 => Just(Step::Mark),
    ]
}

/// What a sector may hold: the last is what it holds while there is power.
type Allowed = Vec<Vec<Vec<u64>>>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Every state holds in each sector what is durable or what came later, is built again from its name alone, and the
    /// state in which all is there is what a reader sees.
    #[test]
    fn states_hold_what_the_model_allows(steps in prop::collection::vec(any_step(), 1..24), limit in 1..20usize) {
        let bench = Bench::new();
        let mut allowed: Allowed = vec![vec![vec![0]; SECTORS as usize]; DISKS];
        let flush = |allowed: &mut Allowed, disk: usize| {
            allowed[disk].iter_mut().for_each(|sector| *sector = vec![*sector.last().unwrap()]);
        };
        // What is allowed after each number of events.
        let mut after = vec![(0, allowed.clone())];
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Write { disk, sector, sectors, is_forced, flushes_first } => {
                    let mut flags = BioFlags::empty();
                    flags.set(BioFlags::FUA, is_forced);
                    flags.set(BioFlags::PREFLUSH, flushes_first);
                    bench.write(disk, sector, sectors, number as u64 + 1, flags);
                    if flushes_first {
                        flush(&mut allowed, disk);
                        after.push((bench.recorder.len() - 1, allowed.clone()));
                    }
                    for values in &mut allowed[disk][sector as usize..(sector + sectors) as usize] {
                        if is_forced {
                            values.clear();
                        }
                        values.push(number as u64 + 1);
                    }
                }
                Step::Discard { disk, sector, sectors } => {
                    bench.run(disk, Bio::range(Op::Discard, Sector(sector), Sectors(sectors)));
                    let range = sector as usize..(sector + sectors) as usize;
                    allowed[disk][range].iter_mut().for_each(|values| values.push(0));
                }
                Step::Flush(disk) => {
                    bench.run(disk, Bio::flush());
                    flush(&mut allowed, disk);
                }
                Step::Mark => _ = bench.recorder.mark("here"),
            }
            after.push((bench.recorder.len(), allowed.clone()));
        }
        let recording = bench.recorder.take();
        let mut walk = Walk::new(&recording);
        loop {
            let (_, allowed) = after.iter().find(|(at, _)| *at == walk.boundary()).unwrap();
            for id in states_here(&walk, Limits { per_boundary: limit, seed: 5 }) {
                let disks: Vec<Vec<u64>> = walk.disks(&id.choice).iter().map(values).collect();
                for (disk, sectors) in disks.iter().enumerate() {
                    for (sector, value) in sectors.iter().enumerate() {
                        prop_assert!(allowed[disk][sector].contains(value), "{id}: {value} in {sector} of {disk}");
                    }
                }
                if id.choice == Choice::All {
                    let last: Vec<Vec<u64>> = allowed.iter().map(|disk| disk.iter().map(|v| *v.last().unwrap()).collect()).collect();
                    prop_assert_eq!(&disks, &last);
                }
                let named: StateId = id.to_string().parse().unwrap();
                let mut alone = Walk::new(&recording);
                prop_assert!(alone.go_to(named.boundary));
                let again: Vec<Vec<u64>> = alone.disks(&named.choice).iter().map(values).collect();
                prop_assert_eq!(again, disks);
            }
            if walk.step().is_none() {
                break;
            }
        }
    }
}
