//! Programs that the tests drive, and the Debian packages they come from.

use std::path::Path;
use std::process::Command;

/// What to look for (a program, or a file when it begins with `/`) and the package that has it.
const NEEDS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("blkdiscard", "util-linux"),
    ("blkid", "util-linux"),
    ("busybox", "busybox-static"),
    ("bwrap", "bubblewrap"),
    ("cc", "gcc"),
    ("cryptsetup", "cryptsetup-bin"),
    ("dash", "dash"),
    ("debugfs", "e2fsprogs"),
    ("dmsetup", "dmsetup"),
    ("fio", "fio"),
    ("go", "golang-go"),
    ("git", "git"),
    ("groff", "groff-base"),
    ("kpartx", "kpartx"),
    ("losetup", "mount"),
    ("lvm", "lvm2"),
    ("make", "make"),
    ("mawk", "mawk"),
    ("mkfs.ext4", "e2fsprogs"),
    ("modprobe", "kmod"),
    ("multipath", "multipath-tools"),
    ("musl-gcc", "musl-tools"),
    ("parted", "parted"),
    ("perl", "perl"),
    ("pgrep", "procps"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("sfdisk", "fdisk"),
    ("strace", "strace"),
    ("thin_check", "thin-provisioning-tools"),
    ("udevadm", "udev"),
    ("xxd", "xxd"),
    ("/usr/lib/x86_64-linux-gnu/libaio.so.1", "libaio1"),
];

/// Folders with programs; an ordinary user's PATH often lacks the sbin ones.
const FOLDERS: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Makes sure that every program is there: installs what is missing when root, else names the line to run.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) fn ensure() -> Result<(), String> {
    let packages = missing(std::path::Path::exists);
    if packages.is_empty() {
        return Ok(());
    }
    let install = ["apt-get", "install", "-y", "--no-install-recommends"];
    let line = format!("{} {}", install.join(" "), packages.join(" "));
    if !crate::whole::is_root() {
        return Err(format!("missing programs; as root run:\n  {line}\nthen repeat"));
    }
    for command in [&["apt-get", "update", "-qq"][..], &[&install[..], &packages].concat()] {
        let status =
            Command::new(command[0]).args(&command[1..]).env("DEBIAN_FRONTEND", "noninteractive").status();
        if !status.is_ok_and(|s| s.success()) {
            return Err(format!("`{}` failed; the tests need {}", command.join(" "), packages.join(", ")));
        }
    }
    let still = missing(std::path::Path::exists);
    if still.is_empty() {
        Ok(())
    } else {
        Err(format!("installed, but still not there: {}", still.join(", ")))
    }
}

/// Packages of which `exists` finds something missing.
fn missing(exists: impl Fn(&Path) -> bool) -> Vec<&'static str> {
    let has = |program: &str| match program.starts_with('/') {
        true => exists(Path::new(program)),
        false => FOLDERS.iter().any(|folder| exists(&Path::new(folder).join(program))),
    };
    let mut packages: Vec<_> =
        NEEDS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package_once() {
        let without = |gone: &'static [&'static str]| missing(move |p| !gone.iter().any(|g| p.ends_with(g)));
        assert_eq!(without(&[]), Vec::<&str>::new());
        assert_eq!(without(&["debugfs", "mkfs.ext4", "dmsetup"]), ["dmsetup", "e2fsprogs"]);
    }
}
