//! Debian's thin-provisioning-tools 0.9, where they are installed. In continuous integration they must be.

use crate::images::{image, made, names, report, xml_of};
use dmlab_formats::bitmap::BITMAP;
use dmlab_formats::btree_node::NODE;
use dmlab_formats::index::INDEX;
use dmlab_formats::{BLOCK_SIZE, Validator};
use dmlab_thin_tools::{BytesMetadata, DumpOptions, Metadata, MetadataMut, Problem, SpaceMap, SpaceMapKind};
use dmlab_units::MetaBlock;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that goes away.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(metadata: &BytesMetadata) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dmlab-thin-tools-{}-{number}.img", std::process::id()));
        std::fs::write(&path, metadata.bytes()).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A tool of Debian's.
pub(crate) fn program(tool: &str) -> Command {
    let folders = ["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from);
    let found = folders.map(|folder| folder.join(tool)).into_iter().find(|program| program.exists());
    Command::new(found.unwrap_or_else(|| panic!("{tool} is not installed")))
}

/// Runs a tool on metadata.
pub(crate) fn run(tool: &str, arguments: &[&str], metadata: &BytesMetadata) -> Output {
    let scratch = Scratch::new(metadata);
    program(tool).args(arguments).arg(&scratch.0).output().unwrap()
}
#[test]
fn restored_metadata_passes_thin_check_and_thin_dump_says_the_same() {
    for metadata in [made(1, 10, 64), made(4, 30_000, 2000), made(200, 50, 2000)] {
        let checked = run("thin_check", &[], &metadata);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let dumped = run("thin_dump", &[], &metadata);
        assert_eq!(String::from_utf8(dumped.stdout).unwrap(), xml_of(&metadata, &DumpOptions::default()));
    }
}

#[test]
fn lists_and_reverse_maps_are_the_same() {
    use dmlab_thin_tools::{Column, Scope, Survey, Which, ls, ls_table, rmap};
    let columns =
        "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_SECTORS,MAPPED,EXCLUSIVE,SHARED,TRANSACTION,SNAP_TIME";
    let parsed: Vec<Column> = columns.split(',').map(|name| Column::parse(name).unwrap()).collect();
    for name in names() {
        let metadata = image(&name);
        let listed = run("thin_ls", &["-o", columns], &metadata);
        let rows = ls(&metadata, Which::Live, &parsed).unwrap();
        assert_eq!(ls_table(&parsed, &rows, true), String::from_utf8(listed.stdout).unwrap(), "{name}");
        let mapped = run("thin_rmap", &["--region", "3..300"], &metadata);
        let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
        let lines = rmap(&survey, &survey.live, std::slice::from_ref(&(3..300))).unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(text, String::from_utf8(mapped.stdout).unwrap(), "{name}");
    }
}

#[test]
fn differences_are_the_same() {
    use dmlab_thin_tools::{Scope, Survey, delta};
    use dmlab_units::ThinId;
    for (name, pairs) in
        [("05-snapshots", [(0, 1), (1, 2), (2, 0)]), ("13-overflow", [(0, 1), (1, 4), (5, 0)])]
    {
        let metadata = image(name);
        let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
        for (left, right) in pairs {
            let (one, two) = (left.to_string(), right.to_string());
            let ours = delta(&survey, &survey.live, ThinId(left), ThinId(right)).unwrap().unwrap();
            for verbose in [false, true] {
                let mut arguments = vec!["--thin1", &one, "--thin2", &two];
                arguments.extend(verbose.then_some("--verbose"));
                let theirs = run("thin_delta", &arguments, &metadata);
                assert_eq!(
                    ours.xml(verbose),
                    String::from_utf8(theirs.stdout).unwrap(),
                    "{name} {left} {right}"
                );
            }
        }
    }
}

/// Where to change what: a sealed block, a byte offset in units of 4, and a small change or a new value.
fn corruption() -> impl Strategy<Value = (usize, usize, usize, u32)> {
    let place = prop_oneof![0usize..8, 0usize..100, 0usize..1024];
    (0usize..18, any::<usize>(), place, prop_oneof![0u32..4, 0u32..600, any::<u32>()])
}

#[test]
fn what_thin_check_rejects_is_rejected_and_the_rest_only_for_what_it_does_not_look_at() {
    let images: Vec<BytesMetadata> = names().iter().map(|name| image(name)).collect();
    let verdicts = [AtomicU32::new(0), AtomicU32::new(0)];
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 400, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    runner
        .run(&corruption(), |(which, block, place, value)| {
            let mut metadata = images[which].clone();
            let survey = dmlab_thin_tools::Survey::new(&metadata, dmlab_thin_tools::Scope::Mappings).unwrap();
            // Blocks that matter: those in use, those of the space maps too.
            let superblock = survey.live.superblock.clone();
            for (map, root) in [
                (SpaceMapKind::Data, superblock.data_space_map),
                (SpaceMapKind::Metadata, superblock.metadata_space_map),
            ] {
                SpaceMap::read(&metadata, map, root, &survey.meta_counts, &mut Vec::new()).unwrap();
            }
            let mut bytes = [0; BLOCK_SIZE];
            let used: Vec<(MetaBlock, &'static Validator)> = (1..metadata.nr_blocks())
                .map(MetaBlock)
                .filter(|&block| survey.meta_counts.get(block) > 0)
                .filter_map(|block| {
                    metadata.read(block, &mut bytes).unwrap();
                    let kinds = [&NODE, &INDEX, &BITMAP];
                    Some((block, kinds.into_iter().find(|&kind| kind.check(block, &bytes).is_ok())?))
                })
                .collect();
            let (block, kind) = used[block % used.len()];
            drop(survey);
            metadata.read(block, &mut bytes).unwrap();
            bytes[place * 4..place * 4 + 4].copy_from_slice(&value.to_le_bytes());
            kind.seal(block, &mut bytes);
            metadata.write(block, &bytes).unwrap();

            let theirs = run("thin_check", &[], &metadata);
            let ours = report(&metadata);
            let verdict = usize::from(theirs.status.success());
            verdicts[verdict].fetch_add(1, Ordering::Relaxed);
            if theirs.status.success() {
                let only_ours = ours.problems.iter().all(Problem::passes_thin_check);
                prop_assert!(only_ours, "accepted, but {:?}", ours.problems);
            } else {
                let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
                prop_assert!(!ours.is_clean(), "block {} at {}: {}", block, place * 4, said);
            }
            Ok(())
        })
        .unwrap();
    // A test that only ever sees one verdict shows nothing.
    let [rejected, accepted] = verdicts.map(AtomicU32::into_inner);
    assert!(rejected > 50 && accepted > 50, "{rejected} rejected, {accepted} accepted");
}
