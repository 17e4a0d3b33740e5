//! Machines that stay: `dmlab boot`, `attach`, `halt` and `machines`.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use clap::Args;
use dmlab_server::client::Client;
use dmlab_server::rundir;
use serde_json::json;

use crate::boot::{MachineArgs, boot};
use crate::json::{self, Format};
use crate::kernel::{Failure, Meant};
use crate::leftover::Sign;
use crate::output::outln;
use crate::watcher::Watcher;
use crate::{activation, launch, leftover};

/// Boot a machine that stays until it is halted.
#[derive(Args, Debug)]
pub(crate) struct BootArgs {
    /// Its name.
    name: String,
    /// Halt it by itself after this time: 90s, 30m, 1h, 2days.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_lifetime)]
    lifetime: Option<Duration>,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Run a command against a machine that `boot` left running.
#[derive(Args, Debug)]
#[command(override_usage = "dmlab attach <NAME> -- <CMD>...")]
pub(crate) struct AttachArgs {
    /// The machine's name.
    name: String,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// End a machine.
#[derive(Args, Debug)]
pub(crate) struct HaltArgs {
    /// Its name; --machine and DMLAB_MACHINE name one too.
    name: Option<String>,
}

/// List the machines that run, with their age and the process that serves each.
#[derive(Args, Debug)]
pub(crate) struct Machines {
    #[command(flatten)]
    format: Format,
}

/// The longest time that a machine can be given: a century. A longer one is none at all.
const LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if lifetime.is_zero() || lifetime > LIFETIME_MAX {
        return Err("a machine lives for more than no time and at most 100 years".to_owned());
    }
    Ok(lifetime)
}

/// A file in a machine's directory that says when the machine ends by itself.
const UNTIL: &str = "until";

/// What the server process of a booted machine says to the one that started it.
const READY: &str = "ready\n";

/// Boots a machine in a process of its own.
///
/// # Errors
/// When it cannot be booted: the reason is the server's.
pub(crate) fn boot_machine(args: &BootArgs) -> Result<ExitCode, Failure> {
    let dir = rundir::named(&args.name)?;
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve-machine")
        .args(args.machine.to_words()?)
        .args(args.lifetime.map(|lifetime| format!("--for={}", humantime::format_duration(lifetime))))
        .args(["--", &args.name])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    if let Some(out) = &mut server.stdout {
        out.read_to_string(&mut said)?;
    }
    if said != READY {
        if let (true, Some(err)) = (said.is_empty(), &mut server.stderr) {
            // What it says where it cannot even begin, or does not end as it should.
            err.read_to_string(&mut said)?;
        }
        let why = if said.is_empty() { "its server ended without a word" } else { said.trim_end() };
        return Err(format!("machine {:?} does not boot: {why}", args.name).into());
    }
    let name = &args.name;
    let devices = Client::connect(name)?.devices()?;
    let until = args.lifetime.map(|lifetime| format!(" for {}", humantime::format_duration(lifetime)));
    let until = until.unwrap_or_default();
    outln!("machine {name:?} runs in {} with {} block devices{until}", dir.display(), devices.len())?;
    outln!("  dmlab run --machine {name} -- CMD   run a program on it")?;
    outln!("  dmlab halt {name}                   end it; what its RAM disks hold is gone then")?;
    Ok(ExitCode::SUCCESS)
}

/// The server process of a booted machine.
///
/// # Errors
/// None: a failure is told to the process that waits for word, and is the exit status.
pub(crate) fn serve_machine(args: &BootArgs) -> Result<ExitCode, Failure> {
    launch::raise_descriptor_limit();
    // A session of its own: the terminal's hang-up and keys do not reach it.
    let _ = rustix::process::setsid();
    let server = match rundir::named(&args.name).and_then(|dir| boot(&args.machine, dir)) {
        Ok(server) => server,
        Err(error) => {
            io::stdout().write_all(error.to_string().as_bytes())?;
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Some(until) = args.lifetime.and_then(|lifetime| SystemTime::now().checked_add(lifetime)) {
        std::fs::write(server.dir().join(UNTIL), humantime::format_rfc3339(until).to_string())?;
    }
    let watcher = Watcher::over(server.dir());
    let _listening = activation::listen(server.dir());
    io::stdout().write_all(READY.as_bytes())?;
    io::stdout().flush()?;
    // A caller that waits for word reads to the end.
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    if let Some(lifetime) = args.lifetime {
        let ends = server.halter();
        std::thread::spawn(move || {
            std::thread::sleep(lifetime);
            ends();
        });
    }
    let ends = server.halter();
    if let Ok(mut signals) = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]) {
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                ends();
            }
        });
    }
    server.wait();
    leftover::end_programs(&leftover::within(server.dir()), Sign::Library, server.halted_by());
    // The answer to the request that ended us is on its way.
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(server);
    drop(watcher);
    Ok(ExitCode::SUCCESS)
}

