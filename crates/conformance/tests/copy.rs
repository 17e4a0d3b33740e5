//! The repository's copy of the golden cases against the shared one, where that is at hand.

use dmlab_conformance::repository;
use std::fs;
use std::path::{Path, PathBuf};

/// Files below `dir` as paths from it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut waiting = vec![dir.to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path.strip_prefix(dir).expect("below dir").to_path_buf());
            }
        }
    }
    found.sort();
    found
}

/// What `copy` lacks of `original` or holds in other bytes.
fn behind(original: &Path, copy: &Path) -> Vec<String> {
    let compare = |file: PathBuf| {
        let want = fs::read(original.join(&file)).expect("listed above");
        match fs::read(copy.join(&file)) {
            Err(_) => Some(format!("{} is missing from the copy", file.display())),
            Ok(got) if got != want => Some(format!("{} differs from the original", file.display())),
            Ok(_) => None,
        }
    };
    files(original).into_iter().filter_map(compare).collect()
}

#[test]
fn the_copy_holds_every_shared_case() {
    let shared = repository().join("../shared/golden");
    if !shared.is_dir() {
        return; // A clone alone: nothing to compare with.
    }
    let behind = behind(&shared, &Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"));
    assert!(behind.is_empty(), "copy ../shared/golden to crates/conformance/golden:\n{}", behind.join("\n"));
}

#[test]
fn a_missing_or_changed_file_is_told() {
    let dir = std::env::temp_dir().join(format!("dmlab-copy-{}", std::process::id()));
    let (original, copy) = (dir.join("original"), dir.join("copy"));
    fs::create_dir_all(original.join("a")).unwrap();
    fs::create_dir_all(copy.join("a")).unwrap();
    fs::write(original.join("a/same"), "1").unwrap();
    fs::write(copy.join("a/same"), "1").unwrap();
    fs::write(copy.join("a/own"), "fine").unwrap();
    assert_eq!(behind(&original, &copy), Vec::<String>::new());
    fs::write(original.join("a/new"), "2").unwrap();
    fs::write(original.join("a/same"), "3").unwrap();
    assert_eq!(
        behind(&original, &copy),
        ["a/new is missing from the copy", "a/same differs from the original"]
    );
    fs::remove_dir_all(&dir).unwrap();
}
