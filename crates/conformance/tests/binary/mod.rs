//! The dmlab binary that tests run, and what else they need.
#![allow(clippy::print_stdout, reason = "says why a test did nothing")]

use dmlab_conformance::{golden, repository};
use std::path::PathBuf;
use std::process::Command;

/// Whether programs of the examples are missing; in CI that is a failure.
#[allow(dead_code, reason = "not every test that takes this module runs programs")]
pub(crate) fn lacks_programs() -> bool {
    let missing = golden::missing_programs();
    if missing.is_empty() {
        return false;
    }
    let text = format!("NOT RUN: missing {}; cargo xtask test installs them or says how", missing.join(", "));
    assert!(std::env::var_os("CI").is_none(), "{text}");
    println!("{text}");
    true
}

/// The binary that DMLAB_BIN names, else the one built here.
pub(crate) fn dmlab() -> PathBuf {
    if let Some(binary) = std::env::var_os("DMLAB_BIN") {
        return binary.into();
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let build = ["build", "--quiet", "--release", "-p", "dmlab-cli", "-p", "dmlab-shim"];
    let status = Command::new(cargo).args(build).current_dir(repository()).status().expect("cargo runs");
    assert!(status.success(), "the dmlab binary does not build");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    target.join("release/dmlab")
}
