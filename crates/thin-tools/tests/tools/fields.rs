//! Fields of the superblock, details and sums: the bounds of each.

use crate::damage::change;
use crate::images::{image, report};
use dmlab_formats::btree_node::{NODE, NodeMut};
use dmlab_formats::index::{INDEX, IndexBlock};
use dmlab_formats::thin::{DeviceDetails, SUPERBLOCK, Superblock};
use dmlab_thin_tools::{BytesMetadata, CheckOptions, Problem, SpaceMapKind, check, read_superblock};
use dmlab_units::{MetaBlock, Sectors, ThinId};

fn with_superblock(edit: impl FnOnce(&mut Superblock)) -> BytesMetadata {
    let mut metadata = image("03-seq10");
    let mut superblock = read_superblock(&metadata, MetaBlock(0)).unwrap();
    edit(&mut superblock);
    change(&mut metadata, MetaBlock(0), Some(&SUPERBLOCK), |bytes| superblock.encode(bytes));
    metadata
}

/// Names of the fields that are found wrong.
fn wrong_fields(metadata: &BytesMetadata) -> Vec<&'static str> {
    let options = CheckOptions { super_block_only: true, skip_mappings: false };
    let name = |problem: &Problem| match problem {
        Problem::Field { name, .. } => *name,
        other => panic!("{other}"),
    };
    check(metadata, options).unwrap().problems.iter().map(name).collect()
}

#[test]
fn block_sizes_are_those_that_linux_takes() {
    let sizes = [0, 64, 127, 128, 129, 192, 256, 2_097_024, 2_097_152, 2_097_153, 2_097_280, 4_194_304];
    for size in sizes {
        let metadata = with_superblock(|superblock| superblock.data_block_size = Sectors(size));
        let is_right = size % 128 == 0 && (128..=2_097_152).contains(&size);
        let wanted: &[&str] = if is_right { &[] } else { &["data block size (sectors)"] };
        assert_eq!(wrong_fields(&metadata), wanted, "{size}");
    }
}

#[test]
fn the_other_fields_have_bounds_too() {
    let wrong = |edit: fn(&mut Superblock)| wrong_fields(&with_superblock(edit));
    assert_eq!(wrong(|s| s.metadata_block_size = Sectors(16)), ["metadata block size (sectors)"]);
    assert_eq!(wrong(|s| s.metadata_space_map.nr_blocks = 513), ["number of metadata blocks"]);
    assert_eq!(wrong(|s| s.metadata_space_map.nr_blocks = 512), [""; 0]);
    assert_eq!(wrong(|s| s.incompat_flags = 4), ["incompatible features"]);
    assert_eq!(wrong(|s| s.compat_ro_flags = 1), ["read-only compatible features"]);
    assert_eq!(wrong(|s| s.compat_flags = 1), [""; 0]);
}

#[test]
fn details_that_count_other_mappings_are_found() {
    for (mapped, is_right) in [(9, false), (10, true), (11, false)] {
        let mut metadata = image("03-seq10");
        let root = read_superblock(&metadata, MetaBlock(0)).unwrap().details_root;
        change(&mut metadata, root, Some(&NODE), |bytes| {
            let mut node = NodeMut::new(bytes);
            let details = DeviceDetails { mapped_blocks: mapped, ..node.value(0) };
            node.set_value(0, details);
        });
        let problems = report(&metadata).problems;
        let wanted = Problem::MappedBlocks { device: ThinId(0), found: mapped, wanted: 10 };
        assert_eq!(problems, if is_right { vec![] } else { vec![wanted] });
    }
}

/// The metadata map's only index entry, changed.
fn with_entry(edit: impl Fn(&mut dmlab_formats::index::IndexEntry)) -> BytesMetadata {
    let mut metadata = image("03-seq10");
    let root = read_superblock(&metadata, MetaBlock(0)).unwrap().metadata_space_map.bitmap_root;
    change(&mut metadata, root, Some(&INDEX), |bytes| {
        let mut index = IndexBlock::decode(bytes);
        edit(&mut index.entries[0]);
        index.encode(bytes);
    });
    metadata
}

