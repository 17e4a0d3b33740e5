//! A thin pool and its devices, by name and number.

use dmlab_control::{PoolStatus, Table, TargetStatus, Thin, ThinPool, ThinStatus};
use dmlab_units::{DevT, Errno, Sectors};

use crate::{Error, Lab};

/// A thin pool of a lab.
///
/// ```
/// use dmlab::{Lab, control::{PoolStatus, ThinPool}, units::{Sector, Sectors}};
///
/// let lab = Lab::new(1);
/// let pool = lab.create_pool("pool", Sectors(2048), &ThinPool::new("/dev/ram0", "/dev/ram1", Sectors(128)))?;
/// pool.create_thin(0)?;
/// pool.activate("base", 0, Sectors(1024))?;
/// lab.write("/dev/mapper/base", Sector(0), &[1; 4096])?;
/// pool.create_snapshot(1, "base", 0)?;
/// pool.activate("copy", 1, Sectors(1024))?;
/// lab.write("/dev/mapper/copy", Sector(0), &[2; 4096])?;
/// let PoolStatus::Working { data, .. } = pool.status()? else { panic!("it works") };
/// assert_eq!(data.used, 2); // One block each: the write broke the sharing.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pool<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) name: String,
}

impl Lab {
    /// Creates a thin pool whose data device is used up to `size`.
    ///
    /// # Errors
    /// As [`Lab::create`].
    pub fn create_pool(&self, name: &str, size: Sectors, pool: &ThinPool) -> Result<Pool<'_>, Error> {
        self.create(name, Table::new().then(size, pool.clone()))?;
        Ok(Pool { lab: self, name: name.to_owned() })
    }

    /// The pool with this name.
    pub fn pool(&self, name: &str) -> Pool<'_> {
        Pool { lab: self, name: name.to_owned() }
    }
}

impl Pool<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    ///
    /// # Errors
    /// ENXIO when it is gone.
    pub fn dev(&self) -> Result<DevT, Error> {
        self.lab.info(&self.name)?.dev.ok_or(Error::Io(Errno::ENXIO))
    }

    /// Sends it a message.
    ///
    /// # Errors
    /// What the pool says.
    pub fn message(&self, text: &str) -> Result<(), Error> {
        self.lab.message(&self.name, text).map(drop)
    }

    /// Makes thin device `id`, empty.
    ///
    /// # Errors
    /// EEXIST when there is one; what else the pool says.
    pub fn create_thin(&self, id: u64) -> Result<(), Error> {
        self.message(&format!("create_thin {id}"))
    }

    /// Makes `id` a snapshot of thin device `origin_id`, active as `origin_name`, which is suspended meanwhile, as it must be.
    ///
    /// # Errors
    /// As [`Pool::create_thin`]; ENODATA when there is no such origin.
    pub fn create_snapshot(&self, id: u64, origin_name: &str, origin_id: u64) -> Result<(), Error> {
        self.lab.suspend(origin_name)?;
        let made = self.message(&format!("create_snap {id} {origin_id}"));
        self.lab.resume(origin_name)?;
        made
    }

    /// Forgets thin device `id` and gives its blocks back.
    ///
    /// # Errors
    /// ENODATA when there is none, EBUSY while it is active.
    pub fn delete(&self, id: u64) -> Result<(), Error> {
        self.message(&format!("delete {id}"))
    }

    /// Makes thin device `id` a block device of this size.
    ///
    /// # Errors
    /// As [`Lab::create`].
    pub fn activate(&self, name: &str, id: u64, size: Sectors) -> Result<DevT, Error> {
        self.lab.create(name, Table::new().then(size, Thin::new(self.dev()?, id)))
    }

    /// What it says of itself. Asking makes it commit.
    ///
    /// # Errors
    /// ENXIO when it is gone; EINVAL when it is no pool.
    pub fn status(&self) -> Result<PoolStatus, Error> {
        match self.lab.target_status(&self.name)? {
            Some(TargetStatus::ThinPool(status)) => Ok(status),
            _ => Err(Error::Io(Errno::EINVAL)),
        }
    }
}

impl Lab {
    /// How much of a thin device is mapped.
    ///
    /// # Errors
    /// ENXIO when there is no such device; EINVAL when it is not thin.
    pub fn thin_status(&self, name: &str) -> Result<ThinStatus, Error> {
        match self.target_status(name)? {
            Some(TargetStatus::Thin(status)) => Ok(status),
            _ => Err(Error::Io(Errno::EINVAL)),
        }
    }
}
