//! The meanings that faults aim at: what sources say, what rules know and what the documentation lists are one.

use dmlab::machine::faults::meanings;
use dmlab_conformance::{repository, tidy};
use dmlab_formats::bitmap::BITMAP;
use dmlab_formats::btree_node::NODE;
use dmlab_formats::index::INDEX;
use dmlab_formats::thin::SUPERBLOCK;
use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_tag_of_the_kernel_side_is_a_meaning() {
    let mut said: BTreeSet<String> = BTreeSet::new();
    let files = tidy::tracked_files(&repository()).expect("the repository's files can be listed");
    // Tests may say what they like: those in a folder of their own, and those at the end of a file.
    let is_test = |file: &str| file.contains("/tests/") || file.ends_with("/tests.rs");
    let is_code = |file: &&String| file.starts_with("sim/") && file.ends_with(".rs") && !is_test(file);
    for file in files.iter().filter(is_code) {
        let text = fs::read_to_string(repository().join(file)).expect("listed just now");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for start in ["Tag::new(\"", "what: \"", "Tree::plain(\"", "_NODE: &str = \""] {
            // Other tables have a field of this name.
            if file.starts_with("sim/faults/") {
                continue;
            }
            said.extend(
                code.split(start).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned),
            );
        }
    }
    let kinds = [&SUPERBLOCK, &NODE, &INDEX, &BITMAP];
    said.extend(kinds.map(|kind| kind.name.to_owned()));
    let known: BTreeSet<String> = meanings().iter().map(|meaning| meaning.name.to_owned()).collect();
    assert_eq!(said, known, "the modules of targets list what their bios are tagged with");
}

#[test]
fn the_page_shows_the_librarys_own_example() {
    let page = fs::read_to_string(repository().join("docs/src/faults.md")).unwrap();
    let example =
        page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let library = fs::read_to_string(repository().join("crates/dmlab/src/faults.rs")).unwrap();
    let documented: String = library
        .lines()
        .filter_map(|line| line.strip_prefix("///"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    assert!(documented.contains(example), "crates/dmlab/src/faults.rs tests another example than\n{example}");
}

#[test]
fn the_page_lists_every_meaning() {
    let page = fs::read_to_string(repository().join("docs/src/faults.md")).unwrap();
    let (_, table) = page.split_once("## Meanings").expect("a chapter of them");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let want: Vec<String> = meanings()
        .iter()
        .map(|m| format!("| `{}` | {} | {} | {} |", m.name, m.what, m.owner, m.index).replace("|  |", "| |"))
        .map(|row| row.replace("|  |", "| |"))
        .collect();
    assert_eq!(rows, want);
}
