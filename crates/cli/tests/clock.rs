//! Time limits by a virtual clock. What each program must print was printed by the same program on a Linux, in real time; here its
//! seconds are longer.

mod kit;

use kit::{Scratch, assert_lines, command, compile, need};

/// What a program prints on a machine with virtual time, errors among it.
fn on_virtual_time(scratch: &Scratch, program: &[&str]) -> String {
    let output = command(scratch, &[&["run", "--time", "virtual", "--ram", "1", "--"], program].concat());
    let mut command = std::process::Command::new("timeout");
    // Outside of the machine, where time passes.
    command.args(["-k", "5", "100"]).arg(output.get_program()).args(output.get_args());
    // Beside so long seconds it does not show how long the host takes.
    command.env("UNIT", "20");
    command.current_dir(&scratch.0).stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed + &String::from_utf8_lossy(&output.stderr)
}

fn check(name: &str, recorded: &str) {
    let scratch = Scratch::new(&format!("clock-{name}"));
    let program = compile(&scratch, &format!("clock/{name}.c"));
    assert_lines(name, &on_virtual_time(&scratch, &[program.to_str().unwrap()]), recorded);
}

#[test]
fn polls_locks_and_sleeps_end_in_their_second() {
    check("waits", include_str!("clock/waits.txt"));
}

#[test]
fn alarms_and_timers_are_up_in_their_second() {
    check("timers", include_str!("clock/timers.txt"));
}

#[test]
fn waits_end_early_by_signals_and_leave_nothing_behind() {
    check("signals", include_str!("clock/signals.txt"));
}

#[test]
fn a_program_that_writes_over_its_environment_holds_the_clock() {
    need(&[("perl", "perl")]);
    let scratch = Scratch::new("clock-named");
    // What it shows as its name lies where its environment was. Its child is about to sleep, and then it works for a while.
    let program = r#"
$0 = "worker " x 1000; $| = 1;
if (!($pid = fork)) { sleep 3000000; exit }
$begun = time; $x += $_ for 1 .. 5000000;
print time - $begun < 1000000 ? "stood\n" : "ran\n";
waitpid $pid, 0;
print int((time - $begun) / 1000000), "\n""#;
    assert_lines("named", &on_virtual_time(&scratch, &["perl", "-e", program]), "stood\n3\n");
}

#[test]
fn a_crowd_of_programs_sleeps() {
    need(&[("bash", "bash")]);
    let scratch = Scratch::new("clock-crowd");
    let script = "for n in {1..60}; do sleep ${n}000 & done; wait; echo $((SECONDS / 1000))";
    assert_lines("crowd", &on_virtual_time(&scratch, &["bash", "-c", script]), "60\n");
}

#[test]
fn what_python_waits_for_ends_in_its_second() {
    need(&[("python3", "python3"), ("timeout", "coreutils")]);
    let scratch = Scratch::new("clock-python");
    let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clock/limits.py");
    let printed = on_virtual_time(&scratch, &["python3", program.to_str().unwrap()]);
    assert_lines("limits.py", &printed, include_str!("clock/limits.txt"));
}

#[test]
fn a_shell_reads_the_time_that_has_passed() {
    need(&[("bash", "bash"), ("perl", "perl")]);
    let scratch = Scratch::new("clock-shell");
    // The clocks of the shell, of date and of perl; a limit of read; jobs that end in order.
    let script = r#"
begun=$(date +%s)
sleep 1000
echo $(( ($(date +%s) - begun) / 10 )) $(( SECONDS / 10 ))
sleep 2000 | { read -t 500 line; echo $(( $? > 128 )) $(( SECONDS / 10 )); }
for n in 30 10 20; do (sleep $n; echo $n) & done; wait $!; wait
perl -e '$t = time; alarm 50; select undef, undef, undef, 20; print int((time - $t) / 10), "\n"; exec "sleep", "1000"' &
wait $! 2>/dev/null
echo $?
echo $(( SECONDS / 10 ))"#;
    let printed = on_virtual_time(&scratch, &["bash", "-c", script]);
    assert_lines("shell", &printed, "100 100\n1 150\n10\n20\n30\n2\n142\n308\n");
}

#[test]
fn what_takes_the_hosts_time_says_so_once() {
    need(&[("python3", "python3")]);
    let scratch = Scratch::new("clock-note");
    let program = r"
import socket
for i in range(2):
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(8) + (50000).to_bytes(8, 'little'))
";
    let script = format!("python3 -c '{}'; python3 -c 'print(1)'", program.replace('\'', "'\\''"));
    let printed = on_virtual_time(&scratch, &["sh", "-c", &script]);
    let note = "dmlab: time limits of sockets (SO_RCVTIMEO, SO_SNDTIMEO) take the host's time, not the machine's virtual time";
    assert_lines("note", &printed, &format!("1\n{note}\n"));
}

#[test]
fn nobody_sets_the_hosts_clock() {
    need(&[("python3", "python3"), ("date", "coreutils")]);
    let scratch = Scratch::new("clock-set");
    // To what it is: if it could be set, nothing would change.
    let script = r#"date -s "$(date -R)" >/dev/null 2>&1; echo $?
python3 -c 'import time
try: time.clock_settime(time.CLOCK_REALTIME, time.time())
except PermissionError: print("refused")
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
now = (ctypes.c_long * 2)(int(time.time()), 0)
print(libc.syscall(227, 0, now) if __import__("platform").machine() == "x86_64" else libc.syscall(112, 0, now), ctypes.get_errno())'"#;
    for time in ["real", "virtual"] {
        let words = ["run", "--time", time, "--ram", "1", "--", "sh", "-c", script];
        let output = command(&scratch, &words).output().unwrap();
        assert_lines(time, &String::from_utf8_lossy(&output.stdout), "1\nrefused\n-1 1\n");
    }
}
