//! Thin metadata against plain maps: what it answers, and whether every count on the disk is what its trees say, after
//! every transaction; also when the disk fails in the middle of one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dmlab_block::{
    Bio, BioQueue, BlkStatus, BlockDevice, DiskOps, Op, RamDisk, Registry, WriteCache, read_async,
};
use dmlab_runtime::{Rng, Runtime, Stream, VirtualDriver};
use dmlab_targets_thin::metadata::ThinMetadata;
use dmlab_thin_tools::{BytesMetadata, CheckOptions, check};
use dmlab_units::{DataBlock, DevT, Errno, Sector, Sectors, ThinBlock, ThinId};

const SIZE: Sectors = Sectors(1500 * 8);
const DATA_BLOCKS: u64 = 30_000;
const DEVICES: u64 = 10;

/// A disk that fails on command.
struct Faulty {
    disk: RamDisk,
    /// Bios that still work; negative: all.
    left: AtomicI64,
}

impl DiskOps for Faulty {
    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, bio: Bio<'a>, queue: &mut BioQueue<'a>) {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            // Reads still work: the metadata can be opened again.
            if bio.op != Op::Read || bio.sector.0.is_multiple_of(3) {
                return bio.end(BlkStatus::IoErr);
            }
        } else if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
        }
        self.disk.submit_bio(dev, bio, queue);
    }
}

type Model = BTreeMap<u64, BTreeMap<u64, u64>>;

