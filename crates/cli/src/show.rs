//! Commands that show: in dmsetup's shape where it has one.

use crate::json::{self, Format};
use crate::kernel::{Failure, Kernel, Meant, Where, chosen};
use crate::output::outln;
use clap::Args;
use dmlab_abi::TargetVersion;
use dmlab_control::{Dm, Info as DeviceInfo, ListedDevice, Query, Report};
use dmlab_units::DevT;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt::Write as _;

/// Which devices, and which of their tables.
#[derive(Args)]
struct Which {
    /// The device's name; all devices if none is given.
    name: Option<OsString>,
    /// The inactive table in place of the live one.
    #[arg(long)]
    inactive: bool,
    /// Targets answer without committing first.
    #[arg(long)]
    noflush: bool,
    #[command(flatten)]
    format: Format,
}

impl Which {
    fn query(&self) -> Query {
        Query { inactive: self.inactive, noflush: self.noflush }
    }
}

type ReportOf =
    fn(&mut Dm<Box<dyn Kernel>>, &dmlab_control::DeviceId, Query) -> Result<Report, dmlab_control::Error>;

/// Shows reports; in JSON, `key` is what the text of a target is called.
fn lines(kernel: &Where, meant: &Meant, which: &Which, key: &str, ask: ReportOf) -> Result<(), Failure> {
    let mut dm = kernel.open(meant)?;
    let (devices, named) = chosen(&mut dm, which.name.as_deref())?;
    if which.format.json {
        let report =
            |(name, id): &(String, _)| Ok(json::report(name, &ask(&mut dm, id, which.query())?, key));
        let reports: Result<Value, Failure> = devices.iter().map(report).collect();
        return json::print(&reports?);
    }
    if devices.is_empty() {
        outln!("No devices found")?;
    }
    for (name, id) in devices {
        let report = ask(&mut dm, &id, which.query())?;
        let prefix = if named { format!("{name}: ") } else { String::new() };
        if report.lines.is_empty() {
            outln!("{prefix}")?;
        }
        for line in &report.lines {
            outln!("{prefix}{line}")?;
        }
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
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        lines(&self.kernel, meant, &self.which, "params", Dm::table)
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
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        lines(&self.kernel, meant, &self.which, "status", Dm::status)
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
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let mut dm = self.kernel.open(meant)?;
        let (devices, named) = chosen(&mut dm, self.which.name.as_deref())?;
        if self.which.format.json {
            let one = |(name, id): &(String, _)| {
                let deps: Vec<String> =
                    dm.deps(id, self.which.query())?.iter().map(ToString::to_string).collect();
                Ok(json!({ "name": name, "devices": deps }))
            };
            let all: Result<Value, Failure> = devices.iter().map(one).collect();
            return json::print(&all?);
        }
        if devices.is_empty() {
            outln!("No devices found")?;
        }
        for (name, id) in devices {
            let deps = dm.deps(&id, self.which.query())?;
            let prefix = if named { format!("{name}: ") } else { String::new() };
            outln!("{prefix}{}", deps_line(&deps))?;
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
    /// Say which Linux it is, and its device mapper's version, instead.
    #[arg(long = "kernel", conflicts_with_all = ["name", "inactive"])]
    version: bool,
    #[command(flatten)]
    which: Which,
}

impl Info {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let mut dm = self.kernel.open(meant)?;
        if self.version {
            let [major, minor, patch] = dm.version()?;
            let (release, version) = (dm.transport().release()?, format!("{major}.{minor}.{patch}"));
            if self.which.format.json {
                return json::print(&json!({ "release": release, "dm_version": version }));
            }
            outln!("Linux {release}, device mapper {version}")?;
            return Ok(());
        }
        let (devices, _) = chosen(&mut dm, self.which.name.as_deref())?;
        if self.which.format.json {
            let one = |(_, id): &(String, _)| Ok(json::info(&dm.info(id, self.which.query())?));
            let all: Result<Value, Failure> = devices.iter().map(one).collect();
            return json::print(&all?);
        }
        if devices.is_empty() {
            outln!("No devices found")?;
        }
        for (_, id) in &devices {
            outln!("{}", info_block(&dm.info(id, self.which.query())?))?;
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
    #[command(flatten)]
    format: Format,
}

impl Ls {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let mut dm = self.kernel.open(meant)?;
        if self.format.json {
            return json::print(&self.json(&mut dm)?);
        }
        if self.all {
            for disk in dm.transport().disks()? {
                outln!("{}\t({})\t{} sectors", disk.name, disk.dev, disk.len)?;
            }
            return Ok(());
        }
        let devices = dm.list()?;
        if devices.is_empty() {
            outln!("No devices found")?;
        }
        for device in devices {
            outln!("{}\t({})", String::from_utf8_lossy(&device.name), device.dev)?;
        }
        Ok(())
    }

    fn json(&self, dm: &mut Dm<Box<dyn Kernel>>) -> Result<Value, Failure> {
        if self.all {
            let disks = dm.transport().disks()?;
            return Ok(disks.iter().map(|disk| json::block_device(&disk.name, disk.dev, disk.len)).collect());
        }
        let one = |device: ListedDevice| {
            let uuid = device.uuid.filter(|uuid| !uuid.is_empty()).map(|uuid| json::text(&uuid));
            json!({
                "name": json::text(&device.name),
                "device": device.dev.to_string(),
                "uuid": uuid,
                "event_nr": device.event_nr,
            })
        };
        Ok(dm.list()?.into_iter().map(one).collect())
    }
}

/// List the kernel's target types.
#[derive(Args)]
pub(crate) struct Targets {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    format: Format,
}

impl Targets {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let targets = self.kernel.open(meant)?.versions()?;
        if self.format.json {
            let one = |target: &TargetVersion| json!({ "name": json::text(&target.name), "version": target.version });
            return json::print(&targets.iter().map(one).collect());
        }
        for target in targets {
            let [major, minor, patch] = target.version;
            outln!("{:<16} v{major}.{minor}.{patch}", String::from_utf8_lossy(&target.name))?;
        }
        Ok(())
    }
}

/// Show the kernel log.
#[derive(Args)]
pub(crate) struct Klog {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    format: Format,
}

impl Klog {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let lines = self.kernel.open(meant)?.transport().log_lines()?;
        if self.format.json {
            return json::print(&lines.iter().map(|line| log_line(line)).collect());
        }
        for line in &lines {
            outln!("{line}")?;
        }
        Ok(())
    }
}

/// Show the events that the kernel sent to user space, a line each.
#[derive(Args)]
pub(crate) struct Uevents {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    format: Format,
}

impl Uevents {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let events = self.kernel.open(meant)?.transport().uevents()?;
        if self.format.json {
            return json::print(&events.iter().map(|event| variables(event)).collect());
        }
        for event in events {
            // The header says again what ACTION and DEVPATH say.
            let variables: Vec<&str> = event.lines().skip(1).collect();
            outln!("{}", variables.join(" "))?;
        }
        Ok(())
    }
}

/// `[    1.234567] text`, apart.
fn log_line(line: &str) -> Value {
    let parts = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let time = parts.and_then(|(time, _)| time.trim().parse::<f64>().ok());
    match (time, parts) {
        (Some(time), Some((_, text))) => json!({ "time_s": time, "text": text }),
        _ => json!({ "time_s": null, "text": line }),
    }
}

/// An event's variables by name; its header says again what ACTION and DEVPATH say.
fn variables(event: &str) -> Value {
    let pairs = event.lines().skip(1).filter_map(|line| line.split_once('='));
    Value::Object(pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect())
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
