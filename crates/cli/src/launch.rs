//! Running a program against a machine.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dmlab_server::client::Client;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::emulate_default_handler;

use dmlab_shim_proto::{ALLOW_HOST, Program, Unserved, judge};

use crate::boot::{SHIM_NAME, UDEV_SIGN};
use crate::kernel::{MACHINE_VARIABLE, SOCKET_VARIABLE};
use crate::leftover;
use crate::output::errln;

/// Exit status when the program cannot be run, as shells have it.
const CANNOT_RUN: u8 = 126;
/// Exit status when there is no such program.
const NOT_FOUND: u8 = 127;

/// Whether `command` can be run: where its program is. If not, says why, and returns the exit status for that. `allow_host`:
/// whether programs may run that see the host.
pub(crate) fn ready(command: &[OsString], allow_host: bool) -> Result<PathBuf, ExitCode> {
    let Some(program) = command.first() else { return Err(ExitCode::from(NOT_FOUND)) };
    let Some(path) = find(program) else {
        errln!("{}: no such program", program.display());
        return Err(ExitCode::from(NOT_FOUND));
    };
    if let Some((path, why)) = why_not(&path, 0).filter(|_| !allow_host) {
        errln!("{} {}: {}", path.display(), why.reason(), Unserved::CONSEQUENCE);
        return Err(ExitCode::from(CANNOT_RUN));
    }
    Ok(path)
}

/// How long a program has to end after a signal before what it waits for is taken from it.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `command` against the machine in `dir` and returns its exit status. `release` lets go of all programs that wait for
/// the machine: a signal to dmlab itself ends those too that no signal of their own can.
pub(crate) fn run(dir: &Path, command: &[OsString], release: impl Fn(Duration) + Send + 'static) -> ExitCode {
    let path = match ready(command, dir.join(ALLOW_HOST).exists()) {
        Ok(path) => path,
        Err(status) => return status,
    };
    let Some((program, words)) = command.split_first() else { return ExitCode::from(NOT_FOUND) };
    // Signals are caught before the program starts, so that none is lost in between.
    let signals = SignalsInfo::<WithOrigin>::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]);
    let mut start = prepared(dir, program);
    start.args(words);
    if is_interactive_shell(program, words) {
        greet(dir);
        if std::env::var_os("PS1").is_none() {
            start.env("PS1", "(dmlab) # ");
        }
    }
    match start.spawn() {
        Ok(child) => {
            // The program has started with the limit that its user set.
            raise_descriptor_limit();
            wait(child, signals, release)
        }
        Err(error) => {
            errln!("cannot run {}: {error}", path.display());
            ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
        }
    }
}

/// A program that will see the machine in `dir`.
pub(crate) fn prepared(dir: &Path, program: &OsStr) -> Command {
    let mut start = Command::new(program);
    start.env("LD_PRELOAD", preload(dir)).env(SOCKET_VARIABLE, dir.join("socket")).env("PATH", search_path());
    // Inside, the machine around is the one that is meant.
    start.env_remove(MACHINE_VARIABLE);
    let has_udev = dir.join(UDEV_SIGN).exists();
    for name in ["DM_DISABLE_UDEV", "LVM_SUPPRESS_FD_WARNINGS"] {
        if has_udev && name == "DM_DISABLE_UDEV" {
            start.env_remove(name);
        } else if std::env::var_os(name).is_none() {
            start.env(name, "1");
        }
    }
    // The cache of block devices that libblkid keeps is the machine's, not the host's.
    if std::env::var_os("BLKID_FILE").is_none() {
        start.env("BLKID_FILE", dir.join("blkid.tab"));
    }
    start
}

/// The folders in which programs of a run are looked for. They are root there, so root's own folders belong to it, which an
/// ordinary user's PATH lacks on Debian.
pub(crate) fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for folder in ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    // None of them holds a colon: they come from such a list, or stand here.
    std::env::join_paths(folders).unwrap_or(path)
}

/// The library, before those that are preloaded already.
fn preload(dir: &Path) -> OsString {
    let mut value = dir.join(SHIM_NAME).into_os_string();
    if let Some(old) = std::env::var_os("LD_PRELOAD").filter(|old| !old.is_empty()) {
        value.push(":");
        value.push(old);
    }
    value
}

