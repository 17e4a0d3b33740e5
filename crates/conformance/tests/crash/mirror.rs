//! A mirror with a disk log loses power.
//!
//! A region's bit is cleared on disk before any leg is written, and set only when all legs are flushed. So after the
//! resync that follows, all legs hold the same, and what was flushed.

use std::sync::Arc;

use dmlab::InProcess;
use dmlab::machine::{BlockFile, Machine, OpenMode};
use dmlab_block::{DiskOps, RamDisk};
use dmlab_control::{CreateOptions, DeviceId, Dm, LoadOptions, Table};
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{DmName, SECTOR_SIZE, Sectors};

use crate::disk::{Choice, Event, Explorer, Log, machine, recorded};
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

fn open(machine: &Machine) -> Result<BlockFile, String> {
    let mut dm = Dm::new(InProcess::new(machine));
    let table = format!("0 {LEG} mirror disk 2 1:2 {REGION} 2 1:0 0 1:1 0");
    let (table, name): (Table, _) =
        (table.parse().expect("a valid table"), DmName::new("m").expect("a valid name"));
    let (create, load) = (CreateOptions::default(), LoadOptions::default());
    dm.create_with_table(&name, &create, &table, load).map_err(|e| e.to_string())?;
    let dev = machine.mapper().by_name(b"m").expect("made above").dev();
    machine.open_block(dev, OpenMode::READ | OpenMode::WRITE | OpenMode::DIRECT).map_err(|e| e.to_string())
}

fn record(seed: u64, steps: usize) -> (Vec<Step>, Log) {
    let (machine, log) = recorded(&SIZES);
    let mut file = Some(open(&machine).expect("a mirror of empty disks"));
    machine.runtime().run_until_idle();
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
        log.lock().push(Event::Mark(2 * number));
        match (step, &file) {
            (Step::Write { piece, pieces, value }, Some(file)) => {
                let bytes = bytes_of(value, pieces * PIECE);
                file.write_at(piece * PIECE * SECTOR_SIZE, &bytes, Default::default())
                    .expect("a sound mirror");
            }
            (Step::Sync, Some(file)) => file.sync().expect("a sound mirror"),
            _ => {
                file = None;
                let mut dm = Dm::new(InProcess::new(&machine));
                let id = DeviceId::from(&DmName::new("m").expect("a valid name"));
                dm.remove(&id, false).expect("nobody uses it");
                file = file.or(Some(open(&machine).expect("a sound mirror")));
            }
        }
        log.lock().push(Event::Mark(2 * number + 1));
        // Now and then the worker comes to its end; otherwise the next step finds it at work.
        if rng.below(3) == 0 {
            machine.runtime().run_until_idle();
        }
        done.push(step);
    }
    (done, log)
}

fn examine(disks: Vec<RamDisk>, model: &Model) -> Result<(), String> {
    let disks: Vec<Arc<RamDisk>> = disks.into_iter().map(Arc::new).collect();
    let ops = disks.iter().map(|disk| disk.clone() as Arc<dyn DiskOps>).collect();
    let machine = machine(ops, &SIZES);
    let file = open(&machine)?;
    let mut shown = vec![0; (LEG.0 * SECTOR_SIZE) as usize];
    file.read_at(0, &mut shown, Default::default()).map_err(|e| e.to_string())?;
    model.check(&shown).map_err(|e| format!("before the resync: {e}"))?;
    machine.runtime().run_until_idle();
    for (leg, disk) in disks.iter().take(2).enumerate() {
        let mut bytes = vec![0; (LEG.0 * SECTOR_SIZE) as usize];
        disk.memory().read(0, &mut bytes);
        if bytes != shown {
            let sector = bytes.iter().zip(&shown).position(|(a, b)| a != b).unwrap_or(0) / 512;
            return Err(format!("leg {leg} differs after the resync, first in sector {sector}"));
        }
    }
    Ok(())
}

fn explore(seed: u64, steps: usize, each: u64) -> usize {
    let (done, log) = record(seed, steps);
    let log = log.lock();
    let mut explorer = Explorer::new(&log, &SIZES, seed);
    let mut model = Model::new(LEG.0);
    let (mut states, mut has_begun) = (0, false);
    while let Some(event) = explorer.step() {
        if let Event::Mark(mark) = *event {
            has_begun = true;
            match done[mark / 2] {
                Step::Write { piece, pieces, value } if mark % 2 == 0 => {
                    model.write(piece * PIECE, pieces * PIECE, value);
                }
                Step::Sync if mark % 2 == 1 => model.flush(),
                _ => {}
            }
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
            if let Err(error) = examine(disks, &model) {
                panic!("seed {seed}, state {states}: {error}");
            }
        }
    }
    states
}

#[test]
fn the_legs_of_a_mirror_hold_the_same_again() {
    let start = std::time::Instant::now();
    let mut states = 0;
    for seed in 0..16 {
        states += explore(seed, 100, 3);
    }
    let rate = states as f64 / start.elapsed().as_secs_f64();
    crate::say(&format!("mirror: {states} states examined, {rate:.0} a second"));
    assert!(states > 5_000, "only {states} states");
}
