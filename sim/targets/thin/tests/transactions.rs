//! What an aborted transaction takes back, what opening refuses, and when a shortage is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dmlab_block::{Bio, BlockDevice, RamDisk, Registry, WriteCache, read_async, run_async};
use dmlab_formats::BLOCK_SIZE;
use dmlab_formats::thin::{SUPERBLOCK, Superblock};
use dmlab_runtime::{Runtime, VirtualDriver};
use dmlab_targets_thin::metadata::ThinMetadata;
use dmlab_units::{DataBlock, DevT, Errno, MetaBlock, Sector, Sectors, ThinBlock, ThinId};

struct Bench {
    runtime: Arc<Runtime>,
    device: Arc<BlockDevice>,
}

impl Bench {
    fn new(blocks: u64) -> Bench {
        let runtime = Runtime::new(0, VirtualDriver::new());
        let registry = Registry::new(runtime.clone());
        let size = Sectors(blocks * 8);
        let disk = RamDisk::new(size, WriteCache::WriteThrough);
        let (limits, seq) = (disk.limits(), registry.next_disk_seq());
        let device = BlockDevice::new(DevT::new(1, 0), "ram0", seq, runtime.clone(), Arc::new(disk), limits);
        device.set_capacity(size);
        Bench { runtime, device }
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work).expect("nothing waits for ever")
    }

    fn open(&self) -> Result<ThinMetadata, Errno> {
        self.run(ThinMetadata::open(self.device.clone(), Sectors(128), true))
    }

    /// A pool of 2048 data blocks with the open device 1, which has its block 0.
    fn pool(&self) -> ThinMetadata {
        let mut metadata = self.open().unwrap();
        self.run(async {
            metadata.resize_data(2048).await.unwrap();
            metadata.create_thin(ThinId(1)).await.unwrap();
            metadata.commit().await.unwrap();
            metadata.open_thin(ThinId(1)).await.unwrap();
            let data = metadata.allocate_data().await.unwrap().unwrap();
            metadata.map(ThinId(1), ThinBlock(0), data).await.unwrap();
            metadata.commit().await.unwrap();
        });
        metadata
    }

    fn superblock(&self) -> Superblock {
        let bytes = self.run(read_async(&self.device, Sector(0), Sectors(8))).unwrap();
        Superblock::decode(bytes[..].try_into().unwrap())
    }

    fn change_superblock(&self, edit: impl FnOnce(&mut Superblock)) {
        let bytes = self.run(read_async(&self.device, Sector(0), Sectors(8))).unwrap();
        let mut block: [u8; BLOCK_SIZE] = bytes[..].try_into().unwrap();
        let mut superblock = Superblock::decode(&block);
        edit(&mut superblock);
        superblock.encode(&mut block);
        SUPERBLOCK.seal(MetaBlock(0), &mut block);
        self.run(run_async(Bio::write_owned(Sector(0), Arc::from(&block[..])).to(&self.device))).unwrap();
    }
}

#[test]
fn an_abort_takes_everything_back_that_was_not_committed() {
    let bench = Bench::new(512);
    let mut metadata = bench.pool();
    let committed = bench.superblock();
    bench.run(async {
        metadata.set_transaction_id(0, 9).unwrap();
        metadata.reserve_metadata_snapshot().await.unwrap();
        metadata.create_snapshot(ThinId(2), ThinId(1)).await.unwrap();
        let data = metadata.allocate_data().await.unwrap().unwrap();
        metadata.map(ThinId(1), ThinBlock(7), data).await.unwrap();
        metadata.resize_data(4000).await.unwrap();
        metadata.set_needs_check();
        assert!(metadata.held_root().is_some() && metadata.needs_check());
        metadata.abort().await.unwrap();
    });
    assert_eq!(metadata.held_root(), None);
    assert!(!metadata.needs_check());
    assert_eq!((metadata.transaction_id(), metadata.data_blocks(), metadata.free_data()), (0, 2048, 2047));
    bench.run(async {
        assert_eq!(metadata.device_ids().await.unwrap(), [ThinId(1)]);
        assert_eq!(metadata.lookup(ThinId(1), ThinBlock(7)).await.unwrap(), None);
        let kept = metadata.lookup(ThinId(1), ThinBlock(0)).await.unwrap().unwrap();
        assert_eq!(kept.block, DataBlock(0));
        // The next transaction begins where the last committed one ended.
        assert_eq!(metadata.allocate_data().await.unwrap(), Some(DataBlock(1)));
        metadata.commit().await.unwrap();
    });
    let now = bench.superblock();
    assert_eq!((now.time, now.trans_id, now.held_root), (committed.time, 0, MetaBlock(0)));
    assert_eq!(now.data_space_map.nr_blocks, 2048);
}

#[test]
fn features_that_are_not_known_are_refused_as_far_as_they_matter() {
    let bench = Bench::new(64);
    bench.pool();
    bench.change_superblock(|superblock| superblock.compat_flags = 1);
    assert!(bench.open().is_ok(), "these say that nobody has to know them");
    bench.change_superblock(|superblock| superblock.compat_ro_flags = 2);
    assert_eq!(bench.open().err(), Some(Errno::EINVAL));
    bench.device.set_read_only(true);
    assert!(bench.open().is_ok(), "who only reads has not to know them");
    bench.device.set_read_only(false);
    bench.change_superblock(|superblock| (superblock.compat_ro_flags, superblock.incompat_flags) = (0, 4));
    assert_eq!(bench.open().err(), Some(Errno::EINVAL));
    bench.device.set_read_only(true);
    assert_eq!(bench.open().err(), Some(Errno::EINVAL));
    let log: Vec<String> = bench.runtime.klog().since(0).into_iter().map(|line| line.text).collect();
    let said = |text: &str| log.iter().filter(|line| line.ends_with(text)).count();
    assert_eq!(said("could not access metadata RDWR due to unsupported optional features (2)."), 1);
    assert_eq!(said("could not access metadata due to unsupported optional features (4)."), 2);
}

#[test]
fn a_shortage_of_metadata_is_told_once_until_it_is_over() {
    let bench = Bench::new(64);
    let mut metadata = bench.open().unwrap();
    let told = Arc::new(AtomicU32::new(0));
    let teller = told.clone();
    // 9 of 64 blocks are in use once there is a data device; 6 more are kept back.
    metadata.set_metadata_low_water(30, move || _ = teller.fetch_add(1, Ordering::Relaxed));
    bench.run(async {
        metadata.resize_data(100).await.unwrap();
        metadata.commit().await.unwrap();
        let mut id = 0;
        let free = |metadata: &ThinMetadata| metadata.free_metadata() + 6;
        while free(&metadata) > 35 {
            metadata.create_thin(ThinId(id)).await.unwrap();
            metadata.commit().await.unwrap();
            id += 1;
        }
        let before = told.load(Ordering::Relaxed);
        // Within one transaction blocks only go: it is told as the mark is reached, and not again.
        while free(&metadata) > 20 {
            metadata.create_thin(ThinId(id)).await.unwrap();
            id += 1;
        }
        assert_eq!(told.load(Ordering::Relaxed), before + 1);
        metadata.commit().await.unwrap();
        while free(&metadata) < 40 {
            id -= 1;
            metadata.delete_thin(ThinId(id)).await.unwrap();
            metadata.commit().await.unwrap();
        }
        let before = told.load(Ordering::Relaxed);
        while free(&metadata) > 20 {
            metadata.create_thin(ThinId(id)).await.unwrap();
            id += 1;
        }
        assert_eq!(told.load(Ordering::Relaxed), before + 1);
    });
}
