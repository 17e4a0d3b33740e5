//! What Linux wrote: its arrays and bitsets can be read, and the same operations here leave the same bytes
//! (tests/recorded/README.md).

use std::io::Read;

use dmlab_formats::BLOCK_SIZE;
use dmlab_formats::array::ArrayBlock;
use dmlab_formats::btree_node::{Node, Value};
use dmlab_persistent_data::{Array, Bitset, Plain, Tree};
use dmlab_units::MetaBlock;

use crate::bench::{Bench, block};

const CACHE: &[u8] = include_bytes!("../recorded/cache.gz");
const ERA: &[u8] = include_bytes!("../recorded/era.gz");
const CLONE: &[u8] = include_bytes!("../recorded/clone.gz");

fn image(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    bytes
}

fn root_at(superblock: &[u8], at: usize) -> MetaBlock {
    MetaBlock::decode(&superblock[at..])
}

fn values<V: Value + Send + Sync + 'static>(bench: &mut Bench, root: MetaBlock) -> Vec<V> {
    let mut values = Vec::new();
    let array: Array<V> = Array::new("node", "array");
    bench.run(async |tm| array.for_each(tm, root, |_, value| values.push(value)).await).unwrap();
    values
}

fn set_bits(bench: &mut Bench, root: MetaBlock, bits: u64) -> Vec<u64> {
    let mut bitset = Bitset::open(root, "node", "array");
    bench.run(async |tm| {
        let mut set = Vec::new();
        for bit in 0..bits {
            if bitset.test(tm, bit).await.unwrap() {
                set.push(bit);
            }
        }
        set
    })
}

#[test]
fn a_caches_arrays_and_bitsets_are_read() {
    let bytes = image(CACHE);
    let mut bench = Bench::of_image(&bytes, 64);
    let mapped = [3, 900, 17, 1800, 2499, 4, 5, 6, 7, 1000];
    let mut mappings = vec![0; 1200];
    for (at, origin) in mapped.into_iter().enumerate() {
        mappings[at] = origin << 16 | 1;
    }
    assert_eq!(values::<u64>(&mut bench, root_at(&bytes, 192)), mappings);
    let hints = values::<u32>(&mut bench, root_at(&bytes, 200));
    assert_eq!(hints.len(), 1200);
    assert!(hints[..10].iter().all(|&hint| hint == 63) && hints[10..].iter().all(|&hint| hint == 0));
    assert_eq!(set_bits(&mut bench, root_at(&bytes, 208), 2500), (100..140).collect::<Vec<_>>());
    assert_eq!(set_bits(&mut bench, root_at(&bytes, 284), 1200), []);
}

#[test]
fn an_eras_array_is_read() {
    let bytes = image(ERA);
    let mut bench = Bench::of_image(&bytes, 44);
    let eras = values::<u32>(&mut bench, root_at(&bytes, 208));
    assert_eq!(eras.len(), 2500);
    let of_era = |era| (0..2500).filter(|&block| eras[block] == era).collect::<Vec<_>>();
    assert_eq!(of_era(1), [3, 17, 900, 1800, 2499]);
    assert_eq!(of_era(2), [64, 65, 127, 128, 2400]);
    assert_eq!(of_era(0).len(), 2490);
}

#[test]
fn a_clones_bitset_comes_out_byte_for_byte() {
    let bytes = image(CLONE);
    let mut bench = Bench::of_image(&bytes, 44);
    let hydrated = [3, 17, 63, 64, 65, 900, 2047];
    assert_eq!(set_bits(&mut bench, root_at(&bytes, 188), 2048), hydrated);

    let mut bench = Bench::new(128);
    let mut bitset = bench.run(async |tm| Bitset::create(tm, "node", "array").await).unwrap();
    bench.run(async |tm| bitset.resize(tm, 0, 2048, false).await).unwrap();
    bench.commit();
    for region in hydrated {
        bench.run(async |tm| bitset.set(tm, region).await).unwrap();
    }
    let root = bench.run(async |tm| bitset.flush(tm).await).unwrap();
    bench.commit();
    assert_eq!(root, root_at(&bytes, 188));
    let made = bench.bytes();
    for number in (1..128).map(MetaBlock) {
        assert!(block(&made, number) == block(&bytes, number), "block {number}");
    }
}

/// A value of an era device's tree of eras that are over.
#[derive(Clone, Copy)]
struct Writeset([u8; 12]);

