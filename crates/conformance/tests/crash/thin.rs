//! A pool loses power.

use std::collections::BTreeMap;
use std::sync::Arc;

use dmlab::InProcess;
use dmlab::machine::{Kernel, Machine, OpenMode};
use dmlab_block::{DiskOps, RamDisk};
use dmlab_control::{CreateOptions, DeviceId, Dm, LoadOptions, Table};
use dmlab_runtime::{Rng, Stream};
use dmlab_thin_tools::{BytesMetadata, CheckOptions, check};
use dmlab_units::{DmName, SECTOR_SIZE, Sector, Sectors};

use crate::disk::{Choice, Event, Explorer, Log, machine, recorded};
use crate::model::{Model, PIECE, bytes_of};

const BLOCK: u64 = 128;
/// Blocks of a thin device.
const THIN: u64 = 6;
const METADATA: Sectors = Sectors(128 * 8);
const DATA: Sectors = Sectors(48 * BLOCK);
const SIZES: [Sectors; 2] = [METADATA, DATA];
const BLKDISCARD: u32 = 0x1277;
/// Devices at once, at most.
const DEVICES: usize = 4;

/// One operation; [`Event::Mark`] `2 n` stands before operation n and `2 n + 1` after it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create(u64),
    Snap(u64, u64),
    Delete(u64),
    Write { id: u64, sector: u64, sectors: u64, value: u64 },
    Discard { id: u64, block: u64, blocks: u64 },
    Sync(u64),
    Status,
}

fn id(name: &str) -> DeviceId {
    DeviceId::from(&DmName::new(name).expect("a valid name"))
}

struct Pool {
    machine: Machine,
    dm: Dm<InProcess>,
}

impl Pool {
    fn open(machine: Machine, features: &str) -> Result<Pool, String> {
        let dm = Dm::new(InProcess::new(&machine));
        let mut pool = Pool { machine, dm };
        pool.create("pool", &format!("0 {DATA} thin-pool 1:0 1:1 {BLOCK} 0{features}"))?;
        Ok(pool)
    }

    fn create(&mut self, name: &str, table: &str) -> Result<(), String> {
        let table: Table = table.parse().expect("a valid table");
        let name = DmName::new(name).expect("a valid name");
        let (create, load) = (CreateOptions::default(), LoadOptions::default());
        self.dm.create_with_table(&name, &create, &table, load).map(|_| ()).map_err(|e| e.to_string())
    }

    fn thin(&mut self, id: u64) -> Result<(), String> {
        self.create(&format!("t{id}"), &format!("0 {} thin /dev/mapper/pool {id}", THIN * BLOCK))
    }

    fn message(&mut self, text: &str) -> Result<(), String> {
        self.dm.message(&id("pool"), Sector(0), text).map(|_| ()).map_err(|e| format!("{text}: {e}"))
    }

    fn file(&self, id: u64) -> dmlab::machine::BlockFile {
        let dev = self.machine.mapper().by_name(format!("t{id}").as_bytes()).expect("it is active").dev();
        let mode = OpenMode::READ | OpenMode::WRITE | OpenMode::DIRECT;
        self.machine.open_block(dev, mode).expect("it can be opened")
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let io = |e| format!("{step:?}: {e}");
        match step {
            Step::Create(id) => {
                self.message(&format!("create_thin {id}"))?;
                self.thin(id)
            }
            Step::Snap(id, origin) => {
                self.message(&format!("create_snap {id} {origin}"))?;
                self.thin(id)
            }
            Step::Delete(device) => {
                self.dm.remove(&id(&format!("t{device}")), false).map_err(|e| e.to_string())?;
                self.message(&format!("delete {device}"))
            }
            Step::Write { id, sector, sectors, value } => {
                let bytes = bytes_of(value, sectors);
                self.file(id).write_at(sector * SECTOR_SIZE, &bytes, Default::default()).map_err(io)?;
                Ok(())
            }
            Step::Discard { id, block, blocks } => {
                let mut range = [(block << 16).to_ne_bytes(), (blocks << 16).to_ne_bytes()].concat();
                let caller = Kernel(self.machine.registry());
                self.file(id).ioctl(&caller, BLKDISCARD, 0, &mut range).map_err(io)?;
                Ok(())
            }
            Step::Sync(id) => self.file(id).sync().map_err(io),
            Step::Status => {
                self.dm.status(&id("pool"), Default::default()).map(|_| ()).map_err(|e| e.to_string())
            }
        }
    }
}

