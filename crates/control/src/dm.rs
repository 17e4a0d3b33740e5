//! Every command of the control node, typed.

use crate::device::{DeviceId, Info, ListedDevice};
use crate::error::Error;
use crate::request::{Reply, Request};
use crate::status::StatusLine;
use crate::table::Table;
use crate::transport::Transport;
use dmlab_abi::{
    Command, DmFlags, Geometry, TargetVersion, decode_deps, decode_names, decode_status, decode_versions,
    encode_load_payload,
};
use dmlab_units::{DevT, DmName, DmUuid, Sector, TargetName};

/// How to create a device.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Its uuid.
    pub uuid: Option<DmUuid>,
    /// Its minor number; the lowest free one if none is asked for.
    pub minor: Option<u32>,
}

/// How to load a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Open the devices below read-only and refuse writes.
    pub read_only: bool,
    /// Wipe the buffers afterwards: the table holds a key.
    pub secure: bool,
}

/// How to suspend, for a suspend itself and for the one that a resume with a new table makes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SuspendOptions {
    /// Don't wait for targets that queue IO; IO they hand back waits for the next table.
    pub noflush: bool,
    /// Leave a mounted file system unfrozen.
    pub skip_lockfs: bool,
}

impl SuspendOptions {
    fn flags(self) -> DmFlags {
        let mut flags = DmFlags::empty();
        flags.set(DmFlags::NOFLUSH, self.noflush);
        flags.set(DmFlags::SKIP_LOCKFS, self.skip_lockfs);
        flags
    }
}

/// Which table to ask about, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// The inactive table in place of the live one.
    pub inactive: bool,
    /// Targets answer from what they know, without committing first.
    pub noflush: bool,
}

impl Query {
    fn flags(self) -> DmFlags {
        let mut flags = DmFlags::empty();
        flags.set(DmFlags::QUERY_INACTIVE_TABLE, self.inactive);
        flags.set(DmFlags::NOFLUSH, self.noflush);
        flags
    }
}

/// A device and one line for each of its targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The device.
    pub info: Info,
    /// Status or table lines; none without a table.
    pub lines: Vec<StatusLine>,
}

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageReply {
    /// Done, nothing to say.
    Done,
    /// Done, with this text.
    Text(Vec<u8>),
    /// The device has no live table, so nobody read it. Linux calls that success too (it returns 2).
    NoTable,
}

/// The device mapper behind a transport.
///
/// Every method is one ioctl, unless it says otherwise, and fails with [`Error::Refused`] (the kernel's errno and log
/// lines) or [`Error::Transport`]. The errnos are those of kernel/dm-core.md; ENXIO always says "no such device".
#[derive(Debug)]
pub struct Dm<T> {
    transport: T,
    udev_cookie: u32,
}

/// A cookie that asks for udev's rules and that nobody waits for: the flag "this event comes from the one who changed
/// the device" that libdevmapper always sets (kernel/dm-core.md#cookies).
pub const UDEV_PRIMARY_SOURCE: u32 = 0x40 << 16;

impl<T: Transport> Dm<T> {
    /// The device mapper that `transport` leads to.
    pub fn new(transport: T) -> Dm<T> {
        Dm { transport, udev_cookie: 0 }
    }

    /// The transport.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Sends `cookie` along with each resume, rename and removal. The kernel puts it into the uevent, unless it is 0, and
    /// udev's rules make and remove the nodes in `/dev/mapper` only for events that have one.
    pub fn set_udev_cookie(&mut self, cookie: u32) {
        self.udev_cookie = cookie;
    }

    fn with_cookie(&self, mut request: Request) -> Request {
        request.header_mut().set_event_nr(self.udev_cookie);
        request
    }

    /// Sends a request of the caller's making.
    ///
    /// # Errors
    /// As every method here.
    pub fn send(&mut self, request: Request) -> Result<Reply, Error> {
        request.send(&mut self.transport)
    }

    fn on(&mut self, command: Command, device: &DeviceId, flags: DmFlags) -> Result<Reply, Error> {
        self.send(Request::new(command).on(device)?.with_flags(flags))
    }

