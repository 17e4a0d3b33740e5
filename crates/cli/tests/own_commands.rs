//! dmlab's own commands, beside Debian's dmsetup on the same machine.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a script on a fresh machine; what it printed on both streams, and whether it ended well.
fn run(script: &str) -> (String, bool) {
    let dmlab = Path::new(env!("CARGO_BIN_EXE_dmlab"));
    let path =
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dmlab.parent().expect("a file in a folder").display());
    let script = format!("exec 2>&1; {script}");
    let mut command = Command::new(dmlab);
    command
        .args(["run", "--", "sh", "-c", &script])
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    let output = command.env_remove("DMLAB_MACHINE").output().expect("dmlab runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).expect("text"), output.status.success())
}

/// Holds that a script ends well and prints exactly this.
#[track_caller]
fn prints(script: &str, want: &str) {
    let (got, ok) = run(script);
    assert_eq!(got, want, "{script}");
    assert!(ok, "{script}");
}

const STACK: &str = "dmlab create low --table '0 64 linear /dev/ram0 8' --uuid U-low;
    printf '0 64 striped 2 8 /dev/mapper/low 0 /dev/ram1 0\\n64 8 zero\\n' | dmlab create top --minor 7;";

#[test]
fn what_dmlab_shows_is_what_dmsetup_shows() {
    for command in [
        "table",
        "status",
        "deps",
        "ls",
        "table top",
        "status top",
        "deps low",
        "targets",
        "table --inactive top",
    ] {
        let script =
            format!("{STACK} dmsetup {command} >want; dmlab {command} >got; diff want got && rm want got");
        let folder = std::env::temp_dir().join(format!("dmlab-own-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        prints(&format!("cd {}; {script}", folder.display()), "");
    }
    let info =
        "dmsetup info low | grep -v '^Read Ahead' >want; dmlab info low >got; diff want got && rm want got";
    prints(&format!("cd $(mktemp -d); {STACK} {info}"), "");
}

#[test]
fn a_device_lives_and_goes() {
    let script = format!(
        "{STACK} dmlab tree
        dmlab io write top 8 'over there'; dmlab io read ram1 0+1 | head -c 10; echo
        dmlab suspend top; dmlab info top | grep State
        dmlab load top --table '0 8 zero'; dmlab info top | grep Tables
        dmlab clear top; dmlab load top --table '0 8 error'; dmlab resume top; dmlab table top
        dmlab rename top peak; ls /dev/mapper
        dmlab message peak 0 @stats_create - /1
        dmlab remove low; echo rc=$?
        dmlab remove peak low; dmlab ls; ls /dev/mapper"
    );
    let want = "\
top (254:7)
 |-low (254:0)
 |  `-ram0 (1:0)
 `-ram1 (1:1)
over there
State:             SUSPENDED
Tables present:    LIVE & INACTIVE
0 8 error 
control
low
peak
0
rc=0
No devices found
control
";
    // Once `top` stands on nothing, `low` goes; the second removal of it then fails.
    let want = want.replace(
        "No devices found",
        "dmlab: remove ioctl on low failed: No such device or address (ENXIO)\nNo devices found",
    );
    prints(&script, &want);
}

#[test]
fn a_refused_table_is_explained() {
    let (text, ok) = run("dmlab create a --table '0 8 linear /dev/ram0 0\n9 8 zero'");
    let want = "\
dmlab: reload ioctl on a (254:0) failed: Invalid argument (EINVAL)
kernel log: device-mapper: table: 254:0: zero: Gap in table (-EINVAL)
  9 8 zero
  ^
  this line starts at sector 8, where the one before it ends
";
    assert_eq!((text.as_str(), ok), (want, false));
    let (text, _) = run("dmlab create a --table '0 8 liner /dev/ram0 0'");
    assert!(text.contains("    ^^^^^\n  did you mean linear? The kernel's target types: "), "{text}");
    let (text, _) = run("dmlab create a --table '0 8'");
    assert_eq!(text, "dmlab: table line 1: `0 8` is not START LENGTH TYPE [PARAMETERS…]\n");
}

#[test]
fn a_wait_ends_with_the_device() {
    prints(
        "dmlab create a --table '0 8 zero'; (dmlab wait a) & sleep 0.3; dmlab remove a; wait",
        "event 1\n0 8 zero \n",
    );
}

#[test]
fn without_a_machine_it_says_how_to_get_one() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmlab"));
    let output = command.arg("ls").env_remove("DMLAB_MACHINE").env_remove("DMLAB_SOCKET").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("dmlab: which machine? Boot one (dmlab boot NAME)"), "{text}");
    assert!(!output.status.success());
}
