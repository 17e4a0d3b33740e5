//! Thin provisioning: reads of mapped blocks, first writes, broken sharing.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dmlab_abi::Command;
use dmlab_benches::{Bench, random_sectors};
use dmlab_block::{Bio, SyncIo};
use dmlab_machine::BlockDevice;
use dmlab_units::{Bytes, DevT, Sector, Sectors};

/// Blocks of 64 KiB on a data device of 512 MiB.
const BLOCK: Sectors = Sectors(128);
const BLOCKS: u64 = 8192;
const SIZE: Sectors = Sectors(BLOCK.0 * BLOCKS);

fn message(bench: &Bench, text: &str) {
    let mut header = bench.named("pool");
    header.set_data_start(312);
    let mut buf = header.as_bytes().to_vec();
    buf.extend_from_slice(&0u64.to_le_bytes());
    buf.extend_from_slice(text.as_bytes());
    buf.resize(512, 0);
    bench.ioctl(Command::TargetMsg, &mut buf).expect("the message is good");
}

fn remove(bench: &Bench, name: &str) {
    let mut buf = bench.named(name).as_bytes().to_vec();
    bench.ioctl(Command::DevRemove, &mut buf).expect("nobody has it open");
}

/// A pool on ram0 (metadata) and ram1 (data), and thin device 0.
fn pool(features: &str) -> (Bench, Arc<BlockDevice>) {
    let bench = Bench::new(Bytes::ZERO);
    // The data disk's memory is the host's to give: taken before anything is measured.
    let data = bench.machine.registry().get(DevT::new(1, 1)).expect("ram1 exists");
    let mut io = SyncIo::default();
    for at in (0..SIZE.0).step_by(2048) {
        io.submit(&data, Bio::write(Sector(at), &vec![1; 1 << 20])).expect("ram1 takes writes");
    }
    bench.create("meta", Sectors(32768), "linear", "1:0 0");
    let pool = bench.create("pool", SIZE, "thin-pool", &format!("254:0 1:1 {} 0 {features}", BLOCK.0));
    message(&bench, "create_thin 0");
    let thin = thin(&bench, pool.dev(), 0);
    (bench, thin)
}

fn thin(bench: &Bench, pool: DevT, id: u32) -> Arc<BlockDevice> {
    bench.create(&format!("thin{id}"), SIZE, "thin", &format!("{pool} {id}"))
}

/// Time of `count` writes of 4 KiB, one to each block.
fn write_each_block(dev: &Arc<BlockDevice>, count: u64) -> Duration {
    let mut io = SyncIo::default();
    let data = [0x5a; 4096];
    let began = Instant::now();
    for block in 0..count {
        io.submit(dev, Bio::write(Sector(block * BLOCK.0), &data)).expect("there is room");
    }
    began.elapsed()
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("thin");
    group.throughput(Throughput::Elements(1));

    let (_bench, dev) = pool("1 skip_block_zeroing");
    write_each_block(&dev, BLOCKS);
    let sectors = random_sectors(Bytes(SIZE.0 * 512), 1 << 16);
    let mut io = SyncIo::default();
    let mut buf = vec![0; 4096];
    let mut next = sectors.iter().cycle();
    group.bench_function("read 4 KiB, mapped", |b| {
        b.iter(|| {
            io.read(&dev, *next.next().expect("cycles"), &mut buf, |bio| bio).expect("healthy");
            black_box(&buf);
        });
    });
    let mut next = sectors.iter().cycle();
    group.bench_function("write 4 KiB, mapped", |b| {
        b.iter(|| io.submit(&dev, Bio::write(*next.next().expect("cycles"), &buf)).expect("healthy"));
    });

    for (name, features) in
        [("first write, zeroing", "0"), ("first write, skip_block_zeroing", "1 skip_block_zeroing")]
    {
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    let count = left.min(BLOCKS);
                    let (_bench, dev) = pool(features);
                    total += write_each_block(&dev, count);
                    left -= count;
                }
                total
            });
        });
    }

    group.bench_function("break sharing", |b| {
        b.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let count = left.min(BLOCKS / 2);
                let (bench, dev) = pool("0");
                write_each_block(&dev, count);
                message(&bench, "create_snap 1 0");
                total += write_each_block(&dev, count);
                remove(&bench, "thin0");
                left -= count;
            }
            total
        });
    });
    group.finish();
}

criterion_group!(thin_benches, benches);
criterion_main!(thin_benches);
