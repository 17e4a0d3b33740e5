//! Faults for programs: from a file, and while they run.

mod kit;

use std::process::Output;

use kit::Scratch;

fn dmlab(scratch: &Scratch, words: &[&str]) -> Output {
    kit::command(scratch, words).output().unwrap()
}

/// Runs a script with rules from a file, and compares what it prints.
#[track_caller]
fn check(name: &str, options: &[&str], faults: &str, script: &str, expected: &str) {
    let scratch = Scratch::new(&format!("faults-{name}"));
    std::fs::write(scratch.0.join("faults.toml"), faults).unwrap();
    let script = format!("exec 2>&1\n{script}");
    let words = [&["run", "--faults", "faults.toml"], options, &["--", "sh", "-c", &script]].concat();
    let output = dmlab(&scratch, &words);
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(printed.trim_end(), expected.trim(), "script:\n{script}\nstderr: {complaint}");
}

const WRITE: &str =
    "write() { dd if=/dev/zero of=$1 bs=4096 count=1 oflag=direct status=none && echo wrote; }\n";

#[test]
fn a_program_meets_the_faults_of_a_file() {
    check(
        "file",
        &[],
        "[[fault]]\nname = \"third\"\ndevice = \"/dev/ram1\"\nop = \"write\"\nfail = \"ENOSPC\"\nnth = 3\n",
        &format!(
            "{WRITE}for i in 1 2 3 4; do write /dev/ram1; done\n$DMLAB fault hits | sed 's/^\\[[^]]*\\] //'\n"
        ),
        "
wrote
wrote
dd: error writing '/dev/ram1': No space left on device
wrote
third: W 0+8 of ram1: failed with ENOSPC
",
    );
}

#[test]
fn faults_come_and_go_while_programs_run() {
    check(
        "live",
        &[],
        "",
        &format!(
            "{WRITE}dmsetup create a --table '0 64 linear /dev/ram0 0'
$DMLAB fault add name=bad device=a op=write fail=EIO
write /dev/mapper/a
$DMLAB fault list
$DMLAB fault clear bad
write /dev/mapper/a
$DMLAB fault add device=/dev/ram0 hang
write /dev/mapper/a >out &
until $DMLAB fault list | grep -q 'holds 1'; do sleep 0.01; done
$DMLAB fault release '#2'
wait; cat out
$DMLAB fault clear
$DMLAB fault clear bad
$DMLAB fault add device=/dev/ram0 hnag
"
        ),
        "
#1
dd: error writing '/dev/mapper/a': Input/output error
#1 1 hit of 1 match: name=bad device=a op=write fail=EIO
1 rule
wrote
#2
1 request released
wrote
1 rule
dmlab: there is no rule `bad`
dmlab: unknown key `hnag`, perhaps `hang`; the keys are name, device, sectors, op, meaning, owner, index, ioctl, moment, uevent, fail, drop, torn, then, flip, misdirect, delay, hang, kill, watch, from, until, from_rule, until_rule, skip, nth, every, chance, times, once
",
    );
}

#[test]
fn dmsetup_fails_where_it_is_told_to() {
    check(
        "ioctl",
        &[],
        "[[fault]]\nioctl = \"table_load\"\ndevice = \"a\"\nfail = \"ENOMEM\"\nonce = true\n",
        "dmsetup create a --table '0 8 zero'\necho $?\ndmsetup ls\ndmsetup create a --table '0 8 zero'\ndmsetup ls\n",
        "
device-mapper: reload ioctl on a (254:0) failed: Cannot allocate memory
Command failed.
1
No devices found
a\t(254:0)
",
    );
}

#[test]
fn dmsetup_is_killed_between_two_ioctls() {
    check(
        "kill",
        &[],
        "[[fault]]\nioctl = \"dev_suspend\"\ndevice = \"a\"\nkill = true\nonce = true\n",
        "dmsetup create a --table '0 8 zero'; echo $?\ndmsetup info -c --noheadings -o name,tables_loaded a\ndmsetup resume a; dmsetup table a\n",
        "
Killed
137
a:Inactive
0 8 zero 
",
    );
}

#[test]
fn a_slow_ioctl_is_slow_by_the_machines_clock() {
    check(
        "slow",
        &["--time", "virtual"],
        "[[fault]]\nioctl = \"dev_remove\"\ndelay = \"1h\"\n",
        "dmsetup create a --table '0 8 zero'; dmsetup remove a; echo $?; $DMLAB fault hits\n",
        "
0
[    0.000000] #1: DEV_REMOVE of a: delayed by 3600s
",
    );
}

#[test]
fn a_hanging_ioctl_ends_with_its_program() {
    check(
        "signal",
        &[],
        "[[fault]]\nioctl = \"dev_status\"\ndevice = \"a\"\nhang = true\n",
        "dmsetup create a --table '0 8 zero'\ntimeout 0.2 dmsetup info a; echo $?\n$DMLAB fault list\n",
        "
124
#1 1 hit of 1 match: ioctl=dev_status device=a hang=true
",
    );
}

#[test]
fn a_cookie_completes_at_once_or_never() {
    check(
        "cookie",
        &["--udev"],
        "",
        "dmsetup create a --table '0 8 zero'; ls /dev/mapper
$DMLAB fault add uevent=change device=b drop once
dmsetup create b --table '0 8 zero' & waiter=$!
until $DMLAB fault list | grep -q '1 hit of'; do sleep 0.01; done
sleep 0.3; kill -0 $waiter && echo waits
dmsetup table b; ls /dev/mapper
cookies=$(dmsetup udevcookies | tail -n +2 | cut -d' ' -f1); echo $cookies | wc -w
dmsetup udevcomplete $cookies >/dev/null
wait $waiter; echo $?
dmsetup remove b; dmsetup rename a c; ls /dev/mapper; dmsetup remove c; ls /dev/mapper
",
        "
a
control
#1
waits
0 8 zero 
a
control
1
0
c
control
control
",
    );
}

#[test]
fn a_file_that_is_wrong_is_told_by_line() {
    let scratch = Scratch::new("wrong");
    std::fs::write(scratch.0.join("f.toml"), "[[fault]]\ndevice = \"/dev/ram0\"\nfale = \"EIO\"\n").unwrap();
    let output = dmlab(&scratch, &["run", "--faults", "f.toml", "--", "true"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.starts_with("dmlab: f.toml: line 3: unknown key `fale`, perhaps `fail`"),
        "{complaint}"
    );
    assert_eq!(output.status.code(), Some(1));
    let output = dmlab(&scratch, &["run", "--faults", "none.toml", "--", "true"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.starts_with("dmlab: none.toml: No such file"), "{complaint}");
}

#[test]
fn meanings_are_listed() {
    let scratch = Scratch::new("meanings");
    let output = dmlab(&scratch, &["fault", "meanings"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    let (meaning, text) = printed.lines().next().and_then(|line| line.split_once(' ')).unwrap();
    let expected = "the superblock of a pool's metadata (index: the metadata block)";
    assert_eq!((meaning, text.trim_start()), ("superblock", expected));
}
