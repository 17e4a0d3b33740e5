//! The files of `/proc` that tell of block devices, and the one that lists semaphores.

use std::fmt::Write;

use dmlab_machine::Machine;

use super::Semaphores;

/// The text of a simulated file of `/proc`.
pub(super) fn render(machine: &Machine, semaphores: &dyn Semaphores, path: &[u8]) -> Option<Vec<u8>> {
    match path {
        b"/proc/sys/kernel/sem" => Some(semaphore_limits()),
        b"/proc/sysvipc/sem" => Some(semaphores.listing().into_bytes()),
        b"/proc/devices" => Some(devices(machine)),
        b"/proc/misc" => Some(misc()),
        b"/proc/partitions" => Some(partitions(machine)),
        b"/proc/diskstats" => Some(disk_stats(machine)),
        _ => dmlab_shim_proto::retold(path).map(super::retold::render),
    }
}

/// `/proc/sys/kernel/sem`: semaphores of a set, of all sets, operations of a call, sets.
fn semaphore_limits() -> Vec<u8> {
    use dmlab_shim_proto::semaphore_limits::{IN_ALL, OF_A_SET, OPERATIONS, SETS};
    format!("{OF_A_SET}\t{IN_ALL}\t{OPERATIONS}\t{SETS}\n").into_bytes()
}

/// `/proc/devices`: the reference machine's block drivers, with the device mapper where it is.
fn devices(machine: &Machine) -> Vec<u8> {
    let mut out = String::from("Character devices:\n");
    for (major, name) in [
        (1, "mem"),
        (4, "/dev/vc/0"),
        (4, "tty"),
        (4, "ttyS"),
        (5, "/dev/tty"),
        (5, "/dev/console"),
        (5, "/dev/ptmx"),
        (7, "vcs"),
        (10, "misc"),
        (13, "input"),
        (128, "ptm"),
        (136, "pts"),
    ] {
        let _ = writeln!(out, "{major:3} {name}");
    }
    out.push_str("\nBlock devices:\n");
    let mut block = vec![
        (1, "ramdisk"),
        (7, "loop"),
        (9, "md"),
        (machine.mapper().major(), "device-mapper"),
        (259, "blkext"),
    ];
    if machine.mapper().major() != 253 {
        block.push((253, "mdp"));
    }
    block.sort_unstable();
    for (major, name) in block {
        let _ = writeln!(out, "{major:3} {name}");
    }
    out.into_bytes()
}

fn misc() -> Vec<u8> {
    b"237 loop-control\n236 device-mapper\n".to_vec()
}

/// `/proc/partitions`: devices that have a size, in 1024-byte blocks.
fn partitions(machine: &Machine) -> Vec<u8> {
    let mut out = String::from("major minor  #blocks  name\n\n");
    for device in machine.devices_by_disk().iter().filter(|device| device.size.0 > 0) {
        let (major, minor) = (device.dev.major(), device.dev.minor());
        let _ = writeln!(out, "{major:4}  {minor:7} {:10} {}", device.size.0 / 2, device.name);
    }
    out.into_bytes()
}

/// `/proc/diskstats`: all devices, with the numbers of their `stat`.
fn disk_stats(machine: &Machine) -> Vec<u8> {
    let mut out = String::new();
    for device in machine.devices_by_disk() {
        let (major, minor) = (device.dev.major(), device.dev.minor());
        let numbers = super::sysfs::stat_numbers(&device).map(|number| number.to_string()).join(" ");
        let _ = writeln!(out, "{major:4} {minor:7} {} {numbers}", device.name);
    }
    out.into_bytes()
}
