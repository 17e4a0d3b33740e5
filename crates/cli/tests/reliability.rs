//! What must hold on a loaded host and beside other programs that behave badly: one program's trouble is not another's.
//!
//! A minute is the bound of what would else never end, or end after more than that; nothing here takes seconds.

mod kit;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use kit::{Scratch, assert_lines, command, dmlab, need, run};

const PROGRAMS: &[(&str, &str)] =
    &[("dmsetup", "dmsetup"), ("python3", "python3"), ("timeout", "coreutils"), ("setpriv", "util-linux")];

/// What a command prints, errors among it. One that takes longer than a minute is ended, and says so.
fn within_a_minute(scratch: &Scratch, words: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "60"]).args(words).current_dir(&scratch.0).stdin(Stdio::null());
    command.env("PATH", path).env("LC_ALL", "C").env("DMLAB", dmlab());
    let output = command.output().unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(124) {
        text.push_str("takes longer than a minute\n");
    }
    text
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

/// A run whose script says things and waits for lines.
struct Talk {
    run: Child,
    lines: BufReader<ChildStdout>,
}

impl Talk {
    fn start(scratch: &Scratch, options: &[&str], script: &str) -> Talk {
        let words = [&["run"], options, &["--", "sh", "-c", script]].concat();
        let mut run = command(scratch, &words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(run.stdout.take().unwrap());
        Talk { run, lines }
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn say(&mut self, word: &str) {
        writeln!(self.run.stdin.as_ref().unwrap(), "{word}").unwrap();
    }

    /// MiB of memory that the machine's server has.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.run.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.run.stdin.take());
        let _ = self.run.wait();
    }
}

#[test]
fn a_virtual_clock_goes_on_beside_a_program_that_runs_and_many_that_do_not() {
    need(PROGRAMS);
    let scratch = Scratch::new("pace");
    let script = r#"
        for i in $(seq 300); do sleep 200 & pids="$pids $!"; done
        "$DMLAB" run --time virtual --ram 1 --ram-size 16 -- sh -c '
            (while :; do :; done) & busy=$!
            sleep 2; echo slept; kill $busy'
        kill $pids
    "#;
    assert_lines("pace", &within_a_minute(&scratch, &["sh", "-c", script]), "slept");
}

#[test]
fn programs_that_die_with_data_for_suspended_devices_delay_nobody() {
    need(PROGRAMS);
    let scratch = Scratch::new("closes");
    // With half a second for each the last line would be more than a minute away.
    let program = r#"
import os, subprocess, signal
def dmsetup(*words): subprocess.run(["dmsetup", *words], check=True, stdout=subprocess.DEVNULL)
for i in range(150): dmsetup("create", f"d{i}", "--table", f"0 64 linear /dev/ram0 {i * 64}")
fds = [os.open(f"/dev/mapper/d{i}", os.O_RDWR) for i in range(150)]
for i in range(150): dmsetup("suspend", "--nolockfs", f"d{i}")
for fd in fds: os.pwrite(fd, b"y" * 4096, 8192)
print("written", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"#;
    std::fs::write(scratch.0.join("writer.py"), program).unwrap();
    let script = r#"
        python3 writer.py 2>/dev/null
        dmsetup info -c --noheadings -o suspended d7
        for i in $(seq 0 149); do dmsetup resume d$i || exit; done
        until [ -z "$(dmsetup info -c --noheadings -o open | grep -v 0)" ]; do sleep 0.1; done
        cmp -n 4096 /dev/mapper/d149 -i 8192:0 written && echo stored"#;
    std::fs::write(scratch.0.join("written"), [b'y'; 4096]).unwrap();
    let dmlab = dmlab();
    let words = [dmlab.to_str().unwrap(), "run", "--ram-size", "16", "--", "bash", "-c", script];
    let said = within_a_minute(&scratch, &words);
    assert_eq!(
        said.lines().filter(|line| !line.contains("Killed")).collect::<Vec<_>>(),
        ["written", "Suspended", "stored"],
        "{said}"
    );
}

#[test]
fn a_machine_in_a_pid_namespace_serves_clients_outside() {
    need(&[("unshare", "util-linux"), ("dmsetup", "dmsetup")]);
    let scratch = Scratch::new("pidns");
    let name = format!("pidns-{}", std::process::id());
    let mut words = vec!["--pid", "--fork"];
    if !is_root() {
        words.extend(["--user", "--map-current-user"]);
    }
    let mut server = Command::new("unshare")
        .args(&words)
        .arg(dmlab())
        .args(["run", "--name", &name, "--", "sh", "-c", "echo ready; read -r line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let script = format!(
        r#""$DMLAB" attach {name} -- sh -c 'dmsetup create a --table "0 8 linear /dev/ram0 0"; dmsetup table'"#
    );
    let said = within_a_minute(&scratch, &["sh", "-c", &script]);
    drop(server.stdin.take());
    server.wait().unwrap();
    assert_lines("outside", &said, "a: 0 8 linear 1:0 0");
}

#[test]
fn a_machine_has_the_descriptors_that_it_may_have() {
    need(PROGRAMS);
    let scratch = Scratch::new("descriptors");
    let program = r#"
import os, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print(len([os.open("/dev/ram0", os.O_RDONLY) for _ in range(700)]), hard)
"#;
    std::fs::write(scratch.0.join("opener.py"), program).unwrap();
    let script = r#"ulimit -Sn 256 && ulimit -Hn 1000 && exec "$DMLAB" run --ram 1 -- python3 opener.py"#;
    assert_lines("opened", &within_a_minute(&scratch, &["bash", "-c", script]), "700 1000");
}

#[test]
fn programs_of_other_users_have_no_say_in_a_clock() {
    need(PROGRAMS);
    if !is_root() {
        // Only root can start a program as somebody else.
        return;
    }
    let scratch = Scratch::new("others");
    let script = r#"
        setpriv --reuid 65534 --clear-groups sh -c 'while :; do :; done' 2>/dev/null & other=$!
        until grep -q "^Uid:.65534.65534" /proc/$other/status; do :; done
        sleep 100000; kill -9 $other; echo slept"#;
    let dmlab = dmlab();
    let words = [dmlab.to_str().unwrap(), "run", "--time", "virtual", "--ram", "1", "--", "sh", "-c", script];
    let said = within_a_minute(&scratch, &words);
    assert!(said.lines().any(|line| line == "slept"), "{said}");
}

#[test]
fn a_descriptor_that_never_comes_holds_up_nobody() {
    need(PROGRAMS);
    let scratch = Scratch::new("promise");
    let name = format!("promise-{}", std::process::id());
    let script = r#"echo "$DMLAB_SOCKET"; read -r go; timeout 100000 sleep 90000; echo slept"#;
    let mut talk = Talk::start(&scratch, &["--name", &name, "--time", "virtual", "--ram-size", "16"], script);
    let socket = talk.hear();
    let attack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/attack");
    let program = r#"
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import hostile
client = hostile.C(sys.argv[2])
client.call(1, 0, [1])
ram = client.open("/dev/ram0")
client.put(27, 0, [ram[5], 0x4C00, 3, 0, 0, 1, 0])
print("promised", flush=True)
sys.stdin.read()
"#;
    let mut client = Command::new("python3")
        .args(["-c", program])
        .arg(attack)
        .arg(&socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "promised\n");
    talk.say("go");
    let said = talk.hear();
    drop(client.stdin.take());
    client.wait().unwrap();
    assert_eq!(said, "slept");
}

#[test]
fn a_loop_device_takes_no_descriptor_that_is_not_open() {
    need(PROGRAMS);
    let scratch = Scratch::new("opath");
    let script = r#"truncate -s 1M file
python3 - <<'X'
import errno, fcntl, os
free = fcntl.ioctl(os.open("/dev/loop-control", os.O_RDWR), 0x4C82)
loop = os.open(f"/dev/loop{free}", os.O_RDWR)
for request in 0x4C00, 0x4C06:
    try: print(fcntl.ioctl(loop, request, os.open("file", os.O_PATH)))
    except OSError as error: print(errno.errorcode[error.errno])
print(fcntl.ioctl(loop, 0x4C00, os.open("file", os.O_RDWR)))
X"#;
    let said = run(&scratch, &[], script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.first(), lines.last()), (Some(&"EBADF"), Some(&"0")), "{said}");
}

#[test]
fn a_serial_run_has_the_same_recording_each_time() {
    need(PROGRAMS);
    let scratch = Scratch::new("bytes");
    // Clients that end in the middle and at the end, buffers of programs on their stacks and heaps, and a sleep.
    let script = r#"
        dmsetup create pool --table "0 65536 thin-pool /dev/ram0 /dev/ram1 128 0"
        dmsetup message pool 0 "create_thin 0"
        dmsetup create t --table "0 65536 thin /dev/mapper/pool 0"
        for k in 1 2 3 4 5 6 7 8; do
            dd if=/dev/zero of=/dev/mapper/t bs=64k count=2 seek=$((k*3)) oflag=direct status=none
            dd if=/dev/mapper/t of=/dev/null bs=4k count=3 status=none
            sleep 0.3
        done
        dmsetup status >/dev/null; blockdev --getsize64 /dev/mapper/t >/dev/null
        dmsetup remove t"#;
    let recorded: Vec<Vec<u8>> = (0..3)
        .map(|_| {
            let words = ["record", "--seed", "7", "--ram-size", "32", "-o", "run", "--", "sh", "-c", script];
            let output = command(&scratch, &words).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            std::fs::read(scratch.0.join("run")).unwrap()
        })
        .collect();
    assert!(recorded[0] == recorded[1] && recorded[1] == recorded[2], "three runs, three recordings");
}

#[test]
fn a_damaged_recording_is_no_success() {
    need(PROGRAMS);
    let scratch = Scratch::new("damaged");
    let script = "dmsetup create a --table '0 64 linear /dev/ram0 0'; dmsetup remove a";
    let recorded = command(&scratch, &["record", "-o", "run", "--", "sh", "-c", script]).output().unwrap();
    assert!(recorded.status.success());
    let replay = |bytes: &[u8]| {
        std::fs::write(scratch.0.join("changed"), bytes).unwrap();
        command(&scratch, &["replay", "changed"]).output().unwrap().status.code()
    };
    let whole = std::fs::read(scratch.0.join("run")).unwrap();
    assert_eq!(replay(&whole), Some(0));
    for part in 1..8 {
        assert_eq!(replay(&whole[..whole.len() * part / 8]), Some(1), "cut off after {part} eighths");
        let mut damaged = whole.clone();
        damaged[whole.len() * part / 8..][..16].fill(0xff);
        assert_eq!(replay(&damaged), Some(1), "damaged after {part} eighths");
    }
}

#[test]
fn memory_of_what_was_discarded_goes_back_to_the_host() {
    need(&[("blkdiscard", "util-linux"), ("dd", "coreutils")]);
    let scratch = Scratch::new("memory");
    let script = r"
        tr '\0' x </dev/zero | dd of=/dev/ram0 bs=1M count=256 iflag=fullblock oflag=direct status=none
        echo full; read -r go; blkdiscard -f /dev/ram0; echo empty; read -r go";
    let mut talk = Talk::start(&scratch, &["--ram", "1", "--ram-size", "256"], script);
    assert_eq!(talk.hear(), "full");
    let full = talk.memory();
    talk.say("go");
    assert_eq!(talk.hear(), "empty");
    let empty = talk.memory();
    talk.say("go");
    // 64 MiB are kept for the next writes.
    assert!(full >= 256 && empty + 180 < full, "{full} MiB, then {empty}");
}

#[test]
fn programs_that_have_ended_leave_nothing_in_the_server() {
    need(&[("dd", "coreutils"), ("dmsetup", "dmsetup")]);
    let scratch = Scratch::new("after-programs");
    // Each is a client with a channel of its own, forty at once.
    let script = r"dmsetup create a --table '0 2048 linear /dev/ram0 0'
        crowd() { for i in $(seq $1); do for j in $(seq 40); do
            { dd if=/dev/zero of=/dev/mapper/a bs=64k count=2 oflag=direct; dmsetup info -c; } >/dev/null 2>&1 & done; wait; done; }
        crowd 3; echo few; read -r go; crowd 15; echo many; read -r go";
    let mut talk = Talk::start(&scratch, &["--ram", "1", "--ram-size", "16"], script);
    assert_eq!(talk.hear(), "few");
    let few = talk.memory();
    talk.say("go");
    assert_eq!(talk.hear(), "many");
    let many = talk.memory();
    talk.say("go");
    // Each client's channel is 1 MiB.
    assert!(many < few + 24, "{few} MiB after 240 programs, {many} MiB after 1440");
}

#[test]
fn a_program_at_its_limit_of_descriptors_is_told() {
    need(PROGRAMS);
    let scratch = Scratch::new("limit");
    let script = r#"python3 - <<'X'
import errno, os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
files = []
try:
    while len(files) < 100: files.append(os.open("/dev/ram0", os.O_RDONLY))
except OSError as error: print(errno.errorcode[error.errno])
os.close(files.pop())
print(len(os.pread(files[0], 512, 0)), os.open("/dev/ram1", os.O_RDONLY) > 0)
X"#;
    assert_eq!(run(&scratch, &[], script), "EMFILE\n512 True\n");
}
