#!/bin/sh
# rustix 1.1: OFlags::DSYNC has all bits of O_SYNC, so flags of a file that was opened with O_DSYNC do not contain it.
#
# O_DSYNC (0x1000 on x86-64 and arm64) asks that each write reaches the disk with what is needed to read it back; O_SYNC (0x101000) is
# that bit and one more, for all of the file's attributes. A program that answers for a disk looks at both.
#
# Expected: OFlags::DSYNC is O_DSYNC, and OFlags::from_bits_retain of the flags that the kernel gives (F_GETFL) contains it.
# Real: on Linux OFlags::DSYNC is O_SYNC. `contains(OFlags::DSYNC)` is false for a file opened with O_DSYNC, and one opened through
#   rustix with OFlags::DSYNC is opened with O_SYNC. `intersects(OFlags::DSYNC)` says what was meant. Seen with rustix 1.1.6 and
#   libc 0.2.191.
#
# Needs cargo; installs nothing on the system.
set -eu
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
cd "$W"
mkdir src
cat >Cargo.toml <<'X'
[package]
name = "dsync"
version = "0.0.0"
edition = "2021"
[dependencies]
rustix = { version = "=1.1.6", features = ["fs"] }
libc = "=0.2.191"
X
cat >src/main.rs <<'X'
use rustix::fs::{fcntl_getfl, open, Mode, OFlags};
use std::os::unix::fs::OpenOptionsExt;

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let file = std::fs::OpenOptions::new().write(true).create(true).custom_flags(libc::O_DSYNC).open(&path).unwrap();
    let flags = fcntl_getfl(&file).unwrap();
    let again = open(&path, OFlags::WRONLY | OFlags::DSYNC, Mode::empty()).unwrap();
    // SAFETY: F_GETFL takes nothing but the descriptor.
    let raw = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&again), libc::F_GETFL) };
    println!(
        "DSYNC {:#x}, SYNC {:#x}; opened with O_DSYNC: contains {}, intersects {}; opened with OFlags::DSYNC: {}",
        OFlags::DSYNC.bits(),
        OFlags::SYNC.bits(),
        flags.contains(OFlags::DSYNC),
        flags.intersects(OFlags::DSYNC),
        if raw & libc::O_SYNC == libc::O_SYNC { "O_SYNC" } else { "O_DSYNC" }
    );
}
X
said=$(cargo run --quiet -- "$W/file")
echo "$said"
[ "$said" = "DSYNC 0x101000, SYNC 0x101000; opened with O_DSYNC: contains false, intersects true; opened with OFlags::DSYNC: O_SYNC" ]
