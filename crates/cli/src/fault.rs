//! `dmlab fault`: what is to go wrong on a machine that runs.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use dmlab_machine::faults::{DeviceName, Meaning, Place, Rule, meanings, read_rules};
use dmlab_server::client::Client;
use serde_json::{Value, json};

use crate::json::{self, Format};
use crate::kernel::{Failure, Meant};
use crate::output::{errln, outln};

/// Fault injection: say what is to go wrong on a machine that runs. Add, list and clear rules.
#[derive(Args)]
pub(crate) struct Fault {
    #[command(subcommand)]
    command: Command,
}

/// What a rule is made of, for `--help`.
const WORDS: &str = "\
A rule is made of words KEY=VALUE:
  where      device=DEVICE sectors=A..B op=read,write,flush,discard meaning=NAME owner=N index=N
             ioctl=COMMAND|any device=NAME moment=before|done
             uevent=add|change|remove|any device=DEVICE
  what       fail=ERRNO | drop | torn=SECTORS|any [then=ERRNO] | flip=BIT|any | misdirect=SECTOR|any
             | delay=TIME | hang | kill | watch
  when       from=TIME until=TIME from_rule=NAME until_rule=NAME
  how often  skip=N nth=N every=N chance=P times=N | once
  name=WORD  what lists and other rules call it

  dmlab fault add device=/dev/ram1 op=write sectors=0..8 fail=EIO nth=3
  dmlab fault add meaning=superblock torn=3 once";

#[derive(Subcommand)]
enum Command {
    /// Add a rule.
    #[command(after_help = WORDS)]
    Add {
        /// The words of the rule.
        #[arg(required = true, value_name = "KEY=VALUE")]
        words: Vec<String>,
    },
    /// Add the rules of a TOML file: `[[fault]]` tables with the same keys.
    Load {
        /// The file.
        file: PathBuf,
    },
    /// List the rules with what each has seen and struck.
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Show what was struck, oldest first.
    Hits {
        #[command(flatten)]
        format: Format,
    },
    /// Let go what rules hold or delay; the rules stay.
    Release {
        /// Names or numbers of rules.
        #[arg(required = true, value_name = "RULE")]
        rules: Vec<String>,
    },
    /// Remove rules, or all of them. What they hold goes on.
    Clear {
        /// Names or numbers of rules.
        #[arg(value_name = "RULE")]
        rules: Vec<String>,
    },
    /// List the meanings that a rule can aim at.
    Meanings {
        #[command(flatten)]
        format: Format,
    },
}

impl Fault {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        match &self.command {
            Command::Add { words } => {
                // What is no rule is said before a machine is looked for.
                let rule = Rule::from_words(words.iter().map(String::as_str), &meanings())?;
                ask(meant, "add", words)?;
                tell_absent(meant, &[rule])
            }
            Command::Load { file } => {
                let text = read(file)?;
                let rules = read_rules(&text, &meanings()).map_err(|error| error.to_string())?;
                ask(meant, "load", &[text])?;
                tell_absent(meant, &rules)
            }
            Command::List { format } => show(meant, "list", *format),
            Command::Hits { format } => show(meant, "hits", *format),
            Command::Release { rules } => ask(meant, "release", rules),
            Command::Clear { rules } => ask(meant, "clear", rules),
            Command::Meanings { format } if format.json => {
                let one = |meaning: &Meaning| {
                    json!({
                        "name": meaning.name,
                        "what": meaning.what,
                        "owner": Some(meaning.owner).filter(|what| !what.is_empty()),
                        "index": Some(meaning.index).filter(|what| !what.is_empty()),
                    })
                };
                json::print(&meanings().iter().map(one).collect())
            }
            Command::Meanings { .. } => {
                for meaning in meanings().iter() {
                    let numbers = [("owner", meaning.owner), ("index", meaning.index)];
                    let numbers: Vec<String> = numbers
                        .iter()
                        .filter(|(_, what)| !what.is_empty())
                        .map(|(key, what)| format!("{key}: {what}"))
                        .collect();
                    let numbers =
                        if numbers.is_empty() { String::new() } else { format!(" ({})", numbers.join(", ")) };
                    outln!("{:<17} {}{numbers}", meaning.name, meaning.what)?;
                }
                Ok(())
            }
        }
    }
}

fn connect(meant: &Meant) -> Result<Client, Failure> {
    let machine = meant.simulated()?;
    Ok(meant.reach(|| Client::connect(&machine))?)
}

fn ask(meant: &Meant, verb: &str, words: &[String]) -> Result<(), Failure> {
    let mut client = connect(meant)?;
    for line in client.faults(verb, words)? {
        outln!("{line}")?;
    }
    Ok(())
}

/// Says of which rules' devices there is none at the moment: they may come, or be misspelt.
fn tell_absent(meant: &Meant, rules: &[Rule]) -> Result<(), Failure> {
    let devices = connect(meant)?.devices()?;
    // Ioctls and events make devices come.
    let of_bios = rules.iter().filter_map(|rule| match &rule.place {
        Place::Bio(place) => place.device.as_ref(),
        Place::Ioctl(_) | Place::Uevent(_) => None,
    });
    for name in of_bios {
        let is_kernels = |name: &str| devices.iter().any(|device| device.name == name);
        let is_mapped = |name: &str| devices.iter().any(|device| device.dm_name.as_deref() == Some(name));
        let (is_there, other) = match name {
            DeviceName::Number(dev) => (devices.iter().any(|device| device.number == dev.to_string()), None),
            DeviceName::Kernel(name) => {
                (is_kernels(name), is_mapped(name).then(|| format!("/dev/mapper/{name}")))
            }
            DeviceName::Mapped(name) => (is_mapped(name), is_kernels(name).then(|| format!("/dev/{name}"))),
            DeviceName::Either(name) => (is_mapped(name) || is_kernels(name), None),
        };
        if !is_there {
            let other = other.map(|other| format!(", but {other} is there")).unwrap_or_default();
            errln!("{name}: there is no such device now{other}; the rule strikes when it comes");
        }
    }
    Ok(())
}

/// Shows a list: as text, or with each entry's fields as JSON.
fn show(meant: &Meant, verb: &str, format: Format) -> Result<(), Failure> {
    if !format.json {
        return ask(meant, verb, &[]);
    }
    let lines = connect(meant)?.faults(verb, &["json".to_owned()])?;
    let entries: Result<Value, _> = lines.iter().map(|line| serde_json::from_str::<Value>(line)).collect();
    json::print(&entries?)
}

/// The text of a file of rules, which holds some.
///
/// # Errors
/// Named after the file, with the line where something else stands.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let named = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| io::Error::new(error.kind(), named(&error)))?;
    match read_rules(&text, &meanings()) {
        Ok(_) => Ok(text),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, named(&error))),
    }
}
