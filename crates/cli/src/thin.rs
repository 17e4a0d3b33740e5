//! `dmlab thin`: tools for the metadata of thin pools.

mod active;
mod check;
mod copy;
mod show;
mod source;

use crate::kernel::{Failure, Meant};
use crate::machines;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Check, dump, restore, repair and show the metadata of thin pools (thin provisioning, copy-on-write snapshots).
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
    pub(crate) fn run(&self, meant: &Meant) -> Result<ExitCode, Failure> {
        // Inside that machine, where paths below /dev are its own.
        if let Some(name) = meant.elsewhere() {
            let command = std::iter::once(std::env::current_exe()?.into_os_string())
                .chain(without_machine(std::env::args_os().skip(1)));
            return Ok(meant.reach(|| machines::attach_to(&name, &command.collect::<Vec<_>>()))?);
        }
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

/// The words of a command line without `--machine NAME`.
fn without_machine(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut kept, mut is_value) = (Vec::new(), false);
    for word in words {
        let is_option = word == "--machine";
        let has_value = word.to_string_lossy().starts_with("--machine=");
        if !is_option && !has_value && !is_value {
            kept.push(word);
        }
        is_value = is_option;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_goes_from_the_command_line() {
        let kept = |words: &[&str]| without_machine(words.iter().map(OsString::from));
        assert_eq!(kept(&["thin", "--machine", "m", "ls", "pool"]), ["thin", "ls", "pool"]);
        assert_eq!(kept(&["thin", "ls", "--machine=m", "pool"]), ["thin", "ls", "pool"]);
    }
}
