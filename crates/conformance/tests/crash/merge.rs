//! A snapshot loses power while it is merged into its origin.
//!
//! A run's records go only when its data are flushed in the origin, so whatever is there afterwards, the device that
//! merges shows what the snapshot had, and so it does when the merge has come to its end.

use dmlab::Lab;
use dmlab::crash::{CrashRun, Moment, SnapshotStore};
use dmlab::machine::BlockFile;
use dmlab_control::{CreateOptions, LoadOptions, Table};
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{DmName, SECTOR_SIZE, Sectors};

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

fn create(lab: &Lab, name: &str, table: &str) -> Result<(), String> {
    let (table, name): (Table, _) =
        (table.parse().expect("a valid table"), DmName::new(name).expect("a valid name"));
    let (create, load) = (CreateOptions::default(), LoadOptions::default());
    lab.dm().create_with_table(&name, &create, &table, load).map(|_| ()).map_err(|e| e.to_string())
}

fn merge(lab: &Lab, chunk: u64) -> Result<BlockFile, String> {
    create(lab, "merge", &format!("0 {ORIGIN} snapshot-merge 1:0 1:1 P {chunk}"))?;
    lab.open("/dev/mapper/merge").map_err(|e| e.to_string())
}

fn record(seed: u64, chunk: u64) -> (Vec<Step>, CrashRun) {
    crate::record(seed, &SIZES, |lab| {
        create(lab, "snap", &format!("0 {ORIGIN} snapshot 1:0 1:1 P {chunk}"))?;
        let mut file = Some(lab.open("/dev/mapper/snap").map_err(|e| e.to_string())?);
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
            lab.mark(format!("before {step:?}"));
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
                    lab.dm()
                        .remove(&(&DmName::new("snap").expect("a valid name")).into(), false)
                        .expect("nobody uses it");
                    // Not waited for: what follows is written while the merge goes on.
                    file = file.or(Some(merge(lab, chunk)?));
                }
                (_, None) => unreachable!("there is always one of the two"),
            }
            lab.mark(format!("after {step:?}"));
            if matches!(step, Step::Merge) {
                lab.begin();
            }
            done.push(step);
        }
        Ok(done)
    })
}

fn examine(lab: &Lab, moment: &Moment<'_>, model: &Model, chunk: u64) -> Result<(), String> {
    let file = merge(lab, chunk)?;
    let mut bytes = vec![0; (ORIGIN.0 * SECTOR_SIZE) as usize];
    file.read_at(0, &mut bytes, Default::default()).map_err(|e| e.to_string())?;
    model.check(&bytes).map_err(|e| format!("while it is merged: {e}"))?;
    lab.settle();
    moment.disk(0)?.read(0, &mut bytes);
    model.check(&bytes).map_err(|e| format!("in the origin: {e}"))
}

fn explore(seed: u64, chunk: u64, each: usize) -> u64 {
    let (done, run) = record(seed, chunk);
    let begin = |model: &mut Model, step: Step| {
        if let Step::Prepare { piece, value } | Step::Write { piece, value } = step {
            model.write(piece * PIECE, PIECE, value);
        }
    };
    let end = |model: &mut Model, step: Step| {
        if matches!(step, Step::Merge | Step::Sync) {
            model.flush();
        }
    };
    let models = crate::models(Model::new(ORIGIN.0), &done, begin, end);
    let report = run
        .explore()
        .limit(each)
        .judge(SnapshotStore::on(1, ORIGIN))
        .check(|lab, moment| Ok(examine(lab, moment, &models[moment.mark_count()], chunk)?));
    crate::clean(&report, seed)
}

#[test]
fn a_merge_shows_the_snapshot_at_every_point() {
    let start = std::time::Instant::now();
    let mut states = 0;
    for seed in 0..24 {
        states += explore(seed, CHUNKS[seed as usize % 2], 4);
    }
    crate::say_rate("merge", states, start);
    assert!(states > 2_000, "only {states} states");
}
