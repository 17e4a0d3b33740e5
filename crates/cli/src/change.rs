//! Commands that change a device.

use crate::kernel::{Failure, Meant, Named, Where, device_name, device_uuid};
use crate::output::{errln, outln};
use clap::Args;
use dmlab_control::{DeviceId, MessageReply, Query, StatusLine, SuspendOptions, form_of};
use dmlab_units::{Errno, Sector};
use std::ffi::OsString;

/// How to suspend.
#[derive(Args, Clone, Copy)]
struct How {
    /// Don't wait for targets that queue IO.
    #[arg(long)]
    noflush: bool,
    /// Leave a mounted file system unfrozen.
    #[arg(long)]
    nolockfs: bool,
}

impl From<How> for SuspendOptions {
    fn from(how: How) -> SuspendOptions {
        SuspendOptions { noflush: how.noflush, skip_lockfs: how.nolockfs }
    }
}

/// Let IO to a device wait.
#[derive(Args)]
pub(crate) struct Suspend {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    device: Named,
    #[command(flatten)]
    how: How,
}

impl Suspend {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        self.kernel.open(meant)?.suspend(&self.device.id()?, self.how.into())?;
        Ok(())
    }
}

/// Make the inactive table live, if there is one, and let IO flow.
#[derive(Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    device: Named,
    #[command(flatten)]
    how: How,
}

impl Resume {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        self.kernel.open(meant)?.resume(&self.device.id()?, self.how.into())?;
        Ok(())
    }
}

/// Drop the inactive table.
#[derive(Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    kernel: Where,
    #[command(flatten)]
    device: Named,
}

impl Clear {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        self.kernel.open(meant)?.clear(&self.device.id()?)?;
        Ok(())
    }
}

/// Remove devices.
#[derive(Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    kernel: Where,
    /// Names of the devices.
    #[arg(required_unless_present = "all")]
    names: Vec<OsString>,
    /// Every device that nothing holds open.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// An open device goes when it is closed.
    #[arg(long)]
    deferred: bool,
}

impl Remove {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let mut dm = self.kernel.open(meant)?;
        if self.all {
            dm.remove_all(self.deferred)?;
        }
        for name in &self.names {
            dm.remove(&DeviceId::Name(device_name(name)?), self.deferred)?;
        }
        Ok(())
    }
}

/// Give a device another name, or a uuid.
#[derive(Args)]
pub(crate) struct Rename {
    #[command(flatten)]
    kernel: Where,
    /// The device's name.
    name: OsString,
    /// Its new name, or its uuid with `--setuuid`.
    new: OsString,
    /// Set the uuid of a device that has none.
    #[arg(long)]
    setuuid: bool,
}

impl Rename {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let name = device_name(&self.name)?;
        let mut dm = self.kernel.open(meant)?;
        if self.setuuid {
            let uuid = device_uuid(&self.new)?;
            dm.set_uuid(&name, &uuid)?;
        } else {
            dm.rename(&name, &device_name(&self.new)?)?;
        }
        Ok(())
    }
}

/// Send a message to a target, or to the device itself (`@…`).
#[derive(Args)]
pub(crate) struct Message {
    #[command(flatten)]
    kernel: Where,
    /// The device's name.
    name: OsString,
    /// A sector of the target that is meant.
    sector: u64,
    /// The message.
    #[arg(required = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Message {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let device = DeviceId::Name(device_name(&self.name)?);
        let mut dm = self.kernel.open(meant)?;
        let words = self.words.join(" ");
        let reply = match dm.message(&device, Sector(self.sector), &words) {
            Err(error) if error.errno() == Some(Errno::EINVAL) && !words.starts_with('@') => {
                let table =
                    dm.table(&device, Query::default()).map(|report| report.lines).unwrap_or_default();
                let has = |line: &StatusLine| {
                    self.sector.checked_sub(line.start.0).is_some_and(|into| into < line.len.0)
                };
                let target = table.into_iter().find(has);
                return Err(match target.and_then(|line| form_of(&line.target_type)) {
                    Some(form) => format!("{error}\n  {}", form.explain_message(&words)).into(),
                    None => error.into(),
                });
            }
            other => other?,
        };
        match reply {
            MessageReply::Done => {}
            MessageReply::Text(text) => outln!("{}", String::from_utf8_lossy(&text).trim_end_matches('\n'))?,
            MessageReply::NoTable => {
                errln!("{} has no live table: nobody read the message", self.name.display());
            }
        }
        Ok(())
    }
}

/// Wait for an event of a device.
#[derive(Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    kernel: Where,
    /// The device's name.
    name: OsString,
    /// Return when the event number is another than this one; the present one if none is given.
    event_nr: Option<u32>,
}

impl Wait {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let device = DeviceId::Name(device_name(&self.name)?);
        let mut dm = self.kernel.open(meant)?;
        let from = match self.event_nr {
            Some(number) => number,
            None => dm.info(&device, Query::default())?.event_nr,
        };
        let report = dm.wait(&device, from, Query::default())?;
        outln!("event {}", report.info.event_nr)?;
        for line in &report.lines {
            outln!("{line}")?;
        }
        Ok(())
    }
}
