//! The kernel that a command talks to.

use crate::remote::Remote;
use clap::Args;
use dmlab_control::{DeviceId, Dm, RealControl, Transport, UDEV_PRIMARY_SOURCE};
use dmlab_units::{DevT, DmName, DmUuid, Sectors};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

/// A command's failure, ready to be shown.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// A block device of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) dev: DevT,
    /// The kernel's name: `ram0`, `dm-3`.
    pub(crate) name: String,
    pub(crate) len: Sectors,
}

/// A device mapper with the devices below it and its log.
pub(crate) trait Kernel: Transport + Send {
    /// All block devices, by number.
    fn disks(&mut self) -> io::Result<Vec<Disk>>;

    /// Fills `buf` from byte `at` of a device on.
    fn read(&mut self, disk: &Disk, at: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` to byte `at` of a device on.
    fn write(&mut self, disk: &Disk, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Kernel log lines with their time, oldest first.
    fn log_lines(&mut self) -> io::Result<Vec<String>>;

    /// Events that the kernel sent to user space, oldest first: a header, then a variable a line.
    fn uevents(&mut self) -> io::Result<Vec<String>>;

    /// Which Linux it is: `6.12.95`.
    fn release(&mut self) -> io::Result<String>;
}

impl Kernel for RealControl {
    fn disks(&mut self) -> io::Result<Vec<Disk>> {
        let text = std::fs::read_to_string("/proc/partitions")?;
        Ok(text.lines().filter_map(partition).collect())
    }

    fn read(&mut self, disk: &Disk, at: u64, buf: &mut [u8]) -> io::Result<()> {
        OpenOptions::new().read(true).open(node(disk.dev))?.read_exact_at(buf, at)
    }

    fn write(&mut self, disk: &Disk, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(node(disk.dev))?;
        file.write_all_at(bytes, at)?;
        file.sync_data()
    }

    fn log_lines(&mut self) -> io::Result<Vec<String>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a real kernel's log is read with dmesg"))
    }

    fn release(&mut self) -> io::Result<String> {
        Ok(rustix::system::uname().release().to_string_lossy().into_owned())
    }

    fn uevents(&mut self) -> io::Result<Vec<String>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a real kernel keeps no events; `udevadm monitor --kernel --property` shows them as they come",
        ))
    }
}

fn node(dev: DevT) -> String {
    format!("/dev/block/{dev}")
}

/// A line of /proc/partitions: major, minor, size in KiB, name.
fn partition(line: &str) -> Option<Disk> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [major, minor, kib, name] = words[..] else { return None };
    let len = Sectors(kib.parse::<u64>().ok()?.checked_mul(2)?);
    Some(Disk { dev: DevT::new(major.parse().ok()?, minor.parse().ok()?), name: name.to_owned(), len })
}

/// The machine that a command means.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meant {
    /// The one that `--machine` names.
    named: Option<String>,
}

/// The variable that names the machine which commands mean when nothing else does.
pub(crate) const MACHINE_VARIABLE: &str = "DMLAB_MACHINE";
/// The variable that programs inside a machine find: the machine's socket.
pub(crate) const SOCKET_VARIABLE: &str = "DMLAB_SOCKET";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Meant {
    /// What `--machine` says, and what the environment says.
    pub(crate) fn new(named: Option<String>) -> Meant {
        Meant { named }
    }

    /// The machine that a command asks: the named one, else the one around (inside `dmlab run`), else the one that
    /// DMLAB_MACHINE names. A name, or the path of a socket.
    pub(crate) fn machine(&self) -> Option<String> {
        self.named.clone().or_else(|| variable(SOCKET_VARIABLE)).or_else(|| variable(MACHINE_VARIABLE))
    }

    /// The machine that was asked for by its name, where it is not the one around.
    pub(crate) fn elsewhere(&self) -> Option<String> {
        let is_inside = variable(SOCKET_VARIABLE).is_some();
        self.named.clone().or_else(|| variable(MACHINE_VARIABLE).filter(|_| !is_inside))
    }

    /// Where the name of the machine comes from, to stand behind it in a message: nothing where the user has just written it.
    pub(crate) fn origin(&self) -> String {
        match (&self.named, variable(SOCKET_VARIABLE), variable(MACHINE_VARIABLE)) {
            (None, None, Some(_)) => format!(" (named by {MACHINE_VARIABLE})"),
            _ => String::new(),
        }
    }

    /// Connects to something that is named so; an error says where the name comes from.
    ///
    /// # Errors
    /// As `connect`.
    pub(crate) fn reach<T>(&self, connect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        connect().map_err(|error| match &*self.origin() {
            "" => error,
            origin => io::Error::new(error.kind(), format!("{error}{origin}")),
        })
    }

    /// The machine of a command that names one itself, as `halt NAME` does.
    ///
    /// # Errors
    /// When none is named, or two are.
    pub(crate) fn or_named(&self, name: Option<&str>) -> Result<String, Failure> {
        match (name, self.named.as_deref()) {
            (Some(name), Some(other)) if name != other => {
                Err(format!("two machines are named: {name} and, by --machine, {other}").into())
            }
            (Some(name), _) => Ok(name.to_owned()),
            (None, _) => {
                self.elsewhere().ok_or_else(|| "name a machine: `dmlab machines` lists those that run".into())
            }
        }
    }

    /// Holds that no machine was named to a command that has no use for one.
    ///
    /// # Errors
    /// When one was, with what the command works on instead.
    pub(crate) fn none(&self, command: &str, instead: &str) -> Result<(), Failure> {
        match &self.named {
            Some(name) => {
                Err(format!("`dmlab {command}` {instead}: --machine {name} has no meaning for it").into())
            }
            None => Ok(()),
        }
    }

    /// The simulated machine that is meant.
    ///
    /// # Errors
    /// When none is.
    pub(crate) fn simulated(&self) -> Result<String, Failure> {
        self.machine().ok_or_else(|| format!("which machine? {WHICH}").into())
    }
}

/// How a machine is named.
const WHICH: &str = "Boot one (dmlab boot NAME) and name it with --machine NAME or the environment variable \
                     DMLAB_MACHINE, or run this inside `dmlab run`";

/// Which kind of kernel to talk to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Where {
    /// The kernel that this program runs on, through /dev/mapper/control.
    #[arg(long)]
    real: bool,
}

impl Where {
    /// Whether a simulated machine is meant: named, or around.
    pub(crate) fn names_a_machine(&self, meant: &Meant) -> bool {
        !self.real && meant.machine().is_some()
    }

    /// Opens the kernel.
    ///
    /// # Errors
    /// When no machine is meant, or two kernels are, or it cannot be reached.
    pub(crate) fn open(&self, meant: &Meant) -> Result<Dm<Box<dyn Kernel>>, Failure> {
        let kernel: Box<dyn Kernel> = if self.real {
            meant.none("… --real", "asks the kernel that it runs on")?;
            Box::new(RealControl::open()?)
        } else {
            let Some(machine) = meant.machine() else {
                return Err(format!("which machine? {WHICH}, or say --real for this Linux").into());
            };
            Box::new(meant.reach(|| Remote::connect(&machine))?)
        };
        let mut dm = Dm::new(kernel);
        // So that the udev of the machine makes and removes the nodes in /dev/mapper.
        dm.set_udev_cookie(UDEV_PRIMARY_SOURCE);
        Ok(dm)
    }
}

/// The device that a command is about.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Named {
    /// Its name.
    name: Option<OsString>,
    /// Its uuid, in place of the name.
    #[arg(short, long)]
    uuid: Option<OsString>,
}

impl Named {
    /// As the control crate wants it.
    pub(crate) fn id(&self) -> Result<DeviceId, Failure> {
        match (&self.name, &self.uuid) {
            (Some(name), _) => Ok(DeviceId::Name(device_name(name)?)),
            (_, Some(uuid)) => Ok(DeviceId::Uuid(device_uuid(uuid)?)),
            (None, None) => Err("name a device".into()),
        }
    }
}

/// Checks a device's name, any bytes that the kernel takes; `/dev/mapper/NAME` names it too.
pub(crate) fn device_name(text: impl AsRef<OsStr>) -> Result<DmName, Failure> {
    let bytes = text.as_ref().as_bytes();
    let name = bytes.strip_prefix(b"/dev/mapper/").unwrap_or(bytes);
    DmName::new(name).map_err(|e| format!("name `{}`: {e}", String::from_utf8_lossy(name)).into())
}

/// Checks a uuid, any bytes that the kernel takes.
pub(crate) fn device_uuid(text: impl AsRef<OsStr>) -> Result<DmUuid, Failure> {
    let bytes = text.as_ref().as_bytes();
    DmUuid::new(bytes).map_err(|e| format!("uuid `{}`: {e}", String::from_utf8_lossy(bytes)).into())
}

/// All mapped devices with their ids, or the one that was named. The flag says whether lines need a name in front.
pub(crate) fn chosen(
    dm: &mut Dm<Box<dyn Kernel>>,
    name: Option<&OsStr>,
) -> Result<(Vec<(String, DeviceId)>, bool), Failure> {
    if let Some(name) = name {
        let name = device_name(name)?;
        return Ok((vec![(name.to_string(), DeviceId::Name(name))], false));
    }
    let list = dm.list()?.into_iter();
    Ok((list.map(|d| (String::from_utf8_lossy(&d.name).into_owned(), DeviceId::Dev(d.dev))).collect(), true))
}

/// The number of the device that `text` names: a mapped device's name, a node below /dev, or MAJOR:MINOR.
pub(crate) fn block_device(dm: &mut Dm<Box<dyn Kernel>>, text: &str) -> Result<Disk, Failure> {
    let disks = dm.transport().disks()?;
    let by_number = text.parse::<DevT>().ok();
    let name = text.strip_prefix("/dev/mapper/").or_else(|| text.strip_prefix("/dev/")).unwrap_or(text);
    let mapped = dm.list()?.into_iter().find(|d| d.name == name.as_bytes()).map(|d| d.dev);
    let wanted = by_number.or(mapped);
    let found = disks.iter().find(|disk| wanted.map_or(disk.name == name, |dev| disk.dev == dev));
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = disks.iter().map(|d| d.name.as_str()).collect();
        format!("no block device `{text}`; there are {}", names.join(", ")).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read() {
        let disk = partition(" 254        1      32768 dm-1").unwrap();
        assert_eq!(disk, Disk { dev: DevT::new(254, 1), name: "dm-1".into(), len: Sectors(65536) });
        assert_eq!(partition("major minor  #blocks  name"), None);
        assert_eq!(partition(""), None);
    }

    #[test]
    fn a_node_of_a_device_names_it() {
        assert_eq!(device_name("/dev/mapper/a").unwrap().as_bytes(), b"a");
        let error = device_name("x/y").unwrap_err().to_string();
        assert_eq!(error, "name `x/y`: the name contains '/'");
    }
}
