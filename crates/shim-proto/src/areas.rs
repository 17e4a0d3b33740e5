//! Which parts of the file system are simulated: the one list, by which the preload library asks and the server answers.

use crate::{is_modules, retold, tells_of_host_disks};

/// Which part of the file system a path lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// `/dev` and below.
    Dev,
    /// A simulated part of `/sys`, or the modules of the machine's kernel.
    Sys,
    /// A simulated file of `/proc`.
    Proc,
    /// `/run/udev`, on a machine that has a udev.
    Udev,
    /// Absent.
    Absent,
    /// Not simulated.
    Real,
}

/// The simulated parts of the file system: each of these paths, and what lies below those that are no files of `/proc`. Files of the host that a machine shows
/// without the host's disks ([`retold`]), its modules ([`is_modules`]), and what tells of its disks and of nothing else
/// ([`tells_of_host_disks`]) come to them.
pub const SIMULATED: [(&[u8], Area); 17] = [
    (b"/dev", Area::Dev),
    (b"/sys/block", Area::Sys),
    (b"/sys/dev/block", Area::Sys),
    (b"/sys/class/block", Area::Sys),
    (b"/sys/class/bdi", Area::Sys),
    (b"/sys/devices/virtual/block", Area::Sys),
    (b"/sys/devices/virtual/bdi", Area::Sys),
    (b"/sys/module/dm_mod", Area::Sys),
    (b"/sys/module/dm_multipath", Area::Sys),
    (b"/sys/bus/block", Area::Absent),
    (b"/proc/devices", Area::Proc),
    (b"/proc/misc", Area::Proc),
    (b"/proc/partitions", Area::Proc),
    (b"/proc/diskstats", Area::Proc),
    (b"/proc/sysvipc/sem", Area::Proc),
    (b"/proc/sys/kernel/sem", Area::Proc),
    (b"/run/udev", Area::Udev),
];

/// Where a clean absolute path lies.
pub fn area(path: &[u8]) -> Area {
    let inside = |root: &[u8]| path.starts_with(root) && matches!(path.get(root.len()), None | Some(b'/'));
    // Most paths that a program opens begin with none of these letters.
    if !matches!(path.get(1), Some(b'd' | b'e' | b'l' | b'p' | b'r' | b's' | b'u')) {
        return Area::Real;
    }
    let is_of =
        |(root, area): &&(&[u8], Area)| if *area == Area::Proc { path == *root } else { inside(root) };
    if let Some((_, area)) = SIMULATED.iter().find(is_of) {
        return *area;
    }
    if is_modules(path) {
        Area::Sys
    } else if retold(path).is_some() {
        Area::Proc
    } else if tells_of_host_disks(path) {
        Area::Absent
    } else {
        Area::Real
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_area() {
        for (path, expected) in [
            ("/dev", Area::Dev),
            ("/dev/mapper/control", Area::Dev),
            ("/devices", Area::Real),
            ("/sys/block/dm-0/size", Area::Sys),
            ("/sys/blocks", Area::Real),
            ("/sys/module/dm_mod/parameters", Area::Sys),
            ("/sys/module/dm_thin_pool", Area::Absent),
            ("/lib/modules/6.12/modules.dep.bin", Area::Sys),
            ("/usr/lib/modules", Area::Sys),
            ("/proc/partitions", Area::Proc),
            ("/proc/self/mountinfo", Area::Proc),
            ("/etc/mtab", Area::Proc),
            ("/proc/partitions/x", Area::Real),
            ("/proc/self/maps", Area::Real),
            ("/run/udev/data/b1:0", Area::Udev),
            ("/sys/bus/block", Area::Absent),
            ("/sys/class/nvme", Area::Absent),
            ("/tmp/dev", Area::Real),
            ("/", Area::Real),
            ("", Area::Real),
        ] {
            assert_eq!(area(path.as_bytes()), expected, "{path}");
        }
    }
}
