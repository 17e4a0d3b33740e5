//! The `dmlab` command: a simulated device mapper, programs run on it, and the calls to drive it or a real one.
#![forbid(unsafe_code)]
// A command says what it has to say through `output`, whose errors are the command's.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod activation;
mod boot;
mod change;
mod crash;
mod doctor;
mod fault;
mod io;
mod json;
mod kernel;
mod launch;
mod leftover;
mod load;
mod machines;
mod manual;
mod output;
mod prove;
mod record;
mod remote;
mod replay_log;
mod run;
mod show;
mod thin;
mod tour;
mod tree;
mod watcher;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use kernel::{Failure, Meant};
use output::errln;
use std::process::ExitCode;

/// The Linux Device Mapper in user space: a simulation that unmodified programs run on, without root, with fault injection
/// and power loss at every point.
#[derive(Parser)]
#[command(name = "dmlab", version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    /// The machine that is meant: one that `dmlab boot NAME` or `dmlab run --name NAME` started. Else it is the one around
    /// (inside `dmlab run`), else the one that the environment variable DMLAB_MACHINE names.
    #[arg(long, global = true, value_name = "NAME")]
    machine: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tour(tour::Tour),
    Run(run::RunArgs),
    Record(record::Record),
    Replay(record::Replay),
    Boot(machines::BootArgs),
    Attach(machines::AttachArgs),
    Halt(machines::HaltArgs),
    Machines(machines::Machines),
    Create(load::Create),
    Load(load::Load),
    Suspend(change::Suspend),
    Resume(change::Resume),
    Clear(change::Clear),
    Remove(change::Remove),
    Rename(change::Rename),
    Message(change::Message),
    Wait(change::Wait),
    Table(show::Table),
    Status(show::Status),
    Deps(show::Deps),
    Tree(tree::Tree),
    Info(show::Info),
    Ls(show::Ls),
    Thin(thin::Thin),
    Crash(Box<crash::Crash>),
    ReplayLog(replay_log::ReplayLog),
    Fault(fault::Fault),
    Targets(show::Targets),
    Klog(show::Klog),
    Uevents(show::Uevents),
    Io(io::Io),
    Prove(prove::Prove),
    Doctor(doctor::Doctor),
    Completions(manual::Completions),
    Man(manual::Man),
    #[command(hide = true)]
    ServeMachine(machines::BootArgs),
    #[command(hide = true)]
    WatchRun(watcher::WatchArgs),
}

/// A command that has nothing to say but that it worked.
fn done(result: Result<(), Failure>) -> Result<ExitCode, Failure> {
    result.map(|()| ExitCode::SUCCESS)
}

/// Does what the command line says. `given`: what the user wrote, where that differs from what was filled in.
fn perform(cli: Cli, given: &clap::ArgMatches) -> Result<ExitCode, Failure> {
    const OWN: &str = "works on a machine of its own";
    const NONE: &str = "needs no machine";
    let meant = Meant::new(cli.machine);
    match cli.command {
        Command::Tour(command) => meant.none("tour", OWN).and_then(|()| done(command.run())),
        Command::Run(args) => run::run(&args, &meant, given),
        Command::Record(command) => meant.none("record", OWN).and_then(|()| command.run()),
        Command::Replay(command) => meant.none("replay", OWN).and_then(|()| command.run()),
        Command::Boot(args) => {
            meant.none("boot", "takes the name of a new machine").and_then(|()| machines::boot_machine(&args))
        }
        Command::Attach(args) => machines::attach(&args, &meant),
        Command::Halt(args) => machines::halt(&args, &meant),
        Command::Machines(command) => {
            meant.none("machines", "lists all of them").and_then(|()| command.run())
        }
        Command::ServeMachine(args) => machines::serve_machine(&args),
        Command::WatchRun(args) => watcher::watch(&args),
        Command::Create(command) => done(command.run(&meant)),
        Command::Load(command) => done(command.run(&meant)),
        Command::Suspend(command) => done(command.run(&meant)),
        Command::Resume(command) => done(command.run(&meant)),
        Command::Clear(command) => done(command.run(&meant)),
        Command::Remove(command) => done(command.run(&meant)),
        Command::Rename(command) => done(command.run(&meant)),
        Command::Message(command) => done(command.run(&meant)),
        Command::Wait(command) => done(command.run(&meant)),
        Command::Table(command) => done(command.run(&meant)),
        Command::Status(command) => done(command.run(&meant)),
        Command::Deps(command) => done(command.run(&meant)),
        Command::Tree(command) => done(command.run(&meant)),
        Command::Info(command) => done(command.run(&meant)),
        Command::Ls(command) => done(command.run(&meant)),
        Command::Thin(command) => command.run(&meant),
        Command::Crash(command) => meant.none("crash", OWN).and_then(|()| command.run()),
        Command::ReplayLog(command) => command.run(&meant),
        Command::Targets(command) => done(command.run(&meant)),
        Command::Fault(command) => done(command.run(&meant)),
        Command::Klog(command) => done(command.run(&meant)),
        Command::Uevents(command) => done(command.run(&meant)),
        Command::Io(command) => done(command.run(&meant)),
        Command::Prove(command) => meant.none("prove", OWN).and_then(|()| done(command.run())),
        Command::Doctor(command) => meant.none("doctor", "looks at the host").and_then(|()| command.run()),
        Command::Completions(command) => meant.none("completions", NONE).and_then(|()| done(command.run())),
        Command::Man(command) => meant.none("man", NONE).and_then(|()| done(command.run())),
    }
}

/// Shows what `--help` and `--version` ask for: an output like any other.
fn show_help(help: &clap::Error) -> Result<ExitCode, Failure> {
    let text = help.render();
    if output::takes_colour(&std::io::stdout()) {
        output::out!("{}", text.ansi())?;
    } else {
        output::out!("{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    let result = match Cli::command().try_get_matches() {
        Ok(given) => {
            Cli::from_arg_matches(&given).map_err(Failure::from).and_then(|cli| perform(cli, &given))
        }
        // What is wrong with the words, on stderr.
        Err(wrong) if wrong.use_stderr() => wrong.exit(),
        Err(help) => show_help(&help),
    };
    // The rest of what was said; where that fails, the command has failed.
    let result = result.and_then(|status| Ok(output::finish().map(|()| status)?));
    match result {
        Ok(status) => status,
        // The reader has seen enough.
        Err(_) if output::is_closed() => ExitCode::SUCCESS,
        Err(failure) => {
            errln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