    /// The kernel's interface version.
    ///
    /// # Errors
    /// EINVAL when the kernel's major version is not 4.
    pub fn version(&mut self) -> Result<[u32; 3], Error> {
        Ok(self.send(Request::new(Command::Version))?.header().version())
    }

    /// Creates a device without a table: not suspended, and without a node until a table is loaded.
    ///
    /// # Errors
    /// EBUSY when name or uuid is taken, ENXIO when the minor number is.
    pub fn create(&mut self, name: &DmName, options: &CreateOptions) -> Result<Info, Error> {
        let mut request = Request::new(Command::DevCreate).on(&DeviceId::from(name))?;
        if let Some(uuid) = &options.uuid {
            request.header_mut().set_uuid(uuid.as_bytes())?;
        }
        if let Some(minor) = options.minor {
            // The kernel takes the minor and overlooks the major. The number is encoded by hand because one that is too
            // large is the kernel's to refuse.
            let huge = u64::from(minor & 0xff) | u64::from(minor & !0xff) << 12;
            request = request.with_flags(DmFlags::PERSISTENT_DEV);
            request.header_mut().set_dev_huge(huge);
        }
        Ok(Info::of(self.send(request)?.header()))
    }

    /// Creates a device, loads `table` and resumes it: three ioctls. If the load is refused, the device is removed.
    ///
    /// # Errors
    /// Those of [`Dm::create`], [`Dm::load`] and [`Dm::resume`].
    pub fn create_with_table(
        &mut self,
        name: &DmName,
        options: &CreateOptions,
        table: &Table,
        load: LoadOptions,
    ) -> Result<Info, Error> {
        let created = self.create(name, options)?;
        let id = DeviceId::from(name);
        // By number, as dmsetup does; its messages show name and number.
        let (by_dev, label) = match created.dev {
            Some(dev) => (DeviceId::Dev(dev), format!("{name} ({dev})")),
            None => (id.clone(), name.to_string()),
        };
        let loaded = self.load_called(&by_dev, label, table, load);
        let result = loaded.and_then(|_| self.resume(&id, SuspendOptions::default()));
        if result.is_err() {
            // The first refusal is the one to tell; a device that can't be removed either stays to be looked at.
            let _ = self.remove(&id, false);
        }
        result
    }

    /// Removes a device.
    ///
    /// With `deferred`, one that is open is marked and goes away at its last close.
    ///
    /// # Errors
    /// EBUSY when it is open and `deferred` is not asked for.
    pub fn remove(&mut self, device: &DeviceId, deferred: bool) -> Result<Info, Error> {
        let request = Request::new(Command::DevRemove).on(device)?;
        let request = self.with_cookie(request.with_flag_if(DmFlags::DEFERRED_REMOVE, deferred));
        let reply = self.send(request)?;
        Ok(Info::of(reply.header()))
    }

    /// Removes every device that is not open, as often as that makes others removable; the rest stays, or is marked.
    ///
    /// # Errors
    /// Only those of the transport.
    pub fn remove_all(&mut self, deferred: bool) -> Result<(), Error> {
        self.send(Request::new(Command::RemoveAll).with_flag_if(DmFlags::DEFERRED_REMOVE, deferred))
            .map(|_| ())
    }

    /// Gives a device a new name. The kernel finds it by name only.
    ///
    /// # Errors
    /// EBUSY when the new name is taken, also by the device itself.
    pub fn rename(&mut self, name: &DmName, new: &DmName) -> Result<Info, Error> {
        self.rename_with(name, new.as_bytes(), DmFlags::empty())
    }

    /// Gives a device without a uuid one.
    ///
    /// # Errors
    /// EBUSY when the uuid is taken, EINVAL when the device has one already.
    pub fn set_uuid(&mut self, name: &DmName, uuid: &DmUuid) -> Result<Info, Error> {
        self.rename_with(name, uuid.as_bytes(), DmFlags::UUID)
    }

