//! The programs that a run leaves: daemons that LVM and others start. They end with the machine that they were started for.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use dmlab_shim_proto::SOCKET_NAME;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use crate::boot::SHIM_NAME;
use crate::kernel::SOCKET_VARIABLE;
use crate::watcher::Watcher;

/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(5);
/// How many looks they have before they are killed.
const PATIENCE: u32 = 40;
/// How many looks before the rest is left to the host: nothing ends a program that waits for a dead disk.
const LIMIT: u32 = 600;

/// The programs of the one machine that this process serves.
pub(crate) struct Programs {
    /// The watcher that ends them if this process is killed.
    watcher: Option<Watcher>,
}

impl Programs {
    /// Makes programs of the machine in `dir` children of this process when their parents have ended.
    pub(crate) fn adopt(dir: &Path) -> Programs {
        // Without it they are the host's, as they always were.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        Programs { watcher: Watcher::over(dir) }
    }

    /// Ends all children, and theirs as they are adopted: first with a word, then without.
    pub(crate) fn end(self) {
        let watcher = self.watcher.as_ref().map(Watcher::pid);
        end(|| {
            loop {
                match rustix::process::wait(WaitOptions::NOHANG) {
                    Ok(Some(_)) | Err(Errno::INTR) => {}
                    // There are none.
                    Err(_) => return Vec::new(),
                    Ok(None) => return children().into_iter().filter(|&pid| Some(pid) != watcher).collect(),
                }
            }
        });
    }
}

/// Waits for a child, and meanwhile for all that were adopted, so that none is left as a zombie.
///
/// # Errors
/// As `waitpid`.
pub(crate) fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let pid = child.id();
    loop {
        match rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(_)) => {
                if let Some(status) = child.try_wait()? {
                    return Ok(status);
                }
                reap_others(pid);
            }
            Ok(None) | Err(Errno::INTR) => {}
            // The process that started us had its children's ends ignored.
            Err(_) => return child.wait(),
        }
    }
}

/// Reaps the children that have ended, except one.
fn reap_others(except: u32) {
    for pid in children().into_iter().filter(|&pid| pid != except) {
        if let Some(pid) = pid_of(pid) {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// What shows that a process is a machine's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Its environment.
    Environment,
    /// That, or, where it has written over that, the library that it was started with. To look for it takes long beside large
    /// programs of others.
    Library,
}

/// What the paths of all files in a machine's directory begin with, and no others.
pub(crate) fn within(dir: &Path) -> OsString {
    let mut prefix = dir.as_os_str().to_owned();
    prefix.push("/");
    prefix
}

/// Ends the programs of all machines whose files' paths begin with `prefix`, except the process `halter` and its
/// ancestors.
pub(crate) fn end_programs(prefix: &OsStr, sign: Sign, halter: Option<u32>) {
    let mut spared = vec![std::process::id()];
    let mut at = halter;
    while let Some(pid) = at.filter(|&pid| pid > 1 && !spared.contains(&pid)) {
        spared.push(pid);
        at = parent(pid);
    }
    let is_ours = |pid: &u32| !spared.contains(pid) && is_of(*pid, prefix.as_bytes(), sign);
    end(|| processes().into_iter().filter(is_ours).collect());
}

/// Whether a process belongs to such a machine.
fn is_of(pid: u32, prefix: &[u8], sign: Sign) -> bool {
    let names = |path: &[u8], name: &str| path.starts_with(prefix) && path.ends_with(name.as_bytes());
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|&byte| byte == 0);
    let says_so = |variable: &[u8]| {
        let (name, path) = variable.split_at_checked(SOCKET_VARIABLE.len()).unwrap_or_default();
        name == SOCKET_VARIABLE.as_bytes() && path.first() == Some(&b'=') && names(&path[1..], SOCKET_NAME)
    };
    if variables.any(says_so) {
        return true;
    }
    if sign == Sign::Environment {
        return false;
    }
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut files = maps.split(|&byte| byte == b'\n').filter_map(|line| {
        let path = line.iter().position(|&byte| byte == b'/')?;
        Some(line[path..].strip_suffix(b" (deleted)").unwrap_or(&line[path..]))
    });
    files.any(|path| names(path, SHIM_NAME))
}

/// Signals those that `left` says until there are none.
fn end(left: impl Fn() -> Vec<u32>) {
    for look in 0..LIMIT {
        let pids = left();
        if pids.is_empty() {
            return;
        }
        let signal = match look {
            0 => Some(Signal::TERM),
            _ if look >= PATIENCE => Some(Signal::KILL),
            _ => None,
        };
        for pid in pids.into_iter().filter_map(pid_of) {
            if let Some(signal) = signal {
                let _ = rustix::process::kill_process(pid, signal);
                // A program that was stopped hears nothing.
                let _ = rustix::process::kill_process(pid, Signal::CONT);
            }
        }
        std::thread::sleep(LOOK);
    }
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A process's parent.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

fn children() -> Vec<u32> {
    let me = std::process::id();
    processes().into_iter().filter(|&pid| parent(pid) == Some(me)).collect()
}
