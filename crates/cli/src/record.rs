//! `dmlab record` and `dmlab replay`: a run in a file, and the same once more.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use dmlab::recording::show::{Lines, escaped};
use dmlab::recording::{Changes, Recording, Replayed, Time, replay};
use indicatif::{ProgressBar, ProgressStyle};

use crate::boot::{MachineArgs, boot_recorded};
use crate::kernel::Failure;
use crate::leftover::Programs;
use crate::output::{errln, outln};
use crate::run::run_dir;
use crate::{activation, fault, launch};

/// Where a recording goes if nothing is said.
const DEFAULT_FILE: &str = "dmlab.recording";

/// Record a run: run a command as `run` does, and write down what it asks and what the machine does.
///
/// Every ioctl, read and write goes into the file with all that it brings along, and every bio that comes of them, the
/// kernel log and the events. `dmlab replay` runs it once more, without the programs. Callers take turns meanwhile, and the
/// clock is a virtual one unless --time says otherwise. Files that are disks, or lie under loop devices, go into the recording
/// as far as they are not zero.
#[derive(Args, Debug)]
#[command(override_usage = "dmlab record [OPTIONS] -- <CMD>...")]
pub(crate) struct Record {
    #[command(flatten)]
    machine: MachineArgs,
    /// The file to write.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    output: PathBuf,
    /// Give the machine a name, so that other commands reach it meanwhile with --machine NAME.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Record {
    /// Runs it; the exit status is the command's.
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let words = self.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        if let Err(status) = launch::ready(&self.command, self.machine.allow_host) {
            return Ok(status);
        }
        let dir = run_dir(self.name.as_deref())?;
        let server = boot_recorded(&self.machine, dir, words, &self.output)?;
        let programs = Programs::adopt(server.dir());
        let _listening = activation::listen(server.dir());
        let status = launch::run(server.dir(), &self.command, server.releaser());
        programs.end();
        if let Err(error) = server.finish_recording() {
            errln!("{} is no whole recording: {error}", self.output.display());
            // The command's own failure is the one to be told.
            return Ok(if status == ExitCode::SUCCESS { ExitCode::FAILURE } else { status });
        }
        if io::stderr().is_terminal() {
            errln!("recorded in {}; again: dmlab replay {0}", self.output.display());
        }
        Ok(status)
    }
}

/// Replay a recording: the same run once more, deterministic, up to where it comes out otherwise.
///
/// It happens in this process and without the programs. The exit status is 1 if there is one: some lines of both, then what was recorded (-) and what happened instead (+).
/// A difference comes from another version of dmlab, or from what is changed here.
#[derive(Args)]
pub(crate) struct Replay {
    /// What `dmlab record` wrote.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
    /// Only show what is in it, a line for each thing that happened.
    #[arg(long)]
    list: bool,
    /// Take another seed.
    #[arg(long, value_name = "SEED", conflicts_with = "list")]
    seed: Option<u64>,
    /// Let other things go wrong than did: a TOML file of `[[fault]]` tables. An empty one lets nothing go wrong.
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    faults: Option<PathBuf>,
    /// Set a parameter of a kernel module, on top of those that were set.
    #[arg(long, value_name = "MODULE.NAME=VALUE", conflicts_with = "list")]
    parameter: Vec<String>,
}

impl Replay {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let recording = Recording::load(&self.file).map_err(|error| error.to_string())?;
        if self.list {
            return match list(&recording) {
                // Its reader has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
                listed => Ok(listed.map(|()| ExitCode::SUCCESS)?),
            };
        }
        let changes = Changes {
            seed: self.seed,
            faults: self.faults.as_ref().map(|path| fault::read(path)).transpose()?,
            parameters: self
                .parameter
                .iter()
                .map(|given| given.split_once('=').unwrap_or((given, "")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        };
        // Draws nothing where no terminal is.
        let bar = ProgressBar::new(recording.events.len() as u64);
        bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} events, {eta} left")?);
        bar.enable_steady_tick(Duration::from_millis(200));
        let replayed = replay(&recording, &changes, |at| bar.set_position(at as u64));
        bar.finish_and_clear();
        let replayed = replayed.map_err(|error| error.to_string())?;
        self.say(&recording, &replayed)
    }

    fn say(&self, recording: &Recording, replayed: &Replayed) -> Result<ExitCode, Failure> {
        let Replayed { calls, bios, lines, uevents, divergence } = replayed;
        let done = format!(
            "{}, {}, {}, {}",
            count(*calls, "call"),
            count(*bios, "bio event"),
            count(*lines, "log line"),
            count(*uevents, "uevent"),
        );
        match divergence {
            Some(divergence) => {
                outln!("as recorded: {done}; then it comes out otherwise:\n{divergence}")?;
                let (by, me) = (&recording.header.made_by, env!("CARGO_PKG_VERSION"));
                if by != me {
                    outln!("recorded by dmlab {}, replayed by dmlab {me}", escaped(by))?;
                }
            }
            None => outln!("as recorded: {done}")?,
        }
        if let Some(why) = &recording.cut_off {
            outln!("the recording has no end: {why}")?;
        }
        // What is not there was not repeated.
        let is_whole = divergence.is_none() && recording.cut_off.is_none();
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn list(recording: &Recording) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let header = &recording.header;
    let clock = match header.clock {
        Time::Real => "the wall's clock",
        Time::Virtual => "virtual time",
    };
    writeln!(
        out,
        "{} (dmlab {}, seed {}, {clock}, {} of {} MiB)",
        escaped(&header.command.join(" ")),
        escaped(&header.made_by),
        header.seed,
        count(header.ram_disks as usize, "RAM disk"),
        header.ram_disk_size.0 >> 20,
    )?;
    for (number, disk) in header.disks.iter().enumerate() {
        let how = if disk.is_read_only { ", read-only" } else { "" };
        writeln!(out, "disk {number}: a file of {} bytes{how}", disk.contents.len.0)?;
    }
    for (name, value) in &header.parameters {
        writeln!(out, "{}", escaped(&format!("parameter {name}={value}")))?;
    }
    for line in header.faults.iter().flat_map(|text| text.lines()) {
        writeln!(out, "faults: {}", escaped(line))?;
    }
    let mut show = Lines::default();
    for event in &recording.events {
        for line in show.lines(event) {
            writeln!(out, "{line}")?;
        }
    }
    if let Some(why) = &recording.cut_off {
        writeln!(out, "the recording has no end: {why}")?;
    }
    out.flush()
}
