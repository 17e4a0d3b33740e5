//! `dmlab crash`: the power goes at every point of a workload of programs.

mod judges;
mod programs;
mod replay;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, Subcommand};
use dmlab::crash::{CrashRun, Moment, Outcome, RecordedDisks, Report, Shard};
use dmlab_server::driver::Time;
use dmlab_units::{Bytes, Sectors};
use indicatif::{ProgressBar, ProgressStyle};

use crate::boot::time;
use crate::kernel::Failure;
use crate::output::{out, outln};
use judges::Judges;
pub(crate) use programs::Programs;
use programs::{Said, check_is_there};

/// Test crash consistency: power loss at every point of a workload, and a check of what is left each time.
///
/// The disks /dev/ram0 on have a volatile write cache and are recorded while the programs run. Then each state that a loss
/// of power may leave is put before CHECK on a fresh machine: writes that were not flushed are there, lost or torn, in any
/// combination. The exit status is 1 if CHECK fails for any of them.
///
/// SCRIPT, WORKLOAD and CHECK are each a file (a program, or a script for sh) or a line for sh. CHECK finds the state's name
/// in DMLAB_CRASH_STATE, and in DMLAB_CRASH_DONE how many of the workloads had ended.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Crash {
    #[command(subcommand)]
    command: Option<Command>,
    /// Sets the disks up; states before its end are not looked at.
    #[arg(long, value_name = "SCRIPT", conflicts_with = "recorded")]
    script: Option<String>,
    /// What is recorded. Given more than once, one after the other.
    #[arg(long, value_name = "WORKLOAD", required_unless_present = "recorded", conflicts_with = "recorded")]
    workload: Vec<String>,
    /// Says with its exit status whether what is left is sound.
    #[arg(long, value_name = "CHECK", required_unless_present_any = ["save", judges::GROUP])]
    check: Option<String>,
    #[command(flatten)]
    judges: Judges,
    /// How many disks there are.
    #[arg(long, visible_alias = "ram", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    disks: u32,
    /// Size of each, in MiB.
    #[arg(long, visible_alias = "ram-size", value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    disk_size: u64,
    /// The machines' clock.
    #[arg(long, default_value_t = Time::Virtual, value_parser = time())]
    time: Time,
    /// Look at so many states and no more, chosen with the seed.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Combinations at each point: all if there are no more, else so many, chosen with the seed.
    #[arg(long, value_name = "N", default_value_t = 16)]
    each: usize,
    /// Where chosen states come from.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Look at one part of N only.
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// Look at one state only, and show what CHECK prints.
    #[arg(long, value_name = "ID")]
    state: Option<String>,
    /// Stop soon after so many states failed.
    #[arg(long, value_name = "N", default_value_t = 8)]
    enough: usize,
    /// How many states to look at beside, for each kind of damage, to find an earlier and a smaller case of it.
    #[arg(long, value_name = "N", default_value_t = 128)]
    patience: usize,
    /// How many checks run at once; as many as there are cores if nothing is said.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Keep the recording in this file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Explore a recording that was kept, and run no workload.
    #[arg(long, value_name = "FILE")]
    recorded: Option<PathBuf>,
    /// Write the report to this file too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Join the reports of shards.
    Merge(Merge),
}

