//! `dmlab completions` and `dmlab man`: what a shell and `man` want to know of the command line.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man as Page;

use crate::kernel::Failure;
use crate::output::{Stdout, outln};

/// Where a shell looks for the script, for `--help`.
const WHERE: &str = "\
bash:  dmlab completions bash >~/.local/share/bash-completion/completions/dmlab
zsh:   dmlab completions zsh >\"${fpath[1]}/_dmlab\"
fish:  dmlab completions fish >~/.config/fish/completions/dmlab.fish";

/// Print a script that completes dmlab's words in a shell.
#[derive(Args)]
#[command(after_help = WHERE)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    ///
    /// # Errors
    /// What stdout says.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "dmlab", &mut script);
        Ok(Stdout.write_all(&script)?)
    }
}

/// Print the manual page, or write those of all commands into a folder.
///
/// dmlab man | man -l -
#[derive(Args)]
pub(crate) struct Man {
    /// The folder: dmlab.1 and a page for each command.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Prints or writes.
    ///
    /// # Errors
    /// What stdout or the folder says.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut command = crate::Cli::command();
        command.build();
        let Some(dir) = &self.dir else {
            let mut page = Vec::new();
            Page::new(command).render(&mut page)?;
            return Ok(Stdout.write_all(&page)?);
        };
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        for (name, command) in pages(command, String::new()) {
            let path = dir.join(format!("{name}.1"));
            let named = |error| format!("{}: {error}", path.display());
            let mut file = File::create(&path).map_err(named)?;
            let page = Page::new(command).title(name.to_uppercase());
            page.render(&mut file).map_err(named)?;
            outln!("{}", path.display())?;
        }
        Ok(())
    }
}

/// A command and those below it that are shown, each with its page's name: `dmlab-fault-add`.
fn pages(command: clap::Command, above: String) -> Vec<(String, clap::Command)> {
    let name = if above.is_empty() {
        command.get_name().to_owned()
    } else {
        format!("{above}-{}", command.get_name())
    };
    let below: Vec<_> = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
        .cloned()
        .collect();
    let mut all = vec![(name.clone(), command)];
    all.extend(below.into_iter().flat_map(|below| pages(below, name.clone())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_that_says_what_it_does() {
        let mut command = crate::Cli::command();
        command.build();
        let pages = pages(command, String::new());
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert!(
            names.contains(&"dmlab") && names.contains(&"dmlab-run") && names.contains(&"dmlab-fault-add"),
            "{names:?}"
        );
        assert!(!names.contains(&"dmlab-serve-machine"), "it is not for users");
        for (name, command) in &pages {
            assert!(command.get_about().is_some(), "{name} says nothing");
        }
    }

    #[test]
    fn shells_get_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut crate::Cli::command(), "dmlab", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("replay-log") && script.contains("require-hit"), "{shell}");
        }
    }
}
