//! Runs the recorded cases that must pass today, on each kernel that a machine can be. `-k PATTERN` takes only those whose
//! THEME/NAME matches, `--kernel VERSION` only one kernel.
//!
//! It has no harness, so that each failing case shows as one line as it happens. The binary is the one that DMLAB_BIN
//! names, else it is built here.

mod binary;

use dmlab_conformance::golden::{self, Expected, Outcome};
use std::process::ExitCode;

/// Cases at a time by the wall clock. Many sleep, so more of them than cores keep the cores busy.
const JOBS: usize = 8;
/// Cases at a time in virtual time, in which none sleeps.
const JOBS_VIRTUAL: usize = 3;

/// The clock by which the cases of a kernel run, and how many at a time. The kernel that most users take goes by the wall clock, as
/// a run does of which nothing is said. The others go by virtual time: that holds it against the recorded cases, and saves what they sleep.
fn clock(kernel: &str) -> (&'static str, usize) {
    if kernel == golden::KERNELS[0] { ("real", JOBS) } else { ("virtual", JOBS_VIRTUAL) }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--list") || !is_meant(&arguments) {
        return ExitCode::SUCCESS;
    }
    let pattern = arguments.iter().position(|a| a == "-k").and_then(|at| arguments.get(at + 1));
    let kernel = arguments.iter().position(|a| a == "--kernel").and_then(|at| arguments.get(at + 1));
    match run(pattern.map_or("*", String::as_str), kernel.map(String::as_str)) {
        Ok(outcome) => {
            let word = if outcome.failed == 0 { "ok" } else { "FAILED" };
            say(&format!(
                "test result: {word}. {} passed; {} failed; 0 ignored; 0 measured",
                outcome.passed, outcome.failed
            ));
            if outcome.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(&format!("golden: {error}\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured"));
            ExitCode::FAILURE
        }
    }
}

/// Whether a filter given to `cargo test` leaves this test in.
fn is_meant(arguments: &[String]) -> bool {
    if arguments.iter().any(|a| a == "-k" || a == "--kernel") {
        return true;
    }
    arguments.iter().filter(|a| !a.starts_with('-')).all(|filter| "golden".contains(filter.as_str()))
}

fn run(pattern: &str, kernel: Option<&str>) -> Result<Outcome, String> {
    let all = golden::cases(&golden::cases_dir()).map_err(|e| e.to_string())?;
    let expected = Expected::load()?;
    let gaps = expected.gaps(&all);
    if !gaps.is_empty() {
        return Err(format!("golden-expected.txt: {}", gaps.join("; ")));
    }
    let chosen: Vec<String> =
        all.iter().filter(|c| golden::matches(pattern, c) && expected.must_pass(c)).cloned().collect();
    if pattern == "*" {
        say(expected.not_yet(&all).trim_end());
    } else if chosen.is_empty() {
        let reasons: Vec<String> = all
            .iter()
            .filter(|c| golden::matches(pattern, c))
            .filter_map(|c| Some(format!("{c}: {}", expected.reason(c)?)))
            .collect();
        return Err(format!("no case that must pass matches `{pattern}`. {}", reasons.join("; ")));
    }
    let missing = golden::missing_programs();
    if !missing.is_empty() {
        let text =
            format!("these cases need {} (cargo xtask test installs them or says how)", missing.join(", "));
        if std::env::var_os("CI").is_some() {
            return Err(text);
        }
        say(&format!("golden: NOT RUN: {text}"));
        return Ok(Outcome { passed: 0, failed: 0 });
    }
    let binary = binary::dmlab();
    let mut sum = Outcome { passed: 0, failed: 0 };
    for kernel in golden::KERNELS.into_iter().filter(|one| kernel.is_none_or(|only| only == *one)) {
        let chosen: Vec<String> =
            chosen.iter().filter(|case| expected.must_pass_on(kernel, case)).cloned().collect();
        let (time, jobs) = clock(kernel);
        say(&format!(
            "running {} recorded cases through {} run --kernel {kernel} --time {time}",
            chosen.len(),
            binary.display()
        ));
        let outcome = golden::run(&binary, kernel, time, &chosen, jobs, say)?;
        sum.passed += outcome.passed;
        sum.failed += outcome.failed;
    }
    Ok(sum)
}

#[expect(clippy::print_stdout, reason = "a test without a harness reports on its own")]
fn say(line: &str) {
    println!("{line}");
}
