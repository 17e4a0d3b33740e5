//! `dmlab-fuzz-entries all|NAME SECONDS [SEED]`: bounded random runs.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command's report")]

use dmlab_fuzz_entries::mutate::Mutator;
use dmlab_fuzz_entries::{ENTRIES, Entry, entry};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An input that takes longer hangs, even on a busy machine.
const TOO_LONG: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, seconds, seed) = match words[..] {
        [name, seconds] => (name, seconds.parse(), Ok(1)),
        [name, seconds, seed] => (name, seconds.parse(), seed.parse()),
        _ => return usage(),
    };
    let (Ok(seconds), Ok(seed)) = (seconds, seed) else { return usage() };
    let chosen: Vec<&Entry> = match (name, entry(name)) {
        ("all", _) => ENTRIES.iter().collect(),
        (_, Some(entry)) => vec![entry],
        _ => return usage(),
    };
    let broken = chosen.iter().filter(|entry| !run(entry, Duration::from_secs(seconds), seed)).count();
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
    eprintln!("dmlab-fuzz-entries all|{} SECONDS [SEED]", names.join("|"));
    ExitCode::from(2)
}

type Current = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

fn lock(current: &Current) -> MutexGuard<'_, Option<(Instant, Vec<u8>)>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the program when an input takes too long, and says which.
fn watch(name: &'static str) -> Current {
    let current = Current::default();
    let watched = current.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            if let Some((since, input)) = &*lock(&watched)
                && since.elapsed() > TOO_LONG
            {
                eprintln!("{name}: this input never ends: {}", hex(input));
                std::process::exit(1);
            }
        }
    });
    current
}

fn hex(input: &[u8]) -> String {
    input.iter().map(|b| format!("{b:02x}")).collect()
}

/// Feeds one entry until the time is over or an input breaks it; says which.
fn run(entry: &Entry, time: Duration, seed: u64) -> bool {
    let mut mutator = Mutator::new(seed, (entry.samples)(), entry.len_max);
    let start = Instant::now();
    let mut count = 0u64;
    let current = watch(entry.name);
    while start.elapsed() < time {
        let input = mutator.next_input();
        count += 1;
        *lock(&current) = Some((Instant::now(), input.clone()));
        if catch_unwind(AssertUnwindSafe(|| (entry.run)(&input))).is_err() {
            eprintln!("{}: input {count} of seed {seed} breaks it: {}", entry.name, hex(&input));
            return false;
        }
    }
    *lock(&current) = None;
    println!("{}: {count} inputs from seed {seed} in {:.1} s", entry.name, start.elapsed().as_secs_f64());
    true
}
