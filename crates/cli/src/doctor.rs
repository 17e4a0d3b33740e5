//! `dmlab doctor`: whether this host has what runs need, and what stands in the way.

use std::ffi::OsStr;
use std::io;
use std::process::ExitCode;

use clap::Args;
use dmlab_machine::{BootOptions, Machine};
use dmlab_server::driver::Time;
use dmlab_server::rundir;
use serde_json::{Value, json};

use crate::crash::Programs;
use crate::json::{self, Format};
use crate::kernel::Failure;
use crate::launch;
use crate::output::outln;

/// Look at this host: what programs there are to run, and whether a machine can boot.
///
/// The exit status is 1 if `dmlab run` cannot work here. What is missing beside that is told, with the Debian package that has it.
#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    format: Format,
}

/// How a finding bears on runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Something will be missed, or is worth knowing.
    Note,
    /// Nothing runs.
    Bad,
}

/// One thing that was looked at.
struct Finding {
    what: String,
    verdict: Verdict,
    /// What was found, and what to do.
    says: String,
}

/// Programs that people run on machines, with Debian's packages.
const PROGRAMS: [(&str, &str); 10] = [
    ("dmsetup", "dmsetup"),
    ("lvm", "lvm2"),
    ("cryptsetup", "cryptsetup-bin"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("thin_check", "thin-provisioning-tools"),
    ("blkid", "util-linux"),
    ("losetup", "mount"),
    ("parted", "parted"),
    ("fio", "fio"),
];

impl Doctor {
    /// Looks, and tells.
    ///
    /// # Errors
    /// What stdout says.
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let mut findings = vec![platform(), machine()];
        findings.extend(PROGRAMS.iter().map(|(program, package)| find_program(program, package)));
        findings.extend(real_names());
        if self.format.json {
            json::print(&findings.iter().map(Finding::json).collect())?;
        } else {
            for Finding { what, verdict, says } in &findings {
                let sign = match verdict {
                    Verdict::Good => "ok",
                    Verdict::Note => "note",
                    Verdict::Bad => "BAD",
                };
                outln!("{sign:<4}  {what:<12}  {says}")?;
            }
        }
        let is_fit = findings.iter().all(|finding| finding.verdict != Verdict::Bad);
        Ok(if is_fit { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Finding {
    fn new(what: &str, verdict: Verdict, says: impl Into<String>) -> Finding {
        Finding { what: what.to_owned(), verdict, says: says.into() }
    }

    fn json(&self) -> Value {
        let verdict = match self.verdict {
            Verdict::Good => "ok",
            Verdict::Note => "note",
            Verdict::Bad => "bad",
        };
        json!({ "what": self.what, "verdict": verdict, "says": self.says })
    }
}

/// What this build is for, and what it runs on.
fn platform() -> Finding {
    let host = rustix::system::uname();
    let (release, arch) = (host.release().to_string_lossy(), std::env::consts::ARCH);
    Finding::new(
        "platform",
        Verdict::Good,
        format!("dmlab {} for {arch}, on Linux {release}", env!("CARGO_PKG_VERSION")),
    )
}

/// Boots a machine and has a program look at a disk of it: all that a run needs is needed for that.
fn machine() -> Finding {
    let told = |error: io::Error| {
        Finding::new("machine", Verdict::Bad, format!("no program can be run on a machine: {error}"))
    };
    let said = Programs::new(Time::Real).and_then(|programs| {
        let options = BootOptions { ram_disks: 1, ..BootOptions::default() };
        let machine = programs.serve_fallibly(|driver| {
            Machine::boot(BootOptions { driver, ..options })
                .map_err(|error| io::Error::other(error.to_string()))
        })?;
        machine.run("test -b /dev/ram0", &[])
    });
    match said {
        Ok(said) if said.status.success() => {
            let home = rundir::home().map(|home| home.display().to_string()).unwrap_or_default();
            Finding::new(
                "machine",
                Verdict::Good,
                format!("boots, and programs see its disks; machines live in {home}"),
            )
        }
        Ok(said) => {
            let text = said.text.trim();
            let says = format!("a program on it does not find /dev/ram0 ({}): {text}", said.status);
            Finding::new("machine", Verdict::Bad, says)
        }
        Err(error) => told(error),
    }
}

fn find_program(program: &str, package: &str) -> Finding {
    match launch::find(OsStr::new(program)) {
        Some(path) => Finding::new(program, Verdict::Good, path.display().to_string()),
        None => Finding::new(
            program,
            Verdict::Note,
            format!("is not here; `apt-get install {package}` where you want to run it"),
        ),
    }
}

/// Nodes of this host whose names a machine has too: inside a run they name the machine's.
fn real_names() -> Vec<Finding> {
    let is_there = |path: &&str| std::fs::symlink_metadata(path).is_ok();
    ["/dev/vda", "/dev/ram0", "/dev/loop0", "/dev/mapper/control"]
        .into_iter()
        .filter(is_there)
        .map(|path| {
            let says = format!("{path} exists on this host too; inside a run the name is the machine's");
            Finding::new("host", Verdict::Note, says)
        })
        .collect()
}
