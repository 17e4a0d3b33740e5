//! An origin and its persistent snapshot lose power.
//!
//! A write to the origin goes on only when the old chunk's copy and its record are durable, so whatever part of it
//! is there afterwards, the snapshot shows what was there before.

use std::sync::Arc;

use dmlab::InProcess;
use dmlab::machine::{BlockFile, Machine, OpenMode};
use dmlab_block::{DiskOps, RamDisk};
use dmlab_control::{CreateOptions, Dm, LoadOptions, Table};
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{DmName, SECTOR_SIZE, Sectors};

use crate::disk::{Choice, Event, Explorer, Log, machine, recorded};
use crate::model::{Model, PIECE, bytes_of};

/// Chunks of the snapshot, in sectors. With the first, areas fill: 32 records each. The last has room for more than one
/// piece.
const CHUNKS: [u64; 3] = [1, 8, 16];
const ORIGIN: Sectors = Sectors(16 * PIECE);
const COW: Sectors = Sectors(64 * PIECE);
const SIZES: [Sectors; 2] = [ORIGIN, COW];

#[derive(Clone, Copy, Debug)]
enum Step {
    Write { device: usize, piece: u64, value: u64 },
    Sync(usize),
}

struct Pair {
    files: [BlockFile; 2],
}

impl Pair {
    fn open(machine: &Machine, chunk: u64) -> Result<Pair, String> {
        let mut dm = Dm::new(InProcess::new(machine));
        let tables = [
            ("snap", format!("0 {ORIGIN} snapshot 1:0 1:1 P {chunk}")),
            ("origin", format!("0 {ORIGIN} snapshot-origin 1:0")),
        ];
        for (name, table) in tables {
            let (table, name): (Table, _) =
                (table.parse().expect("a valid table"), DmName::new(name).expect("a valid name"));
            let (create, load) = (CreateOptions::default(), LoadOptions::default());
            dm.create_with_table(&name, &create, &table, load).map_err(|e| e.to_string())?;
        }
        let open = |name: &str| {
            let dev = machine.mapper().by_name(name.as_bytes()).expect("made above").dev();
            let mode = OpenMode::READ | OpenMode::WRITE | OpenMode::DIRECT;
            machine.open_block(dev, mode).map_err(|e| e.to_string())
        };
        Ok(Pair { files: [open("origin")?, open("snap")?] })
    }

    fn step(&self, step: Step) -> Result<(), String> {
        let done = match step {
            Step::Write { device, piece, value } => {
                let at = piece * PIECE * SECTOR_SIZE;
                self.files[device].write_at(at, &bytes_of(value, PIECE), Default::default()).map(|_| ())
            }
            Step::Sync(device) => self.files[device].sync(),
        };
        done.map_err(|e| format!("{step:?}: {e}"))
    }
}

fn record(seed: u64, steps: usize, chunk: u64) -> (Vec<Step>, Log) {
    let (machine, log) = recorded(&SIZES);
    let pair = Pair::open(&machine, chunk).expect("a snapshot on empty disks");
    let mut rng = Rng::new(seed, Stream::Workload);
    let mut done = Vec::new();
    for number in 0..steps {
        let device = rng.below(2) as usize;
        let step = match rng.below(4) {
            0 => Step::Sync(device),
            _ => Step::Write { device, piece: rng.below(ORIGIN.0 / PIECE), value: 1 + number as u64 },
        };
        log.lock().push(Event::Mark(2 * number));
        pair.step(step).expect("a sound snapshot does it");
        log.lock().push(Event::Mark(2 * number + 1));
        done.push(step);
    }
    (done, log)
}

fn examine(disks: Vec<RamDisk>, models: &[Model; 2], chunk: u64) -> Result<(), String> {
    let ops = disks.into_iter().map(|disk| Arc::new(disk) as Arc<dyn DiskOps>).collect();
    let machine = machine(ops, &SIZES);
    let pair = Pair::open(&machine, chunk)?;
    let mut bytes = vec![0; (ORIGIN.0 * SECTOR_SIZE) as usize];
    for (device, model) in models.iter().enumerate() {
        let name = ["origin", "snapshot"][device];
        pair.files[device].read_at(0, &mut bytes, Default::default()).map_err(|e| format!("{name}: {e}"))?;
        model.check(&bytes).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

fn explore(seed: u64, steps: usize, chunk: u64, each: u64) -> usize {
    let (done, log) = record(seed, steps, chunk);
    let log = log.lock();
    let mut explorer = Explorer::new(&log, &SIZES, seed);
    // The snapshot was taken of zeros, and nothing that the origin gets afterwards may show in it.
    let mut models = [Model::new(ORIGIN.0), Model::new(ORIGIN.0)];
    let (mut states, mut has_begun) = (0, false);
    while let Some(event) = explorer.step() {
        match *event {
            Event::Mark(mark) => match done[mark / 2] {
                Step::Write { device, piece, value } if mark % 2 == 0 => {
                    models[device].write(piece * PIECE, PIECE, value);
                }
                Step::Sync(device) if mark % 2 == 1 => models[device].flush(),
                _ => {}
            },
            Event::Write { .. } | Event::Flush { .. } => {}
        }
        has_begun |= matches!(event, Event::Mark(_));
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
            if let Err(error) = examine(disks, &models, chunk) {
                panic!("seed {seed}, chunk {chunk}, state {states}: {error}");
            }
        }
    }
    states
}

#[test]
fn a_snapshot_keeps_what_was_before() {
    let start = std::time::Instant::now();
    let mut states = 0;
    for seed in 0..16 {
        states += explore(seed, 120, CHUNKS[seed as usize % CHUNKS.len()], 3);
    }
    let rate = states as f64 / start.elapsed().as_secs_f64();
    crate::say(&format!("snapshot: {states} states examined, {rate:.0} a second"));
    assert!(states > 10_000, "only {states} states");
}
