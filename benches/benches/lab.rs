//! What a test with a lab costs: a pool that fills and gives up, a fork, a fingerprint.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use dmlab::Lab;
use dmlab::control::ThinPool;
use dmlab::units::{Bytes, Errno, Sector, Sectors};
use dmlab_benches::{ThreadTime, criterion};

/// Boots, makes a pool and a snapshot, fills the pool, passes the minute, tears down.
fn full_pool(seed: u64) {
    let lab = Lab::new(seed);
    let table = ThinPool::new("/dev/ram0", "/dev/ram1", Sectors(128));
    let pool = lab.create_pool("pool", Sectors(16 * 128), &table).expect("the disks are free");
    pool.create_thin(0).expect("an empty pool");
    pool.activate("thin", 0, Sectors(64 * 128)).expect("there is such a device");
    lab.write("/dev/mapper/thin", Sector(0), &[1; 4096]).expect("there is room");
    pool.create_snapshot(1, "thin", 0).expect("a new number");
    for block in 0..15 {
        lab.write("/dev/mapper/thin", Sector(block * 128), &[2; 4096]).expect("there is room");
    }
    let last = lab.start_write("/dev/mapper/thin", Sector(15 * 128), &[2; 4096]).expect("it is open");
    lab.advance(Duration::from_secs(61));
    assert_eq!(last.result(), Some(Err(Errno::ENOSPC)));
    lab.remove("thin").expect("closed");
    lab.remove("pool").expect("unused");
}

fn labs(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("lab");
    let mut seed = 0;
    group.bench_function("boot, pool, snapshot, fill, a minute without space, tear down", |b| {
        b.iter(|| {
            seed += 1;
            full_pool(seed);
        });
    });

    // A disk of 1 GiB, full, under a pool.
    let gib = Bytes::mib(1024);
    let lab = Lab::builder(1).ram_disks(2, gib).boot().expect("such a lab boots");
    let bytes = vec![1; 1 << 20];
    for at in (0..gib.0 / 512).step_by(2048) {
        lab.write("/dev/ram1", Sector(at), &bytes).expect("a healthy disk");
    }
    let table = ThinPool::new("/dev/ram0", "/dev/ram1", Sectors(128));
    let pool = lab.create_pool("pool", Sectors(gib.0 / 512), &table).expect("the disks are free");
    pool.create_thin(0).expect("an empty pool");
    pool.activate("thin", 0, Sectors(2048)).expect("there is such a device");
    group.bench_function("fork of a lab with 1 GiB of disk, a pool and a thin device", |b| {
        b.iter(|| black_box(lab.fork().expect("nothing is in flight")));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = labs
}
criterion_main!(benches);
