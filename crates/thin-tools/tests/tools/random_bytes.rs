//! Whatever the bytes are: no panic, no hang.

use crate::images::{image, made, names};
use dmlab_formats::bitmap::BITMAP;
use dmlab_formats::btree_node::NODE;
use dmlab_formats::index::INDEX;
use dmlab_formats::thin::SUPERBLOCK;
use dmlab_formats::{BLOCK_SIZE, Validator};
use dmlab_thin_tools::{
    BytesMetadata, CheckOptions, Column, DumpOptions, Metadata, MetadataMut, Overrides, Scope, Survey, Which,
    XmlSink, check, delta, draw_svg, draw_text, dump, fix_leaks, ls, map, picture, repair, rmap, statistics,
};
use dmlab_units::{MetaBlock, Sectors, ThinId};
use proptest::prelude::*;

const KINDS: [&Validator; 4] = [&SUPERBLOCK, &NODE, &INDEX, &BITMAP];

/// Runs every tool; what they say does not matter.
fn run_all(metadata: &BytesMetadata) {
    let _ = check(metadata, CheckOptions::default());
    for repair in [false, true] {
        let options = DumpOptions { repair, ..DumpOptions::default() };
        let _ = dump(metadata, &options, &mut XmlSink::new(Vec::new()));
    }
    let told = Overrides { transaction: Some(1), data_block_size: Some(Sectors(128)), nr_data_blocks: None };
    let _ = repair(metadata, told, &mut BytesMetadata::zeroed(64));
    let _ = ls(metadata, Which::Live, &[Column::Dev, Column::Exclusive]);
    let _ = statistics(metadata, Which::Snapshot);
    let _ = statistics(metadata, Which::Live);
    if let Ok(survey) = Survey::new(metadata, Scope::Mappings) {
        let _ = draw_text(&survey, &survey.live);
        let _ = draw_svg(&survey, &survey.live);
        let _ = delta(&survey, &survey.live, ThinId(0), ThinId(1));
        let _ = rmap(&survey, &survey.live, std::slice::from_ref(&(0..u64::MAX)));
        if let Ok(Some(runs)) = map(&survey, &survey.live, ThinId(0)) {
            let _ = picture(&runs);
        }
    }
    let _ = fix_leaks(&mut metadata.clone());
}

/// Bytes to put somewhere in a block: small numbers, all ones, or anything.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..600, Just(u64::MAX), Just(u64::from(u32::MAX)), Just(1 << 32), any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Real metadata with values changed anywhere, most of them with the right checksum.
    #[test]
    fn changed_images(
        which in 0usize..18,
        changes in prop::collection::vec((0u64..400, 0usize..512, value(), any::<bool>()), 1..6),
        is_superblock in prop::option::of((0usize..46, value())),
    ) {
        let mut metadata = image(&names()[which]);
        let all = changes.into_iter().chain(is_superblock.map(|(at, value)| (0, at, value, true)));
        for (block, at, value, is_sealed) in all {
            let block = MetaBlock(block % metadata.nr_blocks());
            let mut bytes = [0; BLOCK_SIZE];
            metadata.read(block, &mut bytes).unwrap();
            let kind = KINDS.into_iter().find(|&kind| kind.check(block, &bytes).is_ok());
            // Most of a node's sense is at its beginning.
            let at = if value.is_multiple_of(3) { at % 8 } else { at };
            bytes[at * 8..at * 8 + 8].copy_from_slice(&value.to_le_bytes());
            if let (Some(kind), true) = (kind, is_sealed) {
                kind.seal(block, &mut bytes);
            }
            metadata.write(block, &bytes).unwrap();
        }
        run_all(&metadata);
    }

    /// Blocks of any bytes, with the checksum of any kind.
    #[test]
    fn any_blocks(
        blocks in prop::collection::vec((0usize..4, prop::collection::vec(any::<u8>(), BLOCK_SIZE), 0u32..3, 0u32..400), 1..8),
    ) {
        let mut metadata = made(2, 600, 64);
        for (i, (kind, mut bytes, flags, len)) in blocks.into_iter().enumerate() {
            let block = MetaBlock(i as u64);
            if i > 0 && flags > 0 {
                // Nodes that look like nodes get further.
                bytes[4..8].copy_from_slice(&flags.to_le_bytes());
                bytes[16..20].copy_from_slice(&len.to_le_bytes());
                bytes[20..24].copy_from_slice(&252u32.to_le_bytes());
                bytes[24..28].copy_from_slice(&8u32.to_le_bytes());
            }
            let bytes: &mut [u8; BLOCK_SIZE] = (&mut bytes[..]).try_into().unwrap();
            if i == 0 {
                bytes[32..40].copy_from_slice(&27_022_010u64.to_le_bytes());
                if flags > 0 {
                    for at in [56, 64, 80, 88, 192, 208, 216, 320, 328] {
                        bytes[at + 1..at + 8].fill(0);
                    }
                }
            }
            let kind = if i == 0 { &SUPERBLOCK } else { KINDS[kind] };
            kind.seal(block, bytes);
            metadata.write(block, bytes).unwrap();
        }
        run_all(&metadata);
    }
}
