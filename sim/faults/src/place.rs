//! Where a rule strikes: at bios, at ioctls of the control node, or at events on their way to user space.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use dmlab_abi::Command;
use dmlab_block::{Bio, BlockDevice, Op};
use dmlab_runtime::UeventAction;
use dmlab_units::{DevT, Sector};

use crate::Meanings;

/// A block device as people name it. It need not be there when the rule is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// `MAJOR:MINOR`.
    Number(DevT),
    /// `/dev/ram1`, `/dev/dm-3`: the kernel's own name.
    Kernel(String),
    /// `/dev/mapper/NAME`, `/dev/VG/LV`: a mapped device.
    Mapped(String),
    /// `NAME` alone: a mapped device, or, while none has this name, the device that the kernel calls so.
    Either(String),
}

/// Says which device has a mapped device's name at the moment: what a rule asks when a bio comes by.
pub trait Names: Send + Sync {
    /// The number of the mapped device of this name, if there is one.
    fn mapped(&self, name: &str) -> Option<DevT>;

    /// The meanings that the machine's targets give their bios.
    fn meanings(&self) -> &Meanings;
}

impl DeviceName {
    fn is(&self, dev: DevT, kernel_name: &str, names: &dyn Names) -> bool {
        match self {
            DeviceName::Number(number) => *number == dev,
            DeviceName::Kernel(name) => name == kernel_name,
            DeviceName::Mapped(name) => names.mapped(name) == Some(dev),
            DeviceName::Either(name) => match names.mapped(name) {
                Some(mapped) => mapped == dev,
                None => name == kernel_name,
            },
        }
    }

    fn is_block(&self, dev: &BlockDevice, names: &dyn Names) -> bool {
        self.is(dev.dev(), dev.name(), names)
    }
}

impl FromStr for DeviceName {
    type Err = std::convert::Infallible;

    /// Any text names some device; whether it is ever there is another matter.
    fn from_str(text: &str) -> Result<DeviceName, Self::Err> {
        if let Ok(number) = text.parse() {
            return Ok(DeviceName::Number(number));
        }
        let Some(path) = text.strip_prefix("/dev/") else { return Ok(DeviceName::Either(text.to_owned())) };
        Ok(match path.split_once('/') {
            None => DeviceName::Kernel(path.to_owned()),
            Some(("mapper", name)) => DeviceName::Mapped(name.to_owned()),
            // As LVM joins the names of a group and a volume.
            Some((group, volume)) => {
                DeviceName::Mapped(format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--")))
            }
        })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Number(number) => write!(f, "{number}"),
            DeviceName::Kernel(name) => write!(f, "/dev/{name}"),
            DeviceName::Mapped(name) => write!(f, "/dev/mapper/{name}"),
            DeviceName::Either(name) => f.write_str(name),
        }
    }
}

bitflags::bitflags! {
    /// Kinds of bios.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ops: u8 {
        /// Reads.
        const READ = 1 << 0;
        /// Writes of data and of zeros. One that carries a flush is a write.
        const WRITE = 1 << 1;
        /// Flushes.
        const FLUSH = 1 << 2;
        /// Discards and secure erases.
        const DISCARD = 1 << 3;
    }
}

impl Ops {
    /// The words of operations in the grammar of rules, in order.
    pub const WORDS: [(&'static str, Ops); 4] =
        [("read", Ops::READ), ("write", Ops::WRITE), ("flush", Ops::FLUSH), ("discard", Ops::DISCARD)];

    /// The kind of a bio.
    pub fn of(op: Op) -> Ops {
        match op {
            Op::Read => Ops::READ,
            Op::Write | Op::WriteZeroes => Ops::WRITE,
            Op::Flush => Ops::FLUSH,
            Op::Discard | Op::SecureErase => Ops::DISCARD,
        }
    }
}

/// What the bytes of a bio mean to its sender, and perhaps their owner and number ([`dmlab_block::Tag`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The kind: one of [`Meanings`] (those [within](crate::Meaning::within) it are struck too), or what a target of one's own writes on its bios.
    pub what: String,
    /// Only this owner's.
    pub owner: Option<u64>,
    /// Only this one.
    pub index: Option<u64>,
}

impl Aim {
    fn takes(&self, bio: &Bio<'_>, names: &dyn Names) -> bool {
        names.meanings().is_meant(bio.tag.what, &self.what)
            && self.owner.is_none_or(|owner| owner == bio.tag.owner)
            && self.index.is_none_or(|index| index == bio.tag.index)
    }
}

/// Bios on their way to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BioPlace {
    /// On this device only. A bio of a stack passes several.
    pub device: Option<DeviceName>,
    /// Those that touch one of these sectors of the device that they are sent to.
    pub sectors: Option<Range<Sector>>,
    /// The operations that the rule is for.
    pub ops: Ops,
    /// The meaning that the rule is for; `None`: any.
    pub aim: Option<Aim>,
}

impl Default for BioPlace {
    /// Every bio.
    fn default() -> BioPlace {
        BioPlace { device: None, sectors: None, ops: Ops::all(), aim: None }
    }
}

