//! Whether everybody waits: all programs of a machine, in its calls or anywhere else.
//!
//! A virtual clock jumps when nothing else can happen. The machine knows that of its own tasks; what the programs around it are
//! up to, the host's kernel knows. A program belongs to the machine if it is its client, if its environment names the machine's
//! socket, as that of each program which `dmlab run` starts does, or if the server or such a one has started it: programs that
//! show what they do as their name write over their environment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc;

/// One look at a thread that waits: which it is and how often it has left a processor so far.
#[derive(PartialEq, Eq)]
struct Waiting {
    thread: u32,
    switches: u64,
}

/// Whether no thread of any program of the machine behind `socket` can go on by itself.
///
/// Threads are looked at one after another, so one that was seen waiting may have been woken by one that was looked at later.
/// Only two looks that find the same threads with no switch between them are proof: then no program ran from the end of the
/// first to the beginning of the second, and that is when our own threads, which only programs wake, are looked at.
///
/// A thread that the kernel calls asleep may be on a processor all the same: it says so before it looks whether there is something
/// to wait for, and a parent that finds an ended child then clears up after it for a while. The second look therefore asks the
/// kernel also where each thread waits, which is nowhere for such a one.
///
/// `roots` are processes that are known to be its clients. Looked at are these, the server's children, and all that come of them: what
/// else the host runs neither takes time here nor matters.
pub(super) fn waits(socket: &Path, roots: &[u32]) -> bool {
    wait_all_along(socket, roots, || our_threads_wait().is_some())
}

/// Whether all programs wait for as long as `meanwhile` takes, and its answer is yes.
fn wait_all_along(socket: &Path, roots: &[u32], meanwhile: impl FnOnce() -> bool) -> bool {
    let Some(first) = look(socket, roots, Asking::State) else { return false };
    meanwhile() && look(socket, roots, Asking::Place).is_some_and(|second| first == second)
}

/// What is asked of each thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// Its state.
    State,
    /// Also where in the kernel it waits.
    Place,
}

/// Whether a thread that is asleep is on no processor's queue either.
fn is_off(thread: &Path) -> bool {
    // A kernel that tells it of no thread says 0 also of a thread of ours of which it is known that it waits.
    static TELLS: OnceLock<bool> = OnceLock::new();
    let place = |thread: &Path| fs::read(thread.join("wchan")).unwrap_or_default();
    let tells = || {
        let (end, done) = mpsc::channel::<()>();
        let waiter = std::thread::spawn(move || done.recv());
        let mut threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let tells = threads.any(|thread| !matches!(&*place(&thread.path()), b"" | b"0"));
        drop(end);
        let _has_ended = waiter.join();
        tells
    };
    place(thread) != b"0" || !*TELLS.get_or_init(tells)
}

/// Whether no thread of our own but this one runs: it would be about to answer a call, or to take one.
fn our_threads_wait() -> Option<()> {
    let our_thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
        let id: u32 = thread.file_name().to_str()?.parse().ok()?;
        if id != our_thread {
            waiting(id, &status)?;
        }
    }
    Some(())
}

/// The children of a process, or `None` where this kernel does not list them.
fn children(pid: u32) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => found.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            // The thread has ended; or the kernel has no such file, which shows at threads of our own.
            Err(_) if thread.path().exists() => return None,
            Err(_) => {}
        }
    }
    Some(found)
}

/// The processes that may be the machine's: `roots` and all that come of them. Where the kernel does not list children, all
/// processes of its user.
fn candidates(roots: &[u32]) -> Option<Vec<u32>> {
    let me = std::process::id();
    let (mut found, mut next) = (BTreeSet::new(), vec![me]);
    // A client's channel may outlive it, in a child that has not noticed.
    next.extend(roots.iter().filter(|pid| Path::new("/proc").join(pid.to_string()).exists()));
    while let Some(pid) = next.pop() {
        if found.insert(pid) {
            match children(pid) {
                Some(children) => next.extend(children),
                None => return of_our_user(),
            }
        }
    }
    found.remove(&me);
    Some(found.into_iter().collect())
}

/// All processes of the server's user but the server.
fn of_our_user() -> Option<Vec<u32>> {
    let (me, uid) = (std::process::id(), rustix::process::geteuid().as_raw());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        // What runs as another user could only slow the clock, and has no business to.
        if let Some(pid) = pid.filter(|&pid| pid != me)
            && entry.metadata().is_ok_and(|meta| meta.uid() == uid)
        {
            found.push(pid);
        }
    }
    Some(found)
}

/// What a look at a process says of it.
struct Seen {
    pid: u32,
    parent: u32,
    /// In the middle of an exec a program has no environment yet, and at its end none any more.
    has_environment: bool,
    is_ours: bool,
}

