//! Every lab test twice: each lab notes the fingerprint of its log, events and bytes, and the second run's must be the first's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::repository;
use crate::whole::{cargo_with, target_folder};

/// Where labs note what they saw: see `fingerprints` in crates/dmlab.
const VARIABLE: &str = "DMLAB_FINGERPRINTS";
/// Tests that draw what they do from chance must draw the same.
const CHANCE: (&str, &str) = ("PROPTEST_RNG_SEED", "1");

fn folder(run: &str) -> PathBuf {
    target_folder().join("fingerprints").join(run)
}

/// An empty place for notes: they are added to what is there.
fn emptied(run: &str) -> Result<PathBuf, String> {
    let folder = folder(run);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(folder),
    }
}

/// Makes a run of all tests the first of the two.
///
/// # Errors
/// When what is there from an earlier run cannot be removed.
pub(crate) fn first(tests: &mut Command) -> Result<(), String> {
    tests.env(VARIABLE, emptied("first")?).env(CHANCE.0, CHANCE.1);
    Ok(())
}

/// The test programs of the library, built as the whole run builds them: for the package alone they would be others.
fn programs() -> Result<Vec<PathBuf>, String> {
    let mut list = cargo_with(&["test", "--quiet", "--workspace", "--no-run", "--message-format=json"]);
    let output = list.output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the tests do not build: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().filter_map(program).collect::<Vec<_>>();
    if found.is_empty() { Err("cargo names no test program of crates/dmlab".to_owned()) } else { Ok(found) }
}

/// The program that a line of cargo's tells of, if it is one of the library's tests.
fn program(line: &str) -> Option<PathBuf> {
    let value =
        |key: &str| line.split_once(&format!("\"{key}\":\"")).and_then(|(_, rest)| rest.split_once('"'));
    let is_ours = value("package_id").is_some_and(|(id, _)| id.contains("/crates/dmlab#"));
    let profile = line.split_once("\"profile\":{").and_then(|(_, rest)| rest.split_once('}'));
    let is_test = profile.is_some_and(|(profile, _)| profile.contains("\"test\":true"));
    let (path, _) = value("executable").filter(|_| is_ours && is_test)?;
    Some(PathBuf::from(path))
}

fn pass(programs: &[PathBuf], run: &str) -> Result<(), String> {
    let folder = emptied(run)?;
    for program in programs {
        let mut tests = Command::new(program);
        tests.arg("--quiet").current_dir(repository().join("crates/dmlab"));
        let status = tests.env(VARIABLE, &folder).env(CHANCE.0, CHANCE.1).env("CI", "true").status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("{} failed", program.display()));
        }
    }
    Ok(())
}

/// Runs the tests of the library twice.
pub(crate) fn run() -> Result<(), String> {
    let programs = programs()?;
    pass(&programs, "first")?;
    second(&programs)
}

/// Runs the tests of the library again, after a run of all tests that was the [`first`].
pub(crate) fn again() -> Result<(), String> {
    second(&programs()?)
}

fn second(programs: &[PathBuf]) -> Result<(), String> {
    pass(programs, "second")?;
    let (mut first, second) = (read(&folder("first"))?, read(&folder("second"))?);
    // Others have labs as well, the command's own tests under the library's name.
    first.retain(|file, _| second.contains_key(file));
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
    fn programs_are_found_by_their_package() {
        let line = |package: &str| {
            format!(
                "{{\"reason\":\"compiler-artifact\",\"package_id\":\"path+file:///r/crates/{package}#0.1.0\",\"profile\":{{\"test\":true}},\"executable\":\"/t/deps/lab-0123456789abcdef\"}}"
            )
        };
        assert_eq!(program(&line("dmlab")).as_deref(), Some(Path::new("/t/deps/lab-0123456789abcdef")));
        assert_eq!(program(&line("cli")), None);
    }

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
