//! Thin provisioning: reads of mapped blocks, first writes, broken sharing.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use dmlab_abi::Command;
use dmlab_benches::{Bench, ThreadTime, criterion, random_sectors};
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
    ThreadTime::of(|| {
        for block in 0..count {
            io.submit(dev, Bio::write(Sector(block * BLOCK.0), &data)).expect("there is room");
        }
    })
}

#[expect(clippy::too_many_lines, reason = "one group of measurements after the other")]
fn benches(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("thin");
    group.throughput(Throughput::Elements(1));

    let (bench, dev) = pool("1 skip_block_zeroing");
    write_each_block(&dev, BLOCKS);
    let ram = bench.machine.registry().get(DevT::new(1, 1)).expect("ram1 exists");
    let mut io = SyncIo::default();
    let mut buf = vec![0; 4096];
    // Beside the disk below, so that the difference is the lookup; from all of it, and from as much as a cache holds.
    for (what, span) in [("cold", SIZE.0 * 512), ("warm", 1 << 20)] {
        let sectors = random_sectors(Bytes(span), 1 << 16);
        for (name, dev) in [("the disk below", &ram), ("mapped", &dev)] {
            let mut next = sectors.iter().cycle();
            group.bench_function(format!("read 4 KiB, {what}, {name}"), |b| {
                b.iter(|| {
                    io.read(dev, *next.next().expect("cycles"), &mut buf, |bio| bio).expect("healthy");
                    black_box(&buf);
                });
            });
            let mut next = sectors.iter().cycle();
            group.bench_function(format!("write 4 KiB, {what}, {name}"), |b| {
                b.iter(|| io.submit(dev, Bio::write(*next.next().expect("cycles"), &buf)).expect("healthy"));
            });
        }
    }

    // By the wall clock: what two cores do together, for one that has both to itself.
    let sectors = random_sectors(Bytes(1 << 20), 1 << 16);
    for threads in [1, 2] {
        group.bench_function(format!("read 4 KiB, warm, mapped, {threads} threads"), |b| {
            b.iter_custom(|rounds| {
                let start = std::time::Instant::now();
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let (dev, sectors) = (&dev, &sectors);
                        scope.spawn(move || {
                            let (mut io, mut buf) = (SyncIo::default(), vec![0; 4096]);
                            let sectors = sectors.iter().cycle().skip(thread * 1000);
                            for sector in sectors.take(rounds.div_ceil(threads as u64) as usize) {
                                io.read(dev, *sector, &mut buf, |bio| bio).expect("healthy");
                                black_box(&buf);
                            }
                        });
                    }
                });
                start.elapsed()
            });
        });
    }

    // What these measure happens once to each block, so each round takes a pool of its own.
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(BLOCKS));
    for (name, features) in
        [("first write, zeroing", "0"), ("first write, skip_block_zeroing", "1 skip_block_zeroing")]
    {
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let round = |_| {
                    let (_bench, dev) = pool(features);
                    write_each_block(&dev, BLOCKS)
                };
                (0..rounds).map(round).sum()
            });
        });
    }

    group.throughput(Throughput::Elements(BLOCKS / 2));
    group.bench_function("break sharing", |b| {
        b.iter_custom(|rounds| {
            let round = |_| {
                let (bench, dev) = pool("0");
                write_each_block(&dev, BLOCKS / 2);
                message(&bench, "create_snap 1 0");
                write_each_block(&dev, BLOCKS / 2)
            };
            (0..rounds).map(round).sum()
        });
    });
    group.finish();
}

criterion_group! {
    name = thin_benches;
    config = criterion();
    targets = benches
}
criterion_main!(thin_benches);
