//! Metadata made here against what Linux made: the whole device, byte for byte
//! (golden/thin-metadata/README.md has the hashes).

use std::sync::Arc;

use dmlab_block::{BlockDevice, RamDisk, Registry, WriteCache, read_async};
use dmlab_runtime::{Runtime, VirtualDriver};
use dmlab_targets_thin::metadata::ThinMetadata;
use dmlab_units::{DevT, Sector, Sectors, ThinBlock, ThinId};
use sha2::{Digest, Sha256};

struct Pool {
    runtime: Arc<Runtime>,
    device: Arc<BlockDevice>,
    metadata: ThinMetadata,
}

impl Pool {
    fn new() -> Pool {
        let runtime = Runtime::new(0, VirtualDriver::new());
        let registry = Registry::new(runtime.clone());
        let disk = RamDisk::new(Sectors(4096), WriteCache::WriteThrough);
        let limits = disk.limits();
        let seq = registry.next_disk_seq();
        let device = BlockDevice::new(DevT::new(1, 0), "ram0", seq, runtime.clone(), Arc::new(disk), limits);
        device.set_capacity(Sectors(4096));
        let opened = ThinMetadata::open(device.clone(), Sectors(128), true);
        let metadata = runtime.block_on(opened).unwrap().unwrap();
        Pool { runtime, device, metadata }
    }

    fn hash(&self) -> String {
        let bytes =
            self.runtime.block_on(read_async(&self.device, Sector(0), Sectors(4096))).unwrap().unwrap();
        Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn grow(&mut self) {
        let runtime = self.runtime.clone();
        runtime
            .block_on(async {
                self.metadata.resize_data(2048).await.unwrap();
                self.metadata.commit().await.unwrap();
            })
            .unwrap();
    }

    fn create(&mut self, id: u64) {
        let runtime = self.runtime.clone();
        runtime
            .block_on(async {
                self.metadata.create_thin(ThinId(id)).await.unwrap();
                self.metadata.commit().await.unwrap();
                self.metadata.open_thin(ThinId(id)).await.unwrap();
            })
            .unwrap();
    }

    fn write(&mut self, id: u64, block: u64) {
        let runtime = self.runtime.clone();
        runtime
            .block_on(async {
                let data = self.metadata.allocate_data().await.unwrap().unwrap();
                self.metadata.map(ThinId(id), ThinBlock(block), data).await.unwrap();
                self.metadata.commit().await.unwrap();
            })
            .unwrap();
    }
}

#[test]
fn formatted_and_first_blocks() {
    let mut pool = Pool::new();
    assert_eq!(
        pool.hash(),
        "95d7fd919de95af882c4b775db488aea85cc25e333369b20a7bb92c9801c2c7b",
        "00-formatted"
    );
    pool.grow();
    assert_eq!(pool.hash(), "5165f530b97dbd356390676a3fcd87cf8cbc2be1c3fa620f246ff58f52b736ee", "01-fresh");
    pool.create(0);
    pool.write(0, 0);
    assert_eq!(
        pool.hash(),
        "0e53d96be8c70bb8a2f4cc81fa71f9557ecc36eb2dccb4198247924ecdbb9238",
        "02-one-block"
    );
}

/// Every number below `count` once, in the scrambled order of the recordings.
fn scrambled(count: u64, modulus: u64) -> Vec<u64> {
    let mut x = 0;
    let mut order = Vec::new();
    for _ in 0..modulus {
        if x < count {
            order.push(x);
        }
        x = (x * 181 + 97) % modulus;
    }
    order
}

#[test]
fn scrambled_blocks() {
    for (count, modulus, hash) in [
        (300, 512, "93fa557c893354dd6ab25ea2fe17850928c0442d55a2ab5a60340f66daa9ec70"),
        (1400, 2048, "4425ac8c7718fe57e55b2716ceb3cb485f5c55a514e32b4c0aba2b7db084479e"),
    ] {
        let mut pool = Pool::new();
        pool.grow();
        pool.create(0);
        for block in scrambled(count, modulus) {
            pool.write(0, block);
        }
        assert_eq!(pool.hash(), hash, "{count} blocks");
    }
}
