//! The `dmlab` command.
#![forbid(unsafe_code)]
// Printing is what a command does.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod boot;
mod launch;
mod machines;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The Linux Device Mapper in user space: unmodified programs on a simulated kernel, without root.
#[derive(Parser)]
#[command(name = "dmlab", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command against a fresh machine, which ends with it.
    Run(run::RunArgs),
    /// Boot a machine that stays until it is halted.
    Boot(machines::BootArgs),
    /// Run a command against a machine that `boot` left running.
    Attach(machines::AttachArgs),
    /// End a machine.
    Halt(machines::HaltArgs),
    /// List the machines that run.
    Machines,
    #[command(hide = true)]
    ServeMachine(machines::BootArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Boot(args) => machines::boot_machine(&args),
        Command::Attach(args) => machines::attach(&args),
        Command::Halt(args) => machines::halt(&args),
        Command::Machines => machines::machines(),
        Command::ServeMachine(args) => machines::serve_machine(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("dmlab: {error}");
        ExitCode::FAILURE
    })
}
