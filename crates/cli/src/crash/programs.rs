//! Programs on machines of a crash exploration.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab_machine::{Driver, Machine};
use dmlab_server::driver::{ThreadDriver, Time};
use dmlab_server::{Options, Server, rundir};

use crate::activation::Listening;
use crate::boot::serve;
use crate::leftover::Sign;
use crate::watcher::Watcher;
use crate::{activation, launch, leftover};

/// Lines of a failed program's output that a report shows.
const LAST_LINES: usize = 8;

/// Serves machines, each in a directory of its own.
pub(crate) struct Programs {
    home: PathBuf,
    next: AtomicU64,
    time: Time,
    /// Ends what they have started if this process is killed.
    _watcher: Option<Watcher>,
}

/// What a program said.
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    /// Its standard output, then its standard error.
    pub(crate) text: String,
}

impl Programs {
    pub(crate) fn new(time: Time) -> io::Result<Programs> {
        let home = rundir::home()?;
        let watcher = Watcher::over_all(home.join(format!("crash-{}-", std::process::id())).into_os_string());
        Ok(Programs { home, next: AtomicU64::new(0), time, _watcher: watcher })
    }

    /// Boots a machine and serves it.
    ///
    /// # Errors
    /// When it cannot be served.
    pub(crate) fn serve(&self, boot: impl FnOnce(Arc<dyn Driver>) -> Machine) -> io::Result<Served> {
        self.serve_fallibly(|driver| Ok(boot(driver)))
    }

    /// Boots a machine, which may fail, and serves it.
    ///
    /// # Errors
    /// When it cannot be booted or served.
    pub(crate) fn serve_fallibly(
        &self,
        boot: impl FnOnce(Arc<dyn Driver>) -> io::Result<Machine>,
    ) -> io::Result<Served> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.home.join(format!("crash-{}-{number}", std::process::id()));
        let driver = ThreadDriver::new(self.time);
        let machine = boot(driver.clone())?;
        let options = Options { dir, ..Options::default() };
        let server = serve(Arc::new(machine), driver, options)?;
        let listening = activation::listen(server.dir());
        Ok(Served { server, _listening: listening })
    }
}

/// A machine that programs can see.
pub(crate) struct Served {
    server: Server,
    _listening: Option<Listening>,
}

impl Served {
    /// Runs a program whose output the user sees.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub(crate) fn run_aloud(&self, what: &str) -> io::Result<()> {
        let status = self.command(what).status().map_err(|error| named(what, &error))?;
        if status.success() { Ok(()) } else { Err(io::Error::other(failed(what, status, ""))) }
    }

    /// Runs a program and listens.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(crate) fn run(&self, what: &str, variables: &[(&str, String)]) -> io::Result<Said> {
        let mut command = self.command(what);
        command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        let output = command.output().map_err(|error| named(what, &error))?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Said { status: output.status, text: String::from_utf8_lossy(&text).into_owned() })
    }

    fn command(&self, what: &str) -> Command {
        let words = words(what);
        let mut command = launch::prepared(self.server.dir(), &words[0]);
        command.args(&words[1..]);
        command
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Daemons that programs left would outlive the machine.
        leftover::end_programs(&leftover::within(self.server.dir()), Sign::Environment, None);
    }
}

/// Says what is wrong where `what` was meant to be a program and cannot be one: a state would be blamed for it.
///
/// # Errors
/// When it names a file by its path, with nothing behind it, and there is none; or when it is one word that the shell does
/// not know.
pub(crate) fn check_is_there(what: &str) -> io::Result<()> {
    let command = what.trim();
    if Path::new(what).is_file() {
        return Ok(());
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let first = command.split_ascii_whitespace().next().unwrap_or_default();
    if !first.is_empty() && !first.chars().all(is_plain) {
        // The shell's own business.
        return Ok(());
    }
    let mut asked = Command::new("sh");
    asked.args(["-c", "command -v -- \"$1\"", "sh", first]).env("PATH", launch::search_path());
    let known = asked.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !first.is_empty() && known.success() {
        return Ok(());
    }
    let text = if first.is_empty() {
        "an empty line is no program".to_owned()
    } else {
        format!("cannot run {what}: {first} is neither a file nor a program that sh finds")
    };
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}

/// The program and its arguments: a file that can be executed, a script for sh, or a line for sh.
fn words(what: &str) -> Vec<OsString> {
    let path = Path::new(what);
    let file = path.metadata().ok().filter(std::fs::Metadata::is_file);
    let os = |words: &[&OsStr]| words.iter().map(OsString::from).collect();
    match file {
        Some(meta) if meta.permissions().mode() & 0o111 != 0 => {
            // Without a slash it would be looked for elsewhere.
            vec![std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).into_os_string()]
        }
        Some(_) => os(&["sh".as_ref(), what.as_ref()]),
        None => os(&["sh".as_ref(), "-c".as_ref(), what.as_ref()]),
    }
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot run {what}: {error}"))
}

/// What a report says of a program that failed.
pub(crate) fn failed(what: &str, status: ExitStatus, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    let said: String = last.iter().map(|line| format!("\n    | {line}")).collect();
    format!("{what} ended with {status}{said}")
}