/// Runs a command against a running machine.
///
/// # Errors
/// When none of that name runs.
pub(crate) fn attach(args: &AttachArgs, meant: &Meant) -> Result<ExitCode, Failure> {
    Ok(attach_to(&meant.or_named(Some(&args.name))?, &args.command)?)
}

/// Runs a command of our own against a running machine.
///
/// # Errors
/// When none of that name runs.
pub(crate) fn attach_to(name: &str, command: &[OsString]) -> io::Result<ExitCode> {
    Client::connect(name)?;
    Ok(launch::run(&rundir::named(name)?, command, |_| ()))
}

/// Ends a machine and waits until it is gone.
///
/// # Errors
/// When none of that name runs.
pub(crate) fn halt(args: &HaltArgs, meant: &Meant) -> Result<ExitCode, Failure> {
    let name = meant.or_named(args.name.as_deref())?;
    // A name among the words of the command is the user's own.
    let client = match &args.name {
        Some(_) => Client::connect(&name),
        None => meant.reach(|| Client::connect(&name)),
    };
    client?.halt()?;
    let dir = rundir::named(&name)?;
    for _ in 0..500 {
        if !dir.exists() {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("machine {name:?} was told to end, but {} is still there", dir.display()).into())
}

/// What is known of a machine that runs.
struct Running {
    name: String,
    nr_devices: usize,
    /// The process that serves it; `None` where that lives in another pid namespace.
    pid: Option<i32>,
    age: Duration,
    /// What is left of the time that `boot --for` gave it.
    left: Option<Duration>,
}

impl Running {
    fn new(name: String) -> io::Result<Running> {
        let dir = rundir::named(&name)?;
        let mut client = Client::connect(&name)?;
        let booted = rundir::booted(&dir)?;
        let until = std::fs::read_to_string(dir.join(UNTIL)).ok();
        let until = until.and_then(|text| humantime::parse_rfc3339(text.trim()).ok());
        let now = SystemTime::now();
        Ok(Running {
            nr_devices: client.devices()?.len(),
            pid: client.server_pid(),
            // The host's clock may have been set back meanwhile.
            age: now.duration_since(booted).unwrap_or_default(),
            left: until.map(|until| until.duration_since(now).unwrap_or_default()),
            name,
        })
    }

    fn line(&self) -> String {
        let pid = self.pid.map_or_else(|| "in another pid namespace".to_owned(), |pid| format!("pid {pid}"));
        let left = self.left.map(|left| format!(", {} left", whole_seconds(left))).unwrap_or_default();
        let age = whole_seconds(self.age);
        format!("{}\t{} block devices\t{pid}\t{age} old{left}", self.name, self.nr_devices)
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "name": self.name,
            "block_devices": self.nr_devices,
            "pid": self.pid,
            "age_s": self.age.as_secs(),
            "left_s": self.left.map(|left| left.as_secs()),
        })
    }
}

fn whole_seconds(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}

impl Machines {
    /// Lists the machines that run.
    ///
    /// # Errors
    /// When their directory cannot be read.
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        // One that ends at this moment is left out.
        let running: Vec<Running> =
            rundir::machines()?.into_iter().filter_map(|name| Running::new(name).ok()).collect();
        if self.format.json {
            return json::print(&running.iter().map(Running::json).collect()).map(|()| ExitCode::SUCCESS);
        }
        for machine in &running {
            outln!("{}", machine.line())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
