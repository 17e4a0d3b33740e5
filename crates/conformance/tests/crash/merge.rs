//! A snapshot loses power while it is merged into its origin.
//!
//! A run's records go only when its data are flushed in the origin, so whatever is there afterwards, the device that
//! merges shows what the snapshot had, and so it does when the merge has come to its end.

use std::sync::Arc;

use dmlab::InProcess;
use dmlab::machine::{BlockFile, Machine, OpenMode};
use dmlab_block::{DiskOps, RamDisk};
use dmlab_control::{CreateOptions, Dm, LoadOptions, Table};
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{DmName, SECTOR_SIZE, Sectors};

use crate::disk::{Choice, Event, Explorer, Log, machine, recorded};
use crate::model::{Model, PIECE, bytes_of};

/// Chunks of one sector, so that an area holds 32 records and there are several; and of a piece.
const CHUNKS: [u64; 2] = [1, 8];
const ORIGIN: Sectors = Sectors(12 * PIECE);
const COW: Sectors = Sectors(40 * PIECE);
const SIZES: [Sectors; 2] = [ORIGIN, COW];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Of the snapshot, before it is merged.
    Prepare {
        piece: u64,
        value: u64,
    },
    /// The merge begins; what the snapshot had is durable by then.
    Merge,
    /// Of the device that merges.
    Write {
        piece: u64,
        value: u64,
    },
    Sync,
}

fn create(machine: &Machine, name: &str, table: &str) -> Result<(), String> {
    let mut dm = Dm::new(InProcess::new(machine));
    let (table, name): (Table, _) =
        (table.parse().expect("a valid table"), DmName::new(name).expect("a valid name"));
    let (create, load) = (CreateOptions::default(), LoadOptions::default());
    dm.create_with_table(&name, &create, &table, load).map(|_| ()).map_err(|e| e.to_string())
}

fn open(machine: &Machine, name: &str) -> BlockFile {
    let dev = machine.mapper().by_name(name.as_bytes()).expect("made before").dev();
    let mode = OpenMode::READ | OpenMode::WRITE | OpenMode::DIRECT;
    machine.open_block(dev, mode).expect("it can be opened")
}

fn merge(machine: &Machine, chunk: u64) -> Result<BlockFile, String> {
    create(machine, "merge", &format!("0 {ORIGIN} snapshot-merge 1:0 1:1 P {chunk}"))?;
    Ok(open(machine, "merge"))
}

fn record(seed: u64, chunk: u64) -> (Vec<Step>, Log) {
    let (machine, log) = recorded(&SIZES);
    create(&machine, "snap", &format!("0 {ORIGIN} snapshot 1:0 1:1 P {chunk}")).expect("empty disks");
    let mut file = Some(open(&machine, "snap"));
    let mut rng = Rng::new(seed, Stream::Workload);
    let pieces = ORIGIN.0 / PIECE;
    let prepared = 4 + rng.below(10);
    let mut done = Vec::new();
    for number in 0..prepared + 16 {
        let (piece, value) = (rng.below(pieces), 1 + number);
        let step = match number {
            n if n < prepared => Step::Prepare { piece, value },
            n if n == prepared => Step::Merge,
            _ if rng.below(3) == 0 => Step::Sync,
            _ => Step::Write { piece, value },
        };
        log.lock().push(Event::Mark(2 * done.len()));
        match (step, &file) {
            (Step::Prepare { piece, value } | Step::Write { piece, value }, Some(file)) => {
                let bytes = bytes_of(value, PIECE);
                file.write_at(piece * PIECE * SECTOR_SIZE, &bytes, Default::default())
                    .expect("a sound device");
            }
            (Step::Sync, Some(file)) => file.sync().expect("a sound device"),
            (Step::Merge, Some(snapshot)) => {
                snapshot.sync().expect("a sound device");
                file = None;
                let mut dm = Dm::new(InProcess::new(&machine));
                dm.remove(&(&DmName::new("snap").expect("a valid name")).into(), false)
                    .expect("nobody uses it");
                // Not waited for: what follows is written while the merge goes on.
                file = file.or(Some(merge(&machine, chunk).expect("a sound store")));
            }
            (_, None) => unreachable!("there is always one of the two"),
        }
        log.lock().push(Event::Mark(2 * done.len() + 1));
        done.push(step);
    }
    (done, log)
}

fn examine(disks: Vec<RamDisk>, model: &Model, chunk: u64) -> Result<(), String> {
    let disks: Vec<Arc<RamDisk>> = disks.into_iter().map(Arc::new).collect();
    let ops = disks.iter().map(|disk| disk.clone() as Arc<dyn DiskOps>).collect();
    let machine = machine(ops, &SIZES);
    let file = merge(&machine, chunk)?;
    let mut bytes = vec![0; (ORIGIN.0 * SECTOR_SIZE) as usize];
    file.read_at(0, &mut bytes, Default::default()).map_err(|e| e.to_string())?;
    model.check(&bytes).map_err(|e| format!("while it is merged: {e}"))?;
    machine.runtime().run_until_idle();
    disks[0].memory().read(0, &mut bytes);
    model.check(&bytes).map_err(|e| format!("in the origin: {e}"))
}

fn explore(seed: u64, chunk: u64, each: u64) -> usize {
    let (done, log) = record(seed, chunk);
    let log = log.lock();
    let mut explorer = Explorer::new(&log, &SIZES, seed);
    let mut model = Model::new(ORIGIN.0);
    let (mut states, mut merges) = (0, false);
    while let Some(event) = explorer.step() {
        match *event {
            Event::Mark(mark) => match done[mark / 2] {
                Step::Prepare { piece, value } | Step::Write { piece, value } if mark % 2 == 0 => {
                    model.write(piece * PIECE, PIECE, value);
                }
                Step::Merge if mark % 2 == 1 => {
                    model.flush();
                    merges = true;
                }
                Step::Sync if mark % 2 == 1 => model.flush(),
                _ => {}
            },
            Event::Write { .. } | Event::Flush { .. } => {}
        }
        if !merges {
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
            if let Err(error) = examine(disks, &model, chunk) {
                panic!("seed {seed}, chunk {chunk}, state {states}: {error}");
            }
        }
    }
    states
}

#[test]
fn a_merge_shows_the_snapshot_at_every_point() {
    let start = std::time::Instant::now();
    let mut states = 0;
    for seed in 0..48 {
        states += explore(seed, CHUNKS[seed as usize % 2], 3);
    }
    let rate = states as f64 / start.elapsed().as_secs_f64();
    crate::say(&format!("merge: {states} states examined, {rate:.0} a second"));
    assert!(states > 2_000, "only {states} states");
}
