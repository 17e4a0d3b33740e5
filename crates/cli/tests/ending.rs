//! How a run ends when it is ended from outside: by a signal to `dmlab run`, or by killing it.

mod kit;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kit::{Scratch, command, need};
use rustix::process::{Pid, Signal, kill_process};

/// Programs that a run can have: in the foreground and behind it, in a session of its own, with nothing in its environment, and
/// one that has written over it, as daemons do that change their title.
const PROGRAMS: &str = r#"
    sleep 1000 & echo $!
    setsid sh -c 'echo $$; exec sleep 1000' &
    env -i sh -c 'echo $$; exec sleep 1000' &
    sh -c 'trap "" TERM HUP INT; echo $$; while :; do sleep 1000; done' &
    python3 -c '
import ctypes, os, time
with open("/proc/self/stat") as stat: begin, end = map(int, stat.read().rsplit(") ", 1)[1].split()[47:49])
ctypes.memset(begin, 0, end - begin)
print(os.getpid(), flush=True)
time.sleep(1000)' &
    echo $$; wait"#;

fn is_running(pid: u32) -> bool {
    // What has ended and was not waited for is gone, too.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits until something holds; a minute is the bound of what would never.
#[track_caller]
fn soon(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("after a minute: {what}");
}

/// A process that is killed with the value, at the latest.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts dmlab and reads the numbers of its six programs.
fn start(scratch: &Scratch, words: &[&str]) -> (Process, Vec<u32>) {
    let words = [words, &["sh", "-c", PROGRAMS]].concat();
    let mut start = command(scratch, &words);
    start.env("TMPDIR", &scratch.0).env_remove("XDG_RUNTIME_DIR").stdout(Stdio::piped());
    let mut child = start.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (Process(child), lines.take(6).map(|line| line.unwrap().parse().unwrap()).collect())
}

fn machines(scratch: &Scratch) -> Vec<String> {
    let home = scratch.path(&format!("dmlab-{}", rustix::process::geteuid().as_raw()));
    let entries = std::fs::read_dir(home).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn programs_end_when_their_run_is_killed_and_others_do_not() {
    need(&[("python3", "python3-minimal"), ("setsid", "util-linux")]);
    let scratch = Scratch::new("killed");
    for words in [&["run", "--"][..], &["run", "--name", "lab", "--"], &["record", "--time", "real", "--"]] {
        let (mut child, pids) = start(&scratch, words);
        let (mut other, others) = start(&scratch, &["run", "--"]);
        // A program that has nothing to do with it, in the same folder.
        let bystander = Command::new("sleep").arg("1000").current_dir(&scratch.0).spawn().unwrap();
        let bystander = Process(bystander);
        assert!(pids.iter().chain(&others).all(|pid| is_running(*pid)), "{words:?}");
        child.kill();
        soon("its programs have ended", || !pids.iter().any(|pid| is_running(*pid)));
        soon("its directory has gone", || machines(&scratch).len() == 1);
        assert!(others.iter().all(|pid| is_running(*pid)), "{words:?}: another run's programs go on");
        assert!(is_running(bystander.0.id()), "{words:?}");
        kill_process(Pid::from_child(&other.0), Signal::TERM).unwrap();
        other.0.wait().unwrap();
        soon("its programs have ended", || !others.iter().any(|pid| is_running(*pid)));
        assert_eq!(machines(&scratch), [""; 0]);
    }
}

#[test]
fn programs_end_when_the_server_of_a_booted_machine_is_killed() {
    need(&[("python3", "python3-minimal"), ("setsid", "util-linux")]);
    let scratch = Scratch::new("server-killed");
    let dmlab = |words: &[&str]| {
        let output = command(&scratch, words)
            .env("TMPDIR", &scratch.0)
            .env_remove("XDG_RUNTIME_DIR")
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    dmlab(&["boot", "lab"]);
    let (mut run, pids) = start(&scratch, &["run", "--machine", "lab", "--"]);
    let list = dmlab(&["machines", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let server = Pid::from_raw(i32::try_from(list[0]["pid"].as_i64().unwrap()).unwrap()).unwrap();
    kill_process(server, Signal::KILL).unwrap();
    soon("its programs have ended", || !pids.iter().any(|pid| is_running(*pid)));
    run.0.wait().unwrap();
    soon("its directory has gone", || machines(&scratch).is_empty());
}

/// A python program that runs a command as the foreground of a terminal of its own, and then does something to it.
const TERMINAL: &str = r#"
import os, pty, signal, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
said = b""
while b"ready" not in said:
    said += os.read(terminal, 1000)
if sys.argv[1] == "key":
    os.write(terminal, b"\x03")
else:
    os.kill(pid, signal.SIGINT)
try:
    while True:
        more = os.read(terminal, 1000)
        if not more: break
        said += more
except OSError:
    pass
print(said.decode().replace("\r", "").replace("^C", "").split("ready\n")[1], end="")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn an_interrupt_reaches_the_program_once_from_the_keyboard_and_from_a_process() {
    need(&[("python3", "python3-minimal")]);
    let scratch = Scratch::new("interrupt");
    std::fs::write(scratch.path("terminal.py"), TERMINAL).unwrap();
    // Whether a second one comes is waited for as long as takes two clocks' ticks; the first ends the waiting for it.
    let program = "import signal, time
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print('ready', flush=True)
while not got: time.sleep(0.01)
time.sleep(0.3)
print('interrupted', len(got))
raise SystemExit(7)";
    let dmlab = kit::dmlab();
    for how in ["key", "process"] {
        let output = Command::new("python3")
            .arg(Path::new("terminal.py"))
            .arg(how)
            .arg(&dmlab)
            .args(["run", "--", "python3", "-c", program])
            .current_dir(&scratch.0)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "interrupted 1\n7\n", "{how}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn who_watches_over_a_run_ends_with_it() {
    need(&[("pgrep", "procps")]);
    let scratch = Scratch::new("watcher");
    let watchers = "pgrep -c -P $PPID -f [w]atch-run";
    let folder = scratch.0.to_str().unwrap();
    let mut start = command(&scratch, &["run", "--", "sh", "-c", watchers]);
    let output = start.env("TMPDIR", folder).env_remove("XDG_RUNTIME_DIR").output().unwrap();
    assert_eq!(output.stdout, b"1\n");
    let left = Command::new("pgrep").args(["-f", &format!("watch-run {folder}")]).output().unwrap();
    assert!(left.stdout.is_empty());
}
