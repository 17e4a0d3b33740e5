//! Every lab test twice: each lab notes the fingerprint of its log, events and bytes, and the second run's must be the first's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::whole::{cargo_with, target_folder};

/// Where labs note what they saw: see `fingerprints` in crates/dmlab.
const VARIABLE: &str = "DMLAB_FINGERPRINTS";

/// Runs the tests of the library twice.
pub(crate) fn run() -> Result<(), String> {
    let folder = target_folder().join("fingerprints");
    let runs = ["first", "second"].map(|name| folder.join(name));
    for run in &runs {
        // Notes are added to what is there.
        match fs::remove_dir_all(run) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", run.display()));
            }
            _ => {}
        }
        let mut tests = cargo_with(&["test", "--quiet", "-p", "dmlab", "--tests", "--examples"]);
        // Tests that draw what they do from chance must draw the same.
        let status = tests.env(VARIABLE, run).env("PROPTEST_RNG_SEED", "1").status();
        if !status.is_ok_and(|status| status.success()) {
            return Err("the tests failed".to_owned());
        }
    }
    let [first, second] = runs.map(|run| read(&run));
    let (first, second) = (first?, second?);
    let different = differences(&first, &second);
    if !different.is_empty() {
        return Err(format!("labs that were another in the second run:\n{}", different.join("\n")));
    }
    let labs: usize = first.values().map(|notes| notes.lines().count()).sum();
    if labs == 0 {
        return Err("no lab has noted anything".to_owned());
    }
    say(&format!("{labs} labs of {} tests were the same twice\n", first.len()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command says what it has done")]
fn say(text: &str) {
    print!("{text}");
}

/// The notes of one run by test.
fn read(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut notes = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        notes.insert(name, fs::read_to_string(&path).map_err(failed)?);
    }
    Ok(notes)
}

/// Which labs of which tests are not the same.
fn differences(first: &BTreeMap<String, String>, second: &BTreeMap<String, String>) -> Vec<String> {
    let mut different = Vec::new();
    let names = first.keys().chain(second.keys().filter(|name| !first.contains_key(*name)));
    for name in names {
        let lines = |notes: &BTreeMap<String, String>| -> Vec<String> {
            notes.get(name).map(|notes| notes.lines().map(str::to_owned).collect()).unwrap_or_default()
        };
        let (a, b) = (lines(first), lines(second));
        if a != b {
            let at = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            different.push(format!("  {name}, lab {}: {:?}, then {:?}", at + 1, a.get(at), b.get(at)));
        }
    }
    different
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let notes = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let first = notes(&[("a", "1 0 x\n1 0 y\n"), ("b", "2 0 z\n")]);
        assert!(differences(&first, &first).is_empty());
        let second = notes(&[("a", "1 0 x\n1 0 w\n"), ("c", "2 0 z\n")]);
        let told = differences(&first, &second);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("  a, lab 2:"), "{told:?}");
    }
}
