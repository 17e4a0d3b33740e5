//! `dmlab run`: a machine that lives as long as one command.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use dmlab_server::rundir;

use crate::boot::{MachineArgs, boot};
use crate::{activation, launch, leftover};

/// Run a command against a fresh machine, which ends with it.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// Give the machine a name, so that `dmlab attach` and other commands reach it meanwhile.
    #[arg(long = "machine", value_name = "NAME")]
    name: Option<String>,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// The directory of a machine that lives as long as one command.
///
/// # Errors
/// When it cannot be made, or the name is none.
pub(crate) fn run_dir(name: Option<&str>) -> io::Result<PathBuf> {
    match name {
        Some(name) => rundir::named(name),
        None => Ok(rundir::home()?.join(format!("run-{}", std::process::id()))),
    }
}

/// Runs it; the exit status is the command's.
///
/// # Errors
/// When the machine cannot be made.
pub(crate) fn run(args: &RunArgs) -> io::Result<ExitCode> {
    let server = boot(&args.machine, run_dir(args.name.as_deref())?)?;
    leftover::adopt();
    activation::listen(server.dir());
    let status = launch::run(server.dir(), &args.command);
    leftover::end_children();
    drop(server);
    Ok(status)
}
