//! Programs that wait for a suspended device: no signal reaches them before the resume, and the end of the run ends them.

mod kit;

use std::io::Read;
use std::process::Stdio;

use kit::{Scratch, assert_lines, command, need, run};

const STUCK: &str = "dmsetup create l --table '0 65536 linear /dev/ram0 0'; dmsetup suspend l\n";

#[test]
fn no_signal_kills_who_waits_for_a_disk() {
    need(&[("dmsetup", "dmsetup")]);
    let scratch = Scratch::new("waiting");
    let script = r#"
        dmsetup create l --table "0 65536 linear /dev/ram0 0"
        exec 2>/dev/null # the shell's own words on who was killed
        try() {
            what=$1; shift
            dmsetup suspend l
            "$@" >/dev/null 2>&1 & program=$!
            # Until it is in its call: then all its signals are held back, and stay so. Shorter calls come before.
            held=0
            while [ $held -lt 5 ]; do
                sleep 0.03
                if grep -q "SigBlk:.*ffff" /proc/$program/status; then held=$((held + 1)); else held=0; fi
            done
            kill -TERM $program; kill -HUP $program
            sleep 0.2
            kill -0 $program 2>/dev/null && echo "$what waits"
            dmsetup resume l
            wait $program 2>/dev/null; echo "$what $?"
        }
        try "direct read" dd if=/dev/mapper/l of=/dev/null bs=4096 count=1 iflag=direct
        try "buffered read" dd if=/dev/mapper/l of=/dev/null bs=4096 count=1
        try "direct write" dd if=/dev/zero of=/dev/mapper/l bs=4096 count=1 oflag=direct
        try "fsync" dd if=/dev/zero of=/dev/mapper/l bs=4096 count=1 conv=fsync
        try "part of a block" dd if=/dev/zero of=/dev/mapper/l bs=512 count=1 seek=3
    "#;
    let expected = "direct read waits\ndirect read 129\nbuffered read waits\nbuffered read 129\ndirect write waits\n\
        direct write 129\nfsync waits\nfsync 129\npart of a block waits\npart of a block 129";
    assert_lines("signals", &run(&scratch, &[], script), expected);
}

#[test]
fn a_close_waits_for_its_data() {
    need(&[("dmsetup", "dmsetup")]);
    let scratch = Scratch::new("closing");
    let script = format!(
        "{STUCK}dd if=/dev/zero of=/dev/mapper/l bs=4096 count=1 2>/dev/null & writer=$!
        sleep 1; kill -0 $writer && echo waits; dmsetup resume l; wait $writer; echo $?"
    );
    assert_lines("close", &run(&scratch, &[], &script), "waits\n0");
}

#[test]
fn the_end_of_the_run_ends_who_waits() {
    need(&[("dmsetup", "dmsetup")]);
    let scratch = Scratch::new("ending");
    // The program holds the pipe open: only when it is gone is all read that was written to it.
    let script =
        format!("{STUCK}dd if=/dev/mapper/l bs=4096 count=1 iflag=direct 2>/dev/null & sleep 0.5; echo over");
    let output = command(&scratch, &["run", "--", "sh", "-c", &script]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"over\n"[..]));
}

#[test]
fn a_signal_to_dmlab_ends_who_waits() {
    need(&[("dmsetup", "dmsetup"), ("setsid", "util-linux")]);
    let scratch = Scratch::new("signalled");
    let script = format!(
        "{STUCK}echo ready; exec dd if=/dev/mapper/l of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null"
    );
    let mut child =
        command(&scratch, &["run", "--", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let killed =
        std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_wait_for_an_event_is_interrupted() {
    need(&[("dmsetup", "dmsetup")]);
    let scratch = Scratch::new("event");
    let script = "dmsetup create l --table '0 65536 linear /dev/ram0 0'
        timeout 1 dmsetup wait l; echo $?";
    assert_lines("wait", &run(&scratch, &[], script), "124");
}
