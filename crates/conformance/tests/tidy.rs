//! The repository keeps its own rules.

use dmlab_conformance::tidy::{self, Finding, Manifest, Shelf};
use dmlab_conformance::{docs, repository};
use std::collections::BTreeSet;
use std::fs;

fn files() -> Vec<String> {
    tidy::tracked_files(&repository()).expect("the repository's files can be listed")
}

fn read(file: &str) -> String {
    let bytes = fs::read(repository().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hold(findings: Vec<Finding>) {
    let text: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "\n{}\n", text.join("\n"));
}

fn manifests() -> Vec<Manifest> {
    let files = files().into_iter().filter(|f| f.ends_with("/Cargo.toml"));
    files.map(|f| Manifest::parse(&f, &read(&f)).unwrap()).collect()
}

fn rust_files() -> Vec<String> {
    files().into_iter().filter(|f| f.ends_with(".rs")).collect()
}

/// Text files that people write; recordings and licences are taken as they are.
fn written_files() -> Vec<String> {
    let kinds = [".rs", ".md", ".toml", ".sh", ".yml", ".txt", ".c", "/run", "/check", "/record", "/oracle"];
    files().into_iter().filter(|f| kinds.iter().any(|kind| f.ends_with(kind))).collect()
}

#[test]
fn arrows_between_crates_go_down_only() {
    hold(manifests().iter().flat_map(tidy::arrows).collect());
}

#[test]
fn no_code_of_the_kernel_side_names_a_release_of_linux() {
    hold(rust_files().iter().flat_map(|file| tidy::releases(file, &read(file))).collect());
}

#[test]
fn locks_are_held_alone_or_in_a_known_order() {
    hold(rust_files().iter().flat_map(|file| tidy::nested_locks(file, &read(file))).collect());
}

#[test]
fn only_the_machine_lists_the_targets() {
    let users: Vec<String> = manifests()
        .into_iter()
        .filter(|m| m.dependencies.iter().any(|d| d.starts_with("dmlab-targets-")))
        .map(|m| m.package)
        .collect();
    // This crate's tests look at a target's metadata without a machine around it.
    let may = ["dmlab-machine", "dmlab-conformance"];
    assert!(
        users.iter().all(|user| may.contains(&user.as_str())),
        "only dmlab-machine may use the targets, found {users:?}"
    );
}

/// Cargo holds the crates of targets apart; the small ones are modules of one.
#[test]
fn a_target_never_names_another() {
    let folder = "sim/targets/basic/src/";
    let inside: Vec<String> = rust_files().into_iter().filter(|f| f.starts_with(folder)).collect();
    let module = |file: &str| file[folder.len()..].split(['/', '.']).next().unwrap_or_default().to_owned();
    let modules: Vec<String> = inside.iter().map(|f| module(f)).filter(|m| m != "lib").collect();
    assert!(modules.len() > 1, "no small targets below {folder}");
    let names: Vec<&str> = modules.iter().map(String::as_str).collect();
    let targets = inside.iter().filter(|f| names.contains(&module(f).as_str()));
    hold(targets.flat_map(|f| tidy::target_independence(f, &read(f), &module(f), &names)).collect());
}

/// The target types that a machine has.
fn target_types() -> Vec<String> {
    let lab = dmlab::Lab::new(0);
    let types = lab.dm().versions().expect("a machine lists its targets");
    types.into_iter().map(|kind| String::from_utf8(kind.name).expect("a name")).collect()
}

#[test]
fn each_target_has_its_parts() {
    let files = files();
    hold(target_types().iter().flat_map(|target| tidy::target_parts(target, &files)).collect());
}

#[test]
fn a_target_is_known_in_one_place() {
    let types = target_types();
    let types: Vec<&str> = types.iter().map(String::as_str).collect();
    let files = rust_files().into_iter().filter(|f| f.starts_with("crates/") && f.contains("/src/"));
    let files = files.filter(|f| !is_unit_test(f) && !f.starts_with("crates/conformance/src/tidy/"));
    hold(files.flat_map(|f| tidy::target_names(&f, &read(&f), &types)).collect());
}

/// Files that hold nothing but `#[cfg(test)] mod tests`.
fn is_unit_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

#[test]
fn the_kernel_side_touches_nothing_outside_its_machine() {
    let kernel_side =
        rust_files().into_iter().filter(|f| f.starts_with("sim/") && f.contains("/src/") && !is_unit_test(f));
    hold(kernel_side.flat_map(|f| tidy::kernel_side_bans(&f, &read(&f))).collect());
}

#[test]
fn unsafe_code_stays_in_its_places() {
    hold(
        rust_files()
            .iter()
            .filter(|f| f.contains("/src/"))
            .flat_map(|f| tidy::unsafe_code(f, &read(f)))
            .collect(),
    );
}

#[test]
fn what_is_cited_can_be_opened() {
    let files: BTreeSet<String> = files().into_iter().collect();
    let anchors = |page: &str| docs::headings(&read(page));
    let shelf = Shelf { files: &files, anchors: &anchors };
    let sources = files.iter().filter(|f| f.ends_with(".rs"));
    let in_comments = sources.flat_map(|f| tidy::citations(f, &read(f), &shelf));
    let pages = files.iter().filter(|f| f.starts_with("docs/src/") && f.ends_with(".md"));
    let in_pages = pages.flat_map(|f| tidy::recordings_of_page(f, &read(f), &shelf));
    hold(in_comments.chain(in_pages).collect());
}

#[test]
fn doc_comments_stand_alone() {
    hold(rust_files().iter().flat_map(|f| tidy::prose(f, &read(f))).collect());
}

#[test]
fn nothing_is_left_undone() {
    hold(written_files().iter().flat_map(|f| tidy::banned_words(f, &read(f))).collect());
}

#[test]
fn no_path_of_one_machine() {
    hold(written_files().iter().flat_map(|f| tidy::banned_paths(f, &read(f))).collect());
}

#[test]
fn files_are_named_after_their_content_and_stay_short() {
    let files = rust_files();
    hold(files.iter().flat_map(|f| [tidy::file_name(f), tidy::length(f, &read(f))].concat()).collect());
}

#[test]
fn every_source_file_is_compiled() {
    hold(tidy::dead_files(&files(), read));
}

#[test]
fn versions_of_outside_crates_stand_at_the_top_with_their_reason() {
    let mut top = tidy::outside_reasons("Cargo.toml", &read("Cargo.toml"), "workspace.dependencies");
    top.extend(tidy::outside_reasons(
        "crates/fuzz/Cargo.toml",
        &read("crates/fuzz/Cargo.toml"),
        "dependencies",
    ));
    // The fuzz targets are no member of the workspace (they need a nightly compiler), so they name versions themselves.
    let members = manifests().into_iter().filter(|m| m.file != "crates/fuzz/Cargo.toml");
    hold(top.into_iter().chain(members.flat_map(|m| tidy::shared_versions(&m))).collect());
}

#[test]
fn the_top_level_holds_only_its_rooms() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "rustfmt.toml",
        "clippy.toml",
    ];
    let rooms = ["sim", "crates", "docs", "benches", "findings"];
    for file in files() {
        let first = file.split('/').next().unwrap_or_default();
        let is_fine = first.starts_with('.')
            || if file.contains('/') { rooms.contains(&first) } else { allowed.contains(&first) };
        assert!(is_fine, "{file}: the top level holds {rooms:?}, {allowed:?} and dot-files only");
    }
}
