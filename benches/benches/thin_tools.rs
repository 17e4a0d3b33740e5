//! Check, dump and restore of a pool with 4 million scattered mappings, in memory.
//!
//! Budgets: checked in at most 0.3 s on one core, restored from XML in at most 2 s.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{Criterion, criterion_group, criterion_main};
use dmlab_thin_tools::{
    BytesMetadata, CheckOptions, Device, DumpOptions, Pool, Run, Sink, XmlSink, check, dump, read_xml,
    restore,
};
use dmlab_units::{DataBlock, Sectors, ThinBlock, ThinId};
use std::time::Duration;

const MAPPINGS: u64 = 4_000_000;
const DEVICES: u64 = 4;
const METADATA_BLOCKS: u64 = 20_000;
/// Has no factor in common with the number of mappings, so that its multiples go through all blocks, far apart.
const STRIDE: u64 = 2_654_435_761;

fn pool() -> BytesMetadata {
    let mut metadata = BytesMetadata::zeroed(METADATA_BLOCKS);
    let mut sink = restore(&mut metadata).expect("room");
    let data_block_size = Sectors(128);
    let pool =
        Pool { time: 0, transaction: 0, flags: 0, version: 2, data_block_size, nr_data_blocks: MAPPINGS };
    sink.pool(&pool).expect("a pool");
    let per_device = MAPPINGS / DEVICES;
    for id in 0..DEVICES {
        let (transaction, creation_time, snap_time) = (0, 0, 0);
        let device =
            Device { id: ThinId(id), mapped_blocks: per_device, transaction, creation_time, snap_time };
        sink.device(&device).expect("a device");
        for i in 0..per_device {
            let data = DataBlock((id * per_device + i).wrapping_mul(STRIDE) % MAPPINGS);
            sink.run(&Run { begin: ThinBlock(i), data, length: 1, time: 0 }).expect("a mapping");
        }
        sink.end_device().expect("a device");
    }
    sink.end_pool().expect("room for all");
    drop(sink);
    metadata
}

fn tools(c: &mut Criterion) {
    let metadata = pool();
    let report = check(&metadata, CheckOptions::default()).expect("metadata");
    assert!(report.is_clean() && report.nr_mappings == MAPPINGS);
    let mut group = c.benchmark_group("thin-tools, 4 M mappings");
    group.sample_size(10).measurement_time(Duration::from_secs(6));
    group.bench_function("check", |b| {
        b.iter(|| check(&metadata, CheckOptions::default()).expect("metadata").nr_mappings);
    });
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    group.bench_function("check, one thread", |b| {
        b.iter(|| one.install(|| check(&metadata, CheckOptions::default()).expect("metadata").nr_mappings));
    });
    group.bench_function("dump", |b| {
        b.iter(|| {
            dump(&metadata, &DumpOptions::default(), &mut XmlSink::new(std::io::sink())).expect("metadata");
        });
    });
    let mut xml = Vec::new();
    dump(&metadata, &DumpOptions::default(), &mut XmlSink::new(&mut xml)).expect("metadata");
    let mut restored = BytesMetadata::zeroed(METADATA_BLOCKS);
    group.bench_function("restore", |b| {
        b.iter(|| {
            let mut sink = restore(&mut restored).expect("room");
            read_xml(&xml[..], &mut sink).expect("a pool");
        });
    });
    group.finish();
}

criterion_group!(benches, tools);
criterion_main!(benches);
