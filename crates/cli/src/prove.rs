//! `dmlab prove`: that a seed is all that a run depends on.

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;

use crate::kernel::Failure;
use crate::output::outln;

/// Prove that runs are deterministic: that a seed is all that a run depends on.
///
/// Runs random workloads of many seeds, each twice, and prints one hash of all that can be seen of them.
/// Logs with their time stamps, events, the clock and every byte of every disk go into it. It is the same on every machine
/// and for every build of one version; where two runs of a seed differ, the command says in what, and fails.
#[derive(Args)]
pub(crate) struct Prove {
    /// How many seeds.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
}

impl Prove {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let end = self.from.checked_add(self.seeds).ok_or_else(|| {
            format!("{} seeds from {} on go past the last one, {}", self.seeds, self.from, u64::MAX)
        })?;
        // Draws nothing where no terminal is.
        let bar = ProgressBar::new(self.seeds);
        bar.enable_steady_tick(Duration::from_millis(200));
        let hash = dmlab::prove(self.from..end, |_| bar.inc(1));
        bar.finish_and_clear();
        outln!("{} seeds from {} on, each run twice: {hash}", self.seeds, self.from)?;
        Ok(())
    }
}
