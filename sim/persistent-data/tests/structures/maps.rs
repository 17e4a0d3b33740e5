//! Space maps of another device against a plain map of counts.

use std::collections::{BTreeMap, BTreeSet};

use dmlab_persistent_data::{DiskSpaceMap, PdErrorKind};
use dmlab_units::DataBlock;
use proptest::prelude::*;

use crate::bench::{Bench, Holds, for_all};

#[derive(Clone, Debug)]
enum Step {
    Extend(u64),
    Allocate,
    Up(u64, u64),
    Down(u64, u64),
    Commit,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Some ranges lie over the end of a bitmap, which counts 16320 blocks.
    let begin = || prop_oneof![0..40u64, 16_300..16_340u64];
    let step = prop_oneof![
        1 => (0..300u64).prop_map(Step::Extend),
        6 => Just(Step::Allocate),
        5 => (begin(), 1..30u64).prop_map(|(begin, len)| Step::Up(begin, len)),
        5 => (begin(), 1..30u64).prop_map(|(begin, len)| Step::Down(begin, len)),
        1 => Just(Step::Commit),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..80)
}

#[test]
fn a_disk_space_map_counts_what_a_map_counts() {
    for_all(60, steps(), |steps| {
        let mut bench = Bench::new(256);
        let mut nr_blocks = 16_400;
        let mut map = bench.run(async |tm| {
            let mut map = DiskSpaceMap::create(tm).await.unwrap();
            map.extend(tm, nr_blocks).await.unwrap();
            map.commit(tm).await.unwrap();
            map
        });
        let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
        // What the last commit still refers to must not be taken.
        let mut committed: BTreeSet<u64> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Extend(more) => {
                    nr_blocks += more;
                    bench.run(async |tm| map.extend(tm, nr_blocks).await).unwrap();
                }
                Step::Allocate => {
                    let block = bench.run(async |tm| map.allocate(tm).await).unwrap().unwrap();
                    assert!(!committed.contains(&block.0));
                    assert_eq!(counts.insert(block.0, 1), None);
                }
                Step::Up(begin, len) => {
                    let blocks = DataBlock(begin)..DataBlock(begin + len);
                    bench.run(async |tm| map.inc_range(tm, blocks).await).unwrap();
                    (begin..begin + len).for_each(|block| *counts.entry(block).or_default() += 1);
                }
                Step::Down(begin, len) => {
                    // As far as all have a reference to give back.
                    let len =
                        (begin..begin + len).take_while(|block| counts.contains_key(block)).count() as u64;
                    let blocks = DataBlock(begin)..DataBlock(begin + len);
                    bench.run(async |tm| map.dec_range(tm, blocks).await).unwrap();
                    for block in begin..begin + len {
                        let count = counts.get_mut(&block).expect("it was counted");
                        *count -= 1;
                        if *count == 0 {
                            counts.remove(&block);
                        }
                    }
                }
                Step::Commit | Step::Reopen => {
                    bench.run(async |tm| map.commit(tm).await).unwrap();
                    committed = counts.keys().copied().collect();
                    let root = map.root();
                    assert_eq!((root.nr_blocks, root.nr_allocated), (nr_blocks, counts.len() as u64));
                    let roots = [(root.bitmap_root, Holds::Bitmaps), (root.ref_count_root, Holds::Tree)];
                    bench.check(&roots);
                    if matches!(step, Step::Reopen) {
                        bench.reopen();
                        map = DiskSpaceMap::open(root);
                    }
                }
            }
            for block in (0..70).chain(16_300..16_370) {
                let count = bench.run(async |tm| map.count(tm, DataBlock(block)).await).unwrap();
                assert_eq!(count, counts.get(&block).copied().unwrap_or(0), "block {block}");
            }
            let beyond = bench.run(async |tm| map.count(tm, DataBlock(nr_blocks)).await);
            assert_eq!(beyond, Err(PdErrorKind::BeyondMap.of_key(nr_blocks)));
        }
    });
}

#[test]
fn a_freed_block_is_not_taken_before_the_commit() {
    let mut bench = Bench::new(64);
    bench.run(async |tm| {
        let mut map = DiskSpaceMap::create(tm).await.unwrap();
        map.extend(tm, 2).await.unwrap();
        assert_eq!(map.allocate(tm).await, Ok(Some(DataBlock(0))));
        map.commit(tm).await.unwrap();
        map.dec_range(tm, DataBlock(0)..DataBlock(1)).await.unwrap();
        assert_eq!(map.allocate(tm).await, Ok(Some(DataBlock(1))));
        assert_eq!(map.allocate(tm).await, Ok(None));
        map.commit(tm).await.unwrap();
        assert_eq!(map.allocate(tm).await, Ok(Some(DataBlock(0))));
    });
}
