//! The mapped path of each target beside that of linear, in the same run: direct reads and writes of 4 KiB at random
//! places of a RAM disk that is small enough for the caches, so that the target shows and not the memory.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dmlab_abi::Command;
use dmlab_benches::{Bench, ThreadTime, criterion, random_sectors};
use dmlab_block::{Bio, BioFlags, SyncIo};
use dmlab_machine::BlockDevice;
use dmlab_units::{Bytes, Sectors};

const SPAN: Bytes = Bytes::mib(2);
const SIZE: Sectors = Sectors(SPAN.0 / 512);

/// Measures reads and writes of `devices`, the first of which is linear.
fn compare(c: &mut Criterion<ThreadTime>, name: &str, devices: &[(&str, Arc<BlockDevice>)]) {
    compare_with(c, name, devices, BioFlags::empty());
}

/// Measures as [`compare`] does, with flags on the writes.
fn compare_with(
    c: &mut Criterion<ThreadTime>,
    name: &str,
    devices: &[(&str, Arc<BlockDevice>)],
    flags: BioFlags,
) {
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
                io.submit(device, Bio::write(at, &buf).with_flags(flags)).expect("the device is healthy");
            });
        });
    }
    group.finish();
}

fn linear(bench: &Bench) -> (&'static str, Arc<BlockDevice>) {
    ("linear", bench.create("linear", SIZE, "linear", "1:0 0"))
}

/// Without a delay: what the classes cost.
fn delay(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let delay = bench.create("delay", SIZE, "delay", "1:0 0 0");
    compare(c, "delay", &[linear(&bench), ("delay 0", delay)]);
}

fn flakey(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let up = bench.create("up", SIZE, "flakey", "1:0 0 1 0");
    let corrupting = bench.create("down", SIZE, "flakey", "1:0 0 0 1 5 corrupt_bio_byte 1 w 1 0");
    compare(c, "flakey", &[linear(&bench), ("flakey, up", up), ("flakey, corrupting writes", corrupting)]);
}

fn unstriped(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let unstriped = bench.create("unstriped", SIZE, "unstriped", "2 8 1 1:0 0");
    compare(c, "unstriped", &[linear(&bench), ("unstriped", unstriped)]);
}

fn switch(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let switch = bench.create("switch", SIZE, "switch", "2 8 0 1:0 0 1:1 0");
    compare(c, "switch", &[linear(&bench), ("switch", switch)]);
}

/// The log is one that forgets and has no end. Forced writes, because others are kept in memory until a flush comes.
fn logging(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let log = bench.create("log", Sectors(1 << 50), "zero", "").dev();
    let log_writes = bench.create("log-writes", SIZE, "log-writes", &format!("1:0 {log}"));
    compare_with(c, "logging", &[linear(&bench), ("log-writes, logging", log_writes)], BioFlags::FUA);
}

/// Logging has ended, so that the log doesn't grow without end: what is left is looking whether it has.
fn log_writes(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let tiny = bench.create("tiny", Sectors(8), "linear", "1:1 0").dev();
    let log_writes = bench.create("log-writes", SIZE, "log-writes", &format!("1:0 {tiny}"));
    let mut io = SyncIo::default();
    io.submit(&log_writes, Bio::write(dmlab_units::Sector(0), &[0; 4096])).expect("the device is healthy");
    io.submit(&log_writes, Bio::flush()).expect("the device is healthy");
    bench.machine.runtime().run_until_idle();
    compare(c, "log-writes", &[linear(&bench), ("log-writes, ended", log_writes)]);
}

/// Two paths and each selector in turn: what choosing and counting cost.
fn multipath(c: &mut Criterion<ThreadTime>) {
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
fn dust(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let off = bench.create("off", SIZE, "dust", "1:0 0 4096");
    let on = bench.create("on", SIZE, "dust", "1:0 0 4096");
    for message in ["addbadblock 100000", "enable"] {
        bench.message("on", message);
    }
    compare(c, "dust", &[linear(&bench), ("dust, off", off), ("dust, on", on)]);
}

/// Whole blocks, and a block that lies across two of twice the size.
fn ebs(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let whole = bench.create("whole", SIZE, "ebs", "1:0 0 1 8");
    let parts = bench.create("parts", SIZE, "ebs", "1:0 0 1 16");
    compare(c, "ebs", &[linear(&bench), ("ebs, whole blocks", whole), ("ebs, half blocks", parts)]);
}

/// Reads of a set in sync go to one leg on the caller's thread; writes go to both by way of the worker.
fn mirror(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let mirror = bench.create("mirror", SIZE, "mirror", "core 2 1024 nosync 2 1:0 0 1:1 0");
    compare(c, "mirror", &[linear(&bench), ("mirror", mirror)]);
}

/// A snapshot of `origin` in whose store on `cow` every chunk has its copy.
fn copied_snapshot(bench: &Bench, origin: &str, cow: &str) -> Arc<BlockDevice> {
    let snapshot = bench.create("snapshot", SIZE, "snapshot", &format!("{origin} {cow} P 8"));
    let mut io = SyncIo::default();
    for sector in (0..SIZE.0).step_by(8) {
        io.submit(&snapshot, Bio::write(dmlab_units::Sector(sector), &[0; 4096])).expect("it is healthy");
    }
    snapshot
}

/// Every chunk has its copy: what finding it costs.
fn snapshot(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let cow = bench.create("cow", Sectors(2 * SIZE.0), "linear", "1:2 0").dev();
    let snapshot = copied_snapshot(&bench, "1:0", &cow.to_string());
    compare(c, "snapshot", &[linear(&bench), ("snapshot, copied", snapshot)]);
}

/// An origin without a snapshot, and one whose snapshot has a copy of every chunk.
fn snapshot_origin(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let alone = bench.create("alone", SIZE, "snapshot-origin", "1:1");
    copied_snapshot(&bench, "1:0", "1:2");
    let copied = bench.create("copied", SIZE, "snapshot-origin", "1:0");
    let devices = [linear(&bench), ("snapshot-origin, alone", alone), ("snapshot-origin, copied", copied)];
    compare(c, "snapshot-origin", &devices);
}

/// A merge that has come to its end, and one that has failed at its first chunk: everything is in the store still.
fn snapshot_merge(c: &mut Criterion<ThreadTime>) {
    let bench = Bench::new(SPAN);
    let merge = |name: &str, origin: &str, cow: &str| {
        copied_snapshot(&bench, origin, cow);
        let mut buf = bench.named("snapshot").as_bytes().to_vec();
        bench.ioctl(Command::DevRemove, &mut buf).expect("nobody has it open");
        let merge = bench.create(name, SIZE, "snapshot-merge", &format!("{origin} {cow} P 8"));
        bench.machine.runtime().run_until_idle();
        merge
    };
    let merged = merge("merged", "1:1", "1:2");
    let unwritable = bench.create("unwritable", SIZE, "flakey", "1:3 0 0 1 1 error_writes").dev().to_string();
    let failed = merge("failed", &unwritable, "1:4");
    let devices = [linear(&bench), ("snapshot-merge, merged", merged), ("snapshot-merge, failed", failed)];
    compare(c, "snapshot-merge", &devices);
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = delay, flakey, unstriped, switch, log_writes, logging, multipath, dust, ebs, mirror, snapshot,
        snapshot_origin, snapshot_merge
}
criterion_main!(benches);
