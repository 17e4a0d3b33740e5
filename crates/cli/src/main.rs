//! The `dmlab` command: a simulated device mapper, and the calls to drive it or a real one.
#![forbid(unsafe_code)]
// Printing is what a command does.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod change;
mod io;
mod kernel;
mod load;
mod show;
mod tour;
mod tree;

use clap::{Parser, Subcommand};
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
    /// List the kernel's target types.
    Targets(show::Targets),
    /// Show the kernel log.
    Klog(show::Klog),
    /// Read, write or show sectors of a device.
    Io(io::Io),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Tour(command) => command.run(),
        Command::Create(command) => command.run(),
        Command::Load(command) => command.run(),
        Command::Suspend(command) => command.run(),
        Command::Resume(command) => command.run(),
        Command::Clear(command) => command.run(),
        Command::Remove(command) => command.run(),
        Command::Rename(command) => command.run(),
        Command::Message(command) => command.run(),
        Command::Wait(command) => command.run(),
        Command::Table(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Deps(command) => command.run(),
        Command::Tree(command) => command.run(),
        Command::Info(command) => command.run(),
        Command::Ls(command) => command.run(),
        Command::Targets(command) => command.run(),
        Command::Klog(command) => command.run(),
        Command::Io(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("dmlab: {failure}");
            ExitCode::FAILURE
        }
    }
}
