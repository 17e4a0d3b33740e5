//! Power is lost at every point of random workloads: what comes up again is sound, and holds all that was flushed.

use dmlab::crash::{CrashError, CrashRun, RecordedLab, Report};
use dmlab_units::Sectors;

mod merge;
mod mirror;
mod model;
mod snapshot;
mod thin;

/// How many states were examined: shown with `--nocapture`.
#[expect(clippy::print_stdout, reason = "a rate is for whoever asks for output")]
fn say(line: &str) {
    println!("{line}");
}

/// Records a workload that marks each step before and after it, and the steps.
fn record<Step>(
    seed: u64,
    sizes: &[Sectors],
    workload: impl FnOnce(&RecordedLab) -> Result<Vec<Step>, String>,
) -> (Vec<Step>, CrashRun) {
    let mut done = Vec::new();
    let run: Result<CrashRun, CrashError> = dmlab::crash::Crash::record(seed, sizes, |lab| {
        done = workload(lab)?;
        Ok(())
    });
    (done, run.expect("sound devices do it"))
}

/// Passes if no state broke; says how many there were.
fn clean(report: &Report, seed: u64) -> u64 {
    assert!(report.is_clean(), "seed {seed}: {report}");
    report.states_examined
}

/// Shows how fast it went.
fn say_rate(what: &str, states: u64, start: std::time::Instant) {
    let rate = states as f64 / start.elapsed().as_secs_f64();
    say(&format!("{what}: {states} states examined, {rate:.0} a second"));
}

/// What is true after each number of marks: the model begins, and changes before a step and after it.
fn models<M: Clone, Step: Copy>(
    first: M,
    done: &[Step],
    begin: impl Fn(&mut M, Step),
    end: impl Fn(&mut M, Step),
) -> Vec<M> {
    let mut models = vec![first];
    let mut model = models[0].clone();
    for &step in done {
        begin(&mut model, step);
        models.push(model.clone());
        end(&mut model, step);
        models.push(model.clone());
    }
    models
}
