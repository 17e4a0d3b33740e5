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
