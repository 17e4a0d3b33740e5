//! The programs that a run leaves: daemons that LVM and others start. They end with the machine that they were started for.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(5);
/// How many looks they have before they are killed.
const PATIENCE: u32 = 40;
/// How many looks before the rest is left to the host: nothing ends a program that waits for a dead disk.
const LIMIT: u32 = 600;

/// From now on programs whose parents have ended are children of this process.
pub(crate) fn adopt() {
    // Without it they are the host's, as they always were.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
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
            // Somebody who started us had its children's ends ignored.
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

/// Ends all children, and theirs as they are adopted: first with a word, then without.
pub(crate) fn end_children() {
    end(|| {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Err(Errno::INTR) => {}
                // There are none.
                Err(_) => return Vec::new(),
                Ok(None) => return children(),
            }
        }
    });
}

/// Ends the programs of the machine behind `socket`, except the process `halter` and whoever started it.
pub(crate) fn end_programs(socket: &Path, halter: Option<u32>) {
    let mut spared = vec![std::process::id()];
    let mut at = halter;
    while let Some(pid) = at.filter(|&pid| pid > 1 && !spared.contains(&pid)) {
        spared.push(pid);
        at = parent(pid);
    }
    let mark = [b"DMLAB_SOCKET=", socket.as_os_str().as_bytes()].concat();
    end(|| {
        let is_ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            !spared.contains(pid) && environment.split(|&b| b == 0).any(|variable| variable == mark)
        };
        processes().into_iter().filter(is_ours).collect()
    });
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