/// Lets this process, which serves a machine, have as many descriptors as it may: each open file of each of its programs takes one.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Without it the soft limit stays, and says so by EMFILE.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Whether the program is a shell that reads from a terminal.
fn is_interactive_shell(program: &OsStr, words: &[OsString]) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    let is_shell = ["sh", "bash", "dash", "zsh", "ksh", "fish"].iter().any(|shell| name == *shell);
    let takes_no_script = words.iter().all(|word| word == "-i" || word == "-l");
    is_shell && takes_no_script && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Says where one is.
fn greet(dir: &Path) {
    let disks =
        Client::connect(&dir.join("socket").to_string_lossy()).and_then(|mut client| client.devices());
    let disks: Vec<String> = disks
        .unwrap_or_default()
        .iter()
        .filter(|disk| disk.sectors > 0)
        .map(|disk| format!("/dev/{}", disk.name))
        .collect();
    let disks = match &disks[..] {
        [] => "no disks".to_owned(),
        [only] => only.clone(),
        [first, .., last] => format!("{} disks, {first} to {last}", disks.len()),
    };
    errln!(
        "this shell is on a simulated machine with {disks}. dmsetup, mkfs and the rest work on them; `lsblk -a` lists them; \
         `exit` ends it"
    );
}

fn wait(
    mut child: Child,
    signals: io::Result<SignalsInfo<WithOrigin>>,
    release: impl Fn(Duration) + Send + 'static,
) -> ExitCode {
    // From then on a signal is for us, and the number may be another process's.
    let is_over = Arc::new(AtomicBool::new(false));
    let is_over_there = is_over.clone();
    if let (Ok(mut signals), Some(pid)) = (signals, Pid::from_raw(child.id() as i32)) {
        // Ends with the process.
        std::thread::spawn(move || {
            for origin in signals.forever() {
                if is_over_there.load(Ordering::Acquire) {
                    let _ = emulate_default_handler(origin.signal);
                    continue;
                }
                // What no process has sent is the terminal's, for its whole foreground group: the child has got it, too, if
                // it is still in that.
                let is_keys = matches!(origin.signal, SIGINT | SIGQUIT) && origin.process.is_none();
                let has_got_it = is_keys && is_in_our_group(pid);
                if let (false, Some(signal)) = (has_got_it, Signal::from_named_raw(origin.signal)) {
                    let _ = kill_process(pid, signal);
                }
                release(GRACE);
            }
        });
    }
    let ended = leftover::wait(&mut child);
    is_over.store(true, Ordering::Release);
    match ended {
        Ok(status) => ExitCode::from(match (status.code(), status.signal()) {
            (Some(code), _) => code as u8,
            (None, Some(signal)) => 128 + signal as u8,
            (None, None) => 1,
        }),
        Err(error) => {
            errln!("cannot wait for the program: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether a process gets what the terminal sends to this one's group.
fn is_in_our_group(pid: Pid) -> bool {
    rustix::process::getpgid(Some(pid)).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Where the program is.
pub(crate) fn find(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program));
    }
    std::env::split_paths(&search_path()).map(|dir| dir.join(program)).find(|path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Why the library cannot stand in front of a program, or `None`: which program (scripts are judged by their interpreters),
/// and the reason.
fn why_not(path: &Path, depth: u32) -> Option<(PathBuf, Unserved)> {
    let meta = path.metadata().ok()?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        // Starting it will say what is wrong.
        return None;
    }
    let unserved = |why| Some((path.to_owned(), why));
    if meta.permissions().mode() & 0o4000 != 0 && meta.uid() != rustix::process::geteuid().as_raw() {
        return unserved(Unserved::Setuid);
    }
    let file = File::open(path).ok()?;
    match judge(|at, into| file.read_at(into, at).unwrap_or(0)) {
        Program::Served => None,
        Program::Unserved(Unserved::Static) if is_loader(path) => None,
        Program::Unserved(why) => unserved(why),
        Program::Script(interpreter, len) if depth < 4 => {
            why_not(Path::new(OsStr::from_bytes(&interpreter[..len])), depth + 1)
        }
        Program::Script(..) => None,
    }
}

/// Whether it is glibc's loader, which loads the library into what it runs.
fn is_loader(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"ld-linux") || name == "ld.so")
}
