//! Power is lost at every point of random workloads: what comes up again is sound, and holds all that was flushed.

mod disk;
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
