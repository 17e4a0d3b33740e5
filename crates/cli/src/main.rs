//! The `dmlab` command: a simulated device mapper, programs run on it, and the calls to drive it or a real one.
#![forbid(unsafe_code)]
// Printing is what a command does.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod boot;
mod change;
mod crash;
mod fault;
mod io;
mod kernel;
mod launch;
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
    /// Be shown around: a story on a machine of its own.
    Tour(tour::Tour),
    /// Run a command against a fresh machine, which ends with it.
    Run(run::RunArgs),
    /// Run a command as `run` does, and write down what it asks and what the machine does.
    Record(record::Record),
    /// Run a recording once more, up to where it comes out otherwise.
    Replay(record::Replay),
    /// Boot a machine that stays until it is halted.
    Boot(machines::BootArgs),
    /// Run a command against a machine that `boot` left running.
    Attach(machines::AttachArgs),
    /// End a machine.
    Halt(machines::HaltArgs),
    /// List the machines that run.
    Machines,
    /// Create a mapped device, load its table and resume it.
    Create(load::Create),
    /// Load a table into a device's inactive slot; `resume` makes it live.
    Load(load::Load),
    /// Let IO to a device wait.
    Suspend(change::Suspend),
    /// Make the inactive table live, if there is one, and let IO flow.
    Resume(change::Resume),
    /// Drop the inactive table.
    Clear(change::Clear),
    /// Remove devices.
    Remove(change::Remove),
    /// Give a device another name, or a uuid.
    Rename(change::Rename),
    /// Send a message to a target, or to the device itself (`@…`).
    Message(change::Message),
    /// Wait for an event of a device.
    Wait(change::Wait),
    /// Show tables.
    Table(show::Table),
    /// Show the targets' status.
    Status(show::Status),
    /// Show what devices are made of, as numbers.
    Deps(show::Deps),
    /// Show what devices are made of, as a tree.
    Tree(tree::Tree),
    /// Show what the kernel knows of devices.
    Info(show::Info),
    /// List devices.
    Ls(show::Ls),
    /// Check, dump, restore, repair and show the metadata of thin pools.
    Thin(thin::Thin),
    /// Let the power go at every point of a workload, and check what is left each time.
    Crash(Box<crash::Crash>),
    /// Look into logs of the log-writes target, and replay them.
    ReplayLog(replay_log::ReplayLog),
    /// Say what is to go wrong on a machine: add, list and clear rules.
    Fault(fault::Fault),
    /// List the kernel's target types.
    Targets(show::Targets),
    /// Show the kernel log.
    Klog(show::Klog),
    /// Show the events that the kernel sent to user space, a line each.
    Uevents(show::Uevents),
    /// Read, write or show sectors of a device.
    Io(io::Io),
    /// Show that a seed is all that a run depends on.
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
