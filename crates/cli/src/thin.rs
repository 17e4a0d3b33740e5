//! `dmlab thin`: tools for the metadata of thin pools.

mod check;
mod copy;
mod show;
mod source;

use crate::kernel::Failure;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// `dmlab thin`.
#[derive(Args)]
pub(crate) struct Thin {
    #[command(subcommand)]
    command: ThinCommand,
}

#[derive(Subcommand)]
enum ThinCommand {
    /// Say what is wrong with metadata; exit status 1 if anything is.
    Check(check::Check),
    /// Write metadata as XML.
    Dump(copy::Dump),
    /// Make metadata from XML.
    Restore(copy::Restore),
    /// Make new metadata of what survives in damaged metadata.
    Repair(copy::Repair),
    /// List the devices of a pool.
    Ls(show::Ls),
    /// Compare two devices of a pool.
    Delta(show::Delta),
    /// Say which devices map which data blocks.
    Rmap(show::Rmap),
    /// Show a pool in numbers.
    Stat(show::Stat),
    /// Show where a device's blocks are, and which it shares.
    Map(show::Map),
    /// Draw the trees of mappings: how full their nodes are, what is shared.
    Tree(show::Tree),
}

impl Thin {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        match &self.command {
            ThinCommand::Check(command) => command.run(),
            ThinCommand::Dump(command) => command.run().map(|()| ExitCode::SUCCESS),
            ThinCommand::Restore(command) => command.run().map(|()| ExitCode::SUCCESS),
            ThinCommand::Repair(command) => command.run().map(|()| ExitCode::SUCCESS),
            ThinCommand::Ls(command) => command.run().map(|()| ExitCode::SUCCESS),
            ThinCommand::Delta(command) => command.run().map(|()| ExitCode::SUCCESS),
            ThinCommand::Rmap(command) => command.run().map(|()| ExitCode::SUCCESS),
            ThinCommand::Stat(command) => command.run().map(|()| ExitCode::SUCCESS),
            ThinCommand::Map(command) => command.run().map(|()| ExitCode::SUCCESS),
            ThinCommand::Tree(command) => command.run().map(|()| ExitCode::SUCCESS),
        }
    }
}
