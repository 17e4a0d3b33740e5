//! Readers of damaged metadata: no answer leaves out what can't be read.

use crate::damage::change;
use crate::images::{image, made};
use dmlab_formats::btree_node::{NODE, NodeMut};
use dmlab_formats::thin::SUPERBLOCK;
use dmlab_thin_tools::{
    BytesMetadata, Column, Metadata, ReadError, Scope, Survey, Which, delta, ls, map, rmap, statistics,
};
use dmlab_units::{MetaBlock, ThinId};

/// Three devices (0, 3 and 6); the second has a leaf that can't be read.
fn damaged() -> BytesMetadata {
    let mut metadata = made(3, 2000, 200);
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let leaf = survey.mappings.leaves(survey.live.roots[&ThinId(3)])[1];
    change(&mut metadata, leaf, None, |bytes| bytes[2000] ^= 1);
    metadata
}

fn assert_lost<T: std::fmt::Debug>(answer: Result<T, ReadError>, named: &str) {
    match answer {
        Err(ReadError::Lost(lost)) => assert!(lost.to_string().contains(named), "{lost}"),
        other => panic!("{other:?}"),
    }
}

const REGION: std::ops::Range<u64> = 0..100;

#[test]
fn lists_and_numbers_without_a_damaged_device_are_refused() {
    let metadata = damaged();
    let columns = [Column::Dev, Column::Exclusive];
    assert_lost(ls(&metadata, Which::Live, &columns), "thin device 3 lost its virtual blocks");
    assert_lost(statistics(&metadata, Which::Live), "thin device 3 lost");
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    assert_lost(rmap(&survey, &survey.live, &[REGION]), "thin device 3 lost");
    // What needs no mappings is not touched by it.
    assert_eq!(ls(&metadata, Which::Live, &Column::DEFAULT).unwrap().len(), 3);
}

#[test]
fn a_difference_is_told_of_devices_that_are_whole() {
    let metadata = damaged();
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let compare = |left, right| delta(&survey, &survey.live, ThinId(left), ThinId(right));
    assert!(compare(0, 6).unwrap().is_ok());
    assert_lost(compare(0, 3), "thin device 3 lost its virtual blocks");
    assert_lost(compare(3, 6), "thin device 3 lost its virtual blocks");
    assert_eq!(compare(0, 5).unwrap().unwrap_err(), ThinId(5));
    // The map of a whole device is told, but whose its blocks are may be wrong.
    assert!(map(&survey, &survey.live, ThinId(0)).unwrap().is_some());
    assert_eq!(survey.expect_devices(&survey.live, &[ThinId(0)]), Ok(()));
    assert!(survey.expect_whole(&survey.live).is_err());
}

#[test]
fn a_lost_list_of_devices_is_not_an_empty_one() {
    for tree in ["mapping tree (top)", "details tree"] {
        let mut metadata = made(3, 20, 60);
        let survey = Survey::new(&metadata, Scope::Devices).unwrap();
        let superblock = survey.live.superblock.clone();
        let is_top = tree.starts_with("mapping");
        let root = if is_top { superblock.mapping_root } else { superblock.details_root };
        change(&mut metadata, root, None, |bytes| bytes[2000] ^= 1);
        assert_lost(ls(&metadata, Which::Live, &Column::DEFAULT), tree);
        assert_lost(statistics(&metadata, Which::Live), tree);
        let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
        assert_lost(rmap(&survey, &survey.live, &[REGION]), tree);
        let compared = delta(&survey, &survey.live, ThinId(0), ThinId(3));
        if is_top {
            assert_lost(compared, tree);
        } else {
            assert!(compared.unwrap().is_ok(), "mappings alone make a difference");
        }
    }
}

#[test]
fn a_device_of_which_half_is_known_is_named() {
    let mut metadata = made(3, 20, 60);
    let details_root = Survey::new(&metadata, Scope::Devices).unwrap().live.superblock.details_root;
    // Device 6 gets the number 7 there.
    change(&mut metadata, details_root, Some(&NODE), |bytes| {
        let mut node = NodeMut::new(bytes);
        assert_eq!(node.key(2), 6);
        node.set_key(2, 7);
    });
    let answer = ls(&metadata, Which::Live, &Column::DEFAULT);
    assert_lost(answer.clone(), "thin device 6 has mappings but no details");
    assert_lost(answer, "thin device 7 has details but no mapping tree");
}

#[test]
fn what_was_cut_off_is_missed() {
    let whole = image("11-rand1400");
    let survey = Survey::new(&whole, Scope::Mappings).unwrap();
    let superblock = survey.live.superblock.clone();
    let last_leaf = survey.mappings.leaves(survey.live.roots[&ThinId(0)]).into_iter().max().unwrap();
    for (end, is_whole) in
        [(superblock.mapping_root, false), (last_leaf, false), (MetaBlock(last_leaf.0 + 1), true)]
    {
        let short = BytesMetadata::new(whole.bytes()[..end.0 as usize * 4096].to_vec());
        let answer = ls(&short, Which::Live, &[Column::Dev, Column::Exclusive]);
        let needed = [superblock.mapping_root, superblock.details_root].into_iter().max().unwrap();
        if is_whole && needed < end {
            assert_eq!(answer, ls(&whole, Which::Live, &[Column::Dev, Column::Exclusive]));
        } else {
            assert_lost(answer, &format!("the metadata has {} blocks only", short.nr_blocks()));
        }
    }
}

#[test]
fn blocks_shared_through_common_leaves_are_counted_as_shared() {
    let snapshots = image("05-snapshots");
    let columns = [Column::MappedBlocks, Column::ExclusiveBlocks];
    let numbers = statistics(&snapshots, Which::Live).unwrap();
    let rows = ls(&snapshots, Which::Live, &columns).unwrap();
    let exclusive: u64 = rows.iter().map(|row| row[1].parse::<u64>().unwrap()).sum();
    assert!(numbers.nr_data_shared > 0);
    assert_eq!(numbers.nr_data_used, numbers.nr_data_shared + exclusive);
    // Two devices that have nothing of their own: all they map is shared.
    let mut same = restored_twice();
    let numbers = statistics(&same, Which::Live).unwrap();
    assert_eq!((numbers.nr_data_used, numbers.nr_data_shared), (3, 3));
    change(&mut same, MetaBlock(0), Some(&SUPERBLOCK), |_| ());
    assert_eq!(statistics(&same, Which::Live).unwrap().nr_devices, 2);
}

fn restored_twice() -> BytesMetadata {
    let device = |id| {
        format!(
            r#"<device dev_id="{id}" mapped_blocks="3" transaction="0" creation_time="0" snap_time="1"><range_mapping origin_begin="0" data_begin="4" length="3" time="0"/></device>"#
        )
    };
    let xml = format!(
        r#"<superblock uuid="" time="1" transaction="0" flags="0" version="2" data_block_size="128" nr_data_blocks="100">{}{}</superblock>"#,
        device(1),
        device(2)
    );
    crate::images::restored(&xml, 64)
}
