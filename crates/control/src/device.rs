//! Mapped devices as the control interface shows them.

use dmlab_abi::{DmFlags, Header};
use dmlab_units::{DevT, DmName, DmUuid};
use std::fmt;

/// Which mapped device a command is about. The kernel takes exactly one of the three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceId {
    /// By name.
    Name(DmName),
    /// By uuid.
    Uuid(DmUuid),
    /// By number.
    Dev(DevT),
}

impl From<&DmName> for DeviceId {
    fn from(name: &DmName) -> DeviceId {
        DeviceId::Name(name.clone())
    }
}

impl From<DmName> for DeviceId {
    fn from(name: DmName) -> DeviceId {
        DeviceId::Name(name)
    }
}

impl From<DevT> for DeviceId {
    fn from(dev: DevT) -> DeviceId {
        DeviceId::Dev(dev)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceId::Name(name) => name.fmt(f),
            DeviceId::Uuid(uuid) => write!(f, "uuid {uuid}"),
            DeviceId::Dev(dev) => write!(f, "({dev})"),
        }
    }
}

/// What a reply says about its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Name as the reply holds it; RENAME answers with the old one.
    pub name: Vec<u8>,
    /// Uuid, empty if it has none.
    pub uuid: Vec<u8>,
    /// Number; `None` where the command leaves it out (REMOVE).
    pub dev: Option<DevT>,
    /// How many have it open, tables that map onto it included.
    pub open_count: i32,
    /// Event number: moves at rename, remove and events of targets, not at suspend or resume.
    pub event_nr: u32,
    /// Targets in the live table (or in the inactive one, if that was asked for).
    pub target_count: u32,
    /// All flags as they came.
    pub flags: DmFlags,
}

impl Info {
    /// Reads the fields of a reply.
    pub fn of(header: &Header) -> Info {
        Info {
            name: header.name().to_vec(),
            uuid: header.uuid().to_vec(),
            dev: header.dev(),
            open_count: header.open_count(),
            event_nr: header.event_nr(),
            target_count: header.target_count(),
            flags: header.flags(),
        }
    }

    /// Whether IO to it waits.
    pub fn is_suspended(&self) -> bool {
        self.flags.contains(DmFlags::SUSPEND)
    }

    /// Whether the kernel itself suspended it.
    pub fn is_suspended_internally(&self) -> bool {
        self.flags.contains(DmFlags::INTERNAL_SUSPEND)
    }

    /// Whether it has a live table.
    pub fn has_live_table(&self) -> bool {
        self.flags.contains(DmFlags::ACTIVE_PRESENT)
    }

    /// Whether it has a loaded table that is not live yet.
    pub fn has_inactive_table(&self) -> bool {
        self.flags.contains(DmFlags::INACTIVE_PRESENT)
    }

    /// Whether writes to it are refused.
    pub fn is_read_only(&self) -> bool {
        self.flags.contains(DmFlags::READONLY)
    }

    /// Whether it goes away when its last opener closes it.
    pub fn is_deferred_remove(&self) -> bool {
        self.flags.contains(DmFlags::DEFERRED_REMOVE)
    }
}

/// One device of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDevice {
    /// Number.
    pub dev: DevT,
    /// Name.
    pub name: Vec<u8>,
    /// Uuid, if it has one.
    pub uuid: Option<Vec<u8>>,
    /// Event number.
    pub event_nr: u32,
}
