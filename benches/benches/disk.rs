//! Disks alone: the RAM disk's memory beside a bare copy, forks, and open files with and without the page cache.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dmlab_benches::{Bench, random_sectors};
use dmlab_block::{IoFlags, OpenMode, SparseMemory};
use dmlab_units::{Bytes, DevT};

/// More than the caches hold, so that most pages are cold.
const SPAN: Bytes = Bytes::mib(512);
const GIB: u64 = 1 << 30;

fn sparse_memory(c: &mut Criterion) {
    let sectors = random_sectors(SPAN, 1 << 16);
    let memory = SparseMemory::new(SPAN.0);
    for at in (0..SPAN.0).step_by(1 << 20) {
        memory.write(at, &[0x5a; 1 << 20]);
    }
    let bare = vec![0x5a_u8; SPAN.0 as usize];
    let mut buf = vec![0; 4096];
    let mut group = c.benchmark_group("sparse memory, 4 KiB random");
    group.throughput(Throughput::Elements(1));
    let mut next = sectors.iter().cycle();
    group.bench_function("bare copy", |b| {
        b.iter(|| {
            let at = next.next().expect("cycles").0 as usize * 512;
            buf.copy_from_slice(&bare[at..at + 4096]);
            black_box(&buf);
        });
    });
    // What any lock costs: its atomic instruction lets no load of the next copy start before this one has ended.
    let lock = std::sync::Mutex::new(());
    let mut next = sectors.iter().cycle();
    group.bench_function("bare copy under an idle lock", |b| {
        b.iter(|| {
            let at = next.next().expect("cycles").0 as usize * 512;
            let _held = lock.lock().expect("nobody panics");
            buf.copy_from_slice(&bare[at..at + 4096]);
            black_box(&buf);
        });
    });
    let mut next = sectors.iter().cycle();
    group.bench_function("read", |b| {
        b.iter(|| {
            memory.read(next.next().expect("cycles").0 * 512, &mut buf);
            black_box(&buf);
        });
    });
    let mut next = sectors.iter().cycle();
    group.bench_function("write", |b| {
        b.iter(|| memory.write(next.next().expect("cycles").0 * 512, black_box(&buf)));
    });
    group.bench_function("read, beside a writer", |b| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let data = vec![1; 4096];
                for at in sectors.iter().rev().cycle() {
                    memory.write(at.0 * 512, &data);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let mut next = sectors.iter().cycle();
            b.iter(|| {
                memory.read(next.next().expect("cycles").0 * 512, &mut buf);
                black_box(&buf);
            });
            stop.store(true, Ordering::Relaxed);
        });
    });
    group.finish();
}

fn forks(c: &mut Criterion) {
    let memory = SparseMemory::new(GIB);
    for at in (0..GIB).step_by(1 << 20) {
        memory.write(at, &[0x5a; 1 << 20]);
    }
    let mut group = c.benchmark_group("1 GiB, all written");
    group.bench_function("fork", |b| b.iter_batched(|| (), |()| memory.fork(), BatchSize::LargeInput));
    group.bench_function("fork, first write, drop", |b| {
        b.iter(|| memory.fork().write(GIB / 2, black_box(&[1; 4096])));
    });
    group.finish();
}

fn open_files(c: &mut Criterion) {
    let bench = Bench::new(SPAN);
    let registry = bench.machine.registry();
    let open = |mode| registry.open(DevT::new(1, 0), mode).expect("ram0 exists");
    let rw = OpenMode::READ | OpenMode::WRITE;
    let (cached, direct) = (open(rw), open(rw | OpenMode::DIRECT));
    let mut buf = vec![7; 4096];
    let io = IoFlags::default();
    // Small enough to stay cached.
    let sectors = random_sectors(Bytes::mib(16), 1 << 12);
    let mut group = c.benchmark_group("open file, 4 KiB random in 16 MiB");
    group.throughput(Throughput::Elements(1));
    let mut next = sectors.iter().cycle();
    group.bench_function("direct read", |b| {
        b.iter(|| direct.read_at(next.next().expect("cycles").0 * 512, &mut buf, io).expect("healthy"));
    });
    let mut next = sectors.iter().cycle();
    group.bench_function("direct write", |b| {
        b.iter(|| direct.write_at(next.next().expect("cycles").0 * 512, &buf, io).expect("healthy"));
    });
    let mut next = sectors.iter().cycle();
    group.bench_function("cached read", |b| {
        b.iter(|| cached.read_at(next.next().expect("cycles").0 * 512, &mut buf, io).expect("healthy"));
    });
    let mut next = sectors.iter().cycle();
    group.bench_function("cached write", |b| {
        b.iter(|| cached.write_at(next.next().expect("cycles").0 * 512, &buf, io).expect("healthy"));
    });
    group.finish();

    let mut group = c.benchmark_group("write back 4 MiB");
    group.throughput(Throughput::Bytes(4 << 20));
    let data = vec![3; 4 << 20];
    group.bench_function("write + fsync", |b| {
        b.iter(|| {
            cached.write_at(64 << 20, &data, io).expect("healthy");
            cached.sync().expect("healthy");
        });
    });
    group.finish();
}

criterion_group!(benches, sparse_memory, forks, open_files);
criterion_main!(benches);