/// Joins the reports of shards. The exit status is 1 if a state failed, or if a shard is missing.
#[derive(Args)]
struct Merge {
    /// Reports that `--json` wrote.
    #[arg(required = true, value_name = "REPORT")]
    reports: Vec<PathBuf>,
    /// Write the report to this file too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Crash {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        if let Some(Command::Merge(merge)) = &self.command {
            return merge.run();
        }
        // What a script sets up may be the check itself.
        if let (Some(check), None) = (&self.check, &self.script) {
            check_is_there(check)?;
        }
        let programs = Programs::new(self.time)?;
        let run = match &self.recorded {
            Some(file) => CrashRun::load(file).map_err(|error| error.to_string())?,
            None => self.record(&programs)?,
        };
        if let Some(file) = &self.save {
            run.save(file).map_err(|error| error.to_string())?;
            let events = run.recording().events.len();
            outln!("{events} events are in {}", file.display())?;
        }
        if self.check.is_none() && self.judges.0.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(check) = &self.check {
            check_is_there(check)?;
        }
        let report = self.explore(&run, &programs)?;
        let command = replay::command(std::env::args_os().skip(1), self.save.as_deref());
        finish(&report, self.json.as_deref(), |state| format!("{command} --state {state}"))
    }

    fn record(&self, programs: &Programs) -> Result<CrashRun, Failure> {
        let size = Sectors(Bytes::mib(self.disk_size).0 / 512);
        let disks = RecordedDisks::new(&vec![size; self.disks as usize]);
        let machine = programs.serve(|driver| disks.boot(self.seed, driver))?;
        if let Some(script) = &self.script {
            machine.run_aloud(script)?;
        }
        disks.begin();
        for (number, workload) in self.workload.iter().enumerate() {
            machine.run_aloud(workload)?;
            disks.mark(format!("workload {number} has ended"));
        }
        // All that had a disk open have closed it, and what was buffered has reached it.
        drop(machine);
        let run = disks.finish(self.seed);
        if run.nr_writes() == 0 {
            let last = self.disks.saturating_sub(1);
            return Err(format!(
                "the workload wrote nothing to the recorded disks (/dev/ram0 to /dev/ram{last}), so every state would be the \
                 same: does it name one of them? What --script writes is not looked at"
            )
            .into());
        }
        Ok(run)
    }

    fn explore(&self, run: &CrashRun, programs: &Programs) -> Result<Report, Failure> {
        let mut explore = run.explore().limit(self.each).seed(self.seed).shard(self.shard);
        explore = explore.enough(self.enough).patience(self.patience);
        if let Some(limit) = self.limit {
            explore = explore.max_states(limit);
        }
        if let Some(state) = &self.state {
            explore = explore.only(state).map_err(|error| error.to_string())?.patience(0);
        }
        for judge in &self.judges.0 {
            explore = explore.judge(judge.clone());
        }
        // Draws nothing where no terminal is.
        let bar = ProgressBar::new(0);
        let style = "{bar:40} {pos} of {len} states, {per_sec}, {eta} left{msg}";
        bar.set_style(ProgressStyle::with_template(style).map_err(|error| error.to_string())?);
        let (is_alone, broken) = (self.state.is_some(), AtomicU64::new(0));
        let explore = explore.progress(|done, total| {
            bar.set_length(total);
            bar.set_position(bar.position().max(done));
        });
        let check = |moment: &Moment<'_>| {
            let said = self.check_state(programs, moment, is_alone);
            if said.is_err() {
                bar.set_message(format!(", {} failed", broken.fetch_add(1, Ordering::Relaxed) + 1));
            }
            said
        };
        let all = || match &self.check {
            Some(_) => explore.check_disks(check),
            None => explore.run(),
        };
        let mut threads = rayon::ThreadPoolBuilder::new();
        if let Some(jobs) = self.jobs {
            threads = threads.num_threads(jobs.get());
        }
        let threads = threads.build().map_err(|error| error.to_string())?;
        let report = threads.install(all);
        bar.finish_and_clear();
        Ok(report)
    }

    fn check_state(&self, programs: &Programs, moment: &Moment<'_>, is_alone: bool) -> Outcome {
        let Some(check) = &self.check else { return Ok(()) };
        let machine = programs.serve(|driver| moment.boot(self.seed, driver))?;
        let variables = [
            ("DMLAB_CRASH_STATE", moment.id.to_string()),
            ("DMLAB_CRASH_DONE", moment.mark_count().to_string()),
        ];
        let Said { status, text } = machine.run(check, &variables)?;
        if is_alone {
            out!("{text}")?;
        }
        if status.success() { Ok(()) } else { Err(programs::failed(check, status, &text).into()) }
    }
}

impl Merge {
    fn run(&self) -> Result<ExitCode, Failure> {
        let read = |path: &PathBuf| -> Result<Report, Failure> {
            let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(serde_json::from_str(&text)
                .map_err(|error| format!("{} is no report: {error}", path.display()))?)
        };
        let reports: Vec<Report> = self.reports.iter().map(read).collect::<Result<_, _>>()?;
        let report = Report::merge(reports).map_err(|error| error.to_string())?;
        let status = finish(&report, self.json.as_deref(), |state| format!("state {state}"))?;
        if let ([_], [missing, ..]) = (&report.joined[..], &report.missing()[..]) {
            outln!("shard {missing} is missing")?;
        }
        Ok(if report.missing().is_empty() { status } else { ExitCode::FAILURE })
    }
}

/// Shows the report and writes it where it is wanted.
fn finish(
    report: &Report,
    json: Option<&Path>,
    replay: impl Fn(&str) -> String,
) -> Result<ExitCode, Failure> {
    out!("{}", report.to_text(replay))?;
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
        fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
