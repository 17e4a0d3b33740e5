//! The whole run, in the order in which mistakes are cheapest to find.

use crate::steps::Steps;
use crate::{cargo, needs, repository, twice};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds that each fuzz entry gets in the whole run.
const FUZZ_SECONDS: u32 = 2;

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

pub(crate) fn cargo_with(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(arguments).current_dir(repository());
    if std::env::var_os("CI").is_some() {
        // What is built once gains nothing from being prepared for a second time.
        command.env("CARGO_INCREMENTAL", "0");
        // What is built there is never looked into.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    }
    command
}

pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// The release binary that the tests with real programs run.
pub(crate) fn binary() -> PathBuf {
    target_folder().join("release/dmlab")
}

/// Builds the one binary and the preload library that lies beside it.
fn release() -> Command {
    cargo_with(&["build", "--release", "-p", "dmlab-cli", "-p", "dmlab-shim"])
}

/// The most bytes that the program may have, so that a CI job fetches it in a moment.
const PROGRAM_MAX: u64 = 10 << 20;

/// Whether the release binary, with the preload library in it, is as small as it is meant to be.
fn program_is_small() -> Result<(), String> {
    let path = binary();
    let size = std::fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    if size <= PROGRAM_MAX {
        Ok(())
    } else {
        Err(format!("{} has {size} bytes, and at most {PROGRAM_MAX} were meant", path.display()))
    }
}

/// Crates that are not for publishing (`publish = false`).
const PRIVATE: [&str; 5] =
    ["xtask", "dmlab-conformance", "dmlab-shim", "dmlab-benches", "dmlab-fuzz-entries"];

/// Lets cargo unpack and build our packages anew. It knows what it unpacked and built of a package by name and version, and both stay
/// the same while the crates change. Registries whose folders begin with a dash have no host: they are those that it made itself.
fn forget_packages() {
    let folders =
        |of: PathBuf| std::fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path());
    let begins = |path: &Path, with: &str| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(with))
    };
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home).unwrap_or_default();
    let own = ["registry/src", "registry/cache"]
        .into_iter()
        .flat_map(|kept| folders(cargo_home.join(kept)))
        .filter(|registry| begins(registry, "-"));
    // What was built of them lies among the rest, and names the files that it was built of.
    let is_of_package = |note: &PathBuf| {
        let text = std::fs::read_to_string(note).unwrap_or_default();
        note.extension().is_some_and(|end| end == "d") && text.contains("/registry/src/-")
    };
    let debug = target_folder().join("debug");
    let built = folders(debug.join("deps"))
        .filter(|note| begins(note, "dmlab") && is_of_package(note))
        .filter_map(|note| Some(note.file_stem()?.to_string_lossy().replace('_', "-")))
        .map(|name| debug.join(".fingerprint").join(name));
    for package in own.flat_map(folders).filter(|package| begins(package, "dmlab")).chain(built) {
        // What cannot be removed is found by cargo, which says so.
        let _ = std::fs::remove_dir_all(&package);
        let _ = std::fs::remove_file(&package);
    }
}

/// Packs every crate that is to be published and builds each as its users will: without the workspace around it.
fn packages() -> Command {
    forget_packages();
    let mut package = cargo_with(&["package", "--workspace", "--quiet", "--allow-dirty"]);
    package.args(PRIVATE.iter().flat_map(|name| ["--exclude", name]));
    package
}

/// Builds it, quietly.
pub(crate) fn build_release() -> Result<(), String> {
    let is_built = release().arg("--quiet").status().is_ok_and(|s| s.success());
    if is_built { Ok(()) } else { Err("the dmlab binary does not build".to_owned()) }
}

/// Sets up this machine and runs everything.
pub(crate) fn run() -> Result<(), String> {
    needs::ensure()?;
    let mut steps = Steps::default();
    steps.check("format", &mut cargo_with(&["fmt", "--all", "--check"]));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    // Of all targets: benches and examples are compiled here.
    steps.check("clippy, benches compile", &mut cargo_with(&clippy));
    steps.check("release build", &mut release());
    steps.done("size of the program", program_is_small);
    // Every test that starts `dmlab` takes this binary; a missing program is a failure here, never a skip.
    let mut tests = cargo_with(&["test", "--workspace", "--no-fail-fast", "--quiet"]);
    twice::first(&mut tests)?;
    steps.tests("tests", tests.env("DMLAB_BIN", binary()).env("CI", "true"));
    steps.done("every lab twice", twice::again);
    let mut doc = cargo_with(&["doc", "--quiet", "--workspace", "--no-deps"]);
    steps.check("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"));
    steps.check("packages", &mut packages());
    // As it was built for the tests before it: its assertions are on, and for its package alone it would be another.
    let mut fuzz = Command::new(target_folder().join("debug/dmlab-fuzz-entries"));
    steps.check("fuzz", fuzz.args(["all", &FUZZ_SECONDS.to_string()]));
    steps.finish()
}

/// Runs the recorded cases that must pass, or those of them that match a pattern.
pub(crate) fn golden(arguments: &[&str]) -> Result<(), String> {
    needs::ensure()?;
    build_release()?;
    let mut test = cargo_with(&["test", "--quiet", "-p", "dmlab-conformance", "--test", "golden", "--"]);
    let status = test.args(arguments).env("DMLAB_BIN", binary()).env("CI", "true").status();
    if status.is_ok_and(|s| s.success()) { Ok(()) } else { Err("recorded cases failed".to_owned()) }
}