struct Bench {
    runtime: Arc<Runtime>,
    device: Arc<BlockDevice>,
    disk: Arc<Faulty>,
    metadata: ThinMetadata,
    model: Model,
    rng: Rng,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let runtime = Runtime::new(seed, VirtualDriver::new());
        let registry = Registry::new(runtime.clone());
        let disk = RamDisk::new(SIZE, WriteCache::Volatile);
        let limits = disk.limits();
        let disk = Arc::new(Faulty { disk, left: AtomicI64::new(-1) });
        let seq = registry.next_disk_seq();
        let device = BlockDevice::new(DevT::new(1, 0), "ram0", seq, runtime.clone(), disk.clone(), limits);
        device.set_capacity(SIZE);
        let metadata = open(&runtime, &device);
        let rng = Rng::new(seed, Stream::Workload);
        let mut bench = Bench { runtime, device, disk, metadata, model: Model::new(), rng };
        bench.run(async |metadata| metadata.resize_data(DATA_BLOCKS).await).expect("a sound disk");
        bench.commit().expect("a sound disk");
        bench
    }

    fn run<T>(&mut self, work: impl AsyncFnOnce(&mut ThinMetadata) -> T) -> T {
        let runtime = self.runtime.clone();
        runtime.block_on(work(&mut self.metadata)).expect("nothing waits for ever")
    }

    fn commit(&mut self) -> Result<(), Errno> {
        self.run(async |metadata| metadata.commit().await)
    }

    fn one(&mut self) -> Option<u64> {
        let ids: Vec<u64> = self.model.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[self.rng.below(ids.len() as u64) as usize])
    }

    fn map(&mut self, id: u64, block: u64) -> Result<(), Errno> {
        let data = self.run(async |metadata| {
            let Some(data) = metadata.allocate_data().await? else { return Ok(None) };
            metadata.map(ThinId(id), ThinBlock(block), data).await?;
            Ok(Some(data))
        })?;
        if let (Some(data), Some(blocks)) = (data, self.model.get_mut(&id)) {
            blocks.insert(block, data.0);
        }
        Ok(())
    }

    /// One random change.
    fn step(&mut self) -> Result<(), Errno> {
        let roll = self.rng.below(100);
        let new = self.rng.below(DEVICES);
        let Some(id) = self.one() else { return self.create(new).and_then(|()| self.commit()) };
        match roll {
            // As messages do: devices are never made or deleted in a transaction with more.
            0..10 => self.create(new).and_then(|()| self.commit()),
            10..25 => self.snapshot(new, id).and_then(|()| self.commit()),
            25..32 => self.delete(id).and_then(|()| self.commit()),
            32..60 => {
                let block = self.rng.below(4000);
                self.opened(id, |bench| bench.map(id, block))
            }
            60..78 => {
                let (count, first) = (self.rng.below(300), self.rng.below(3000));
                let stride = self.rng.below(50) * 2 + 1;
                self.opened(id, |bench| (0..count).try_for_each(|i| bench.map(id, first + i * stride % 1024)))
            }
            _ => {
                let (begin, len) = (self.rng.below(4000), 1 + self.rng.below(600));
                self.opened(id, |bench| {
                    bench
                        .run(async |m| m.unmap(ThinId(id), ThinBlock(begin)..ThinBlock(begin + len)).await)?;
                    if let Some(blocks) = bench.model.get_mut(&id) {
                        blocks.retain(|block, _| !(begin..begin + len).contains(block));
                    }
                    Ok(())
                })
            }
        }
    }

    fn opened(&mut self, id: u64, work: impl FnOnce(&mut Bench) -> Result<(), Errno>) -> Result<(), Errno> {
        self.run(async |metadata| metadata.open_thin(ThinId(id)).await)?;
        let done = work(self);
        self.metadata.close_thin(ThinId(id));
        done
    }

    fn create(&mut self, id: u64) -> Result<(), Errno> {
        let made = self.run(async |metadata| metadata.create_thin(ThinId(id)).await);
        match (made, self.model.contains_key(&id)) {
            (Err(Errno::EEXIST), true) => Ok(()),
            (Ok(()), false) => {
                self.model.insert(id, BTreeMap::new());
                Ok(())
            }
            (made, exists) => {
                assert!(made.is_err(), "device {id} was made although {exists}");
                made
            }
        }
    }

    fn snapshot(&mut self, id: u64, origin: u64) -> Result<(), Errno> {
        let made = self.run(async |metadata| metadata.create_snapshot(ThinId(id), ThinId(origin)).await);
        match (made, self.model.contains_key(&id)) {
            (Err(Errno::EEXIST), true) => Ok(()),
            (Ok(()), false) => {
                let blocks = self.model[&origin].clone();
                self.model.insert(id, blocks);
                Ok(())
            }
            (made, exists) => {
                assert!(made.is_err(), "snapshot {id} was made although {exists}");
                made
            }
        }
    }

    fn delete(&mut self, id: u64) -> Result<(), Errno> {
        self.run(async |metadata| metadata.delete_thin(ThinId(id)).await)?;
        self.model.remove(&id);
        Ok(())
    }

    /// The devices and mappings that are there.
    fn found(&mut self) -> Model {
        self.run(async |metadata| {
            let mut found = Model::new();
            for id in metadata.device_ids().await.expect("sound metadata") {
                metadata.open_thin(id).await.expect("it was just listed");
                let mut blocks = BTreeMap::new();
                let mut at = 0;
                while let Some(run) =
                    metadata.next_run(id, ThinBlock(at)..ThinBlock(u64::MAX)).await.expect("sound metadata")
                {
                    blocks.extend((0..run.len).map(|i| (run.thin.0 + i, run.data.0 + i)));
                    at = run.thin_blocks().end.0;
                }
                let highest = metadata.highest_mapped(id).await.expect("sound metadata");
                assert_eq!(highest.map(|block| block.0), blocks.last_key_value().map(|(&block, _)| block));
                for (&block, &data) in blocks.iter().step_by(7) {
                    let lookup = metadata.lookup(id, ThinBlock(block)).await.expect("sound metadata");
                    assert_eq!(lookup.map(|lookup| lookup.block), Some(DataBlock(data)));
                }
                let details = metadata.details(id).expect("it is open");
                assert_eq!(details.mapped_blocks, blocks.len() as u64);
                metadata.close_thin(id);
                found.insert(id.0, blocks);
            }
            found
        })
    }

    /// Counts everything on the disk.
    fn check(&self) {
        let bytes = self.runtime.block_on(read_async(&self.device, Sector(0), SIZE));
        let bytes = bytes.expect("nothing waits for ever").expect("a sound disk").to_vec();
        let report = check(&BytesMetadata::new(bytes), CheckOptions::default()).expect("it stands still");
        let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    fn reopen(&mut self) {
        self.metadata = open(&self.runtime, &self.device);
    }
}

fn open(runtime: &Arc<Runtime>, device: &Arc<BlockDevice>) -> ThinMetadata {
    let opened = ThinMetadata::open(device.clone(), Sectors(128), true);
    runtime.block_on(opened).expect("nothing waits for ever").expect("a sound disk")
}