    fn rename_with(&mut self, name: &DmName, new: &[u8], flags: DmFlags) -> Result<Info, Error> {
        let request = Request::new(Command::DevRename).on(&DeviceId::from(name))?.with_flags(flags);
        let request = self.with_cookie(request.with_payload([new, b"\0"].concat()));
        Ok(Info::of(self.send(request)?.header()))
    }

    /// Lets IO to the device wait from now on, once what is in flight is done.
    ///
    /// # Errors
    /// EINTR when a signal ended the waiting; the device then goes on.
    pub fn suspend(&mut self, device: &DeviceId, options: SuspendOptions) -> Result<Info, Error> {
        let reply = self.on(Command::DevSuspend, device, DmFlags::SUSPEND | options.flags())?;
        Ok(Info::of(reply.header()))
    }

    /// Makes the inactive table live, if there is one, and lets IO flow.
    ///
    /// # Errors
    /// EINVAL when the new table does not fit its devices (the device stays suspended with the old one), or when a
    /// suspended device has no table at all.
    pub fn resume(&mut self, device: &DeviceId, options: SuspendOptions) -> Result<Info, Error> {
        let request = Request::new(Command::DevSuspend).on(device)?.with_flags(options.flags());
        Ok(Info::of(self.send(self.with_cookie(request))?.header()))
    }

    /// Loads a table into the inactive slot. The devices below are opened at once.
    ///
    /// # Errors
    /// What the first target at fault answers, mostly EINVAL; [`crate::explain`] finds the word.
    pub fn load(&mut self, device: &DeviceId, table: &Table, options: LoadOptions) -> Result<Info, Error> {
        self.load_called(device, device.to_string(), table, options)
    }

    fn load_called(
        &mut self,
        device: &DeviceId,
        label: String,
        table: &Table,
        options: LoadOptions,
    ) -> Result<Info, Error> {
        let request = Request::new(Command::TableLoad).on(device)?.called(label);
        let request = request.with_flag_if(DmFlags::READONLY, options.read_only);
        let mut request = request.with_flag_if(DmFlags::SECURE_DATA, options.secure);
        request.header_mut().set_target_count(u32::try_from(table.lines.len()).unwrap_or(u32::MAX));
        let reply = self.send(request.with_payload(encode_load_payload(&table.to_specs())))?;
        Ok(Info::of(reply.header()))
    }

    /// Drops the inactive table, if there is one.
    ///
    /// # Errors
    /// ENXIO.
    pub fn clear(&mut self, device: &DeviceId) -> Result<Info, Error> {
        Ok(Info::of(self.on(Command::TableClear, device, DmFlags::empty())?.header()))
    }

    /// What the kernel knows of a device.
    ///
    /// # Errors
    /// ENXIO.
    pub fn info(&mut self, device: &DeviceId, query: Query) -> Result<Info, Error> {
        Ok(Info::of(self.on(Command::DevStatus, device, query.flags())?.header()))
    }

    /// The devices that a table maps onto, most recently opened first; none without a table.
    ///
    /// # Errors
    /// ENXIO.
    pub fn deps(&mut self, device: &DeviceId, query: Query) -> Result<Vec<DevT>, Error> {
        let reply = self.on(Command::TableDeps, device, query.flags())?;
        if reply.payload().is_empty() {
            return Ok(Vec::new());
        }
        decode_deps(reply.payload())
            .map_err(|source| Error::Reply { command: Command::TableDeps.name(), source })
    }

    /// The status lines of a device's targets.
    ///
    /// # Errors
    /// ENXIO.
    pub fn status(&mut self, device: &DeviceId, query: Query) -> Result<Report, Error> {
        Ok(report(&self.on(Command::TableStatus, device, query.flags())?))
    }

    /// The table lines of a device.
    ///
    /// # Errors
    /// ENXIO.
    pub fn table(&mut self, device: &DeviceId, query: Query) -> Result<Report, Error> {
        Ok(report(&self.on(Command::TableStatus, device, DmFlags::STATUS_TABLE | query.flags())?))
    }

