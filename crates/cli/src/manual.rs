//! `dmlab completions` and `dmlab man`: what a shell and `man` want to know of the command line.

use std::fs;
use std::io::{self, Write};
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
            return Ok(Stdout.write_all(render(Page::new(command))?.as_bytes())?);
        };
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        for (name, command) in pages(command, String::new()) {
            let path = dir.join(format!("{name}.1"));
            let named = |error| format!("{}: {error}", path.display());
            let page = render(Page::new(command).title(name.to_uppercase()))?;
            fs::write(&path, page).map_err(named)?;
            outln!("{}", path.display())?;
        }
        Ok(())
    }
}

/// The text of a page in ASCII: troff takes no UTF-8, and knows all characters by their numbers.
fn render(page: Page) -> io::Result<String> {
    let mut text = Vec::new();
    page.render(&mut text)?;
    let mut ascii = String::with_capacity(text.len());
    for letter in String::from_utf8_lossy(&text).chars() {
        if letter.is_ascii() {
            ascii.push(letter);
        } else {
            ascii.push_str(&format!("\\[u{:04X}]", u32::from(letter)));
        }
    }
    Ok(ascii)
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
    fn pages_are_ascii() {
        let command = clap::Command::new("x").about("all … of `it` – ü");
        let page = render(Page::new(command)).unwrap();
        assert!(page.is_ascii() && page.contains(r"all \[u2026] of"), "{page}");
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
