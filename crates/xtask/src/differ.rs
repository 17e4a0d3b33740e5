//! Random scripts on a real Linux and on a machine of ours: what differs is shortened, and becomes a case.
//!
//! `crates/conformance/differ/steps.c` plays the scripts: on User Mode Linux a batch in one start, here each in a machine of its own.
//! One that differs is played once more, for Linux may answer otherwise the second time; then it is tried again without some of its
//! steps, all shorter ones in one start of the machine, for as long as a shorter one differs too. It is left in `target/differ`,
//! with what Linux printed.

mod players;

use std::fs;
use std::path::PathBuf;

use dmlab_conformance::differ::{Script, THEMES, difference, generate};

use crate::repository;
use players::Players;

/// Scripts in one start of the machine. One takes about a tenth of a second.
const BATCH: u64 = 250;
/// Times that a script is shortened at most.
const ROUNDS: usize = 12;
/// How many that differ are shortened; of the rest only the first difference is told.
const SHORTENED: usize = 12;

struct Options {
    cases: u64,
    seed: u64,
    kernel: String,
    themes: Vec<&'static str>,
    stored: bool,
}

fn options(arguments: &[&str]) -> Result<Options, String> {
    let mut options =
        Options { cases: 500, seed: 1, kernel: "6.12".to_owned(), themes: THEMES.to_vec(), stored: false };
    let (flags, pairs): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|word| **word == "--store");
    options.stored = !flags.is_empty();
    for pair in pairs.chunks(2) {
        let number =
            |text: &str| text.parse::<u64>().map_err(|error| format!("{}: `{text}`: {error}", pair[0]));
        let theme = |text: &str| {
            let known = THEMES.iter().find(|theme| **theme == text);
            known.copied().ok_or_else(|| format!("--themes: `{text}` is none of {}", THEMES.join(", ")))
        };
        match *pair {
            ["--cases", value] => options.cases = number(value)?,
            ["--seed", value] => options.seed = number(value)?,
            ["--kernel", value] => value.clone_into(&mut options.kernel),
            ["--themes", value] => options.themes = value.split(',').map(theme).collect::<Result<_, _>>()?,
            _ => {
                return Err(format!(
                    "differ [--cases N] [--seed S] [--kernel 6.12|7.2] [--themes {}] [--store]",
                    THEMES.join(",")
                ));
            }
        }
    }
    Ok(options)
}

/// `differ record [KERNEL]`: has a Linux print what it does in each script of `differ/found`, in place of what was there.
fn record(kernel: &str) -> Result<(), String> {
    let folder = repository().join("crates/conformance/differ/found");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "steps"));
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<_, String>(Script { seed: 0, steps: text.lines().map(str::to_owned).collect() })
    };
    let scripts: Vec<Script> = paths.iter().map(read).collect::<Result<_, _>>()?;
    for (path, outcome) in paths.iter().zip(once(&Players::new(kernel)?, &scripts)?) {
        match outcome {
            Outcome::Same(linux) => write(&path.with_extension(format!("{kernel}.out")), &linux)?,
            Outcome::Differs { linux, why } => {
                write(&path.with_extension(format!("{kernel}.out")), &linux)?;
                say(&format!("{}: {why}", path.display()));
            }
            Outcome::NotRecorded(why) => say(&format!("{}: not recorded: {why}", path.display())),
        }
    }
    Ok(())
}

/// `differ`: plays the scripts of the seeds from S on. With `--store`, leaves each script and what Linux printed where the tests
/// look for them, in place of what was there.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["record"] => return record("6.12"),
        ["record", kernel] => return record(kernel),
        _ => {}
    }
    let options = options(arguments)?;
    let players = Players::new(&options.kernel)?;
    let (mut differ, mut silent) = (0, 0);
    let mut seed = options.seed;
    let end = options.seed + options.cases;
    while seed < end {
        let scripts: Vec<Script> =
            (seed..end.min(seed + BATCH)).map(|seed| generate(seed, &options.themes)).collect();
        let outcome = compare(&players, &scripts)?;
        if options.stored {
            store(&options.kernel, &scripts, &outcome)?;
        }
        for (script, one) in scripts.iter().zip(&outcome) {
            match one {
                Outcome::Same(_) => {}
                Outcome::NotRecorded(why) => {
                    silent += 1;
                    say(&format!("seed {}: not recorded: {why}", script.seed));
                }
                Outcome::Differs { why, .. } => {
                    differ += 1;
                    say(&format!("seed {}: {why}", script.seed));
                    let shortened = if differ <= SHORTENED { shorten(&players, script, one)? } else { None };
                    let (script, linux) = match (&shortened, one) {
                        (Some((script, linux)), _) => (script, linux),
                        (None, Outcome::Differs { linux, .. }) => (script, linux),
                        _ => continue,
                    };
                    say(&format!("{script}kept as {}", keep(script, linux)?.display()));
                }
            }
        }
        seed += BATCH;
        let done = seed.min(end) - options.seed;
        say(&format!("{done} of {} scripts, {differ} differ, {silent} not recorded", options.cases));
    }
    if differ == 0 { Ok(()) } else { Err(format!("{differ} scripts differ")) }
}

