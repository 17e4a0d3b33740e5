//! The virtual machine with the real Linux device mapper, by way of its scripts.

use crate::repository;
use std::process::Command;

/// `setup`, `run SCRIPT …` or `record …`.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let conformance = repository().join("crates/conformance");
    let (program, rest) = match arguments.split_first() {
        Some((&"record", rest)) => (conformance.join("golden/record"), rest),
        Some((&("setup" | "run"), _)) => (conformance.join("oracle/oracle"), arguments),
        _ => return Err("oracle setup, oracle run SCRIPT […], or oracle record [CASE…]".to_owned()),
    };
    let status =
        Command::new(&program).args(rest).status().map_err(|e| format!("{}: {e}", program.display()))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", program.display())) }
}
