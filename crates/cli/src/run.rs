//! `dmlab run`: a machine that lives as long as one command.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use dmlab_machine::Machine;
use dmlab_server::client::Client;
use dmlab_server::rundir;

use crate::boot::{MachineArgs, boot};
use crate::kernel::{Failure, MACHINE_VARIABLE, Meant};
use crate::leftover::Programs;
use crate::output::errln;
use crate::{activation, launch, machines};

/// Run a command on a simulated kernel: a fresh machine, which ends with it.
///
/// The command is unmodified: a preloaded library (LD_PRELOAD) carries its calls on simulated devices to the machine. The exit
/// status is the command's. With --machine NAME it runs on a machine that runs already, and nothing else is booted.
#[derive(Args, Debug)]
#[command(override_usage = "dmlab run [OPTIONS] -- <CMD>...")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// Give the fresh machine a name, so that other commands reach it meanwhile with --machine NAME.
    #[arg(long, value_name = "NAME", conflicts_with = "machine")]
    name: Option<String>,
    /// Fail, with exit status 1, when a rule of --faults (or one added meanwhile) never struck, although CMD succeeded.
    #[arg(long)]
    require_hit: bool,
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

/// Runs it on the machine that was named, or on a fresh one; the exit status is the command's.
///
/// # Errors
/// When the machine cannot be made, or the named one does not run, or what a fresh one has was said of a named one.
pub(crate) fn run(args: &RunArgs, meant: &Meant, given: &ArgMatches) -> Result<ExitCode, Failure> {
    if let Some(name) = meant.elsewhere() {
        return on_running(args, meant, &name, given);
    }
    let server = boot(&args.machine, run_dir(args.name.as_deref())?)?;
    let programs = Programs::adopt(server.dir());
    let _listening = activation::listen(server.dir());
    let status = launch::run(server.dir(), &args.command, server.releaser());
    programs.end();
    let all_struck = tell_idle_rules(server.machine(), args.require_hit);
    drop(server);
    // The command's own failure is the one to be told.
    Ok(if !all_struck && args.require_hit && status == ExitCode::SUCCESS {
        ExitCode::FAILURE
    } else {
        status
    })
}

/// Runs it on a machine that runs already.
fn on_running(args: &RunArgs, meant: &Meant, name: &str, given: &ArgMatches) -> Result<ExitCode, Failure> {
    let origin = meant.origin();
    if let (Some(own), false) = (&args.name, origin.is_empty()) {
        return Err(format!(
            "--name {own} is for a fresh machine, and the machine {name}{origin} is not one: leave --name out, or unset \
             {MACHINE_VARIABLE}"
        )
        .into());
    }
    meant.reach(|| Client::connect(name)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::from(format!(
            "{error}, and `dmlab run --name {name} -- CMD` gives a fresh one this name"
        )),
        _ => error.into(),
    })?;
    let of_fresh = options_of_fresh(given);
    if !of_fresh.is_empty() {
        let (are, it) = if of_fresh.len() == 1 { ("is", "it") } else { ("are", "them") };
        let unset = format!("unset {MACHINE_VARIABLE}");
        let other = if origin.is_empty() { "name no machine" } else { &unset };
        let options = of_fresh.join(", ");
        return Err(format!(
            "machine {name}{origin} runs already, and {options} {are} for a fresh one: leave {it} out, or {other}"
        )
        .into());
    }
    Ok(machines::attach_to(name, &args.command)?)
}

/// The options on the command line of `run` that say what a fresh machine has.
fn options_of_fresh(given: &ArgMatches) -> Vec<String> {
    let Some(given) = given.subcommand_matches("run") else { return Vec::new() };
    let command = RunArgs::augment_args(clap::Command::new("run"));
    let is_given = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
    let of_fresh =
        command.get_arguments().filter(|arg| arg.get_id() != "command" && is_given(arg.get_id().as_str()));
    of_fresh.filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect()
}

/// Says which fault rules struck nothing; `false` if there are such, or if rules are required and there are none.
fn tell_idle_rules(machine: &Machine, is_required: bool) -> bool {
    let rules = machine.faults().list();
    if rules.is_empty() && is_required {
        errln!(
            "--require-hit: there was no fault rule; --faults FILE brings some, `dmlab fault add` adds one"
        );
        return false;
    }
    let idle: Vec<_> = rules.iter().filter(|rule| rule.counts.hits == 0).collect();
    for rule in &idle {
        let seen = match rule.counts.matches {
            0 => "matched nothing".to_owned(),
            1 => "matched once and struck nothing".to_owned(),
            times => format!("matched {times} times and struck nothing"),
        };
        errln!("fault rule #{} {seen}: {}", rule.id.0, rule.rule);
    }
    idle.is_empty()
}
