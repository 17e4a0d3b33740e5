//! A mirror with a disk log loses power.
//!
//! A region's bit is cleared on disk before any leg is written, and set only when all legs are flushed. So after the
//! resync that follows, all legs hold the same, and what was flushed.

use dmlab::Lab;
use dmlab::crash::{CrashRun, MirrorLog, Moment};
use dmlab::machine::BlockFile;
use dmlab_control::{CreateOptions, DeviceId, LoadOptions, Table};
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{DmName, SECTOR_SIZE, Sectors};

use crate::model::{Model, PIECE, bytes_of};

const LEG: Sectors = Sectors(16 * PIECE);
const SIZES: [Sectors; 3] = [LEG, LEG, Sectors(8)];
/// Regions of two pieces.
const REGION: u64 = 2 * PIECE;

#[derive(Clone, Copy, Debug)]
enum Step {
    Write {
        piece: u64,
        pieces: u64,
        value: u64,
    },
    Sync,
    /// The table again, as after a reboot without a crash.
    Reload,
}

fn open(lab: &Lab) -> Result<BlockFile, String> {
    let table = format!("0 {LEG} mirror disk 2 1:2 {REGION} 2 1:0 0 1:1 0");
    let (table, name): (Table, _) =
        (table.parse().expect("a valid table"), DmName::new("m").expect("a valid name"));
    let (create, load) = (CreateOptions::default(), LoadOptions::default());
    lab.dm().create_with_table(&name, &create, &table, load).map_err(|e| e.to_string())?;
    lab.open("/dev/mapper/m").map_err(|e| e.to_string())
}

fn record(seed: u64, steps: usize) -> (Vec<Step>, CrashRun) {
    crate::record(seed, &SIZES, |lab| {
        let mut file = Some(open(lab)?);
        lab.settle();
        lab.begin();
        let mut rng = Rng::new(seed, Stream::Workload);
        let mut done = Vec::new();
        for number in 0..steps {
            let step = match rng.below(12) {
                0..3 => Step::Sync,
                3 => Step::Reload,
                _ => {
                    let piece = rng.below(LEG.0 / PIECE);
                    let pieces = 1 + rng.below(3).min(LEG.0 / PIECE - piece - 1);
                    Step::Write { piece, pieces, value: 1 + number as u64 }
                }
            };
            lab.mark(format!("before {step:?}"));
            match (step, &file) {
                (Step::Write { piece, pieces, value }, Some(file)) => {
                    let bytes = bytes_of(value, pieces * PIECE);
                    file.write_at(piece * PIECE * SECTOR_SIZE, &bytes, Default::default())
                        .expect("a sound mirror");
                }
                (Step::Sync, Some(file)) => file.sync().expect("a sound mirror"),
                _ => {
                    file = None;
                    let id = DeviceId::from(&DmName::new("m").expect("a valid name"));
                    lab.dm().remove(&id, false).expect("nobody uses it");
                    file = file.or(Some(open(lab)?));
                }
            }
            lab.mark(format!("after {step:?}"));
            // Now and then the worker comes to its end; otherwise the next step finds it at work.
            if rng.below(3) == 0 {
                lab.settle();
            }
            done.push(step);
        }
        Ok(done)
    })
}

fn examine(lab: &Lab, moment: &Moment<'_>, model: &Model) -> Result<(), String> {
    let file = open(lab)?;
    let mut shown = vec![0; (LEG.0 * SECTOR_SIZE) as usize];
    file.read_at(0, &mut shown, Default::default()).map_err(|e| e.to_string())?;
    model.check(&shown).map_err(|e| format!("before the resync: {e}"))?;
    lab.settle();
    for (leg, disk) in moment.disks().iter().take(2).enumerate() {
        let mut bytes = vec![0; (LEG.0 * SECTOR_SIZE) as usize];
        disk.read(0, &mut bytes);
        if bytes != shown {
            let sector = bytes.iter().zip(&shown).position(|(a, b)| a != b).unwrap_or(0) / 512;
            return Err(format!("leg {leg} differs after the resync, first in sector {sector}"));
        }
    }
    Ok(())
}

fn explore(seed: u64, steps: usize, each: usize) -> u64 {
    let (done, run) = record(seed, steps);
    let begin = |model: &mut Model, step: Step| {
        if let Step::Write { piece, pieces, value } = step {
            model.write(piece * PIECE, pieces * PIECE, value);
        }
    };
    let end = |model: &mut Model, step: Step| {
        if matches!(step, Step::Sync) {
            model.flush();
        }
    };
    let models = crate::models(Model::new(LEG.0), &done, begin, end);
    let log = MirrorLog::new(2, [0, 1], Sectors(REGION), LEG);
    let report = run
        .explore()
        .limit(each)
        .judge(log)
        .check(|lab, moment| Ok(examine(lab, moment, &models[moment.mark_count()])?));
    crate::clean(&report, seed)
}

#[test]
fn the_legs_of_a_mirror_hold_the_same_again() {
    let start = std::time::Instant::now();
    let mut states = 0;
    for seed in 0..8 {
        states += explore(seed, 100, 4);
    }
    crate::say_rate("mirror", states, start);
    assert!(states > 5_000, "only {states} states");
}