/// All threads of the machine's programs, or `None` when one of them runs. `roots`: processes that are known to be its clients.
fn look(socket: &Path, roots: &[u32], asking: Asking) -> Option<Vec<Waiting>> {
    let mark = [b"DMLAB_SOCKET=", socket.as_os_str().as_bytes()].concat();
    let us = rustix::process::getuid().as_raw();
    let mut all = Vec::new();
    for pid in candidates(roots)? {
        let process = Path::new("/proc").join(pid.to_string());
        // A program that a run started as another user is no client, for it would be refused, and has no say.
        // One that has just ended has woken its parent.
        let status = fs::read_to_string(process.join("status")).ok()?;
        if number(&status, "Uid:") != Some(us) {
            continue;
        }
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let parent = number(&status, "PPid:")?;
        let has_mark = environment.split(|&b| b == 0).any(|variable| variable == mark);
        let is_ours = has_mark || parent == std::process::id() || roots.contains(&pid);
        all.push(Seen { pid, parent, has_environment: !environment.is_empty(), is_ours });
    }
    add_children(&mut all);
    let mut found = Vec::new();
    for seen in all.iter().filter(|seen| seen.is_ours) {
        let process = Path::new("/proc").join(seen.pid.to_string());
        if seen.has_environment {
            threads(&process, asking, &mut found)?;
        } else {
            threads(&process, asking, &mut Vec::new())?;
        }
    }
    found.sort_unstable_by_key(|waiting| waiting.thread);
    Some(found)
}

/// What ours have started, is ours.
fn add_children(all: &mut [Seen]) {
    loop {
        let ours: BTreeSet<u32> = all.iter().filter(|seen| seen.is_ours).map(|seen| seen.pid).collect();
        let children = all.iter_mut().filter(|seen| !seen.is_ours && ours.contains(&seen.parent));
        if children.map(|child| child.is_ours = true).count() == 0 {
            return;
        }
    }
}

/// Adds the threads of a process to `found`, or answers `None` when one of them runs.
fn threads(process: &Path, asking: Asking, found: &mut Vec<Waiting>) -> Option<()> {
    for thread in fs::read_dir(process.join("task")).ok()?.flatten() {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let name = thread.file_name();
        // The first thread of a process is a zombie until its parent has looked at it. Any other that has ended is on its way
        // out, and a parent hears of a process when the last of them is gone.
        let is_first = process.file_name() == Some(&name);
        let has_ended = has_ended(&status);
        let waiting = waiting(name.to_str()?.parse().ok()?, &status)?;
        if (has_ended && !is_first) || (!has_ended && asking == Asking::Place && !is_off(&thread.path())) {
            return None;
        }
        found.push(waiting);
    }
    Some(())
}

fn has_ended(status: &str) -> bool {
    status
        .lines()
        .any(|line| line.strip_prefix("State:").is_some_and(|state| state.trim().starts_with(['Z', 'X'])))
}

/// The first number that a `status` names under `key`.
fn number(status: &str, key: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix(key))?.split_ascii_whitespace().next()?.parse().ok()
}

/// What a thread's `status` says of it, or `None` when it runs.
fn waiting(thread: u32, status: &str) -> Option<Waiting> {
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    // Waiting for a disk of the host is running: it ends by itself. So does what stands until its tracer has looked at it.
    if value("State:")?.starts_with(['R', 'D', 't']) {
        return None;
    }
    let count = |key| value(key).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    Some(Waiting {
        thread,
        switches: count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_status_tells_who_waits() {
        let status =
            "Name:\tsh\nState:\tS (sleeping)\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n";
        assert!(waiting(1, status) == Some(Waiting { thread: 1, switches: 7 }));
        assert!(waiting(1, &status.replace("S (sleeping)", "R (running)")).is_none());
        assert!(waiting(1, "").is_none());
        assert!(!has_ended(status));
        assert!(has_ended(&status.replace("S (sleeping)", "X (dead)")));
        assert!(waiting(1, &status.replace("S (sleeping)", "t (tracing stop)")).is_none());
        assert!(waiting(1, &status.replace("S (sleeping)", "T (stopped)")).is_some());
        assert_eq!(number("Name:\tsh\nUid:\t1000\t0\t0\t0\nGid:\t7\t7\t7\t7\n", "Uid:"), Some(1000));
        assert_eq!(number("", "Uid:"), None);
    }

    #[test]
    fn what_ours_have_started_is_ours() {
        let seen = |pid, parent, is_ours| Seen { pid, parent, has_environment: true, is_ours };
        let mut all = [seen(2, 4, false), seen(3, 1, false), seen(4, 5, false), seen(5, 1, true)];
        add_children(&mut all);
        assert_eq!(all.map(|seen| seen.is_ours), [true, false, true, true]);
    }

    #[test]
    fn a_program_that_runs_is_seen_until_it_waits() {
        let socket = Path::new("/nowhere/of/this/test");
        // What other tests have started, ends.
        while !wait_all_along(socket, &[], || true) {
            std::thread::yield_now();
        }
        // Runs for as long as its input has nothing to say, then waits for more.
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo waits; read -r line";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .env("DMLAB_SOCKET", socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen_running = false;
        let mut line = String::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            std::io::BufRead::read_line(&mut output, &mut line).unwrap();
            sender.send(line).unwrap();
        });
        while receiver.try_recv().is_err() {
            seen_running |= !wait_all_along(socket, &[], || true);
        }
        assert!(seen_running);
        while !wait_all_along(socket, &[], || true) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