impl BioPlace {
    pub(crate) fn takes(&self, dev: &BlockDevice, bio: &Bio<'_>, names: &dyn Names) -> bool {
        self.ops.contains(Ops::of(bio.op))
            && self.aim.as_ref().is_none_or(|aim| aim.takes(bio, names))
            && self.sectors.as_ref().is_none_or(|sectors| {
                !bio.is_empty() && bio.sector < sectors.end && bio.end_sector() > sectors.start
            })
            && self.device.as_ref().is_none_or(|name| name.is_block(dev, names))
    }
}

/// When in the life of an ioctl.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moment {
    /// Before the kernel has done anything: the call is as if it had never been made.
    #[default]
    Before,
    /// When all is done, and only the caller does not know yet.
    Done,
}

/// Ioctls of the control node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoctlPlace {
    /// The only command that the rule is for; `None`: any.
    pub command: Option<Command>,
    /// Those that name this mapped device, by name, uuid or number.
    pub device: Option<DeviceName>,
    /// When.
    pub moment: Moment,
}

impl IoctlPlace {
    pub(crate) fn takes(&self, call: &IoctlCall<'_>, names: &dyn Names) -> bool {
        self.moment == call.moment
            && self.command.is_none_or(|command| command == call.command)
            && self.device.as_ref().is_none_or(|device| match device {
                DeviceName::Mapped(name) => name.as_bytes() == call.name,
                DeviceName::Either(name) if name.as_bytes() == call.name => true,
                DeviceName::Number(_) | DeviceName::Kernel(_) | DeviceName::Either(_) => {
                    let dev = call.dev.or_else(|| names.mapped(std::str::from_utf8(call.name).ok()?));
                    dev.is_some_and(|dev| device.is(dev, &format!("dm-{}", dev.minor()), names))
                }
            })
    }
}

/// An ioctl of the control node, as a rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct IoctlCall<'a> {
    /// What it asks for.
    pub command: Command,
    /// The name of the device that it is about; empty when it names none, or one that isn't there.
    pub name: &'a [u8],
    /// The number of that device, if it is there.
    pub dev: Option<DevT>,
    /// When.
    pub moment: Moment,
}

/// Events on their way to user space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UeventPlace {
    /// The only action that the rule is for; `None`: any.
    pub action: Option<UeventAction>,
    /// The only block device that the rule is for; `None`: any.
    pub device: Option<DeviceName>,
}

impl UeventPlace {
    pub(crate) fn takes(&self, event: &EventSeen<'_>, names: &dyn Names) -> bool {
        self.action.is_none_or(|action| action == event.action)
            && self.device.as_ref().is_none_or(|device| match device {
                // The device of a remove event has its name no longer.
                DeviceName::Mapped(name) | DeviceName::Either(name)
                    if Some(name.as_str()) == event.dm_name =>
                {
                    true
                }
                device => event.dev.is_some_and(|dev| device.is(dev, event.device, names)),
            })
    }
}

/// An event on its way to user space, as a rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct EventSeen<'a> {
    /// What happened.
    pub action: UeventAction,
    /// The kernel's name of the device: `dm-3`.
    pub device: &'a str,
    /// The number of the device.
    pub dev: Option<DevT>,
    /// The device's name in the device mapper, where the event carries it (`DM_NAME`).
    pub dm_name: Option<&'a str>,
}

/// Where a rule strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At bios.
    Bio(BioPlace),
    /// At ioctls.
    Ioctl(IoctlPlace),
    /// At events.
    Uevent(UeventPlace),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose only mapped device, 254:0, is called so.
    struct One(&'static str, Meanings);

    fn one(name: &'static str) -> One {
        One(name, Meanings::default())
    }

    impl Names for One {
        fn mapped(&self, name: &str) -> Option<DevT> {
            (name == self.0).then(|| DevT::new(254, 0))
        }

        fn meanings(&self) -> &Meanings {
            &self.1
        }
    }

    #[test]
    fn a_name_alone_is_a_mapped_device_s_or_else_the_kernels() {
        let ram1 = DeviceName::Either("ram1".into());
        assert!(ram1.is(DevT::new(1, 1), "ram1", &one("a")));
        assert!(ram1.is(DevT::new(254, 0), "dm-0", &one("ram1")));
        assert!(!ram1.is(DevT::new(1, 1), "ram1", &one("ram1")), "the mapped device's comes first");
        assert!(!ram1.is(DevT::new(1, 2), "ram2", &one("a")));
    }

    #[test]
    fn devices_have_many_names() {
        let named = |text: &str| text.parse::<DeviceName>().unwrap_or_else(|never| match never {});
        assert_eq!(named("254:3"), DeviceName::Number(DevT::new(254, 3)));
        assert_eq!(named("/dev/ram1"), DeviceName::Kernel("ram1".into()));
        assert_eq!(named("/dev/mapper/a"), DeviceName::Mapped("a".into()));
        assert_eq!(named("ram1"), DeviceName::Either("ram1".into()));
        assert_eq!(named("/dev/vg-0/root"), DeviceName::Mapped("vg--0-root".into()));
        for text in ["254:3", "/dev/ram1", "/dev/mapper/vg--0-root", "a"] {
            assert_eq!(named(text).to_string(), text);
        }
    }
}
