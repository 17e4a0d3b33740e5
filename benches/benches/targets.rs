//! The mapped path of each target beside that of linear, in the same run: direct reads and writes of 4 KiB at random
//! places of a RAM disk that is small enough for the caches, so that the target shows and not the memory.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dmlab_benches::{Bench, ThreadTime, criterion, random_sectors};
use dmlab_block::{Bio, SyncIo};
use dmlab_machine::BlockDevice;
use dmlab_units::{Bytes, Sectors};

const SPAN: Bytes = Bytes::mib(2);
const SIZE: Sectors = Sectors(SPAN.0 / 512);

/// Measures reads and writes of `devices`, the first of which is linear.
fn compare(c: &mut Criterion<ThreadTime>, name: &str, devices: &[(&str, Arc<BlockDevice>)]) {
    let sectors = random_sectors(SPAN, 1 << 12);
    let mut buf = vec![0x5a; 4096];
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    for (label, device) in devices {
        let mut io = SyncIo::default();
        let mut next = sectors.iter().cycle();
        group.bench_function(format!("{label}, read"), |b| {
            b.iter(|| {
                let at = *next.next().expect("cycles");
                io.read(device, at, &mut buf, |bio| bio).expect("the device is healthy");
                black_box(&buf);
            });
        });
        group.bench_function(format!("{label}, write"), |b| {
            b.iter(|| {
                let at = *next.next().expect("cycles");
                io.submit(device, Bio::write(at, &buf)).expect("the device is healthy");
            });
        });
    }
    group.finish();
}

fn linear(bench: &Bench) -> (&'static str, Arc<BlockDevice>) {
    ("linear", bench.create("linear", SIZE, "linear", "1:0 0"))
}

/// Reads of a set in sync go to one leg on the caller's thread; writes go to both by way of the worker.
fn mirror(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let mirror = bench.create("mirror", SIZE, "mirror", "core 2 1024 nosync 2 1:0 0 1:1 0");
    compare(c, "mirror", &[linear(&bench), ("mirror", mirror)]);
}

/// Every chunk has its copy: what finding it costs.
fn snapshot(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let cow = bench.create("cow", Sectors(2 * SIZE.0), "linear", "1:2 0").dev();
    let snapshot = bench.create("snapshot", SIZE, "snapshot", &format!("1:0 {cow} P 8"));
    let mut io = SyncIo::default();
    for sector in (0..SIZE.0).step_by(8) {
        io.submit(&snapshot, Bio::write(dmlab_units::Sector(sector), &[0; 4096])).expect("it is healthy");
    }
    compare(c, "snapshot", &[linear(&bench), ("snapshot, copied", snapshot)]);
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = mirror, snapshot
}
criterion_main!(benches);
