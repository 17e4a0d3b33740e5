//! An origin and its persistent snapshot lose power.
//!
//! A write to the origin goes on only when the old chunk's copy and its record are durable, so whatever part of it
//! is there afterwards, the snapshot shows what was there before.

use dmlab::Lab;
use dmlab::crash::{CrashRun, SnapshotStore};
use dmlab::machine::BlockFile;
use dmlab_control::{CreateOptions, LoadOptions, Table};
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{DmName, SECTOR_SIZE, Sectors};

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
    fn open(lab: &Lab, chunk: u64) -> Result<Pair, String> {
        let mut dm = lab.dm();
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
        let open = |name: &str| lab.open(&format!("/dev/mapper/{name}")).map_err(|e| e.to_string());
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

fn record(seed: u64, steps: usize, chunk: u64) -> (Vec<Step>, CrashRun) {
    crate::record(seed, &SIZES, |lab| {
        let pair = Pair::open(lab, chunk)?;
        lab.begin();
        let mut rng = Rng::new(seed, Stream::Workload);
        let mut done = Vec::new();
        for number in 0..steps {
            let device = rng.below(2) as usize;
            let step = match rng.below(4) {
                0 => Step::Sync(device),
                _ => Step::Write { device, piece: rng.below(ORIGIN.0 / PIECE), value: 1 + number as u64 },
            };
            lab.mark(format!("before {step:?}"));
            pair.step(step)?;
            lab.mark(format!("after {step:?}"));
            done.push(step);
        }
        Ok(done)
    })
}

fn examine(lab: &Lab, models: &[Model; 2], chunk: u64) -> Result<(), String> {
    let pair = Pair::open(lab, chunk)?;
    let mut bytes = vec![0; (ORIGIN.0 * SECTOR_SIZE) as usize];
    for (device, model) in models.iter().enumerate() {
        let name = ["origin", "snapshot"][device];
        pair.files[device].read_at(0, &mut bytes, Default::default()).map_err(|e| format!("{name}: {e}"))?;
        model.check(&bytes).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

fn explore(seed: u64, steps: usize, chunk: u64, each: usize) -> u64 {
    let (done, run) = record(seed, steps, chunk);
    let begin = |models: &mut [Model; 2], step: Step| {
        if let Step::Write { device, piece, value } = step {
            models[device].write(piece * PIECE, PIECE, value);
        }
    };
    let end = |models: &mut [Model; 2], step: Step| {
        if let Step::Sync(device) = step {
            models[device].flush();
        }
    };
    // The snapshot was taken of zeros, and nothing that the origin gets afterwards may show in it.
    let models = crate::models([Model::new(ORIGIN.0), Model::new(ORIGIN.0)], &done, begin, end);
    let report = run
        .explore()
        .limit(each)
        .judge(SnapshotStore::on(1, ORIGIN))
        .check(|lab, moment| Ok(examine(lab, &models[moment.mark_count()], chunk)?));
    crate::clean(&report, seed)
}

#[test]
fn a_snapshot_keeps_what_was_before() {
    let start = std::time::Instant::now();
    let mut states = 0;
    for seed in 0..8 {
        states += explore(seed, 120, CHUNKS[seed as usize % CHUNKS.len()], 4);
    }
    crate::say_rate("snapshot", states, start);
    assert!(states > 10_000, "only {states} states");
}
