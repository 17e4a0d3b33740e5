//! The mapped path of each target beside that of linear, in the same run: direct reads and writes of 4 KiB at random
//! places of a RAM disk that is small enough for the caches, so that the target shows and not the memory.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dmlab_benches::{Bench, random_sectors};
use dmlab_block::{Bio, SyncIo};
use dmlab_machine::BlockDevice;
use dmlab_units::{Bytes, Sectors};

const SPAN: Bytes = Bytes::mib(2);
const SIZE: Sectors = Sectors(SPAN.0 / 512);

/// Measures reads and writes of `devices`, the first of which is linear.
fn compare(c: &mut Criterion, name: &str, devices: &[(&str, Arc<BlockDevice>)]) {
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

/// Two paths and each selector in turn: what choosing and counting cost.
fn multipath(c: &mut Criterion) {
    let bench = Bench::new(SPAN);
    let device = |name: &'static str, group: &str| {
        let params = format!("2 queue_mode bio 0 1 1 {group} 1:0 1 1:1 1");
        (name, bench.create(name, SIZE, "multipath", &params))
    };
    let devices = [
        linear(&bench),
        device("round-robin", "round-robin 0 2 1"),
        device("queue-length", "queue-length 0 2 1"),
        device("service-time", "service-time 0 2 1"),
        device("historical-service-time", "historical-service-time 0 2 1"),
    ];
    compare(c, "multipath", &devices);
}

/// With the list of bad blocks on, and one block in it that is never touched.
fn dust(c: &mut Criterion) {
    let bench = Bench::new(SPAN);
    let off = bench.create("off", SIZE, "dust", "1:0 0 4096");
    let on = bench.create("on", SIZE, "dust", "1:0 0 4096");
    for message in ["addbadblock 100000", "enable"] {
        bench.message("on", message);
    }
    compare(c, "dust", &[linear(&bench), ("dust, off", off), ("dust, on", on)]);
}

/// Whole blocks, and a block that lies across two of twice the size.
fn ebs(c: &mut Criterion) {
    let bench = Bench::new(SPAN);
    let whole = bench.create("whole", SIZE, "ebs", "1:0 0 1 8");
    let parts = bench.create("parts", SIZE, "ebs", "1:0 0 1 16");
    compare(c, "ebs", &[linear(&bench), ("ebs, whole blocks", whole), ("ebs, half blocks", parts)]);
}

criterion_group!(benches, multipath, dust, ebs);
criterion_main!(benches);