#[expect(clippy::print_stdout, reason = "a command says on stdout what it found")]
fn say(text: &str) {
    println!("{text}");
}

/// What came of a script.
enum Outcome {
    /// Linux and ours printed this.
    Same(String),
    Differs {
        linux: String,
        why: String,
    },
    /// Linux gave no answer, or none that can be relied on.
    NotRecorded(String),
}

/// Plays scripts on both, and once more what differs.
fn compare(players: &Players, scripts: &[Script]) -> Result<Vec<Outcome>, String> {
    let mut outcome = once(players, scripts)?;
    let again: Vec<usize> =
        (0..scripts.len()).filter(|at| matches!(outcome[*at], Outcome::Differs { .. })).collect();
    if again.is_empty() {
        return Ok(outcome);
    }
    let chosen: Vec<Script> = again.iter().map(|at| scripts[*at].clone()).collect();
    for (at, second) in again.into_iter().zip(once(players, &chosen)?) {
        let Outcome::Differs { linux, .. } = &outcome[at] else { continue };
        let is_steady = matches!(&second, Outcome::Differs { linux: it, .. } if it == linux);
        outcome[at] = match second {
            Outcome::Differs { linux: it, .. } if !is_steady => Outcome::NotRecorded(format!(
                "Linux does not answer twice the same: {}",
                difference(linux, &it).unwrap_or_default()
            )),
            second => second,
        };
    }
    Ok(outcome)
}

fn once(players: &Players, scripts: &[Script]) -> Result<Vec<Outcome>, String> {
    let (linux, ours) = players.play(scripts)?;
    let outcome = linux.into_iter().zip(ours).map(|(linux, ours)| match linux {
        None => Outcome::NotRecorded("the machine did not finish".to_owned()),
        Some(linux) if linux.contains("the kernel is unwell") => {
            Outcome::NotRecorded("the kernel is unwell".to_owned())
        }
        Some(linux) => match difference(&linux, &ours) {
            Some(why) => Outcome::Differs { linux, why },
            None => Outcome::Same(linux),
        },
    });
    Ok(outcome.collect())
}

/// The shortest script that is found to differ too, and what Linux prints of it. `None`: no shorter one does.
fn shorten(players: &Players, script: &Script, found: &Outcome) -> Result<Option<(Script, String)>, String> {
    let Outcome::Differs { .. } = found else { return Ok(None) };
    let (mut script, mut shortest) = (script.clone(), None);
    for _ in 0..ROUNDS {
        let shorter = script.shorter();
        let outcome = once(players, &shorter)?;
        let found = shorter.into_iter().zip(outcome).filter_map(|(shorter, outcome)| match outcome {
            Outcome::Differs { linux, .. } => Some((shorter, linux)),
            _ => None,
        });
        let Some((its, linux)) = found.min_by_key(|(shorter, _)| shorter.steps.len()) else { break };
        script = its.clone();
        shortest = Some((its, linux));
    }
    Ok(shortest)
}

/// Leaves a script, and what Linux printed, where they can be looked at and taken as a case.
fn keep(script: &Script, linux: &str) -> Result<PathBuf, String> {
    let folder = repository().join("target/differ/found");
    let path = folder.join(format!("seed-{}.steps", script.seed));
    write(&path, &script.to_string())?;
    write(&path.with_extension("out"), linux)?;
    Ok(path)
}

/// Leaves scripts with what Linux printed where the tests find them.
fn store(kernel: &str, scripts: &[Script], outcome: &[Outcome]) -> Result<(), String> {
    let folder = repository().join("crates/conformance/differ/random");
    for (script, outcome) in scripts.iter().zip(outcome) {
        let (Outcome::Same(linux) | Outcome::Differs { linux, .. }) = outcome else { continue };
        write(&folder.join(format!("{:04}.steps", script.seed)), &script.to_string())?;
        write(&folder.join(format!("{:04}.{kernel}.out", script.seed)), linux)?;
    }
    Ok(())
}

fn write(path: &std::path::Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}
