//! Random workloads, one for each seed, whose outcome is a function of the seed and of nothing else.
//!
//! Each boots a lab, stacks devices of several kinds, does IO and sends messages, lets time pass, loses tables under load, and
//! tears down as far as it can. What the kernel refuses is part of the outcome. [`prove`] compares two runs of each seed;
//! the outcomes of builds with and without optimisation are compared by the hash that it gives.

use dmlab_machine::{Rng, Stream};
use dmlab_units::{Bytes, Sector, Sectors};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::time::Duration;

use crate::{Client, Fingerprint, Lab, twice};

/// Size of the RAM disks and of most devices on them.
const DISK: Sectors = Sectors(8192);

/// Runs the workload of each seed twice, on all cores; one hash for all their outcomes, the same whatever the cores do. `done`
/// hears of each seed.
///
/// # Panics
/// When two runs of a seed differ, as [`twice`].
pub fn prove(seeds: std::ops::Range<u64>, done: impl Fn(u64) + Sync) -> Fingerprint {
    let outcomes: Vec<Fingerprint> = seeds
        .into_par_iter()
        .map(|seed| {
            let outcome = outcome(seed);
            done(seed);
            outcome
        })
        .collect();
    let mut hash = Sha256::new();
    outcomes.iter().for_each(|outcome| hash.update(outcome.0));
    Fingerprint(hash.finalize().into())
}

/// The outcome of one seed.
///
/// # Panics
/// When two runs differ.
pub fn outcome(seed: u64) -> Fingerprint {
    let boot = |seed| {
        let disk = Bytes(DISK.0 * 512);
        Lab::builder(seed).ram_disks(4, disk).disk(disk).shuffled().boot().expect("such a lab boots")
    };
    twice(seed, boot, workload)
}

/// A stack, and the device at its top.
const STACKS: &[&[(&str, &str)]] = &[
    &[("low", "0 8192 linear /dev/ram1 0"), ("top", "0 4096 striped 2 16 /dev/mapper/low 0 /dev/ram2 0")],
    &[("pool", "0 4096 thin-pool /dev/ram0 /dev/ram1 128 4"), ("top", "0 4096 thin /dev/mapper/pool 0")],
    &[
        ("pool", "0 2048 thin-pool /dev/ram0 /dev/vda 128 0 2 skip_block_zeroing error_if_no_space"),
        ("top", "0 8192 thin /dev/mapper/pool 0"),
    ],
    &[("origin", "0 8192 snapshot-origin /dev/ram0"), ("top", "0 8192 snapshot /dev/ram0 /dev/ram1 P 8")],
    &[("origin", "0 8192 snapshot-origin /dev/ram0"), ("top", "0 8192 snapshot /dev/ram0 /dev/vda N 16")],
    &[
        ("bad", "0 8192 flakey /dev/ram1 0 1 2"),
        ("top", "0 8192 mirror core 1 256 2 /dev/ram0 0 /dev/mapper/bad 0"),
    ],
    &[
        ("log", "0 64 linear /dev/ram2 0"),
        ("top", "0 8192 mirror disk 2 /dev/mapper/log 512 2 /dev/ram0 0 /dev/ram1 0"),
    ],
    &[
        ("path", "0 8192 delay /dev/ram0 0 3 /dev/ram0 0 20"),
        ("top", "0 8192 multipath 2 queue_mode bio 0 1 1 round-robin 0 1 1 /dev/mapper/path 1"),
    ],
    &[("top", "0 8192 flakey /dev/ram0 0 0 1 2 random_write_corrupt 1000000")],
    &[("top", "0 4096 log-writes /dev/ram0 /dev/ram1")],
];

fn workload(lab: &Lab) {
    let mut rng = Rng::new(lab.seed(), Stream::Workload);
    let stack = STACKS[rng.below(STACKS.len() as u64) as usize];
    for (name, table) in stack {
        if table.contains(" thin ") {
            // Whether there is such a device already makes no difference here.
            let _ = lab.message("pool", "create_thin 0");
        }
        let _ = lab.create(name, *table);
    }
    let steps = 10 + rng.below(30);
    for _ in 0..steps {
        step(lab, &mut rng);
    }
    for (name, _) in stack.iter().rev() {
        let _ = lab.resume(name);
        let _ = lab.remove(name);
    }
}

fn step(lab: &Lab, rng: &mut Rng) {
    const TOP: &str = "/dev/mapper/top";
    let at = Sector(rng.below(DISK.0 / 8) * 8);
    let len = (1 + rng.below(16)) * 8;
    let bytes = vec![rng.below(256) as u8; (len * 512) as usize];
    match rng.below(14) {
        0..=3 => ignore(lab.start_write(TOP, at, &bytes)),
        4..=5 => ignore(lab.write(TOP, at, &bytes)),
        6 => {
            if let Ok(read) = lab.read(TOP, at, Sectors(len)) {
                ignore(lab.write("/dev/ram3", Sector(rng.below(64) * 8), &read[..4096.min(read.len())]));
            }
        }
        7 => ignore(lab.discard(TOP, at, Sectors(len))),
        8 => ignore(lab.flush(TOP)),
        9 => lab.advance(Duration::from_millis(rng.below(3000))),
        10 => {
            ignore(lab.suspend_noflush("top"));
            ignore(lab.start_write(TOP, at, &bytes));
            ignore(lab.resume("top"));
        }
        11 => ignore(lab.status("top")),
        12 => {
            let origin_write = bytes.clone();
            let clients = [
                Client::new("writer", move |lab: &Lab| ignore(lab.write(TOP, at, &bytes))),
                Client::new("other", move |lab: &Lab| {
                    ignore(lab.write("/dev/mapper/origin", at, &origin_write));
                    ignore(lab.message("pool", "create_thin 1"));
                }),
            ];
            ignore(lab.run_clients(clients));
        }
        _ => {
            ignore(lab.message("pool", &format!("create_snap {} 0", 2 + rng.below(5))));
            ignore(lab.message("top", "mark here"));
        }
    }
}

/// What comes back as an error is as good as what does not: both are in the log and on the disks, the same each time.
fn ignore<T, E>(result: Result<T, E>) {
    let _ = result;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_and_do_something() {
        let outcomes: std::collections::BTreeSet<_> = (0..100).map(outcome).collect();
        // A few do nothing that lasts.
        assert!(outcomes.len() > 90, "only {} outcomes of 100 seeds", outcomes.len());
    }
}
