//! A pool loses power.

use std::collections::BTreeMap;

use dmlab::crash::{CrashRun, LeftDisk, Moment, ThinCheck};
use dmlab::machine::Kernel;
use dmlab::{InProcess, Lab};
use dmlab_control::{CreateOptions, DeviceId, Dm, LoadOptions, Table};
use dmlab_runtime::{Rng, Stream};
use dmlab_thin_tools::{BytesMetadata, CheckOptions, check};
use dmlab_units::{DmName, SECTOR_SIZE, Sector, Sectors};

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

/// One operation; mark `2 n` stands before operation n and `2 n + 1` after it.
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

struct Pool<'a> {
    lab: &'a Lab,
    dm: Dm<InProcess>,
}

impl Pool<'_> {
    fn open<'a>(lab: &'a Lab, features: &str) -> Result<Pool<'a>, String> {
        let mut pool = Pool { lab, dm: lab.dm() };
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
        self.lab.open(&format!("/dev/mapper/t{id}")).expect("it is active and can be opened")
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
                let caller = Kernel(self.lab.machine().registry());
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

fn record(seed: u64, steps: usize, features: &str) -> (Vec<Step>, CrashRun) {
    crate::record(seed, &SIZES, |lab| {
        let mut pool = Pool::open(lab, features)?;
        // What follows is judged from here on: an empty pool that is there.
        lab.begin();
        let mut rng = Rng::new(seed, Stream::Workload);
        let (mut devices, mut next, mut value) = (Vec::new(), 0, 0);
        let (mut done, mut after) = (Vec::new(), None);
        for _ in 0..steps {
            let mut step =
                after.take().unwrap_or_else(|| choose(&mut rng, &mut devices, &mut next, &mut value));
            if matches!(step, Step::Discard { .. })
                && features.is_empty()
                && !matches!(done.last(), Some(Step::Status))
            {
                // As on Linux, a discard goes down at once. A block that another device gave up in the open transaction
                // is then gone, although that device still has it if the transaction never ends. So it ends first.
                after = Some(step);
                step = Step::Status;
            }
            lab.mark(format!("before {step:?}"));
            pool.step(step)?;
            lab.mark(format!("after {step:?}"));
            done.push(step);
        }
        Ok(done)
    })
}

fn metadata_of(disk: &LeftDisk) -> BytesMetadata {
    let mut bytes = vec![0; (METADATA.0 * SECTOR_SIZE) as usize];
    disk.read(0, &mut bytes);
    BytesMetadata::new(bytes)
}

fn check_metadata(disk: &LeftDisk, allows_leaks: bool) -> Result<(), String> {
    let report = check(&metadata_of(disk), CheckOptions::default()).map_err(|e| e.to_string())?;
    if (report.is_clean() && report.remarks.is_empty()) || (allows_leaks && report.has_only_leaks()) {
        return Ok(());
    }
    Err(report.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Opens what is left, and looks at everything.
fn examine(
    lab: &Lab,
    moment: &Moment<'_>,
    world: &World,
    features: &str,
    works_on: bool,
) -> Result<(), String> {
    let mut pool = Pool::open(lab, features)?;
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
    if works_on { check_metadata(moment.disk(0)?, true) } else { Ok(()) }
}

/// Examines states of one workload; returns how many.
fn explore(seed: u64, steps: usize, features: &str, each: usize) -> u64 {
    let (done, run) = record(seed, steps, features);
    let worlds = crate::models(World::default(), &done, World::begin, World::end);
    // A discard that is passed down holds its blocks until it is done: a commit in between writes that down.
    let report = run.explore().limit(each).judge(ThinCheck::on(0)).check(|lab, moment| {
        let works_on = moment.id.boundary.is_multiple_of(16);
        Ok(examine(lab, moment, &worlds[moment.mark_count()], features, works_on)?)
    });
    crate::clean(&report, seed)
}

#[test]
fn a_pool_keeps_what_was_flushed() {
    let start = std::time::Instant::now();
    let mut states = 0;
    let features = ["", " 1 no_discard_passdown", ""];
    for seed in 0..14 {
        states += explore(seed, 90, features[seed as usize % 3], 3);
    }
    crate::say_rate("thin", states, start);
    assert!(states > 20_000, "only {states} states");
}
