//! Any state in one call: what takes a kernel a bad day, a test has at once.
//!
//! Each state comes about as it does on Linux, by what brings it about there (a metadata write that fails, a full device),
//! so everything that belongs to it is there as well: log lines, events, what is on the disks.

mod mirror;
mod multipath;
mod snapshot;
mod thin_pool;

pub use thin_pool::FILLER;

use dmlab_control::{Table, TableLine, TargetLine};
use dmlab_machine::BlockFile;
use dmlab_machine::faults::RuleId;
use dmlab_units::{Errno, Sector, Sectors};

use crate::{Error, Lab};

/// Forces devices of a lab into states: see [`Lab::force`].
pub struct Force<'a> {
    lab: &'a Lab,
}

/// A state that lasts as long as something is in the way: [`Held::release`] takes it out of the way.
pub struct Held {
    rule: RuleId,
}

impl Held {
    /// Lets things take their course again.
    pub fn release(self, lab: &Lab) {
        lab.faults().release(self.rule);
        lab.faults().remove(self.rule);
        lab.settle();
    }
}

impl Lab {
    /// Forces a device into a state.
    ///
    /// ```
    /// # use dmlab::{Lab, control::{PoolStatus, ThinPool}, units::Sectors};
    /// let lab = Lab::new(1);
    /// let pool = lab.create_pool("pool", Sectors(2048), &ThinPool::new("/dev/ram0", "/dev/ram1", Sectors(128)))?;
    /// lab.force().pool_failed("pool")?;
    /// assert_eq!(pool.status()?, PoolStatus::Failed);
    /// # Ok::<(), dmlab::Error>(())
    /// ```
    pub fn force(&self) -> Force<'_> {
        Force { lab: self }
    }
}

/// What a state needs is not there: a target of another kind, say.
fn wrong() -> Error {
    Error::from(Errno::EINVAL)
}

impl Force<'_> {
    /// The first line of a device's table that is of this target, and its parameters.
    fn line<T: TargetLine>(&self, name: &str) -> Result<(TableLine, T), Error> {
        let table: Table = self.lab.table(name)?.parse()?;
        let mut lines = table.lines.into_iter();
        let line = lines.find(|line| line.target.as_bytes() == T::TYPE.as_bytes()).ok_or_else(wrong)?;
        let target = T::parse(&line.params).map_err(|_| wrong())?;
        Ok((line, target))
    }

    fn path(name: &str) -> String {
        format!("/dev/mapper/{name}")
    }

    /// Reads a sector and writes the same bytes again.
    fn touch(&self, name: &str, sector: Sector) -> Result<(), Error> {
        let bytes = self.lab.read(&Self::path(name), sector, Sectors(1))?;
        self.lab.write(&Self::path(name), sector, &bytes)
    }

    /// The device is suspended.
    ///
    /// # Errors
    /// ENXIO.
    pub fn suspended(&self, name: &str) -> Result<(), Error> {
        self.lab.suspend(name)
    }

    /// The device is open `count` times more, until the files are dropped.
    ///
    /// # Errors
    /// ENXIO.
    pub fn open_count(&self, name: &str, count: usize) -> Result<Vec<BlockFile>, Error> {
        let path = Self::path(name);
        (0..count).map(|_| self.lab.open(&path)).collect()
    }

    /// The device goes away as soon as the file is dropped.
    ///
    /// # Errors
    /// ENXIO.
    pub fn deferred_remove_pending(&self, name: &str) -> Result<BlockFile, Error> {
        let file = self.lab.open(&Self::path(name))?;
        self.lab.remove_deferred(name)?;
        Ok(file)
    }
}
