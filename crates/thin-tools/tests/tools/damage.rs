//! Trash chosen blocks, compute what must survive, compare.

use crate::images::{assert_clean, image, made, names, recorded_xml, report, restored, xml_of};
use dmlab_formats::bitmap::{BITMAP, Bitmap, BitmapMut};
use dmlab_formats::btree_node::{NODE, NodeMut};
use dmlab_formats::thin::SUPERBLOCK;
use dmlab_formats::{BLOCK_SIZE, Validator};
use dmlab_thin_tools::{
    BytesMetadata, DumpError, DumpOptions, EdgeError, Metadata, MetadataMut, NodeError, Overrides, Problem,
    Scope, SpaceMapKind, Survey, XmlSink, dump, fix_leaks, for_each_mapping, read_superblock, repair,
};
use dmlab_units::{MetaBlock, ThinId};
use std::collections::BTreeSet;

/// Changes a block, and gives it a right checksum if `kind` says of what.
pub(crate) fn change(
    metadata: &mut BytesMetadata,
    block: MetaBlock,
    kind: Option<&'static Validator>,
    edit: impl FnOnce(&mut [u8; BLOCK_SIZE]),
) {
    let mut bytes = [0; BLOCK_SIZE];
    metadata.read(block, &mut bytes).unwrap();
    edit(&mut bytes);
    if let Some(kind) = kind {
        kind.seal(block, &mut bytes);
    }
    metadata.write(block, &bytes).unwrap();
}

/// All mappings of a device that can be reached.
fn mappings(metadata: &BytesMetadata, device: ThinId) -> BTreeSet<(u64, u64, u32)> {
    let survey = Survey::new(metadata, Scope::Mappings).unwrap();
    let mut all = BTreeSet::new();
    for_each_mapping(metadata, &survey.mappings, survey.live.roots[&device], |block, mapping| {
        all.insert((block.0, mapping.block.0, mapping.time));
    })
    .unwrap();
    all
}

#[test]
fn a_trashed_leaf_costs_its_range_and_nothing_else() {
    let sound = made(3, 20_000, 1000);
    let (device, other) = (ThinId(3), ThinId(6));
    let (before, before_other) = (mappings(&sound, device), mappings(&sound, other));
    let survey = Survey::new(&sound, Scope::Mappings).unwrap();
    let root = survey.live.roots[&device];
    let children = survey.mappings.children(root);
    let leaves = survey.mappings.leaves(root);
    for victim in [0, 1, leaves.len() / 2, leaves.len() - 1] {
        let mut damaged = sound.clone();
        change(&mut damaged, leaves[victim], None, |bytes| bytes[2000] ^= 1);
        let (first, last) =
            (children[victim].0, children.get(victim + 1).map_or(u64::MAX, |&(next, _)| next - 1));
        let survivors: BTreeSet<_> =
            before.iter().copied().filter(|&(block, ..)| block < first || block > last).collect();
        assert_eq!(mappings(&damaged, device), survivors);
        assert_eq!(mappings(&damaged, other), before_other);

        let report = report(&damaged);
        assert_eq!(report.damaged_devices(), [device]);
        assert!(!report.counts_compared);
        let [Problem::Node { device: Some(id), loss, .. }] = &report.problems[..] else {
            panic!("{:?}", report.problems)
        };
        assert_eq!((*id, loss.block, loss.keys), (device, leaves[victim], Some((first, last))));
        assert_eq!(loss.path, [root]);

        let failed = dump(&damaged, &DumpOptions::default(), &mut XmlSink::new(Vec::new()));
        assert!(matches!(failed, Err(DumpError::Damaged(_))));
        let mut repaired = BytesMetadata::zeroed(1000);
        let salvage = repair(&damaged, Overrides::default(), &mut repaired).unwrap();
        assert_eq!(salvage.damaged, [(device, survivors.len() as u64, before.len() as u64)]);
        assert_eq!(salvage.nr_whole, 2);
        assert_clean(&repaired);
        assert_eq!(mappings(&repaired, device), survivors);
        assert_eq!(mappings(&repaired, other), before_other);
    }
}

