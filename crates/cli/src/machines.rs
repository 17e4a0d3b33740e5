//! Machines that stay: `dmlab boot`, `attach`, `halt` and `machines`.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use dmlab_server::client::Client;
use dmlab_server::rundir;

use crate::boot::{MachineArgs, boot};
use crate::{activation, launch, leftover};

/// Boot a machine that stays until it is halted.
#[derive(Args, Debug)]
pub(crate) struct BootArgs {
    /// Its name.
    name: String,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Run a command against a machine that `boot` left running.
#[derive(Args, Debug)]
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
    /// Its name.
    name: String,
}

/// What the server process of a booted machine says to the one that started it.
const READY: &str = "ready\n";

/// Boots a machine in a process of its own.
///
/// # Errors
/// When it cannot be booted: the reason is the server's.
pub(crate) fn boot_machine(args: &BootArgs) -> io::Result<ExitCode> {
    let dir = rundir::named(&args.name)?;
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve-machine")
        .args(args.machine.to_words()?)
        .arg(&args.name)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = String::new();
    if let Some(out) = &mut server.stdout {
        out.read_to_string(&mut said)?;
    }
    if said != READY {
        let why = if said.is_empty() { "its server ended without a word" } else { said.trim_end() };
        return Err(io::Error::other(format!("machine {:?} does not boot: {why}", args.name)));
    }
    let name = &args.name;
    let devices = Client::connect(name)?.devices()?;
    println!("machine {name:?} runs in {} with {} block devices", dir.display(), devices.len());
    println!("  dmlab attach {name} -- CMD   run a program on it");
    println!("  dmlab halt {name}            end it; what its RAM disks hold is gone then");
    Ok(ExitCode::SUCCESS)
}

/// The server process of a booted machine.
///
/// # Errors
/// None: a failure is told to the process that waits for word, and is the exit status.
pub(crate) fn serve_machine(args: &BootArgs) -> io::Result<ExitCode> {
    // A session of its own: the terminal's hang-up and keys do not reach it.
    let _ = rustix::process::setsid();
    let server = match rundir::named(&args.name).and_then(|dir| boot(&args.machine, dir)) {
        Ok(server) => server,
        Err(error) => {
            io::stdout().write_all(error.to_string().as_bytes())?;
            return Ok(ExitCode::FAILURE);
        }
    };
    activation::listen(server.dir());
    io::stdout().write_all(READY.as_bytes())?;
    io::stdout().flush()?;
    // Whoever waits for word reads to the end.
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    let ends = server.halter();
    if let Ok(mut signals) = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]) {
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                ends();
            }
        });
    }
    server.wait();
    leftover::end_programs(&server.socket(), server.halted_by());
    // The answer to the request that ended us is on its way.
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(server);
    Ok(ExitCode::SUCCESS)
}

/// Runs a command against a running machine.
///
/// # Errors
/// When none of that name runs.
pub(crate) fn attach(args: &AttachArgs) -> io::Result<ExitCode> {
    attach_to(&args.name, &args.command)
}

/// The same for a command of our own.
///
/// # Errors
/// When none of that name runs.
pub(crate) fn attach_to(name: &str, command: &[OsString]) -> io::Result<ExitCode> {
    Client::connect(name)?;
    Ok(launch::run(&rundir::named(name)?, command))
}

/// Ends a machine and waits until it is gone.
///
/// # Errors
/// When none of that name runs.
pub(crate) fn halt(args: &HaltArgs) -> io::Result<ExitCode> {
    Client::connect(&args.name)?.halt()?;
    let dir = rundir::named(&args.name)?;
    for _ in 0..500 {
        if !dir.exists() {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(io::Error::other(format!(
        "machine {:?} was told to end, but {} is still there",
        args.name,
        dir.display()
    )))
}

/// Lists the machines that run.
///
/// # Errors
/// When their directory cannot be read.
pub(crate) fn machines() -> io::Result<ExitCode> {
    for name in rundir::machines()? {
        let nr =
            Client::connect(&name).and_then(|mut client| client.devices()).map_or(0, |devices| devices.len());
        println!("{name}\t{nr} block devices");
    }
    Ok(ExitCode::SUCCESS)
}