/// What exists, and what each device may hold.
#[derive(Clone, Default)]
struct World {
    devices: BTreeMap<u64, Model>,
    /// A device that is being made or deleted: it may be there or not.
    doubtful: Option<u64>,
}

impl World {
    fn begin(&mut self, step: Step) {
        match step {
            Step::Create(id) | Step::Snap(id, _) | Step::Delete(id) => self.doubtful = Some(id),
            Step::Write { id, sector, sectors, value } => {
                self.devices.get_mut(&id).expect("it exists").write(sector, sectors, value);
            }
            Step::Discard { id, block, blocks } => {
                self.devices.get_mut(&id).expect("it exists").write(block * BLOCK, blocks * BLOCK, 0);
            }
            Step::Sync(_) | Step::Status => {}
        }
    }

    fn end(&mut self, step: Step) {
        self.doubtful = None;
        match step {
            // A message commits, and so makes all of it durable.
            Step::Create(id) => {
                self.flush();
                self.devices.insert(id, Model::new(THIN * BLOCK));
            }
            Step::Snap(id, origin) => {
                self.flush();
                self.devices.insert(id, self.devices[&origin].clone());
            }
            Step::Delete(id) => {
                self.devices.remove(&id);
                self.flush();
            }
            Step::Sync(id) => self.devices.get_mut(&id).expect("it exists").flush(),
            Step::Status => self.flush(),
            Step::Write { .. } | Step::Discard { .. } => {}
        }
    }

    fn flush(&mut self) {
        self.devices.values_mut().for_each(Model::flush);
    }
}

fn choose(rng: &mut Rng, devices: &mut Vec<u64>, next: &mut u64, value: &mut u64) -> Step {
    let one = |rng: &mut Rng, devices: &[u64]| devices[rng.below(devices.len() as u64) as usize];
    match rng.below(100) {
        _ if devices.is_empty() => {
            devices.push(*next);
            *next += 1;
            Step::Create(*next - 1)
        }
        0..8 if devices.len() < DEVICES => {
            let origin = one(rng, devices);
            devices.push(*next);
            *next += 1;
            Step::Snap(*next - 1, origin)
        }
        8..11 if devices.len() < DEVICES => {
            devices.push(*next);
            *next += 1;
            Step::Create(*next - 1)
        }
        11..17 if devices.len() > 1 => {
            Step::Delete(devices.swap_remove(rng.below(devices.len() as u64) as usize))
        }
        17..20 => Step::Status,
        20..28 => {
            let block = rng.below(THIN);
            Step::Discard { id: one(rng, devices), block, blocks: 1 + rng.below(THIN - block) }
        }
        28..55 => Step::Sync(one(rng, devices)),
        _ => {
            *value += 1;
            let (block, id) = (rng.below(THIN), one(rng, devices));
            let (first, pieces) = match rng.below(3) {
                0 => (0, BLOCK / PIECE),
                _ => (rng.below(BLOCK / PIECE), 1),
            };
            let (sector, sectors) = (block * BLOCK + first * PIECE, pieces * PIECE);
            Step::Write { id, sector, sectors, value: *value }
        }
    }
}

fn record(seed: u64, steps: usize, features: &str) -> (Vec<Step>, Log) {
    let (machine, log) = recorded(&SIZES);
    let mut pool = Pool::open(machine, features).expect("a pool on empty disks");
    // What follows is judged from here on: an empty pool that is there.
    let mut rng = Rng::new(seed, Stream::Workload);
    let (mut devices, mut next, mut value) = (Vec::new(), 0, 0);
    let mut done = Vec::new();
    for number in 0..steps {
        let step = choose(&mut rng, &mut devices, &mut next, &mut value);
        log.lock().push(Event::Mark(2 * number));
        pool.step(step).expect("a sound pool does it");
        log.lock().push(Event::Mark(2 * number + 1));
        done.push(step);
    }
    (done, log)
}

