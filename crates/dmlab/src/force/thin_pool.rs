//! States of a pool.

use dmlab_control::{PoolMode, PoolStatus, Table, TableLine, ThinPool};
use dmlab_units::{Errno, Sector};

use super::{Force, wrong};
use crate::Error;

/// The number of the thin device that [`Force::pool_out_of_data`] fills a pool with: the largest there is.
pub const FILLER: u64 = (1 << 24) - 1;

impl Force<'_> {
    /// The pool may only be read: it is loaded again with the feature `read_only`.
    ///
    /// # Errors
    /// EINVAL when it is no pool.
    pub fn pool_read_only(&self, name: &str) -> Result<(), Error> {
        let (line, pool) = self.line::<ThinPool>(name)?;
        let line = TableLine::of(line.start, line.len, &pool.feature("read_only"));
        self.lab.reload(name, Table { lines: vec![line] })
    }

    /// A commit of the pool's metadata fails, so it gives up the transaction, becomes read-only and wants to be checked.
    ///
    /// # Errors
    /// EINVAL when it is no pool that may be written.
    pub fn pool_needs_check(&self, name: &str) -> Result<(), Error> {
        let metadata = self.line::<ThinPool>(name)?.1.metadata.to_string();
        let rule = self.lab.faults().on(&metadata).writes().fail(Errno::EIO).add()?;
        let tried = self.commit_something(name);
        self.lab.faults().remove(rule);
        tried?;
        match self.lab.pool(name).status()? {
            PoolStatus::Working { mode: PoolMode::ReadOnly, needs_check: true, .. } => Ok(()),
            _ => Err(wrong()),
        }
    }

    /// The pool's metadata can be neither written nor read: all IO to it and its devices fails.
    ///
    /// # Errors
    /// EINVAL when it is no pool that may be written.
    pub fn pool_failed(&self, name: &str) -> Result<(), Error> {
        let metadata = self.line::<ThinPool>(name)?.1.metadata.to_string();
        // First a commit fails, then the pool cannot read what it had before.
        const FIRST: &str = "forced-commit-failure";
        let faults = self.lab.faults();
        let writes = faults.on(&metadata).writes().fail(Errno::EIO).named(FIRST).add()?;
        let reads = faults.on(&metadata).reads().fail(Errno::EIO).from_rule(FIRST).add()?;
        let tried = self.commit_something(name);
        faults.remove(reads);
        faults.remove(writes);
        tried?;
        if self.lab.pool(name).status()? == PoolStatus::Failed { Ok(()) } else { Err(wrong()) }
    }

    /// Makes a change that must be committed and, as the caller has seen to it, cannot be.
    fn commit_something(&self, name: &str) -> Result<(), Error> {
        // The first number that is free; that of one that exists changes nothing.
        for id in (0..FILLER).rev() {
            match self.lab.pool(name).create_thin(id) {
                Err(error) if error.errno() == Some(Errno::EEXIST) => {}
                // What it says of a commit that fails differs; what counts is what it did.
                _ => return Ok(()),
            }
        }
        Err(wrong())
    }

    /// No data block is free: thin device [`FILLER`] has them all. Deleting it gives them back.
    ///
    /// # Errors
    /// EINVAL when it is no pool; EEXIST when there is such a thin device already.
    pub fn pool_out_of_data(&self, name: &str) -> Result<(), Error> {
        let (line, shape) = self.line::<ThinPool>(name)?;
        let pool = self.lab.pool(name);
        pool.create_thin(FILLER)?;
        let filler = format!("{name}-filler");
        pool.activate(&filler, FILLER, line.len)?;
        for at in (0..line.len.0).step_by(shape.block.0 as usize) {
            let PoolStatus::Working { data, .. } = pool.status()? else { return Err(wrong()) };
            if data.used == data.total {
                break;
            }
            self.lab.write(&Self::path(&filler), Sector(at), &[0; 512])?;
        }
        // One more is what tells the pool. It waits there for room; a table that fails everything ends it.
        let beyond = self.lab.start_write(&Self::path(&filler), Sector(line.len.0 - 1), &[0; 512])?;
        self.lab.load(&filler, format!("0 {} error", line.len))?;
        self.lab.suspend_noflush(&filler)?;
        self.lab.resume(&filler)?;
        let _ = beyond.wait();
        self.lab.settle();
        self.lab.remove(&filler)
    }

    /// No metadata block is free: thin devices were made until the pool could not any more and became read-only.
    ///
    /// # Errors
    /// EINVAL when it is no pool that may be written.
    pub fn pool_out_of_metadata(&self, name: &str) -> Result<(), Error> {
        self.line::<ThinPool>(name)?;
        for id in (0..FILLER).rev() {
            let made = self.lab.pool(name).create_thin(id);
            match self.lab.pool(name).status()? {
                PoolStatus::Working { mode: PoolMode::Write | PoolMode::OutOfDataSpace, .. } => {}
                PoolStatus::Working { mode: PoolMode::ReadOnly, .. } => return Ok(()),
                _ => return Err(made.err().unwrap_or_else(wrong)),
            }
        }
        Err(wrong())
    }

    /// The pool's transaction number is one further than whoever keeps it believes.
    ///
    /// # Errors
    /// EINVAL when it is no pool that may be written.
    pub fn pool_transaction_mismatch(&self, name: &str) -> Result<(), Error> {
        let pool = self.lab.pool(name);
        let PoolStatus::Working { transaction, .. } = pool.status()? else { return Err(wrong()) };
        pool.message(&format!("set_transaction_id {transaction} {}", transaction + 1))
    }
}