impl Value for Writeset {
    const SIZE: usize = 12;
    fn decode(bytes: &[u8]) -> Writeset {
        Writeset(bytes[..12].try_into().unwrap())
    }
    fn encode(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

/// The first two transactions of an era device: its trees, and its array, which gets `len` entries.
fn era(len: u64) -> (Bench, Array<u32>, MetaBlock) {
    let mut bench = Bench::new(128);
    let mut eras: Array<u32> = Array::new("node", "array");
    let empty = bench.run(async |tm| {
        let writesets: Tree<Plain<Writeset>> = Tree::plain("node");
        writesets.empty(tm).await.unwrap();
        eras.empty(tm).await.unwrap()
    });
    bench.commit();
    let root = bench.run(async |tm| eras.resize(tm, empty, 0, len, 0).await).unwrap();
    bench.commit();
    (bench, eras, root)
}

#[test]
fn the_first_blocks_of_an_eras_array_come_out_byte_for_byte() {
    let bytes = image(ERA);
    let (bench, _, root) = era(2500);
    assert_eq!(root, MetaBlock(8));
    let made = bench.bytes();
    // What came later went to the blocks behind these. Block 1 is the index of the first transaction, which an era device
    // writes before it makes its trees.
    for number in (2..12).map(MetaBlock) {
        assert!(block(&made, number) == block(&bytes, number), "block {number}");
    }
}

/// The blocks of an array: which of them, and how many entries each has.
type Blocks = &'static [(u64, usize)];

/// Lengths that an era device's array got one after the other, and its blocks after the last.
const RESIZED: &[(&[u64], Blocks)] = &[
    (&[900, 950], &[(0, 950)]),
    (&[900, 3000], &[(0, 1018), (1, 1018), (2, 964)]),
    (&[1018, 1500], &[(0, 1018), (1, 482)]),
    (&[1500, 1018], &[(0, 1018), (1, 482)]),
    (&[1500, 1018, 3000], &[(0, 1018), (1, 1018), (2, 964)]),
    (&[2036, 1018], &[(0, 1018)]),
    (&[2036, 1500], &[(0, 1018), (1, 482)]),
    (&[3000, 1], &[(0, 1)]),
    (&[3000, 1018], &[(0, 1018)]),
    (&[3000, 2036], &[(0, 1018), (1, 1018), (2, 964)]),
    (&[3000, 2036, 1000], &[(0, 1000), (2, 964)]),
    (&[3000, 2036, 1500], &[(0, 1018), (1, 482), (2, 964)]),
    (&[3000, 2036, 2500], &[(0, 1018), (1, 1018), (2, 464)]),
    (&[3000, 2036, 5000], &[(0, 1018), (1, 1018), (2, 1018), (3, 1018), (4, 928)]),
    (&[3000, 2500], &[(0, 1018), (1, 1018), (2, 464)]),
    (&[3000, 3054], &[(0, 1018), (1, 1018), (2, 1018)]),
    (&[4000, 1018], &[(0, 1018)]),
    (&[4000, 1500], &[(0, 1018), (1, 482)]),
];

fn resized(lens: &[u64]) -> (Bench, MetaBlock) {
    let (mut bench, mut eras, mut root) = era(lens[0]);
    for pair in lens.windows(2) {
        bench.reopen();
        root = bench.run(async |tm| eras.resize(tm, root, pair[0], pair[1], 0).await).unwrap();
        bench.commit();
    }
    (bench, root)
}

#[test]
fn a_resized_array_has_the_blocks_that_linuxs_has() {
    for (lens, wanted) in RESIZED {
        let (bench, root) = resized(lens);
        let bytes = bench.bytes();
        let node = Node::new(block(&bytes, root));
        let found: Vec<(u64, usize)> = (0..node.len())
            .map(|i| (node.key(i), ArrayBlock::new(block(&bytes, node.value(i))).len()))
            .collect();
        assert_eq!(found, *wanted, "{lens:?}");
    }
}

#[test]
fn blocks_go_one_by_one_from_the_first() {
    // What is left behind the last entry tells in which order the others went.
    let (bench, root) = resized(&[4000, 1018]);
    let bytes = bench.bytes();
    let node = Node::new(block(&bytes, root));
    assert_eq!((node.len(), [0, 1, 2, 3].map(|i| node.key(i))), (1, [0, 3, 3, 3]));
    assert_eq!(bytes.len(), 128 * BLOCK_SIZE);
}
