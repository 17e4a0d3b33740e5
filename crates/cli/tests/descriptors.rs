//! Calls on the descriptor of a device, by a C program that prints what each returns. What it must print was printed by the
//! same program on a linear device of a Linux 6.12.

mod kit;

use kit::{Scratch, assert_lines, compile, run};

/// One part of the program.
fn check(part: &str, recorded: &str) {
    let scratch = Scratch::new(&format!("calls-{part}"));
    let program = compile(&scratch, "descriptors/calls.c");
    let script = format!(
        "dmsetup create l --table '0 65536 linear /dev/ram0 0'\n{} /dev/mapper/l {part}",
        program.display()
    );
    assert_lines(part, &run(&scratch, &[], &script), recorded);
}

#[test]
fn appending_changes_nothing() {
    check("append", include_str!("descriptors/append.txt"));
}

#[test]
fn vectors_flags_alignment_and_the_end() {
    check("vectors", include_str!("descriptors/vectors.txt"));
}

#[test]
fn bytes_move_between_devices_pipes_and_files() {
    check("pipes", include_str!("descriptors/pipes.txt"));
}

#[test]
fn advice_and_syncs() {
    check("advice", include_str!("descriptors/advice.txt"));
}

#[test]
fn places_and_fallocate() {
    check("places", include_str!("descriptors/places.txt"));
}

#[test]
fn open_flags_and_fcntl() {
    check("flags", include_str!("descriptors/flags.txt"));
}

#[test]
fn a_descriptor_has_the_name_that_was_opened() {
    check("names", include_str!("descriptors/names.txt"));
}

/// Printed by the same program on Linux 6.12 with `printk.devkmsg=on`. Records come as they would from a kernel of any log.
#[test]
fn the_kernel_log_is_a_device() {
    let scratch = Scratch::new("kmsg");
    let program = compile(&scratch, "descriptors/kmsg.c");
    assert_lines(
        "kmsg",
        &run(&scratch, &[], &program.display().to_string()),
        include_str!("descriptors/kmsg.txt"),
    );
    // Readers of the kernel's own lines, and one who follows the log and is there when a line comes.
    let script = "ls /dev | grep -c kmsg; dmsetup create x --table '0 8 nosuch' 2>/dev/null
        dmesg | grep -o 'unknown target type'; dmesg -x | grep -o 'kern *:err *: .*unknown'  | sed 's/\\[.*\\]/T/'
        grep -m 1 -o '^3,[0-9]*,[0-9]*,-;device-mapper: table: .*unknown target type' /dev/kmsg | sed 's/,.*,/,N,T,/'
        timeout 60 sh -c 'dmesg --follow | grep -m 1 -o followed' & follower=$!
        for i in $(seq 200); do echo followed >/dev/kmsg; kill -0 $follower 2>/dev/null || break; sleep 0.05; done; wait $follower";
    let want = "1\nunknown target type\nkern  :err   : T device-mapper: table: 254:0: nosuch: unknown\n\
        3,N,T,-;device-mapper: table: 254:0: nosuch: unknown target type\nfollowed\n";
    assert_lines("dmesg", &run(&scratch, &[], script), want);
    // A log that is cleared, by each of the three ways to do so; by `dmesg -S`, syslog(2) instead of the device.
    let script = "log() { echo $1 >/dev/kmsg; }
        log one; dmesg -c | grep -c one; dmesg | grep -c one; dmesg -S | grep -c one; grep -m 1 -c one /dev/kmsg
        log two; dmesg | grep -c two; dmesg -S | sed 's/^.*\\] //'; dmesg -C; dmesg | wc -l; dmesg -S | wc -l
        log '<11>three'; dmesg -S -r | sed 's/\\[.*\\]/T/'; dmesg -S -c | wc -l; dmesg -S | wc -l";
    assert_lines("dmesg -c", &run(&scratch, &[], script), "1\n0\n0\n1\n1\ntwo\n0\n0\n<11>T three\n1\n0\n");
    // A reader whose next line is no longer kept.
    let script = "exec 3</dev/kmsg; python3 - <<'P'
import os
log = os.open('/dev/kmsg', os.O_WRONLY)
for i in range(17000): os.write(log, b'line\\n')
try: os.read(3, 1000)
except OSError as error: print(error.errno)
print(os.read(3, 1000)[-6:])
P";
    assert_lines("lost", &run(&scratch, &[], script), "32\nb';line\\n'\n");
}
