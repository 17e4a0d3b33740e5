//! Metadata that other programs wrote: recorded (golden/thin-writers), and written by Debian's tools as installed.

use crate::debian::{Scratch, program, run};
use crate::images::{assert_clean, image, names, recorded_xml, report, restored, written, xml_of};
use dmlab_thin_tools::{
    BytesMetadata, DumpOptions, FileMetadata, Problem, SpaceMapKind, clear_needs_check, fix_leaks,
    read_superblock,
};
use dmlab_units::MetaBlock;

/// Every recorded image that is sound, with whether its sums are those of thin_restore 0.9.
const SOUND: [(&str, bool); 7] = [
    ("restored-0.9", true),
    ("restored-1.1", false),
    ("needs-check-0.9", true),
    ("linux", false),
    ("linux-on-0.9", true),
    ("linux-on-1.1", false),
    ("lvconvert-0.9", true),
];

/// Asserts that metadata is judged sound, that both dumps of it are the same, and that mended or restored it is strictly so.
fn assert_sound(name: &str, metadata: &BytesMetadata) {
    let found = report(metadata);
    assert!(found.is_clean() && found.counts_compared, "{name}: {:?}", found.problems);
    let xml = xml_of(metadata, &DumpOptions::default());
    let theirs = run("thin_dump", &[], metadata);
    assert_eq!(xml, String::from_utf8(theirs.stdout).unwrap(), "{name}");
    let copy = restored(&xml, 2000);
    assert_clean(&copy);
    assert_eq!(xml_of(&copy, &DumpOptions::default()), xml, "{name}");
    let mut mended = metadata.clone();
    fix_leaks(&mut mended).unwrap();
    assert_clean(&mended);
    assert!(run("thin_check", &["-q"], &mended).status.success(), "{name} mended");
    let unflagged = xml.replace("flags=\"1\"", "flags=\"0\"");
    assert_eq!(xml_of(&mended, &DumpOptions::default()), unflagged, "{name}");
}

#[test]
fn what_other_writers_wrote_is_sound() {
    for (name, has_remarks) in SOUND {
        let metadata = written(name);
        assert!(run("thin_check", &["-q"], &metadata).status.success(), "{name}");
        assert_eq!(!report(&metadata).remarks.is_empty(), has_remarks, "{name}");
        assert_sound(name, &metadata);
    }
}

#[test]
fn needs_check_is_cleared_on_what_another_writer_wrote() {
    let mut metadata = written("needs-check-0.9");
    let flag = |metadata: &BytesMetadata| read_superblock(metadata, MetaBlock(0)).unwrap().needs_check();
    assert!(flag(&metadata) && report(&metadata).is_clean());
    assert!(clear_needs_check(&mut metadata).unwrap());
    assert!(!flag(&metadata));
    assert_eq!(metadata, written("restored-0.9"));
    assert!(!clear_needs_check(&mut metadata).unwrap(), "it was clear already");
}

#[test]
fn space_that_no_allocator_finds_is_a_leak_and_is_mended() {
    let mut metadata = written("grown-full-0.9");
    let found = report(&metadata);
    let hidden = |problem: &Problem| match *problem {
        Problem::NrFree { map: SpaceMapKind::Data, found: 0, inside, .. } => inside == 100,
        _ => false,
    };
    assert!(found.problems.len() == 1 && hidden(&found.problems[0]), "{:?}", found.problems);
    assert!(found.has_only_leaks());
    fix_leaks(&mut metadata).unwrap();
    assert_clean(&metadata);
}

#[test]
fn what_the_installed_tools_write_is_sound() {
    for name in names() {
        let xml = std::env::temp_dir().join(format!("dmlab-writers-{}-{name}.xml", std::process::id()));
        std::fs::write(&xml, recorded_xml(&name)).unwrap();
        let output = |tool: &str, input: &std::path::Path| {
            let scratch = Scratch::new(&BytesMetadata::zeroed(512));
            let done = program(tool).arg("-i").arg(input).arg("-o").arg(&scratch.0).output().unwrap();
            assert!(done.status.success(), "{tool}, {name}: {}", String::from_utf8_lossy(&done.stderr));
            BytesMetadata::new(std::fs::read(&scratch.0).unwrap())
        };
        assert_sound(&name, &output("thin_restore", &xml));
        let old = Scratch::new(&image(&name));
        assert_sound(&name, &output("thin_repair", &old.0));
        std::fs::remove_file(&xml).unwrap();
    }
}

#[test]
fn the_installed_tools_read_what_is_written_here() {
    for name in names() {
        let metadata = restored(&recorded_xml(&name), 512);
        let scratch = Scratch::new(&metadata);
        let new = Scratch::new(&BytesMetadata::zeroed(512));
        let repaired =
            program("thin_repair").arg("-i").arg(&scratch.0).arg("-o").arg(&new.0).output().unwrap();
        assert!(repaired.status.success(), "{name}");
        assert!(run("thin_check", &["-q"], &metadata).status.success(), "{name}");
        let theirs = FileMetadata::open(&new.0).unwrap();
        assert!(dmlab_thin_tools::check(&theirs, Default::default()).unwrap().is_clean(), "{name}");
    }
}
