//! Mapped devices by name: what a test does with them most.

use dmlab_control::{
    CreateOptions, DeviceId, Info, LoadOptions, MessageReply, Query, Stack, SuspendOptions, Table,
    TargetStatus,
};
use dmlab_units::{DevT, DmName, Errno, Sector};

use crate::{Error, Lab};

/// What can be loaded: a [`Table`], or its text.
pub trait IntoTable {
    /// The table.
    ///
    /// # Errors
    /// When a text is no table.
    fn into_table(self) -> Result<Table, Error>;
}

impl IntoTable for Table {
    fn into_table(self) -> Result<Table, Error> {
        Ok(self)
    }
}

impl IntoTable for &Table {
    fn into_table(self) -> Result<Table, Error> {
        Ok(self.clone())
    }
}

impl IntoTable for &str {
    fn into_table(self) -> Result<Table, Error> {
        Ok(self.parse()?)
    }
}

impl IntoTable for &String {
    fn into_table(self) -> Result<Table, Error> {
        self.as_str().into_table()
    }
}

impl IntoTable for String {
    fn into_table(self) -> Result<Table, Error> {
        self.as_str().into_table()
    }
}

fn id(name: &str) -> Result<DeviceId, Error> {
    Ok(DeviceId::Name(DmName::new(name)?))
}

impl Lab {
    /// Creates a device with a table and starts it; it is there as `/dev/mapper/NAME`.
    ///
    /// # Errors
    /// EBUSY when the name is taken; what a target's constructor says.
    pub fn create(&self, name: &str, table: impl IntoTable) -> Result<DevT, Error> {
        self.told(|| {
            let (name, table) = (DmName::new(name)?, table.into_table()?);
            let mut dm = self.dm();
            let created =
                dm.create_with_table(&name, &CreateOptions::default(), &table, LoadOptions::default())?;
            created.dev.ok_or(Error::from(Errno::ENXIO))
        })
    }

    /// Loads a table into a device's inactive slot.
    ///
    /// # Errors
    /// ENXIO; what a target's constructor says.
    pub fn load(&self, name: &str, table: impl IntoTable) -> Result<(), Error> {
        self.told(|| {
            self.dm().load(&id(name)?, &table.into_table()?, LoadOptions::default())?;
            Ok(())
        })
    }

    /// Loads a table, suspends the device and resumes it with that table.
    ///
    /// # Errors
    /// As [`Lab::load`] and [`Lab::resume`].
    pub fn reload(&self, name: &str, table: impl IntoTable) -> Result<(), Error> {
        self.load(name, table)?;
        self.suspend(name)?;
        self.resume(name)
    }

    /// Lets IO wait, once what is in flight is done.
    ///
    /// # Errors
    /// ENXIO; EDEADLK when what is in flight can never end.
    pub fn suspend(&self, name: &str) -> Result<(), Error> {
        self.told(|| {
            self.dm().suspend(&id(name)?, SuspendOptions::default())?;
            Ok(())
        })
    }

    /// Suspends without waiting for what targets hold back (`dmsetup suspend --noflush`).
    ///
    /// # Errors
    /// As [`Lab::suspend`].
    pub fn suspend_noflush(&self, name: &str) -> Result<(), Error> {
        self.told(|| {
            self.dm().suspend(&id(name)?, SuspendOptions { noflush: true, skip_lockfs: true })?;
            Ok(())
        })
    }

    /// Makes a loaded table live and lets IO go on.
    ///
    /// # Errors
    /// ENXIO; EINVAL when the new table does not fit its devices.
    pub fn resume(&self, name: &str) -> Result<(), Error> {
        self.told(|| {
            self.dm().resume(&id(name)?, SuspendOptions::default())?;
            Ok(())
        })
    }

    /// Removes a device.
    ///
    /// # Errors
    /// ENXIO; EBUSY when it is open.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        self.told(|| {
            self.dm().remove(&id(name)?, false)?;
            Ok(())
        })
    }

    /// Removes a device now, or as soon as its last user closes it.
    ///
    /// # Errors
    /// ENXIO.
    pub fn remove_deferred(&self, name: &str) -> Result<(), Error> {
        self.told(|| {
            self.dm().remove(&id(name)?, true)?;
            Ok(())
        })
    }

    /// Sends a message to a device's first target; what it answers, if it does.
    ///
    /// # Errors
    /// EINVAL when the target takes no such message; what else it says.
    pub fn message(&self, name: &str, text: &str) -> Result<Option<String>, Error> {
        self.told(|| match self.dm().message(&id(name)?, Sector::ZERO, text)? {
            MessageReply::Text(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            MessageReply::Done | MessageReply::NoTable => Ok(None),
        })
    }

    /// What the kernel knows of a device: whether it is suspended, how often it is open, its event number.
    ///
    /// # Errors
    /// ENXIO.
    pub fn info(&self, name: &str) -> Result<Info, Error> {
        self.told(|| Ok(self.dm().info(&id(name)?, Query::default())?))
    }

    /// A device's status lines as `dmsetup status` prints them, one for each target. Asking makes a pool commit.
    ///
    /// # Errors
    /// ENXIO.
    pub fn status(&self, name: &str) -> Result<String, Error> {
        self.told(|| {
            let report = self.dm().status(&id(name)?, Query::default())?;
            Ok(report.lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })
    }

    /// What the first status line means.
    ///
    /// # Errors
    /// ENXIO.
    pub fn target_status(&self, name: &str) -> Result<Option<TargetStatus>, Error> {
        self.told(|| {
            let report = self.dm().status(&id(name)?, Query::default())?;
            Ok(report.lines.first().map(dmlab_control::StatusLine::status))
        })
    }

    /// A device's live table as `dmsetup table` prints it.
    ///
    /// # Errors
    /// ENXIO.
    pub fn table(&self, name: &str) -> Result<String, Error> {
        self.told(|| {
            let report = self.dm().table(&id(name)?, Query::default())?;
            Ok(report.lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })
    }

    /// All mapped devices with what they stand on, as `dmsetup ls --tree` draws it.
    pub fn tree(&self) -> String {
        let mut stack = Stack::default();
        for disk in self.machine().devices().into_iter().filter(|device| device.dm.is_none()) {
            stack.name(disk.dev, disk.name);
        }
        match stack.read(&mut self.dm()) {
            Ok(()) => stack.draw(),
            Err(error) => format!("{error}\n"),
        }
    }
}
