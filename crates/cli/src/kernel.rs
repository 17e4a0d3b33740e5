//! The kernel that a command talks to.

use crate::remote::Remote;
use clap::Args;
use dmlab_control::{DeviceId, Dm, RealControl, Transport, UDEV_PRIMARY_SOURCE};
use dmlab_units::{DevT, DmName, DmUuid, Sectors};
use std::fs::OpenOptions;
use std::io;
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

/// Which kernel to talk to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Where {
    /// A machine that stays (`dmlab boot NAME`). Else the one around (inside `dmlab run`), else the one that the
    /// environment variable DMLAB_MACHINE names.
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// The kernel that this program runs on, through /dev/mapper/control.
    #[arg(long, conflicts_with = "machine")]
    real: bool,
}

impl Where {
    /// The machine that is meant, if one is.
    fn machine(&self) -> Option<String> {
        let around = || std::env::var("DMLAB_SOCKET").or_else(|_| std::env::var("DMLAB_MACHINE"));
        self.machine.clone().or_else(|| around().ok())
    }

    /// Whether a simulated machine is meant: named, or around.
    pub(crate) fn names_a_machine(&self) -> bool {
        !self.real && self.machine().is_some()
    }

    /// The simulated machine that is meant.
    ///
    /// # Errors
    /// When none is.
    pub(crate) fn simulated(&self) -> Result<String, Failure> {
        if self.real {
            return Err("a real kernel takes no rules: use a table of flakey, delay or dust there".into());
        }
        self.machine().ok_or_else(|| {
            "which machine? Boot one (dmlab boot NAME) and name it with --machine NAME or the environment variable \
             DMLAB_MACHINE, or run this inside `dmlab run`"
                .into()
        })
    }

    /// Opens the kernel.
    pub(crate) fn open(&self) -> Result<Dm<Box<dyn Kernel>>, Failure> {
        let kernel: Box<dyn Kernel> = if self.real {
            Box::new(RealControl::open()?)
        } else {
            let Some(machine) = self.machine() else {
                return Err("which machine? Boot one (dmlab boot NAME) and name it with --machine NAME or the environment \
                            variable DMLAB_MACHINE; run this inside `dmlab run`; or say --real for this Linux"
                    .into());
            };
            Box::new(Remote::connect(&machine)?)
        };
        let mut dm = Dm::new(kernel);
        // So that whoever plays udev makes and removes the nodes in /dev/mapper.
        dm.set_udev_cookie(UDEV_PRIMARY_SOURCE);
        Ok(dm)
    }
}

/// The device that a command is about.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Named {
    /// Its name.
    name: Option<String>,
    /// Its uuid, in place of the name.
    #[arg(short, long)]
    uuid: Option<String>,
}

impl Named {
    /// As the control crate wants it.
    pub(crate) fn id(&self) -> Result<DeviceId, Failure> {
        match (&self.name, &self.uuid) {
            (Some(name), _) => Ok(DeviceId::Name(device_name(name)?)),
            (_, Some(uuid)) => {
                let uuid = DmUuid::new(uuid).map_err(|e| format!("uuid `{uuid}`: {e}"))?;
                Ok(DeviceId::Uuid(uuid))
            }
            (None, None) => Err("name a device".into()),
        }
    }
}

/// Checks a device's name; `/dev/mapper/NAME` names it too.
pub(crate) fn device_name(text: &str) -> Result<DmName, Failure> {
    let name = text.strip_prefix("/dev/mapper/").unwrap_or(text);
    DmName::new(name).map_err(|e| format!("name `{name}`: {e}").into())
}

/// All mapped devices with their ids, or the one that was named. The flag says whether lines need a name in front.
pub(crate) fn chosen(
    dm: &mut Dm<Box<dyn Kernel>>,
    name: Option<&str>,
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
