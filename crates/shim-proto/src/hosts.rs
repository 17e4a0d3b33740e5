//! Where the host's own disks show: parts of its `/proc`, `/sys` and `/dev` that a machine does not have, and files of
//! `/proc` that tell of mounts and modules.

/// Directories and files that tell of the host's disks and of nothing else.
const HIDDEN: &[&[u8]] = &[
    b"/proc/scsi",
    b"/proc/ide",
    b"/proc/kmsg",
    b"/proc/fs/ext4",
    b"/proc/fs/jbd2",
    b"/proc/fs/xfs",
    b"/proc/fs/btrfs",
    b"/proc/fs/f2fs",
    b"/proc/sys/dev/cdrom",
    b"/proc/sys/dev/raid",
    b"/proc/sys/dev/scsi",
    b"/sys/fs/ext4",
    b"/sys/fs/xfs",
    b"/sys/fs/btrfs",
    b"/sys/fs/f2fs",
    b"/sys/fs/bcache",
    b"/sys/bus/scsi",
    b"/sys/bus/nvme",
    b"/sys/bus/ide",
    b"/sys/bus/mmc",
    b"/sys/class/scsi_device",
    b"/sys/class/scsi_disk",
    b"/sys/class/scsi_generic",
    b"/sys/class/scsi_host",
    b"/sys/class/nvme",
    b"/sys/class/nvme-generic",
    b"/sys/class/nvme-subsystem",
    b"/sys/class/bsg",
    b"/sys/class/ata_device",
    b"/sys/class/ata_link",
    b"/sys/class/ata_port",
    b"/sys/class/mmc_host",
    b"/sys/class/iscsi_host",
    b"/sys/class/iscsi_session",
    b"/sys/kernel/debug/block",
    b"/sys/kernel/debug/bdi",
];

/// Modules that drive disks. What the machine has of them it has built in; only those with parameters show.
const DISK_MODULES: &[&[u8]] = &[
    b"dm_",
    b"md_mod",
    b"raid",
    b"bcache",
    b"loop",
    b"brd",
    b"nbd",
    b"zram",
    b"ublk_drv",
    b"virtio_blk",
    b"nvme",
    b"sd_mod",
    b"sr_mod",
    b"scsi_",
    b"ahci",
    b"libata",
    b"mmc_",
    b"multipath",
    b"linear",
    b"drbd",
    b"rbd",
];

/// Modules that the machine shows in `/sys/module`.
const OWN_MODULES: &[&[u8]] = &[b"dm_mod", b"dm_multipath"];

fn inside(path: &[u8], root: &[u8]) -> bool {
    path.starts_with(root) && matches!(path.get(root.len()), None | Some(b'/'))
}

/// Whether a clean absolute path tells of the host's disks, and so leads nowhere in a machine.
pub fn tells_of_host_disks(path: &[u8]) -> bool {
    if HIDDEN.iter().any(|root| inside(path, root)) {
        return true;
    }
    if let Some(module) = path.strip_prefix(b"/sys/module/") {
        let module = module.split(|&b| b == b'/').next().unwrap_or_default();
        return !OWN_MODULES.contains(&module) && DISK_MODULES.iter().any(|name| module.starts_with(name));
    }
    if let Some(device) = path.strip_prefix(b"/sys/devices/") {
        let is_disk =
            |part: &[u8]| matches!(part, b"block" | b"nvme" | b"scsi_disk" | b"scsi_device" | b"bsg");
        return !device.starts_with(b"virtual/") && device.split(|&b| b == b'/').any(is_disk);
    }
    path == b"/dev/kmsg"
}

/// Whether a clean absolute path lies where the kernel's modules are, of which a machine has its own view.
pub fn is_modules(path: &[u8]) -> bool {
    inside(path.strip_prefix(b"/usr").unwrap_or(path), b"/lib/modules")
}

/// A file of `/proc` that a machine shows with the host's disks taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retold {
    /// `mounts`, and `/etc/mtab`, which is a link to it.
    Mounts,
    /// `mountinfo`.
    MountInfo,
    /// `mountstats`.
    MountStats,
    /// `swaps`.
    Swaps,
    /// `mdstat`.
    MdStat,
    /// `modules`.
    Modules,
}

