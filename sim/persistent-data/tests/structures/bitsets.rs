//! Bitsets against vectors of words.

use dmlab_persistent_data::{Bitset, PdErrorKind, TransactionManager};
use dmlab_units::MetaBlock;
use proptest::prelude::*;

use crate::bench::{Bench, Holds, for_all};

fn open(root: MetaBlock) -> Bitset {
    Bitset::open(root, "node", "array")
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64),
    Clear(u64),
    Test(u64),
    Resize(u64, bool),
    Snapshot,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bits = prop_oneof![0..70_000u64, 0..200u64, Just(0), Just(64), Just(509 * 64)];
    // Bits that lie together and bits that lie far apart.
    let bit = prop_oneof![any::<u64>(), 0..130u64];
    let step = prop_oneof![
        5 => bit.clone().prop_map(Step::Set),
        3 => bit.clone().prop_map(Step::Clear),
        4 => bit.prop_map(Step::Test),
        2 => (bits, any::<bool>()).prop_map(|(bits, fill)| Step::Resize(bits, fill)),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..50)
}

async fn compare(tm: &mut TransactionManager, root: MetaBlock, words: &[u64]) {
    let mut bitset = open(root);
    for (index, &word) in words.iter().enumerate() {
        for bit in [0, 1, 31, 62, 63] {
            let is_set = bitset.test(tm, index as u64 * 64 + bit).await.unwrap();
            assert_eq!(is_set, word >> bit & 1 == 1, "bit {bit} of word {index}");
        }
    }
}

#[test]
fn a_bitset_is_what_a_vector_of_words_is() {
    for_all(60, steps(), |steps| {
        let mut bench = Bench::new(256);
        let mut bitset = bench.run(async |tm| Bitset::create(tm, "node", "array").await).unwrap();
        let (mut words, mut bits): (Vec<u64>, u64) = (Vec::new(), 0);
        let mut snapshots: Vec<(MetaBlock, Vec<u64>)> = Vec::new();
        for step in steps {
            match step {
                Step::Set(bit) | Step::Clear(bit) | Step::Test(bit) if bits == 0 => {
                    let bit = 70_000 + bit % 1000;
                    let found = bench.run(async |tm| bitset.test(tm, bit).await).unwrap_err();
                    assert_eq!((found.kind, found.key), (PdErrorKind::NotFound, Some(bit)));
                }
                Step::Set(bit) => {
                    let bit = bit % bits;
                    bench.run(async |tm| bitset.set(tm, bit).await).unwrap();
                    words[bit as usize / 64] |= 1 << (bit % 64);
                }
                Step::Clear(bit) => {
                    let bit = bit % bits;
                    bench.run(async |tm| bitset.clear(tm, bit).await).unwrap();
                    words[bit as usize / 64] &= !(1 << (bit % 64));
                }
                Step::Test(bit) => {
                    let bit = bit % bits;
                    let is_set = bench.run(async |tm| bitset.test(tm, bit).await);
                    assert_eq!(is_set, Ok(words[bit as usize / 64] >> (bit % 64) & 1 == 1));
                }
                Step::Resize(new, fill) => {
                    bench.run(async |tm| bitset.resize(tm, bits, new, fill).await).unwrap();
                    words.resize(new.div_ceil(64) as usize, if fill { u64::MAX } else { 0 });
                    bits = new;
                }
                Step::Snapshot => {
                    let root = bench.run(async |tm| bitset.flush(tm).await).unwrap();
                    bench.run(async |tm| tm.inc(root).await).unwrap();
                    snapshots.push((root, words.clone()));
                }
                Step::Reopen => {
                    let root = bench.run(async |tm| bitset.flush(tm).await).unwrap();
                    let mut roots = vec![(root, Holds::Array)];
                    roots.extend(snapshots.iter().map(|(root, _)| (*root, Holds::Array)));
                    bench.check(&roots);
                    bench.reopen();
                    bitset = open(root);
                }
            }
        }
        let root = bench.run(async |tm| bitset.flush(tm).await).unwrap();
        bench.run(async |tm| compare(tm, root, &words).await);
        for (root, words) in &snapshots {
            bench.run(async |tm| compare(tm, *root, words).await);
        }
        for (root, _) in snapshots {
            bench.run(async |tm| open(root).delete(tm).await).unwrap();
        }
        bench.check(&[(root, Holds::Array)]);
        bench.run(async |tm| bitset.delete(tm).await).unwrap();
        bench.check(&[]);
    });
}

#[test]
fn a_change_is_reached_from_the_root_once_it_is_flushed() {
    let mut bench = Bench::new(64);
    let (mut bitset, empty) = bench.run(async |tm| {
        let mut bitset = Bitset::create(tm, "node", "array").await.unwrap();
        bitset.resize(tm, 0, 200, false).await.unwrap();
        let root = bitset.flush(tm).await.unwrap();
        (bitset, root)
    });
    bench.commit();
    bench.run(async |tm| {
        bitset.set(tm, 5).await.unwrap();
        assert!(bitset.test(tm, 5).await.unwrap());
        assert!(!open(empty).test(tm, 5).await.unwrap(), "it is in memory only");
        let root = bitset.flush(tm).await.unwrap();
        assert_ne!(root, empty);
        assert!(open(root).test(tm, 5).await.unwrap());
    });
}