    /// Waits until the device's event number is not `event_nr`, then answers as [`Dm::status`].
    ///
    /// A rename or the removal of the device end the wait as well; a new table does not.
    ///
    /// # Errors
    /// ENXIO; EINTR when a signal ended it.
    pub fn wait(&mut self, device: &DeviceId, event_nr: u32, query: Query) -> Result<Report, Error> {
        let mut request = Request::new(Command::DevWait).on(device)?.with_flags(query.flags());
        request.header_mut().set_event_nr(event_nr);
        Ok(report(&self.send(request)?))
    }

    /// All mapped devices in the order of their names' bytes, with uuids.
    ///
    /// # Errors
    /// Only those of the transport.
    pub fn list(&mut self) -> Result<Vec<ListedDevice>, Error> {
        let reply = self.send(Request::new(Command::ListDevices).with_flags(DmFlags::UUID))?;
        let names = decode_names(reply.payload());
        let names = names.map_err(|source| Error::Reply { command: Command::ListDevices.name(), source })?;
        let device = |entry: dmlab_abi::NameEntry| ListedDevice {
            dev: entry.dev,
            name: entry.name,
            uuid: entry.uuid.flatten(),
            event_nr: entry.event_nr,
        };
        Ok(names.into_iter().map(device).collect())
    }

    /// The target types that the kernel has, most recently registered first.
    ///
    /// # Errors
    /// Only those of the transport.
    pub fn versions(&mut self) -> Result<Vec<TargetVersion>, Error> {
        let reply = self.send(Request::new(Command::ListVersions))?;
        decode_versions(reply.payload())
            .map_err(|source| Error::Reply { command: Command::ListVersions.name(), source })
    }

    /// The version of one target type.
    ///
    /// # Errors
    /// EINVAL when the kernel has no such type.
    pub fn target_version(&mut self, target: &TargetName) -> Result<[u32; 3], Error> {
        let mut request = Request::new(Command::GetTargetVersion);
        request.header_mut().set_name(target.as_bytes())?;
        let reply = self.send(request)?;
        let versions = decode_versions(reply.payload());
        let versions =
            versions.map_err(|source| Error::Reply { command: Command::GetTargetVersion.name(), source })?;
        Ok(versions.first().map_or([0; 3], |v| v.version))
    }

    /// Sends `message` to the target at `sector`, or to the device itself when its first word begins with `@`.
    ///
    /// # Errors
    /// EINVAL when the target takes no messages or not this one; what else the target answers.
    pub fn message(
        &mut self,
        device: &DeviceId,
        sector: Sector,
        message: &str,
    ) -> Result<MessageReply, Error> {
        let payload = [&sector.0.to_le_bytes()[..], message.as_bytes(), b"\0"].concat();
        let reply = self.send(Request::new(Command::TargetMsg).on(device)?.with_payload(payload))?;
        Ok(if reply.code() == 2 {
            MessageReply::NoTable
        } else if reply.header().flags().contains(DmFlags::DATA_OUT) {
            let text = reply.payload().split(|&b| b == 0).next().unwrap_or_default();
            MessageReply::Text(text.to_vec())
        } else {
            MessageReply::Done
        })
    }

    /// Sets what the device answers to HDIO_GETGEO.
    ///
    /// # Errors
    /// EINVAL when `start` lies beyond cylinders × heads × sectors.
    pub fn set_geometry(&mut self, device: &DeviceId, geometry: Geometry) -> Result<(), Error> {
        let Geometry { cylinders, heads, sectors, start } = geometry;
        let payload = format!("{cylinders} {heads} {sectors} {start}\0").into_bytes();
        self.send(Request::new(Command::DevSetGeometry).on(device)?.with_payload(payload)).map(|_| ())
    }

    /// Lets a poll on this control node wait for what happens from now on.
    ///
    /// # Errors
    /// Only those of the transport.
    pub fn arm_poll(&mut self) -> Result<(), Error> {
        self.send(Request::new(Command::DevArmPoll)).map(|_| ())
    }
}

fn report(reply: &Reply) -> Report {
    let lines = decode_status(reply.payload(), reply.header().target_count());
    Report { info: Info::of(reply.header()), lines: lines.into_iter().map(StatusLine::from).collect() }
}

#[cfg(test)]
mod tests;
