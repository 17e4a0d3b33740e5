//! Random scripts on a real Linux and on a machine of ours: what differs is shortened, and becomes a case.
//!
//! The scripts run once each on User Mode Linux, a batch in one start (`golden/once`), and are checked as any case is
//! (`golden/check`). One that differs is recorded as any case is (`golden/record`, twice), for Linux may answer otherwise the second
//! time; then it is tried again without some of its steps, all shorter ones in one start of the machine, for as long as a shorter
//! one differs too. It is left in `target/differ`, with what Linux printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dmlab_conformance::differ::{Script, generate};

use crate::repository;

/// Scripts in one start of the machine.
const BATCH: u64 = 100;
/// Seconds that running a batch may take. It needs about a minute on an idle machine.
const RUN_SECONDS: &str = "1200";
/// Times that a script is shortened at most.
const ROUNDS: usize = 8;

struct Options {
    cases: u64,
    seed: u64,
    kernel: String,
}

fn options(arguments: &[&str]) -> Result<Options, String> {
    let mut options = Options { cases: 100, seed: 1, kernel: "6.12".to_owned() };
    for pair in arguments.chunks(2) {
        let number =
            |text: &str| text.parse::<u64>().map_err(|error| format!("{}: `{text}`: {error}", pair[0]));
        match *pair {
            ["--cases", value] => options.cases = number(value)?,
            ["--seed", value] => options.seed = number(value)?,
            ["--kernel", value] => value.clone_into(&mut options.kernel),
            _ => return Err("differ [--cases N] [--seed S] [--kernel 6.1|6.12|7.2]".to_owned()),
        }
    }
    Ok(options)
}

/// `differ`: runs the scripts of the seeds from S on.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let options = options(arguments)?;
    let (mut differ, mut silent) = (0, 0);
    let mut seed = options.seed;
    let end = options.seed + options.cases;
    while seed < end {
        let scripts: Vec<Script> = (seed..end.min(seed + BATCH)).map(generate).collect();
        let mut outcome = compare(&scripts, &options.kernel, "once")?;
        if !outcome.differ.is_empty() {
            let again: Vec<usize> = outcome.differ.iter().map(|(at, _)| *at).collect();
            let chosen: Vec<Script> = again.iter().map(|at| scripts[*at].clone()).collect();
            let twice = compare(&chosen, &options.kernel, "record")?;
            outcome.differ = twice.differ.into_iter().map(|(at, why)| (again[at], why)).collect();
            outcome.not_recorded.extend(twice.not_recorded);
        }
        silent += outcome.not_recorded.len();
        for name in &outcome.not_recorded {
            say(&format!("{name}: not recorded, Linux does not answer twice the same"));
        }
        for (at, why) in outcome.differ {
            differ += 1;
            let (script, why) = shorten(scripts[at].clone(), why, &options.kernel)?;
            let kept = keep(&script)?;
            say(&format!("seed {}: {why}\n{}", script.seed, script.steps.join("\n")));
            say(&format!("kept as {}", kept.display()));
        }
        seed += BATCH;
        say(&format!(
            "{} of {} scripts, {differ} differ, {silent} not recorded",
            seed.min(end) - options.seed,
            options.cases
        ));
    }
    if differ == 0 { Ok(()) } else { Err(format!("{differ} scripts differ")) }
}

#[expect(clippy::print_stdout, reason = "a command says on stdout what it found")]
fn say(text: &str) {
    println!("{text}");
}

/// What came of a batch.
struct Outcome {
    /// Which differ, and in what.
    differ: Vec<(usize, String)>,
    not_recorded: Vec<String>,
}

fn folder(name: &str) -> PathBuf {
    repository().join("target/differ").join(name)
}

/// What a machine of ours is told to be, to be held against a kernel of User Mode Linux: that has a later 6.12 than the cases.
fn ours(kernel: &str) -> &str {
    if kernel == "6.12" { "6.12.113" } else { kernel }
}

/// Runs scripts on both; `how` is what runs them on Linux, `once` or `record`.
fn compare(scripts: &[Script], kernel: &str, how: &str) -> Result<Outcome, String> {
    let dir = folder(&format!("batch-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    let theme = dir.join("random");
    fs::create_dir_all(&theme).map_err(|error| format!("{}: {error}", theme.display()))?;
    for (at, script) in scripts.iter().enumerate() {
        write(&theme.join(format!("{at:04}.sh")), &script.to_string())?;
    }
    let golden = repository().join("crates/conformance/golden");
    let engine = std::env::var("ORACLE_ENGINE").unwrap_or_else(|_| "uml".to_owned());
    let recorded = Command::new("timeout")
        .args(["-k", "5", RUN_SECONDS])
        .arg(golden.join(how))
        .args((how == "record").then_some("-d"))
        .arg(&dir)
        .env("ORACLE_ENGINE", engine)
        .env("ORACLE_KERNEL", kernel)
        .output()
        .map_err(|error| format!("{how}: {error}"))?;
    if recorded.status.code() == Some(124) {
        let seeds: Vec<String> = scripts.iter().map(|script| script.seed.to_string()).collect();
        let seeds = seeds.join(" ");
        return Err(format!("{how} takes more than {RUN_SECONDS} s; one of these seeds may hang: {seeds}"));
    }
    let text = String::from_utf8_lossy(&recorded.stdout);
    if !text.lines().any(|line| line.ends_with(" not") && line.contains(" recorded, ")) {
        return Err(format!("{how}: {text}{}", String::from_utf8_lossy(&recorded.stderr)));
    }
    let not_recorded: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("not recorded: ")).map(str::to_owned).collect();
    let mut differ = Vec::new();
    if not_recorded.len() < scripts.len() {
        let binary = std::env::var("DMLAB_BIN").unwrap_or_else(|_| "target/release/dmlab".to_owned());
        let checked = Command::new(golden.join("check"))
            .args(["-j", "2"])
            .arg(&dir)
            .args(["--", &binary, "run", "--kernel", ours(kernel), "--"])
            .env("DMLAB_KLOG", "1")
            // The preload library of the real machine's program is none of ours.
            .env_remove("LD_PRELOAD")
            .current_dir(repository())
            .output()
            .map_err(|error| format!("check: {error}"))?;
        for line in String::from_utf8_lossy(&checked.stdout).lines() {
            let Some((name, why)) = line.strip_prefix("FAIL random/").and_then(|line| line.split_once(": "))
            else {
                continue;
            };
            let at = name.parse::<usize>().map_err(|error| format!("{name}: {error}"))?;
            differ.push((at, why.to_owned()));
        }
    }
    let _ = fs::remove_dir_all(&dir);
    Ok(Outcome { differ, not_recorded })
}

/// The shortest script that is found to differ too, and in what.
fn shorten(mut script: Script, mut why: String, kernel: &str) -> Result<(Script, String), String> {
    for _ in 0..ROUNDS {
        let shorter = script.shorter();
        if shorter.is_empty() {
            break;
        }
        let outcome = compare(&shorter, kernel, "record")?;
        let shortest = outcome.differ.into_iter().min_by_key(|(at, _)| shorter[*at].steps.len());
        let Some((at, its)) = shortest else { break };
        script = shorter[at].clone();
        why = its;
    }
    Ok((script, why))
}

/// Leaves a script where it can be taken as a case.
fn keep(script: &Script) -> Result<PathBuf, String> {
    let path = folder("found").join(format!("seed-{}.sh", script.seed));
    fs::create_dir_all(folder("found")).map_err(|error| error.to_string())?;
    write(&path, &script.to_string())?;
    Ok(path)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
