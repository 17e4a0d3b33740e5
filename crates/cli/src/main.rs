//! The `dmlab` command: a simulated device mapper, programs run on it, and the calls to drive it or a real one.
#![forbid(unsafe_code)]
// Printing is what a command does.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod activation;
mod boot;
mod change;
mod crash;
mod fault;
mod io;
mod kernel;
mod launch;
mod leftover;
mod load;
mod machines;
mod prove;
mod record;
mod remote;
mod replay_log;
mod run;
mod show;
mod thin;
mod tour;
mod tree;

use clap::{Parser, Subcommand};
use kernel::Failure;
use std::process::ExitCode;

/// The Linux Device Mapper in user space: unmodified programs on a simulated kernel, without root.
#[derive(Parser)]
#[command(name = "dmlab", version, arg_required_else_help = true)]
struct Cli {
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
    /// List the machines that run.
    Machines,
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
    #[command(hide = true)]
    ServeMachine(machines::BootArgs),
}

/// A command that has nothing to say but that it worked.
fn done(result: Result<(), Failure>) -> Result<ExitCode, Failure> {
    result.map(|()| ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Tour(command) => done(command.run()),
        Command::Run(args) => run::run(&args).map_err(Failure::from),
        Command::Record(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Boot(args) => machines::boot_machine(&args).map_err(Failure::from),
        Command::Attach(args) => machines::attach(&args).map_err(Failure::from),
        Command::Halt(args) => machines::halt(&args).map_err(Failure::from),
        Command::Machines => machines::machines().map_err(Failure::from),
        Command::ServeMachine(args) => machines::serve_machine(&args).map_err(Failure::from),
        Command::Create(command) => done(command.run()),
        Command::Load(command) => done(command.run()),
        Command::Suspend(command) => done(command.run()),
        Command::Resume(command) => done(command.run()),
        Command::Clear(command) => done(command.run()),
        Command::Remove(command) => done(command.run()),
        Command::Rename(command) => done(command.run()),
        Command::Message(command) => done(command.run()),
        Command::Wait(command) => done(command.run()),
        Command::Table(command) => done(command.run()),
        Command::Status(command) => done(command.run()),
        Command::Deps(command) => done(command.run()),
        Command::Tree(command) => done(command.run()),
        Command::Info(command) => done(command.run()),
        Command::Ls(command) => done(command.run()),
        Command::Thin(command) => command.run(),
        Command::Crash(command) => command.run(),
        Command::ReplayLog(command) => command.run(),
        Command::Targets(command) => done(command.run()),
        Command::Fault(command) => done(command.run()),
        Command::Klog(command) => done(command.run()),
        Command::Uevents(command) => done(command.run()),
        Command::Io(command) => done(command.run()),
        Command::Prove(command) => done(command.run()),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("dmlab: {failure}");
        ExitCode::FAILURE
    })
}
