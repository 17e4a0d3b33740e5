//! Round trips over the kernel boundary, in process.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use dmlab_abi::{Command, DmFlags};
use dmlab_benches::{Bench, ThreadTime, criterion};
use dmlab_units::{Bytes, Sectors};

fn ioctls(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(Bytes::ZERO);
    bench.create("there", Sectors(64), "linear", "1:0 0");
    let mut group = c.benchmark_group("ioctl");
    group.bench_function("DEV_STATUS", |b| {
        let request = bench.named("there");
        let mut buf = request.as_bytes().to_vec();
        b.iter(|| {
            buf.copy_from_slice(request.as_bytes());
            bench.ioctl(Command::DevStatus, &mut buf).expect("the device is there");
        });
    });
    group.bench_function("create + load + resume of a linear", |b| {
        b.iter_custom(|rounds| {
            let mut time = Duration::ZERO;
            for first in (0..rounds).step_by(64) {
                let names: Vec<String> = (first..rounds.min(first + 64)).map(|i| format!("new{i}")).collect();
                time += ThreadTime::of(|| {
                    for name in &names {
                        bench.create(name, Sectors(64), "linear", "1:0 0");
                    }
                });
                for name in &names {
                    let mut buf = bench.named(name).as_bytes().to_vec();
                    bench.ioctl(Command::DevRemove, &mut buf).expect("nobody has it open");
                }
            }
            time
        });
    });
    group.finish();

    for i in 0..100_000 {
        let mut buf = bench.named(&format!("device-number-{i}")).as_bytes().to_vec();
        bench.ioctl(Command::DevCreate, &mut buf).expect("the name is free");
    }
    c.bench_function("list 100,000 devices", |b| {
        let mut request = bench.named("");
        request.set_data_size(16 << 20);
        request.set_flag(DmFlags::UUID, true);
        let mut buf = vec![0; 16 << 20];
        b.iter(|| {
            buf[..312].copy_from_slice(request.as_bytes());
            bench.ioctl(Command::ListDevices, &mut buf).expect("the buffer is large enough");
        });
    });
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = ioctls
}
criterion_main!(benches);