#[test]
fn sums_on_the_careful_side_are_remarks_and_others_are_findings() {
    let sound = image("03-seq10");
    let root = read_superblock(&sound, MetaBlock(0)).unwrap().metadata_space_map;
    let free = (16_320 - root.nr_allocated) as u32;
    let inside = (512 - root.nr_allocated) as u32;
    // The sum may be of the bitmap or of the device; lower ones are careful as long as the bitmap is looked at.
    let cases = [
        (free, 0, 0),
        (inside, 0, 0),
        (free - 1, 0, 1),
        (inside - 1, 0, 1),
        (1, 0, 1),
        (0, 1, 0),
        (free + 1, 1, 0),
    ];
    for (nr_free, problems, remarks) in cases {
        let found = report(&with_entry(|entry| entry.nr_free = nr_free));
        assert_eq!((found.problems.len(), found.remarks.len()), (problems, remarks), "{nr_free} free");
        assert!(found.has_only_leaks());
    }
    for (more, problems, remarks) in [(0, 0, 0), (1, 0, 1), (2, 1, 0)] {
        let metadata = with_superblock(|superblock| superblock.metadata_space_map.nr_allocated += more);
        let found = report(&metadata);
        assert_eq!((found.problems.len(), found.remarks.len()), (problems, remarks), "{more} more");
    }
    for fewer in [1, 3] {
        let metadata = with_superblock(|superblock| superblock.metadata_space_map.nr_allocated -= fewer);
        assert_eq!(report(&metadata).problems.len(), 1, "fewer than are in use");
        let metadata = with_superblock(|superblock| superblock.data_space_map.nr_allocated += fewer);
        assert_eq!(report(&metadata).problems.len(), 1, "only the metadata map's may be too high");
    }
}

#[test]
fn a_hint_that_hides_one_free_block_is_a_remark_and_one_that_hides_two_a_finding() {
    let sound = report(&with_entry(|entry| entry.none_free_before = 0));
    assert!(sound.is_clean() && sound.remarks.is_empty(), "a hint that is too low hides nothing");
    let mut first_free = 0;
    let mut outcomes = Vec::new();
    for hint in 0..60 {
        let found = report(&with_entry(|entry| entry.none_free_before = hint));
        for problem in found.problems.iter().chain(&found.remarks) {
            match problem {
                Problem::NoneFreeBefore {
                    map: SpaceMapKind::Metadata, first_free: first, hidden, ..
                } => {
                    first_free = *first;
                    assert_eq!(found.remarks.len(), usize::from(*hidden == 1), "{hint}");
                    outcomes.push(*hidden);
                }
                other => panic!("{other}"),
            }
        }
    }
    assert!(
        outcomes.is_sorted() && outcomes.first() == Some(&1) && outcomes.last() > Some(&2),
        "{outcomes:?}"
    );
    assert!(first_free > 0, "block 0 is the superblock");
}

#[test]
fn damage_of_the_space_maps_own_trees_is_named() {
    let sound = image("13-overflow");
    let superblock = read_superblock(&sound, MetaBlock(0)).unwrap();
    let (data, meta) = (superblock.data_space_map, superblock.metadata_space_map);
    let roots = [
        (data.bitmap_root, "data space map's index tree"),
        (data.ref_count_root, "data space map's overflow tree"),
        (meta.ref_count_root, "metadata space map's overflow tree"),
        (meta.bitmap_root, "metadata space map: bitmap 0"),
    ];
    for (block, name) in roots {
        let mut metadata = sound.clone();
        change(&mut metadata, block, None, |bytes| bytes[3000] ^= 1);
        let problems = report(&metadata).problems;
        assert!(problems.iter().any(|problem| problem.to_string().contains(name)), "{name}: {problems:?}");
        assert!(problems.iter().any(|problem| !problem.is_leak()), "{name}");
    }
}

#[test]
fn a_file_gets_the_room_that_it_is_given() {
    use dmlab_thin_tools::{FileMetadata, Metadata};
    let scratch = crate::debian::Scratch::new(&BytesMetadata::zeroed(1));
    let mut metadata = FileMetadata::open_rw(&scratch.0).unwrap();
    for blocks in [3, 700, 2] {
        metadata.resize(blocks).unwrap();
        assert_eq!(metadata.nr_blocks(), blocks);
        assert_eq!(std::fs::metadata(&scratch.0).unwrap().len(), blocks * 4096);
        assert_eq!(FileMetadata::open(&scratch.0).unwrap().nr_blocks(), blocks);
    }
}
