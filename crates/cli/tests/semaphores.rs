//! System V semaphores: those of a run are the run's, and answer as Linux's do.

mod kit;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use kit::{Scratch, assert_lines, command, compile, need, run};

#[test]
fn they_answer_as_the_hosts_do() {
    need(&[("timeout", "coreutils")]);
    let scratch = Scratch::new("semaphores-calls");
    let program = compile(&scratch, "semaphores/calls.c");
    let program = program.to_str().unwrap();
    // Outside of the machine, where time passes.
    let printed = |words: &[&str]| {
        let output = Command::new("timeout")
            .args(["-k", "5", "100"])
            .args(words)
            .current_dir(&scratch.0)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let expected = printed(&[program]);
    assert!(expected.lines().count() > 150, "{expected}");
    let dmlab = kit::dmlab();
    let dmlab = dmlab.to_str().unwrap();
    for time in ["real", "virtual"] {
        let lines = printed(&[dmlab, "run", "--time", time, "--ram", "1", "--", program]);
        assert_lines(time, &lines, &expected);
        let lines = printed(&[dmlab, "record", "--time", time, "--ram", "1", "-o", "run", "--", program]);
        assert_lines(&format!("recorded in {time} time"), &lines, &expected);
        let replayed = printed(&[dmlab, "replay", "run"]);
        assert!(replayed.starts_with("as recorded: ") && !replayed.contains("otherwise"), "{replayed}");
    }
}

#[test]
fn a_limit_ends_in_virtual_time() {
    need(&[("python3", "python3")]);
    let scratch = Scratch::new("semaphores-limit");
    let program = r"
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
made = libc.semget(0, 1, 0o600)
down = (ctypes.c_short * 3)(0, -1, 0)
begun = time.time()
limit = (ctypes.c_long * 2)(100000, 0)
print(libc.semtimedop(made, down, 1, limit), ctypes.get_errno(), int(time.time() - begun) // 10000)
";
    let words = ["run", "--time", "virtual", "--ram", "1", "--", "python3", "-c", program];
    let output = command(&scratch, &words).output().unwrap();
    assert_lines("limit", &String::from_utf8_lossy(&output.stdout), "-1 11 10\n");
}

/// The key of a cookie as `dmsetup` prints it.
fn key(cookie: &str) -> i64 {
    i64::from_str_radix(cookie.trim().trim_start_matches("0x"), 16).unwrap()
}

/// Whether the host has a set with the key of a cookie.
fn host_has(cookie: &str) -> bool {
    let key = key(cookie).to_string();
    let sets = std::fs::read_to_string("/proc/sysvipc/sem").unwrap();
    sets.lines().any(|line| line.split_ascii_whitespace().next() == Some(&key))
}

#[test]
fn runs_side_by_side_do_not_see_each_others_cookies() {
    need(&[("dmsetup", "dmsetup"), ("ipcs", "util-linux")]);
    let scratch = Scratch::new("semaphores-side");
    let script = "dmsetup udevcreatecookie; read -r line; dmsetup udevcookies | tail -n +2 | cut -d' ' -f1";
    let mut first = command(&scratch, &["run", "--udev", "--ram", "1", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let cookie = lines.next().unwrap().unwrap();
    assert!(!host_has(&cookie), "{cookie} is the host's");
    let second = "dmsetup udevcookies | wc -l; dmsetup udevcomplete_all -y >/dev/null
        dmsetup udevcookies | wc -l; tail -n +2 /proc/sysvipc/sem; ipcs -s | grep -c 0x";
    assert_lines("the other", &run(&scratch, &["--udev", "--ram", "1"], second), "1\n1\n0\n");
    // Its script reads to the end.
    drop(first.stdin.take());
    let left: Vec<i64> = lines.map(|line| key(&line.unwrap())).collect();
    assert_eq!(left, [key(&cookie)]);
    first.wait().unwrap();
}

#[test]
fn a_run_that_is_killed_leaves_none_on_the_host() {
    need(&[("dmsetup", "dmsetup")]);
    let scratch = Scratch::new("semaphores-killed");
    let script = "dmsetup udevcreatecookie; read -r line";
    let mut run = command(&scratch, &["run", "--udev", "--ram", "1", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut cookie = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut cookie).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!host_has(&cookie), "{cookie} is left");
}
