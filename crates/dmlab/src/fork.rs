//! A second lab that goes on from where this one is, and going back.

use dmlab_control::{CreateOptions, DeviceId, LoadOptions, Query, SuspendOptions, Table};
use dmlab_driver::Time;
use dmlab_machine::{ForkError, Forked, MappedDevice, SavedDevice};
use dmlab_units::{DevT, DmName, DmUuid};

use crate::driver::LabDriver;
use crate::turns::TurnsDriver;
use crate::{Error, Lab};

/// Why a lab cannot be forked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabForkError {
    /// Its machine cannot be.
    #[error(transparent)]
    Machine(#[from] ForkError),
    /// It lives by the wall clock: what its threads are doing has no copy.
    #[error("a lab on real time cannot be forked; labs on virtual time can be")]
    RealTime,
    /// The fork does not take a device's table.
    #[error("{device} cannot be made again in the fork: {error}")]
    Device {
        /// Its name.
        device: String,
        /// What the kernel said.
        error: Error,
    },
}

/// A lab as it was: see [`Lab::checkpoint`].
pub struct Checkpoint(Lab);

/// A mapped device as it can be made again.
struct Recipe {
    name: DmName,
    uuid: Option<DmUuid>,
    dev: DevT,
    is_suspended: bool,
    live: Option<(Table, LoadOptions)>,
    inactive: Option<(Table, LoadOptions)>,
}

impl Lab {
    /// A second lab with the same disks, mapped devices and time. From here on neither sees what the other does. No byte of a
    /// disk is copied, so it costs the same whatever they hold.
    ///
    /// Mapped devices are stopped for a moment, so that the disks hold all that was written (a pool commits), and are made
    /// again from their table lines in the fork: same names, numbers, uuids, tables in both slots, suspended or not. What
    /// messages and failures have left in memory comes along: dust's bad blocks, a switch's map, the state of a multipath's
    /// paths, groups and selectors, a mirror's dead legs and what its core log knows, the exceptions of a transient snapshot,
    /// how far a log-writes log is, a flakey device's turns, statistics, event numbers, a geometry.
    ///
    /// Fault rules come along with their numbers and with what they have seen, struck and will draw, so that a rule for the
    /// nth match goes on counting. Forking itself is not shown to them, here or there, and for that moment nothing
    /// fails: a mirror whose leg a rule keeps dead may copy a region to it. A closure of
    /// [`only_while`](crate::FaultBuilder::only_while) is the same in both labs.
    ///
    /// What does not: that a pool is out of space, which it finds out anew (one that has failed, or that its metadata say must
    /// be checked, is so in the fork; but thin devices on one that has failed cannot be made again, since their table lines say
    /// nothing but `Fail`); the time that a queue without paths has already waited; a deferred remove;
    /// open files; ioctls that wait or are held, and what rules hold of bios that no mapped device has. Kernel log, events and
    /// trace begin anew.
    ///
    /// ```
    /// # use dmlab::{Lab, units::{Sector, Sectors}};
    /// let lab = Lab::new(1);
    /// lab.create("a", "0 64 linear /dev/ram0 0")?;
    /// let other = lab.fork()?;
    /// other.write("/dev/mapper/a", Sector(0), &[7; 512])?;
    /// assert_eq!(lab.read("/dev/mapper/a", Sector(0), Sectors(1))?, [0; 512]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`LabForkError`].
    pub fn fork(&self) -> Result<Lab, LabForkError> {
        if self.driver.time() == Time::Real {
            return Err(LabForkError::RealTime);
        }
        let paused = self.machine().faults().pause();
        let devices = self.machine().mapped_top_first();
        let recipes: Vec<Recipe> =
            devices.iter().rev().map(|device| self.recipe(device)).collect::<Result<_, _>>()?;
        let driver = TurnsDriver::starting_at(self.now());
        let Forked { machine, saved } = self.machine().fork_disks(driver.clone())?;
        drop(paused);
        let fork = Lab::of(machine, LabDriver::Turns(driver));
        for recipe in &recipes {
            let failed = |error| LabForkError::Device { device: recipe.name.to_string(), error };
            fork.make(recipe, saved.get(&recipe.dev)).map_err(failed)?;
        }
        for recipe in &recipes {
            let device = fork.machine().mapper().by_dev(recipe.dev);
            if let (Some(device), Some(saved)) = (device, saved.get(&recipe.dev)) {
                device.restore(saved);
            }
        }
        self.machine().faults().copy_to(fork.machine().faults());
        Ok(fork)
    }

    /// Remembers this lab as it is.
    ///
    /// # Errors
    /// As [`Lab::fork`].
    pub fn checkpoint(&self) -> Result<Checkpoint, LabForkError> {
        Ok(Checkpoint(self.fork()?))
    }

    /// Goes back to how it was at a checkpoint, as often as one likes. Files that are still open lead to the machine that was.
    ///
    /// # Errors
    /// As [`Lab::fork`].
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), LabForkError> {
        let as_it_was = checkpoint.0.fork()?;
        self.become_other(as_it_was);
        Ok(())
    }

    fn recipe(&self, device: &MappedDevice) -> Result<Recipe, LabForkError> {
        let names = device.names();
        let failed = |error: Error| LabForkError::Device {
            device: String::from_utf8_lossy(&names.name).into_owned(),
            error,
        };
        let table = |query: Query| -> Result<Option<(Table, LoadOptions)>, Error> {
            let report = self.dm().table(&DeviceId::Dev(device.dev()), query)?;
            let lines = report.lines.iter().map(dmlab_control::StatusLine::table_line);
            let lines: Vec<_> = lines.collect::<Result<_, _>>()?;
            let options = LoadOptions { read_only: report.info.is_read_only(), secure: false };
            Ok((!lines.is_empty()).then_some((Table { lines }, options)))
        };
        // As they stand: nothing is to be committed for the sake of a question.
        let live = Query { noflush: true, inactive: false };
        let inactive = Query { noflush: true, inactive: true };
        Ok(Recipe {
            name: DmName::new(&names.name).map_err(Error::from).map_err(failed)?,
            uuid: match &names.uuid {
                Some(uuid) => Some(DmUuid::new(uuid).map_err(Error::from).map_err(failed)?),
                None => None,
            },
            dev: device.dev(),
            is_suspended: device.is_suspended(),
            live: table(live).map_err(failed)?,
            inactive: match device.inactive_table() {
                Some(_) => table(inactive).map_err(failed)?,
                None => None,
            },
        })
    }

    fn make(&self, recipe: &Recipe, saved: Option<&SavedDevice>) -> Result<(), Error> {
        let mut dm = self.dm();
        let options = CreateOptions { uuid: recipe.uuid.clone(), minor: Some(recipe.dev.minor()) };
        dm.create(&recipe.name, &options)?;
        let device = DeviceId::from(&recipe.name);
        let resume = SuspendOptions::default();
        if let Some((table, options)) = &recipe.live {
            dm.load(&device, table, *options)?;
            let loaded =
                self.machine().mapper().by_dev(recipe.dev).and_then(|device| device.inactive_table());
            if let (Some(table), Some(saved)) = (loaded, saved) {
                table.restore(saved);
            }
            dm.resume(&device, resume)?;
        }
        if recipe.is_suspended {
            dm.suspend(&device, SuspendOptions { noflush: true, skip_lockfs: true })?;
        }
        if let Some((table, options)) = &recipe.inactive {
            dm.load(&device, table, *options)?;
        }
        Ok(())
    }
}
