//! Random bytes for the decoders: bounded runs on any toolchain, libFuzzer where it is at hand.

use crate::{cargo, repository};
use std::process::Command;

/// Seconds for each target when none are given.
const SECONDS: &str = "10";

/// Runs one target or all of them for some seconds each.
///
/// With cargo-fuzz and a nightly compiler installed, libFuzzer steers the bytes by coverage; else the bounded random
/// runs of crates/fuzz/entries feed the same functions.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let (target, seconds) = match arguments {
        [] => ("all", SECONDS),
        [target] => (*target, SECONDS),
        [target, seconds] => (*target, *seconds),
        _ => return Err("fuzz [TARGET] [SECONDS]".to_owned()),
    };
    if seconds.parse::<u32>().is_err() {
        return Err(format!("fuzz: `{seconds}` is no number of seconds"));
    }
    let mut command = if target != "all" && has_libfuzzer() {
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", target, "--fuzz-dir", "crates/fuzz", "--"]);
        command.arg(format!("-max_total_time={seconds}"));
        command
    } else {
        let mut command = Command::new(cargo());
        command.args(["run", "--quiet", "--release", "-p", "dmlab-fuzz-entries", "--", target, seconds]);
        command
    };
    let status = command.current_dir(repository()).status().map_err(|e| format!("fuzz: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("fuzz {target}: an input broke it; it is shown above"))
    }
}

fn has_libfuzzer() -> bool {
    Command::new("cargo").args(["+nightly", "fuzz", "--version"]).output().is_ok_and(|o| o.status.success())
}
