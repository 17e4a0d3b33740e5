//! Files of `/proc` with the host's disks taken out: what is mounted where a machine runs, and which modules it has.

use std::fmt::Write;

use dmlab_shim_proto::Retold;

/// What a mounted disk of the host's is called: the machine has none of that name.
const HOST: &str = "host";

/// The text of one of them.
pub(super) fn render(what: Retold) -> Vec<u8> {
    let host = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    match what {
        Retold::Mounts => mounts(&host("/proc/self/mounts")),
        Retold::MountInfo => mount_info(&host("/proc/self/mountinfo")),
        Retold::MountStats => mount_stats(&host("/proc/self/mountstats")),
        Retold::Swaps => "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_owned(),
        Retold::MdStat => "Personalities : \nunused devices: <none>\n".to_owned(),
        // All that the machine has is built in.
        Retold::Modules => String::new(),
    }
    .into_bytes()
}

fn source(name: &str) -> &str {
    if name.starts_with("/dev/") { HOST } else { name }
}

fn mounts(host: &str) -> String {
    let mut out = String::new();
    for line in host.lines() {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let _ = writeln!(out, "{} {rest}", source(name));
    }
    out
}

/// The device numbers are those that `stat` shows (the preload library moves those that would collide with a simulated
/// device's; this is the same rule).
fn mount_info(host: &str) -> String {
    let mut out = String::new();
    for line in host.lines() {
        let mut fields: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if let Some((major, minor)) = fields.get(2).and_then(|dev| dev.split_once(':'))
            && let Ok(major @ (1 | 7 | 240..=254)) = major.parse::<u32>()
        {
            fields[2] = format!("{}:{minor}", major | 0x800);
        }
        // After the optional fields: a dash, the file system, the source.
        if let Some(dash) = fields.iter().skip(6).position(|field| field == "-")
            && let Some(name) = fields.get_mut(6 + dash + 2)
        {
            *name = source(name).to_owned();
        }
        out.push_str(&fields.join(" "));
        out.push('\n');
    }
    out
}

fn mount_stats(host: &str) -> String {
    let mut out = String::new();
    for line in host.lines() {
        match line.strip_prefix("device ").and_then(|rest| rest.split_once(' ')) {
            Some((name, rest)) => {
                let _ = writeln!(out, "device {} {rest}", source(name));
            }
            None => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_disk_of_the_hosts_is_named() {
        assert_eq!(
            mounts("/dev/vda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n"),
            "host / ext4 rw 0 0\nproc /proc proc rw 0 0\n"
        );
        assert_eq!(
            mount_info(
                "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n23 22 0:5 / /dev rw - devtmpfs devtmpfs rw\n"
            ),
            "22 1 2302:1 / / rw,relatime shared:1 - ext4 host rw\n23 22 0:5 / /dev rw - devtmpfs devtmpfs rw\n"
        );
        assert_eq!(
            mount_stats("device /dev/sda1 mounted on / with fstype ext4\n"),
            "device host mounted on / with fstype ext4\n"
        );
    }
}