/// Which of them a clean absolute path names.
pub fn retold(path: &[u8]) -> Option<Retold> {
    let name = match path {
        b"/proc/mounts" | b"/etc/mtab" => return Some(Retold::Mounts),
        b"/proc/swaps" => return Some(Retold::Swaps),
        b"/proc/mdstat" => return Some(Retold::MdStat),
        b"/proc/modules" => return Some(Retold::Modules),
        _ => path.strip_prefix(b"/proc/")?,
    };
    let (process, file) = name.split_at(name.iter().position(|&b| b == b'/')?);
    let is_process =
        process == b"self" || process == b"thread-self" || process.iter().all(u8::is_ascii_digit);
    match file {
        b"/mounts" if is_process => Some(Retold::Mounts),
        b"/mountinfo" if is_process => Some(Retold::MountInfo),
        b"/mountstats" if is_process => Some(Retold::MountStats),
        _ => None,
    }
}

/// Whether an entry of the host's `/dev` that is no block device shows in a machine. Directories hold links to disks, unless
/// they are known for something else.
pub fn host_dev_shows(name: &[u8], is_directory: bool) -> bool {
    const DIRECTORIES: &[&[u8]] = &[
        b"pts",
        b"shm",
        b"mqueue",
        b"hugepages",
        b"fd",
        b"input",
        b"dri",
        b"snd",
        b"net",
        b"bus",
        b"cpu",
        b"vfio",
        b"usb",
        b"infiniband",
        b"dma_heap",
    ];
    const DRIVERS: &[&[u8]] = &[
        b"btrfs-control",
        b"kmsg",
        b"ublk-control",
        b"zfs",
        b"sg",
        b"nvme",
        b"bsg",
        b"st",
        b"nst",
        b"ng",
        b"mapper",
        b"raw",
        b"cdrom",
        b"dvd",
        b"root",
        b"megaraid",
        b"mpt",
        b"drbd",
        b"rbd",
        b"fuse-block",
        b"vcd",
    ];
    if is_directory {
        return DIRECTORIES.contains(&name);
    }
    let numbered = |driver: &[u8]| {
        name.strip_prefix(driver).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_digit))
    };
    !DRIVERS.iter().any(|driver| numbered(driver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_tell_of_disks_are_hidden() {
        for path in [
            "/proc/scsi/scsi",
            "/proc/fs/ext4/sda1/options",
            "/sys/fs/btrfs",
            "/sys/module/dm_thin_pool",
            "/dev/kmsg",
            "/sys/module/nvme_core/parameters",
            "/sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda/size",
            "/proc/sys/dev/raid/speed_limit_max",
        ] {
            assert!(tells_of_host_disks(path.as_bytes()), "{path}");
        }
        for path in [
            "/proc/fs",
            "/proc/sys/dev/tty",
            "/sys/module/dm_mod/parameters",
            "/sys/module/ext4",
            "/sys/fs/cgroup",
            "/sys/devices/virtual/block/dm-0",
            "/sys/devices/system/cpu",
            "/dev/null",
            "/proc/scsix",
        ] {
            assert!(!tells_of_host_disks(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn files_of_processes_are_known() {
        assert_eq!(retold(b"/proc/self/mounts"), Some(Retold::Mounts));
        assert_eq!(retold(b"/etc/mtab"), Some(Retold::Mounts));
        assert_eq!(retold(b"/proc/1/mountinfo"), Some(Retold::MountInfo));
        assert_eq!(retold(b"/proc/swaps"), Some(Retold::Swaps));
        assert_eq!(retold(b"/proc/1/maps"), None);
        assert_eq!(retold(b"/proc/sys/mounts"), None);
        assert_eq!(retold(b"/proc/1/2/mounts"), None);
    }

    #[test]
    fn the_hosts_drivers_do_not_show_in_dev() {
        for (name, is_directory) in
            [("btrfs-control", false), ("sg0", false), ("disk", true), ("vg0", true), ("nvme0", false)]
        {
            assert!(!host_dev_shows(name.as_bytes(), is_directory), "{name}");
        }
        for (name, is_directory) in
            [("null", false), ("stdin", false), ("sgx_enclave", false), ("pts", true), ("fuse", false)]
        {
            assert!(host_dev_shows(name.as_bytes(), is_directory), "{name}");
        }
    }
}
