//! A thin pool and its devices, by name and number.

use dmlab_control::{PoolStatus, Table, TargetStatus, Thin, ThinPool, ThinStatus};
use dmlab_units::{DevT, Errno, Sector, Sectors};

use crate::{Error, Lab, PendingWrite};

/// A thin pool of a lab.
///
/// ```
/// use dmlab::{Lab, control::{PoolStatus, ThinPool}, units::{Sector, Sectors}};
///
/// let lab = Lab::new(1);
/// let pool = lab.create_pool("pool", Sectors(2048), &ThinPool::new("/dev/ram0", "/dev/ram1", Sectors(128)))?;
/// let base = pool.create("base", 0, Sectors(1024))?;
/// base.write(Sector(0), &[1; 4096])?;
/// let copy = base.snapshot("copy", 1)?;
/// copy.write(Sector(0), &[2; 4096])?;
/// assert_eq!(base.read(Sector(0), Sectors(8))?, [1; 4096]);
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

impl<'a> Pool<'a> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    ///
    /// # Errors
    /// ENXIO when it is gone.
    pub fn dev(&self) -> Result<DevT, Error> {
        self.lab.info(&self.name)?.dev.ok_or(Error::from(Errno::ENXIO))
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
    pub fn activate(&self, name: &str, id: u64, size: Sectors) -> Result<ThinDevice<'a>, Error> {
        self.lab.create(name, Table::new().then(size, Thin::new(self.dev()?, id)))?;
        Ok(ThinDevice {
            pool: self.clone(),
            name: name.to_owned(),
            path: format!("/dev/mapper/{name}"),
            id,
            size,
        })
    }

    /// Makes thin device `id`, empty, and a block device of this size of it.
    ///
    /// # Errors
    /// As [`Pool::create_thin`] and [`Pool::activate`].
    pub fn create(&self, name: &str, id: u64, size: Sectors) -> Result<ThinDevice<'a>, Error> {
        self.create_thin(id)?;
        self.activate(name, id, size)
    }

    /// What it says of itself. Asking makes it commit.
    ///
    /// # Errors
    /// ENXIO when it is gone; EINVAL when it is no pool.
    pub fn status(&self) -> Result<PoolStatus, Error> {
        match self.lab.target_status(&self.name)? {
            Some(TargetStatus::ThinPool(status)) => Ok(status),
            _ => Err(Error::from(Errno::EINVAL)),
        }
    }
}

/// A thin device of a pool, active under a name.
///
/// Dropping the handle leaves the device: [`ThinDevice::remove`] removes it.
#[derive(Clone)]
pub struct ThinDevice<'a> {
    pool: Pool<'a>,
    name: String,
    path: String,
    id: u64,
    size: Sectors,
}

impl<'a> ThinDevice<'a> {
    /// Its name in `/dev/mapper`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path, for IO by way of the lab.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its number in the pool.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Reads `len` sectors from `start` on, past the page cache.
    ///
    /// # Errors
    /// As [`Lab::read`].
    pub fn read(&self, start: Sector, len: Sectors) -> Result<Vec<u8>, Error> {
        self.pool.lab.read(&self.path, start, len)
    }

    /// Writes whole sectors from `start` on, past the page cache.
    ///
    /// # Errors
    /// As [`Lab::write`].
    pub fn write(&self, start: Sector, bytes: &[u8]) -> Result<(), Error> {
        self.pool.lab.write(&self.path, start, bytes)
    }

    /// Begins a write of whole sectors and does not wait for its end.
    ///
    /// # Errors
    /// As [`Lab::start_write`].
    pub fn start_write(&self, start: Sector, bytes: &[u8]) -> Result<PendingWrite, Error> {
        self.pool.lab.start_write(&self.path, start, bytes)
    }

    /// Tells the pool that sectors are not needed any more; whole blocks go back to it.
    ///
    /// # Errors
    /// As [`Lab::discard`].
    pub fn discard(&self, start: Sector, len: Sectors) -> Result<(), Error> {
        self.pool.lab.discard(&self.path, start, len)
    }

    /// Makes durable what was written before: the pool commits.
    ///
    /// # Errors
    /// As [`Lab::flush`].
    pub fn flush(&self) -> Result<(), Error> {
        self.pool.lab.flush(&self.path)
    }

    /// How much of it is mapped.
    ///
    /// # Errors
    /// As [`Lab::thin_status`].
    pub fn status(&self) -> Result<ThinStatus, Error> {
        self.pool.lab.thin_status(&self.name)
    }

    /// Makes thin device `id` a snapshot of this one, of the same size, active under `name`. This one is suspended meanwhile, as
    /// it must be.
    ///
    /// # Errors
    /// As [`Pool::create_snapshot`] and [`Pool::activate`].
    pub fn snapshot(&self, name: &str, id: u64) -> Result<ThinDevice<'a>, Error> {
        self.pool.create_snapshot(id, &self.name, self.id)?;
        self.pool.activate(name, id, self.size)
    }

    /// Removes the block device; the pool keeps the thin device ([`Pool::delete`] forgets it).
    ///
    /// # Errors
    /// As [`Lab::remove`].
    pub fn remove(self) -> Result<(), Error> {
        self.pool.lab.remove(&self.name)
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
            _ => Err(Error::from(Errno::EINVAL)),
        }
    }
}