#[test]
fn a_shared_leaf_is_lost_by_all_that_share_it() {
    // The second device's root is the first's: as after a snapshot.
    let mut metadata = made(2, 2000, 500);
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let (root, top) = (survey.live.roots[&ThinId(0)], survey.live.superblock.mapping_root);
    let leaf = survey.mappings.leaves(root)[2];
    change(&mut metadata, top, Some(&NODE), |bytes| NodeMut::new(bytes).set_value(1, root));
    change(&mut metadata, leaf, None, |bytes| bytes[99] ^= 4);
    let report = report(&metadata);
    assert_eq!(report.damaged_devices(), [ThinId(0), ThinId(3)]);
    assert_eq!(report.problems.len(), 2);
    assert!(report.problems[0].to_string().starts_with("thin device 0 lost its virtual blocks "));
}

#[test]
fn a_block_that_is_its_own_ancestor_ends_the_walk() {
    let sound = made(1, 100_000, 1000);
    let survey = Survey::new(&sound, Scope::Mappings).unwrap();
    let root = survey.live.roots[&ThinId(0)];
    let inner = survey.mappings.children(root)[1].1;
    for (parent, target) in [(root, root), (inner, inner), (inner, root)] {
        let mut looped = sound.clone();
        change(&mut looped, parent, Some(&NODE), |bytes| NodeMut::new(bytes).set_value(0, target));
        let report = report(&looped);
        assert!(
            report.problems.iter().any(|problem| matches!(
                problem,
                Problem::Node { loss, .. } if loss.why == EdgeError::Loop
            )),
            "{:?}",
            report.problems
        );
    }
}

#[test]
fn nodes_are_named_for_what_is_wrong_with_them() {
    let sound = image("11-rand1400");
    let survey = Survey::new(&sound, Scope::Mappings).unwrap();
    let root = survey.live.roots[&ThinId(0)];
    let leaf = survey.mappings.leaves(root)[2];
    let why = |block, edit: &dyn Fn(&mut NodeMut<'_>)| {
        let mut damaged = sound.clone();
        change(&mut damaged, block, Some(&NODE), |bytes| edit(&mut NodeMut::new(bytes)));
        let report = report(&damaged);
        let Some(Problem::Node { loss, .. }) = report.problems.first() else {
            panic!("{:?}", report.problems)
        };
        loss.why
    };
    assert!(matches!(
        why(leaf, &|node| node.set_key(1, 0)),
        EdgeError::Node(NodeError::KeyOrder { key: 0, .. })
    ));
    assert!(matches!(
        why(leaf, &|node| node.set_len(50)),
        EdgeError::Underfull { found: 50, max_entries: 252 }
    ));
    assert!(matches!(why(leaf, &|node| node.format(true, 24)), EdgeError::Node(NodeError::ValueSize { .. })));
    assert!(matches!(why(root, &|node| node.set_key(2, node.key(2) + 1)), EdgeError::KeysOutside { .. }));
    assert!(matches!(why(root, &|node| node.set_value(2, MetaBlock(9999))), EdgeError::Node(_)));
    assert!(matches!(why(root, &|node| node.set_value(2, root)), EdgeError::Loop));
}

/// Adds to counts of free and of used blocks, and to sums.
fn leaked(name: &str) -> BytesMetadata {
    let mut metadata = image(name);
    let superblock = read_superblock(&metadata, MetaBlock(0)).unwrap();
    for block in (0..metadata.nr_blocks()).map(MetaBlock) {
        let mut bytes = [0; BLOCK_SIZE];
        metadata.read(block, &mut bytes).unwrap();
        // Bitmaps that are not in use any more are changed as well; nobody looks at them.
        if BITMAP.check(block, &bytes).is_ok() {
            let used = Bitmap::new(&bytes).get(0);
            change(&mut metadata, block, Some(&BITMAP), |bytes| {
                let mut bitmap = BitmapMut::new(bytes);
                bitmap.set(400, 1);
                if used == 1 {
                    bitmap.set(0, 2);
                }
            });
        }
    }
    change(&mut metadata, MetaBlock(0), Some(&SUPERBLOCK), |bytes| {
        let mut superblock = superblock.clone();
        superblock.flags = 1;
        superblock.data_space_map.nr_allocated += 3;
        superblock.encode(bytes);
    });
    metadata
}