#[test]
fn metadata_is_as_plain_maps_are() {
    for seed in 0..8 {
        let mut bench = Bench::new(seed);
        for step in 0..150 {
            bench.step().unwrap_or_else(|e| panic!("seed {seed}, step {step}: {e}"));
            if bench.rng.below(3) == 0 {
                continue;
            }
            bench.commit().unwrap_or_else(|e| panic!("seed {seed}, step {step}: {e}"));
            bench.check();
            if bench.rng.below(12) == 0 {
                bench.reopen();
            }
            if step % 5 == 0 {
                assert!(bench.found() == bench.model, "seed {seed}, step {step}: other mappings");
            }
        }
    }
}

#[test]
fn a_failing_disk_costs_the_open_transaction_and_no_more() {
    for seed in 100..108 {
        let mut bench = Bench::new(seed);
        let (mut committed, mut failures) = (bench.model.clone(), 0);
        for _ in 0..150 {
            if bench.rng.below(3) == 0 {
                let left = bench.rng.below(20) as i64;
                bench.disk.left.store(left, Ordering::Relaxed);
            }
            let done = bench.step().and_then(|()| bench.commit());
            bench.disk.left.store(-1, Ordering::Relaxed);
            if done.is_ok() {
                committed = bench.model.clone();
                bench.check();
                continue;
            }
            failures += 1;
            bench.run(async |metadata| metadata.abort().await).expect("a disk that works again");
            bench.reopen();
            bench.check();
            // If only the last flush failed, the new transaction is what the disk has.
            let found = bench.found();
            assert!(found == committed || found == bench.model, "seed {seed}: neither the old nor the new");
            committed = found.clone();
            bench.model = found;
        }
        assert!(failures > 5, "seed {seed}: only {failures} failures");
    }
}

/// Everything that can be asked of metadata and asked to be done to it; the first error.
async fn ask_everything(metadata: &mut ThinMetadata) -> Result<(), Errno> {
    let mut first = Ok(());
    for id in metadata.device_ids().await? {
        let asked: Result<(), Errno> = async {
            metadata.open_thin(id).await?;
            let mut at = 0;
            while let Some(run) = metadata.next_run(id, ThinBlock(at)..ThinBlock(u64::MAX)).await? {
                at = run.thin_blocks().end.0;
            }
            metadata.highest_mapped(id).await?;
            if let Some(data) = metadata.allocate_data().await? {
                metadata.map(id, ThinBlock(1), data).await?;
            }
            metadata.unmap(id, ThinBlock(0)..ThinBlock(700)).await
        }
        .await;
        metadata.close_thin(id);
        first = first.and(asked);
    }
    first.and(metadata.commit().await)
}

#[test]
fn a_trashed_block_is_refused_and_named() {
    let mut bench = Bench::new(7);
    while bench.model.values().map(BTreeMap::len).sum::<usize>() < 900 {
        bench.step().and_then(|()| bench.commit()).expect("a sound disk");
    }
    let sound = bench.disk.disk.fork();
    let mut refused = 0;
    for block in 0..SIZE.0 / 8 {
        let mut bytes = [0; 4096];
        sound.memory().read(block * 4096, &mut bytes);
        if bytes.iter().all(|&byte| byte == 0) {
            continue;
        }
        let place = 16 + bench.rng.below(4080);
        // Everything as it was, but for one bit.
        let mut whole = vec![0; (SIZE.0 * 512) as usize];
        sound.memory().read(0, &mut whole);
        whole[(block * 4096 + place) as usize] ^= 1 << bench.rng.below(8);
        bench.disk.disk.memory().write(0, &whole);
        let before = bench.runtime.klog().next_seq();
        let opened = ThinMetadata::open(bench.device.clone(), Sectors(128), true);
        let asked = match bench.runtime.block_on(opened).expect("nothing waits for ever") {
            Ok(metadata) => {
                bench.metadata = metadata;
                bench.run(async |metadata| ask_everything(metadata).await)
            }
            Err(errno) => Err(errno),
        };
        // A block that nothing refers to any more is not even looked at.
        let Err(errno) = asked else { continue };
        refused += 1;
        assert_eq!(errno, Errno::EILSEQ, "block {block}");
        let log = bench.runtime.klog().since(before);
        let named = |text: &str| text.ends_with(&format!("validator check failed for block {block}"));
        assert!(log.iter().any(|line| named(&line.text)), "block {block} is not named: {log:?}");
    }
    assert!(refused > 10, "only {refused} blocks were refused");
}
