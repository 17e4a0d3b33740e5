//! A device with a transaction manager, and a check of every count on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use dmlab_block::{Bio, BlockDevice, RamDisk, Registry, WriteCache, read_async, run_async};
use dmlab_formats::array::ARRAY_BLOCK;
use dmlab_formats::bitmap::BITMAP;
use dmlab_formats::btree_node::{NODE, Node};
use dmlab_formats::index::{INDEX, IndexBlock, IndexEntry};
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_formats::{BLOCK_SIZE, Block, Validator};
use dmlab_persistent_data::{BlockManager, TransactionManager};
use dmlab_runtime::{Runtime, VirtualDriver};
use dmlab_units::{DevT, MetaBlock, Sector, Sectors};

/// The superblock of these tests, which holds nothing but the root of the space map.
static SUPERBLOCK: Validator = Validator::new("superblock", 1);
const ROOT_AT: usize = 64;
const LOCATION: MetaBlock = MetaBlock(0);

/// What a block refers to: the tests know what their roots are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// A tree whose values refer to nothing.
    Tree,
    /// A tree of the roots of other trees.
    Roots,
    /// An array or a bitset.
    Array,
    /// The bitmaps of another device's space map.
    Bitmaps,
}

pub(crate) struct Bench {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) device: Arc<BlockDevice>,
    pub(crate) tm: TransactionManager,
}

impl Bench {
    /// A fresh device of `blocks` metadata blocks.
    pub(crate) fn new(blocks: u64) -> Bench {
        let runtime = Runtime::new(0, VirtualDriver::new());
        let registry = Registry::new(runtime.clone());
        let size = Sectors(blocks * 8);
        let disk = RamDisk::new(size, WriteCache::WriteThrough);
        let (limits, seq) = (disk.limits(), registry.next_disk_seq());
        let device = BlockDevice::new(DevT::new(1, 0), "ram0", seq, runtime.clone(), Arc::new(disk), limits);
        device.set_capacity(size);
        let made = TransactionManager::create(BlockManager::new(device.clone()), blocks);
        let tm = runtime.block_on(made).expect("nothing waits for ever").expect("there is room");
        let mut bench = Bench { runtime, device, tm };
        bench.tm.blocks_mut().make_zero(LOCATION, &SUPERBLOCK);
        bench
    }

    /// A device with these bytes, whose superblock has the root of the space map at `root_at`.
    pub(crate) fn of_image(bytes: &[u8], root_at: usize) -> Bench {
        let mut bench = Bench::new((bytes.len() / BLOCK_SIZE) as u64);
        let write = Bio::write_owned(Sector(0), Arc::from(bytes)).to(&bench.device);
        bench.runtime.block_on(run_async(write)).expect("nothing waits for ever").expect("the disk is sound");
        let root = SpaceMapRoot::decode(&bytes[root_at..]);
        let opened = TransactionManager::open(BlockManager::new(bench.device.clone()), root);
        let opened = bench.runtime.block_on(opened).expect("nothing waits for ever");
        bench.tm = opened.expect("the image is sound");
        bench
    }

    pub(crate) fn run<T>(&mut self, work: impl AsyncFnOnce(&mut TransactionManager) -> T) -> T {
        self.runtime.clone().block_on(work(&mut self.tm)).expect("nothing waits for ever")
    }

    pub(crate) fn commit(&mut self) {
        self.run(async |tm| {
            tm.pre_commit().await.expect("the disk is sound");
            tm.blocks_mut().load(LOCATION, &SUPERBLOCK).await.expect("it was made");
            let root = tm.space_map().root();
            root.encode(&mut tm.blocks_mut().get_mut(LOCATION)[ROOT_AT..]);
            tm.commit().await.expect("the disk is sound");
        });
    }

    /// Forgets what was not committed, and opens the device anew.
    pub(crate) fn reopen(&mut self) {
        let mut blocks = BlockManager::new(self.device.clone());
        let opened = self.runtime.block_on(async {
            blocks.load(LOCATION, &SUPERBLOCK).await?;
            let root = SpaceMapRoot::decode(&blocks.get(LOCATION)[ROOT_AT..]);
            TransactionManager::open(blocks, root).await
        });
        self.tm = opened.expect("nothing waits for ever").expect("it was committed");
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let read = read_async(&self.device, Sector(0), self.device.capacity());
        self.runtime.block_on(read).expect("nothing waits for ever").expect("the disk is sound").to_vec()
    }

    /// Commits, and checks each block that the roots and the space map lead to, and that each block of the device has as
    /// many references as lead to it.
    pub(crate) fn check(&mut self, roots: &[(MetaBlock, Holds)]) {
        self.commit();
        let bytes = self.bytes();
        let mut wanted = BTreeMap::new();
        for &(root, holds) in roots {
            walk(&bytes, root, holds, &mut wanted);
        }
        let map = self.tm.space_map().root();
        wanted.insert(LOCATION, 1);
        wanted.insert(map.bitmap_root, 1);
        let index = block(&bytes, map.bitmap_root);
        INDEX.check(map.bitmap_root, index).unwrap();
        for entry in IndexBlock::decode(index).entries.iter().filter(|entry| entry.bitmap != LOCATION) {
            BITMAP.check(entry.bitmap, block(&bytes, entry.bitmap)).unwrap();
            wanted.insert(entry.bitmap, 1);
        }
        walk(&bytes, map.ref_count_root, Holds::Tree, &mut wanted);
        let mut nr_allocated = 0;
        for number in (0..map.nr_blocks).map(MetaBlock) {
            let count = self.run(async |tm| tm.count(number).await.expect("sound metadata"));
            assert_eq!(count, wanted.get(&number).copied().unwrap_or(0), "references of block {number}");
            nr_allocated += u64::from(count > 0);
        }
        assert_eq!(map.nr_allocated, nr_allocated);
    }
}

pub(crate) fn block(bytes: &[u8], number: MetaBlock) -> &Block {
    let at = number.0 as usize * BLOCK_SIZE;
    bytes[at..at + BLOCK_SIZE].try_into().expect("a slice of a block's length")
}

/// Counts a reference to `root`, and to all below when it is the first.
fn walk(bytes: &[u8], root: MetaBlock, holds: Holds, counts: &mut BTreeMap<MetaBlock, u32>) {
    let count = counts.entry(root).or_default();
    *count += 1;
    if *count > 1 {
        return;
    }
    NODE.check(root, block(bytes, root)).unwrap();
    let node = Node::new(block(bytes, root));
    for i in 0..node.len() {
        if node.is_internal() {
            walk(bytes, node.value(i), holds, counts);
        } else if holds == Holds::Roots {
            walk(bytes, node.value(i), Holds::Tree, counts);
        } else if holds == Holds::Array {
            let array_block: MetaBlock = node.value(i);
            ARRAY_BLOCK.check(array_block, block(bytes, array_block)).unwrap();
            *counts.entry(array_block).or_default() += 1;
        } else if holds == Holds::Bitmaps {
            let bitmap = node.value::<IndexEntry>(i).bitmap;
            BITMAP.check(bitmap, block(bytes, bitmap)).unwrap();
            *counts.entry(bitmap).or_default() += 1;
        }
    }
}

/// Runs a property over as many cases as `cases` says, the same ones each time.
pub(crate) fn for_all<S: proptest::strategy::Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value)) {
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let ran = runner.run(&strategy, |case| {
        property(case);
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
}
