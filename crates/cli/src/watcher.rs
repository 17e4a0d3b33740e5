//! A process beside the one that serves a machine. It ends the machine's programs when that is killed, which can do nothing
//! itself any more.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

use clap::Args;
use dmlab_server::rundir;

use crate::kernel::Failure;
use crate::leftover::{self, Sign};

/// The word that nothing is left to do. A pipe that ends without it belongs to a process that was killed.
const DONE: &[u8] = b"done";

/// End the programs of machines whose server is killed.
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// What the paths of the machines' files begin with.
    prefix: OsString,
}

/// The process that watches over this one.
pub(crate) struct Watcher {
    process: Child,
    /// The only copy of this end, so that it ends with this process.
    pipe: Option<ChildStdin>,
}

impl Watcher {
    /// Watches over a process that serves one machine, in `dir`.
    pub(crate) fn over(dir: &Path) -> Option<Watcher> {
        Watcher::over_all(leftover::within(dir))
    }

    /// Watches over a process that serves all machines whose files' paths begin with `prefix`. Without such a process a
    /// machine is as good, as long as its server is not killed.
    pub(crate) fn over_all(prefix: OsString) -> Option<Watcher> {
        let mut start = Command::new(std::env::current_exe().ok()?);
        start.arg("watch-run").arg(prefix).current_dir("/");
        start.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = start.spawn().ok()?;
        let pipe = process.stdin.take();
        Some(Watcher { process, pipe })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(DONE);
        }
        let _ = self.process.wait();
    }
}

/// The watching process: waits until the other one has ended, and ends what it has left if that was no orderly end.
///
/// # Errors
/// None: there is no listener.
pub(crate) fn watch(args: &WatchArgs) -> Result<ExitCode, Failure> {
    // A session of its own: what ends the other's process group or its terminal does not reach it.
    let _ = rustix::process::setsid();
    let mut said = Vec::new();
    let _ = io::stdin().read_to_end(&mut said);
    if said != DONE {
        leftover::end_programs(&args.prefix, Sign::Library, None);
        for dir in directories(&args.prefix) {
            // Another machine may have been booted there meanwhile.
            if !rundir::is_alive(&dir) {
                let _ = fs::remove_dir_all(dir);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The machines' directories in which such files are.
fn directories(prefix: &OsStr) -> Vec<PathBuf> {
    let Ok(home) = rundir::home() else { return Vec::new() };
    let paths = fs::read_dir(home).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter(|path| leftover::within(path).as_bytes().starts_with(prefix.as_bytes())).collect()
}
