//! What the misuse tests share: refusals with their errno and log lines.
//!
//! The rows are those of kernel/misuse.md, every one run on a real Linux 6.12.95. Numbers in test names are the
//! rows of its first table. What libdevmapper refuses by itself, without an ioctl (rows 3, 6, 17, 18, 44, 65), shows with
//! the real dmsetup: golden cases core/create-bad-name and core/create-long-name, and in crates/control's own tests.

mod devices;
mod messages;
mod raw;
mod tables;

use dmlab::Lab;
use dmlab_control::{CreateOptions, DeviceId, Dm, Error, LoadOptions, SuspendOptions, Table, Transport};
use dmlab_units::{DmName, Errno};

/// The line that follows a constructor's refusal.
pub(crate) const ADDING: &str = "device-mapper: ioctl: error adding target to table";

/// A name known to be valid.
pub(crate) fn name(text: &str) -> DmName {
    DmName::new(text).unwrap()
}

/// A device by name.
pub(crate) fn id(text: &str) -> DeviceId {
    DeviceId::Name(name(text))
}

/// A machine without mapped devices.
pub(crate) fn lab() -> Lab {
    Lab::new(1)
}

/// Creates a live device.
pub(crate) fn create<T: Transport>(dm: &mut Dm<T>, device: &str, table: &str) {
    try_create(dm, device, table).unwrap();
}

/// Tries to create a live device, as dmsetup does.
pub(crate) fn try_create<T: Transport>(dm: &mut Dm<T>, device: &str, table: &str) -> Result<(), Error> {
    let table: Table = table.parse().unwrap();
    dm.create_with_table(&name(device), &CreateOptions::default(), &table, LoadOptions::default()).map(|_| ())
}

/// Loads a table into the inactive slot.
pub(crate) fn load<T: Transport>(dm: &mut Dm<T>, device: &str, table: &str) -> Result<(), Error> {
    dm.load(&id(device), &table.parse::<Table>().unwrap(), LoadOptions::default()).map(|_| ())
}

/// Resumes a device.
pub(crate) fn resume<T: Transport>(dm: &mut Dm<T>, device: &str) -> Result<(), Error> {
    dm.resume(&id(device), SuspendOptions::default()).map(|_| ())
}

/// Holds that the kernel refused with this errno and logged exactly these lines.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Error>, errno: Errno, log: &[&str]) {
    let error = result.expect_err("Linux refuses this");
    assert_eq!(error.errno(), Some(errno), "{error}");
    assert_eq!(error.log(), log);
}
