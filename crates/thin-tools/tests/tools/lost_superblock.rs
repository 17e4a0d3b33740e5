//! Pools whose superblock or roots are lost.

use crate::damage::change;
use crate::images::{image, names, recorded_xml};
use dmlab_thin_tools::{
    BytesMetadata, Metadata, Overrides, RepairError, Superblock, XmlSink, read_superblock, salvage,
};
use dmlab_units::MetaBlock;

fn salvaged(metadata: &BytesMetadata, overrides: Overrides) -> String {
    let mut xml = Vec::new();
    salvage(metadata, overrides, &mut XmlSink::new(&mut xml)).unwrap();
    String::from_utf8(xml).unwrap()
}

/// The last recorded time of the pool's clock can't be known if no device saw it.
fn without_time(xml: &str) -> &str {
    xml.split_once(" transaction=").map_or(xml, |(_, rest)| rest)
}

fn told(superblock: &Superblock) -> Overrides {
    Overrides {
        transaction: Some(superblock.trans_id),
        data_block_size: Some(superblock.data_block_size),
        nr_data_blocks: Some(superblock.data_space_map.nr_blocks),
    }
}

#[test]
fn pools_without_a_superblock_are_found_by_their_trees() {
    for name in names() {
        let mut metadata = image(&name);
        let superblock = read_superblock(&metadata, MetaBlock(0)).unwrap();
        change(&mut metadata, MetaBlock(0), None, |bytes| bytes.fill(0x5a));
        let missing = salvage(&metadata, Overrides::default(), &mut XmlSink::new(Vec::new()));
        assert!(matches!(missing, Err(RepairError::NeedsOverride { .. })));
        let xml = salvaged(&metadata, told(&superblock));
        assert_eq!(without_time(&xml), without_time(&recorded_xml(&name)), "{name}");
    }
}

#[test]
fn a_lost_root_is_looked_for() {
    // The state before the last commit is still there, and is the best there is once a root of the last one is gone.
    let mut metadata = image("03-seq10");
    let superblock = read_superblock(&metadata, MetaBlock(0)).unwrap();
    change(&mut metadata, superblock.details_root, None, |bytes| bytes.fill(0));
    let xml = salvaged(&metadata, Overrides::default());
    assert!(xml.contains("mapped_blocks=\"9\"") || xml.contains("mapped_blocks=\"10\""), "{xml}");
    assert_eq!(metadata.nr_blocks(), 512);
}
