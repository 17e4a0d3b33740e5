//! What a failure says: its kind, and the block or key at which it happened.

use std::sync::Arc;

use dmlab_block::{Bio, run_async};
use dmlab_formats::array::{ARRAY_BLOCK, ArrayBlockMut};
use dmlab_formats::btree_node::{NODE, NodeMut};
use dmlab_formats::{Block, Problem};
use dmlab_persistent_data::{Array, PdError, PdErrorKind, Plain, Tree};
use dmlab_units::{MetaBlock, Sector};

use crate::bench::{Bench, block};

fn numbers() -> Array<u64> {
    Array::new("node", "array")
}

/// A committed array of 1000 numbers; its root, and the block of index 0.
fn array() -> (Bench, MetaBlock, MetaBlock) {
    let mut bench = Bench::new(64);
    let root = bench.run(async |tm| {
        let mut array = numbers();
        let root = array.empty(tm).await.unwrap();
        array.resize(tm, root, 0, 1000, 5).await.unwrap()
    });
    bench.commit();
    let reader: Tree<Plain<MetaBlock>> = Tree::plain("node");
    let first = bench.run(async |tm| reader.lookup(tm, root, 0).await).unwrap().unwrap();
    (bench, root, first)
}

/// Changes a block on the disk behind the library's back, and opens the device anew.
fn change(bench: &mut Bench, number: MetaBlock, edit: impl FnOnce(&mut Block)) {
    let mut bytes = *block(&bench.bytes(), number);
    edit(&mut bytes);
    let write = Bio::write_owned(Sector(number.0 * 8), Arc::from(&bytes[..])).to(&bench.device);
    bench.runtime.block_on(run_async(write)).unwrap().unwrap();
    bench.reopen();
}

fn get(bench: &mut Bench, root: MetaBlock, index: u64) -> Result<u64, PdError> {
    bench.run(async |tm| numbers().get(tm, root, index).await)
}

#[test]
fn an_index_behind_the_end_is_named() {
    let (mut bench, root, _) = array();
    for index in [1000, 1018, u64::MAX] {
        let error = get(&mut bench, root, index).unwrap_err();
        assert_eq!(error, PdErrorKind::NotFound.at(root).with_key(index));
    }
    assert_eq!(
        get(&mut bench, root, 1000).unwrap_err().to_string(),
        format!("block {root}, key 1000: there is no such entry")
    );
}

#[test]
fn a_damaged_block_is_named_and_logged() {
    let (mut bench, root, first) = array();
    change(&mut bench, first, |bytes| bytes[4000] ^= 1);
    let error = get(&mut bench, root, 7).unwrap_err();
    assert_eq!(error.block, Some(first));
    let PdErrorKind::Check(check) = error.kind else { panic!("{error}") };
    assert!(matches!(check.problem, Problem::Checksum { .. }));
    let log: Vec<String> = bench.runtime.klog().since(0).into_iter().map(|line| line.text).collect();
    assert_eq!(
        log,
        [
            format!("device-mapper: array: {check}"),
            format!("device-mapper: block manager: array validator check failed for block {first}"),
        ]
    );
    assert!(check.to_string().starts_with("array_block_check failed: csum "));
    assert_eq!(get(&mut bench, root, 600), Ok(5), "the other block is sound");
}

#[test]
fn a_block_of_another_shape_is_refused_although_its_checksum_is_right() {
    let (mut bench, root, first) = array();
    change(&mut bench, first, |bytes| {
        ArrayBlockMut::new(bytes).format(4);
        ARRAY_BLOCK.seal(first, bytes);
    });
    assert_eq!(get(&mut bench, root, 7), Err(PdErrorKind::Shape.at(first)));
    let (mut bench, root, first) = array();
    change(&mut bench, first, |bytes| {
        ArrayBlockMut::new(bytes).set_len(100_000);
        ARRAY_BLOCK.seal(first, bytes);
    });
    assert_eq!(get(&mut bench, root, 7), Err(PdErrorKind::Shape.at(first)));
}

#[test]
fn nodes_that_lead_round_in_a_circle_end() {
    let (mut bench, root, _) = array();
    change(&mut bench, root, |bytes| {
        let mut node = NodeMut::new(bytes);
        node.format(false, 8);
        node.set_len(1);
        node.set_value(0, root);
        NODE.seal(root, bytes);
    });
    assert_eq!(get(&mut bench, root, 7).unwrap_err().kind, PdErrorKind::Loop);
    let set = bench.run(async |tm| numbers().set(tm, root, 7, 1).await);
    assert_eq!(set.unwrap_err().kind, PdErrorKind::Loop);
}

#[test]
fn a_block_that_stands_for_two_things_is_refused() {
    let (mut bench, root, _) = array();
    // Its own root for a block of numbers.
    change(&mut bench, root, |bytes| {
        NodeMut::new(bytes).set_value(0, root);
        NODE.seal(root, bytes);
    });
    let error = get(&mut bench, root, 7).unwrap_err();
    assert_eq!(error, PdErrorKind::ValidatorMismatch { found: &NODE, wanted: &ARRAY_BLOCK }.at(root));
}

#[test]
fn a_full_device_says_so() {
    let mut bench = Bench::new(32);
    let mut array = numbers();
    let root = bench.run(async |tm| array.empty(tm).await).unwrap();
    let grown = bench.run(async |tm| array.resize(tm, root, 0, 509 * 40, 0).await);
    assert_eq!(grown.unwrap_err().kind, PdErrorKind::NoSpace);
}

#[test]
fn a_block_beyond_the_device_or_without_references_is_named() {
    let mut bench = Bench::new(32);
    let beyond = bench.run(async |tm| tm.inc(MetaBlock(32)).await).unwrap_err();
    assert_eq!(beyond, PdErrorKind::BeyondMap.of_key(32));
    let free = bench.run(async |tm| tm.dec(MetaBlock(30)).await).unwrap_err();
    assert_eq!(free, PdErrorKind::NotReferenced.of_key(30));
    let far = bench.run(async |tm| tm.blocks_mut().load(MetaBlock(99), &NODE).await).unwrap_err();
    assert_eq!(far, PdErrorKind::BeyondDevice.at(MetaBlock(99)));
}