#[test]
fn leaks_are_found_and_mended_and_nothing_else_changes() {
    for name in names() {
        let mut metadata = leaked(&name);
        let before = report(&metadata);
        assert!(before.has_only_leaks() && !before.is_clean(), "{name}: {:?}", before.problems);
        fix_leaks(&mut metadata).unwrap();
        assert_clean(&metadata);
        assert!(!report(&metadata).superblock.unwrap().needs_check());
        assert_eq!(xml_of(&metadata, &DumpOptions::default()), recorded_xml(&name), "{name}");
    }
}

#[test]
fn an_overflow_tree_that_counts_what_is_not_there_is_mended() {
    let mut metadata = image("13-overflow");
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let overflow = survey.live.superblock.data_space_map.ref_count_root;
    change(&mut metadata, overflow, Some(&NODE), |bytes| {
        let mut node = NodeMut::new(bytes);
        let count: u32 = node.value(0);
        node.set_value(0, count + 7);
    });
    let found = report(&metadata);
    assert!(found.has_only_leaks() && !found.is_clean());
    fix_leaks(&mut metadata).unwrap();
    assert_clean(&metadata);
}

#[test]
fn counts_that_are_too_low_are_not_mended_in_place() {
    let mut metadata = image("05-snapshots");
    let bitmap = (0..512).map(MetaBlock).rfind(|&block| {
        let mut bytes = [0; BLOCK_SIZE];
        metadata.read(block, &mut bytes).unwrap();
        BITMAP.check(block, &bytes).is_ok() && Bitmap::new(&bytes).get(30) == 1
    });
    change(&mut metadata, bitmap.unwrap(), Some(&BITMAP), |bytes| BitmapMut::new(bytes).set(30, 0));
    let found = report(&metadata);
    let low = |problem: &Problem| {
        matches!(problem, Problem::Count { map: SpaceMapKind::Data, begin: 30, found: 0, wanted: 1, .. })
    };
    assert!(found.problems.iter().any(low), "{:?}", found.problems);
    let before = metadata.clone();
    assert!(fix_leaks(&mut metadata).is_err());
    assert_eq!(metadata, before);
    // New metadata of the same mappings has right counts.
    let mut repaired = BytesMetadata::zeroed(512);
    repair(&metadata, Overrides::default(), &mut repaired).unwrap();
    assert_clean(&repaired);
    assert_eq!(repaired, restored(&recorded_xml("05-snapshots"), 512));
}

#[test]
fn keys_beyond_what_the_parents_parent_gives_are_found() {
    let mut metadata = made(1, 100_000, 2000);
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let root = survey.live.roots[&ThinId(0)];
    assert_eq!(survey.mappings.shape(root).unwrap().height, 2);
    let children = survey.mappings.children(root);
    let (first_of_next, leaf) = (children[1].0, *survey.mappings.leaves(children[0].1).last().unwrap());
    drop(survey);
    change(&mut metadata, leaf, Some(&NODE), |bytes| {
        let mut node = NodeMut::new(bytes);
        let last = node.len() - 1;
        node.set_key(last, first_of_next + 1);
    });
    let found = report(&metadata);
    let is_named = |problem: &Problem| match problem {
        Problem::Node { loss, .. } => {
            matches!(loss.why, EdgeError::KeysOutside { last, end, .. } if last > end && end == first_of_next - 1)
        }
        _ => false,
    };
    assert!(found.problems.iter().any(is_named), "{:?}", found.problems);
}