fn metadata_of(disk: &RamDisk) -> BytesMetadata {
    let mut bytes = vec![0; (METADATA.0 * SECTOR_SIZE) as usize];
    disk.memory().read(0, &mut bytes);
    BytesMetadata::new(bytes)
}

fn check_metadata(disk: &RamDisk, allows_leaks: bool) -> Result<(), String> {
    let report = check(&metadata_of(disk), CheckOptions::default()).map_err(|e| e.to_string())?;
    if report.is_clean() || (allows_leaks && report.has_only_leaks()) {
        return Ok(());
    }
    Err(report.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Opens what is left, and looks at everything.
fn examine(disks: Vec<RamDisk>, world: &World, features: &str, works_on: bool) -> Result<(), String> {
    // A discard that is passed down holds its blocks until it is done: a commit in between writes that down.
    check_metadata(&disks[0], true)?;
    let kept: Vec<RamDisk> = disks.iter().map(RamDisk::fork).collect();
    let kept: Vec<Arc<RamDisk>> = kept.into_iter().map(Arc::new).collect();
    let ops = kept.iter().map(|disk| disk.clone() as Arc<dyn DiskOps>).collect();
    let mut pool = Pool::open(machine(ops, &SIZES), features)?;
    let mut bytes = vec![0; (THIN * BLOCK * SECTOR_SIZE) as usize];
    let mut active = Vec::new();
    for (&device, model) in &world.devices {
        match pool.thin(device) {
            Ok(()) => active.push(device),
            Err(_) if world.doubtful == Some(device) => continue,
            Err(error) => return Err(format!("device {device}: {error}")),
        }
        let file = pool.file(device);
        file.read_at(0, &mut bytes, Default::default()).map_err(|e| format!("device {device}: {e}"))?;
        model.check(&bytes).map_err(|e| format!("device {device}: {e}"))?;
    }
    if works_on {
        for &device in &active {
            pool.step(Step::Write { id: device, sector: 0, sectors: PIECE, value: 1 })?;
            pool.step(Step::Sync(device))?;
        }
        pool.message("create_thin 1000000")?;
    }
    for device in active {
        pool.dm.remove(&id(&format!("t{device}")), false).map_err(|e| e.to_string())?;
    }
    pool.dm.remove(&id("pool"), false).map_err(|e| e.to_string())?;
    if works_on { check_metadata(&kept[0], true) } else { Ok(()) }
}

/// Examines states of one workload; returns how many.
fn explore(seed: u64, steps: usize, features: &str, each: u64) -> usize {
    let (done, log) = record(seed, steps, features);
    let log = log.lock();
    let mut explorer = Explorer::new(&log, &SIZES, seed);
    let mut world = World::default();
    let (mut states, mut has_begun) = (0, false);
    while let Some(event) = explorer.step() {
        match *event {
            Event::Mark(mark) if mark % 2 == 0 => {
                has_begun = true;
                world.begin(done[mark / 2]);
            }
            Event::Mark(mark) => world.end(done[mark / 2]),
            _ => {}
        }
        if !has_begun {
            continue;
        }
        let choices = match event {
            Event::Flush { .. } => vec![Choice::Nothing],
            _ if !explorer.has_pending() => continue,
            _ => [Choice::Everything].into_iter().chain((0..each).map(|_| Choice::Some)).collect(),
        };
        for choice in choices {
            states += 1;
            let disks = explorer.state(choice);
            let works_on = states % 16 == 0;
            if let Err(error) = examine(disks, &world, features, works_on) {
                panic!("seed {seed}, state {states}: {error}");
            }
        }
    }
    states
}

#[test]
fn a_pool_keeps_what_was_flushed() {
    let start = std::time::Instant::now();
    let mut states = 0;
    let features = ["", " 1 no_discard_passdown", ""];
    for seed in 0..20 {
        states += explore(seed, 90, features[seed as usize % 3], 2);
    }
    let rate = states as f64 / start.elapsed().as_secs_f64();
    crate::say(&format!("thin: {states} states examined, {rate:.0} a second"));
    assert!(states > 20_000, "only {states} states");
}
