//! Commands that show: in dmsetup's shape where it has one.

use crate::kernel::{Failure, Kernel, Where, chosen};
use clap::Args;
use dmlab_control::{Dm, Info as DeviceInfo, Query, Report};
use dmlab_units::DevT;
use std::fmt::Write as _;

/// Which devices, and which of their tables.
#[derive(Args)]
struct Which {
    /// The device's name; all devices if none is given.
    name: Option<String>,
    /// The inactive table in place of the live one.
    #[arg(long)]
    inactive: bool,
    /// Targets answer without committing first.
    #[arg(long)]
    noflush: bool,
}

impl Which {
    fn query(&self) -> Query {
        Query { inactive: self.inactive, noflush: self.noflush }
    }
}

type ReportOf =
    fn(&mut Dm<Box<dyn Kernel>>, &dmlab_control::DeviceId, Query) -> Result<Report, dmlab_control::Error>;

fn lines(kernel: &Where, which: &Which, ask: ReportOf) -> Result<(), Failure> {
    let mut dm = kernel.open()?;
    let (devices, named) = chosen(&mut dm, which.name.as_deref())?;
    if devices.is_empty() {
        println!("No devices found");
    }
    for (name, id) in devices {
        let report = ask(&mut dm, &id, which.query())?;
        let prefix = if named { format!("{name}: ") } else { String::new() };
        if report.lines.is_empty() {
            println!("{prefix}");
        }
        report.lines.iter().for_each(|line| println!("{prefix}{line}"));
    }
    Ok(())
}

/// Show tables.
#[derive(Args)]
pub(crate) struct Table {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    which: Which,
}

impl Table {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        lines(&self.kernel, &self.which, Dm::table)
    }
}

/// Show the targets' status.
#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    which: Which,
}

impl Status {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        lines(&self.kernel, &self.which, Dm::status)
    }
}

/// Show what devices are made of, as numbers.
#[derive(Args)]
pub(crate) struct Deps {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    which: Which,
}

impl Deps {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut dm = self.kernel.open()?;
        let (devices, named) = chosen(&mut dm, self.which.name.as_deref())?;
        if devices.is_empty() {
            println!("No devices found");
        }
        for (name, id) in devices {
            let deps = dm.deps(&id, self.which.query())?;
            let prefix = if named { format!("{name}: ") } else { String::new() };
            println!("{prefix}{}", deps_line(&deps));
        }
        Ok(())
    }
}

/// The line of `dmsetup deps`.
pub(crate) fn deps_line(deps: &[DevT]) -> String {
    let numbers: String = deps.iter().map(|dev| format!(" ({}, {})", dev.major(), dev.minor())).collect();
    format!("{} dependencies\t:{numbers}", deps.len())
}

/// Show what the kernel knows of devices.
#[derive(Args)]
pub(crate) struct Info {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    which: Which,
}

impl Info {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut dm = self.kernel.open()?;
        let (devices, _) = chosen(&mut dm, self.which.name.as_deref())?;
        if devices.is_empty() {
            println!("No devices found");
        }
        for (_, id) in &devices {
            println!("{}", info_block(&dm.info(id, self.which.query())?));
        }
        Ok(())
    }
}

/// The block of `dmsetup info`.
pub(crate) fn info_block(info: &DeviceInfo) -> String {
    let mut state = if info.is_suspended() { "SUSPENDED" } else { "ACTIVE" }.to_owned();
    if info.is_suspended_internally() {
        state.push_str(" (INTERNALLY)");
    }
    if info.is_read_only() {
        state.push_str(" (READ-ONLY)");
    }
    if info.is_deferred_remove() {
        state.push_str(" (DEFERRED REMOVE)");
    }
    let tables = match (info.has_live_table(), info.has_inactive_table()) {
        (false, false) => "None",
        (true, false) => "LIVE",
        (false, true) => "INACTIVE",
        (true, true) => "LIVE & INACTIVE",
    };
    let mut text = String::new();
    let mut field = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name:<19}{value}");
    };
    field("Name:", &String::from_utf8_lossy(&info.name));
    field("State:", &state);
    field("Tables present:", &tables);
    field("Open count:", &info.open_count);
    field("Event number:", &info.event_nr);
    if let Some(dev) = info.dev {
        field("Major, minor:", &format_args!("{}, {}", dev.major(), dev.minor()));
    }
    field("Number of targets:", &info.target_count);
    if !info.uuid.is_empty() {
        let _ = writeln!(text, "UUID: {}", String::from_utf8_lossy(&info.uuid));
    }
    text
}

/// List devices.
#[derive(Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    kernel: Where,
    /// Every block device, with its size, in place of the mapped ones.
    #[arg(short, long)]
    all: bool,
}

impl Ls {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut dm = self.kernel.open()?;
        if self.all {
            for disk in dm.transport().disks()? {
                println!("{}\t({})\t{} sectors", disk.name, disk.dev, disk.len);
            }
            return Ok(());
        }
        let devices = dm.list()?;
        if devices.is_empty() {
            println!("No devices found");
        }
        for device in devices {
            println!("{}\t({})", String::from_utf8_lossy(&device.name), device.dev);
        }
        Ok(())
    }
}

/// List the kernel's target types.
#[derive(Args)]
pub(crate) struct Targets {
    #[command(flatten)]
    kernel: Where,
}

impl Targets {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        for target in self.kernel.open()?.versions()? {
            let [major, minor, patch] = target.version;
            println!("{:<16} v{major}.{minor}.{patch}", String::from_utf8_lossy(&target.name));
        }
        Ok(())
    }
}

/// Show the kernel log.
#[derive(Args)]
pub(crate) struct Klog {
    #[command(flatten)]
    kernel: Where,
}

impl Klog {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let lines = self.kernel.open()?.transport().log_lines()?;
        lines.iter().for_each(|line| println!("{line}"));
        Ok(())
    }
}

/// Show the events that the kernel sent to user space, a line each.
#[derive(Args)]
pub(crate) struct Uevents {
    #[command(flatten)]
    kernel: Where,
}

impl Uevents {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        for event in self.kernel.open()?.transport().uevents()? {
            // The header says again what ACTION and DEVPATH say.
            let variables: Vec<&str> = event.lines().skip(1).collect();
            println!("{}", variables.join(" "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmlab_abi::DmFlags;

    #[test]
    fn info_looks_as_dmsetup_prints_it() {
        // Golden case core/create-info, without the line that needs the node.
        let info = DeviceInfo {
            name: b"lin".to_vec(),
            uuid: b"TEST-abc".to_vec(),
            dev: Some(DevT::new(254, 0)),
            open_count: 0,
            event_nr: 0,
            target_count: 1,
            flags: DmFlags::ACTIVE_PRESENT,
        };
        let want = "\
Name:              lin
State:             ACTIVE
Tables present:    LIVE
Open count:        0
Event number:      0
Major, minor:      254, 0
Number of targets: 1
UUID: TEST-abc
";
        assert_eq!(info_block(&info), want);
    }

    #[test]
    fn deps_look_as_dmsetup_prints_them() {
        assert_eq!(deps_line(&[]), "0 dependencies\t:");
        assert_eq!(deps_line(&[DevT::new(1, 1), DevT::new(254, 0)]), "2 dependencies\t: (1, 1) (254, 0)");
    }
}
