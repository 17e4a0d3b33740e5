//! Running a program against a machine.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::boot::{SHIM_NAME, UDEV_SIGN};

/// Exit status when the program cannot be run, as shells have it.
const CANNOT_RUN: u8 = 126;
/// Exit status when there is no such program.
const NOT_FOUND: u8 = 127;

/// Whether `command` can be run: where its program is. If not, says why, and returns the exit status for that.
pub(crate) fn ready(command: &[OsString]) -> Result<PathBuf, ExitCode> {
    let Some(program) = command.first() else { return Err(ExitCode::from(NOT_FOUND)) };
    let Some(path) = find(program) else {
        eprintln!("dmlab: {}: no such program", program.display());
        return Err(ExitCode::from(NOT_FOUND));
    };
    if let Some(why) = why_not(&path, 0) {
        eprintln!(
            "dmlab: {why}: the preload library that brings the simulated devices cannot be loaded into it"
        );
        return Err(ExitCode::from(CANNOT_RUN));
    }
    Ok(path)
}

/// How long a program has to end after a signal before what it waits for is taken from it.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `command` against the machine in `dir` and returns its exit status. `release` lets go of all programs that wait for
/// the machine: a signal to dmlab itself ends those too that no signal of their own can.
pub(crate) fn run(dir: &Path, command: &[OsString], release: impl Fn(Duration) + Send + 'static) -> ExitCode {
    let path = match ready(command) {
        Ok(path) => path,
        Err(status) => return status,
    };
    let Some((program, words)) = command.split_first() else { return ExitCode::from(NOT_FOUND) };
    // Signals are caught before the program starts, so that none is lost in between.
    let signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]);
    let mut start = prepared(dir, program);
    start.args(words);
    match start.spawn() {
        Ok(child) => wait(child, signals, release),
        Err(error) => {
            eprintln!("dmlab: cannot run {}: {error}", path.display());
            ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
        }
    }
}

/// A program that will see the machine in `dir`.
pub(crate) fn prepared(dir: &Path, program: &OsStr) -> Command {
    let mut start = Command::new(program);
    start.env("LD_PRELOAD", preload(dir)).env("DMLAB_SOCKET", dir.join("socket"));
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

/// The library, before those that are preloaded already.
fn preload(dir: &Path) -> OsString {
    let mut value = dir.join(SHIM_NAME).into_os_string();
    if let Some(old) = std::env::var_os("LD_PRELOAD").filter(|old| !old.is_empty()) {
        value.push(":");
        value.push(old);
    }
    value
}

fn wait(
    mut child: Child,
    signals: io::Result<Signals>,
    release: impl Fn(Duration) + Send + 'static,
) -> ExitCode {
    // From then on a signal is for us, and the number may be somebody else's.
    let is_over = Arc::new(AtomicBool::new(false));
    let is_over_there = is_over.clone();
    if let (Ok(mut signals), Some(pid)) = (signals, Pid::from_raw(child.id() as i32)) {
        // Ends with the process.
        std::thread::spawn(move || {
            for signal in signals.forever() {
                // A terminal sends these to the whole group, the child included.
                if is_over_there.load(Ordering::Acquire) {
                    let _ = emulate_default_handler(signal);
                    continue;
                }
                let from_terminal = matches!(signal, SIGINT | SIGQUIT) && is_foreground();
                if let (false, Some(signal)) = (from_terminal, Signal::from_named_raw(signal)) {
                    let _ = kill_process(pid, signal);
                }
                release(GRACE);
            }
        });
    }
    let ended = child.wait();
    is_over.store(true, Ordering::Release);
    match ended {
        Ok(status) => ExitCode::from(match (status.code(), status.signal()) {
            (Some(code), _) => code as u8,
            (None, Some(signal)) => 128 + signal as u8,
            (None, None) => 1,
        }),
        Err(error) => {
            eprintln!("dmlab: cannot wait for the program: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether this process group is the one that the terminal sends its keys' signals to.
fn is_foreground() -> bool {
    let Ok(terminal) = File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Where the program is.
fn find(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Why the library cannot be loaded into a program, or `None`. Scripts are judged by their interpreters.
fn why_not(path: &Path, depth: u32) -> Option<String> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    let me = rustix::process::geteuid().as_raw();
    if meta.permissions().mode() & 0o4000 != 0 && meta.uid() != me {
        return Some(format!("{} is setuid", path.display()));
    }
    let mut head = Vec::new();
    (&file).take(4096).read_to_end(&mut head).ok()?;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&b| b == b'\n').next()?.trim_ascii();
        let interpreter = line.split(|&b| b == b' ' || b == b'\t').next()?;
        return if depth < 4 { why_not(Path::new(OsStr::from_bytes(interpreter)), depth + 1) } else { None };
    }
    is_static(&file, &head).then(|| format!("{} is statically linked", path.display()))
}

/// Whether a 64-bit ELF program names no dynamic loader.
fn is_static(file: &File, head: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let word = |at: usize, len: usize| head.get(at..at + len).map(number);
    let (Some(start), Some(size), Some(count)) = (word(32, 8), word(54, 2), word(56, 2)) else {
        return false;
    };
    let mut kind = [0; 4];
    !(0..count).any(|i| file.read_exact_at(&mut kind, start + i * size).is_ok() && number(&kind) == PT_INTERP)
}
