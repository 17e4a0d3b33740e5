//! The way of a mapped read: through one, ten, ten thousand linear devices, and through stripes, beside a bare copy
//! from the same random page.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dmlab_benches::{Bench, ThreadTime, criterion, random_sectors};
use dmlab_block::{Bio, SyncIo};
use dmlab_units::{Bytes, DevT, Sectors};

/// More than the caches hold, so that most pages are cold.
const SPAN: Bytes = Bytes::mib(512);
const SIZE: Sectors = Sectors(SPAN.0 / 512);

fn reads(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let ram = bench.machine.registry().get(DevT::new(1, 0)).expect("ram0 exists");
    let sectors = random_sectors(SPAN, 1 << 16);
    let memory = vec![0x5a_u8; SPAN.0 as usize];
    let mut buf = vec![0; 4096];
    let mut group = c.benchmark_group("read 4 KiB, random");
    group.throughput(Throughput::Elements(1));

    let mut next = sectors.iter().cycle();
    group.bench_function("bare copy", |b| {
        b.iter(|| {
            let at = next.next().expect("cycles").0 as usize * 512;
            buf.copy_from_slice(&memory[at..at + 4096]);
            black_box(&buf);
        });
    });

    let one = bench.create("one", SIZE, "linear", "1:0 0");
    let ten = nest(&bench, "ten", 10);
    let many = nest(&bench, "many", 10_000);
    let striped = bench.create("striped", SIZE, "striped", "1 8 1:0 0");
    for (name, dev) in [
        ("ram0", &ram),
        ("linear x1", &one),
        ("linear x10", &ten),
        ("linear x10000", &many),
        ("striped", &striped),
    ] {
        let mut io = SyncIo::default();
        let mut next = sectors.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| {
                let at = *next.next().expect("cycles");
                io.read(dev, at, &mut buf, |bio| bio).expect("the device is healthy");
                black_box(&buf);
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("write 4 KiB, random");
    group.throughput(Throughput::Elements(1));
    for (name, dev) in [("ram0", &ram), ("linear x1", &one), ("striped", &striped)] {
        let mut io = SyncIo::default();
        let mut next = sectors.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| {
                let at = *next.next().expect("cycles");
                io.submit(dev, Bio::write(at, &buf)).expect("the device is healthy");
            });
        });
    }
    group.finish();
}

fn nest(bench: &Bench, name: &str, depth: usize) -> std::sync::Arc<dmlab_machine::BlockDevice> {
    let mut below = DevT::new(1, 0);
    let mut top = None;
    for i in 0..depth {
        let dev = bench.create(&format!("{name}{i}"), SIZE, "linear", &format!("{below} 0"));
        below = dev.dev();
        top = Some(dev);
    }
    top.expect("depth is not zero")
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = reads
}
criterion_main!(benches);
