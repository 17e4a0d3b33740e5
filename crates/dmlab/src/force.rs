//! Any state in one call: what takes a kernel a bad day, a test has at once.
//!
//! Each state comes about as it does on Linux, by what brings it about there (a metadata write that fails, a full device),
//! so everything that belongs to it is there as well: log lines, events, what is on the disks.

use std::time::Duration;

use dmlab_control::{PoolMode, PoolStatus, SnapshotStatus, Table, TableLine, TargetStatus};
use dmlab_machine::BlockFile;
use dmlab_machine::faults::RuleId;
use dmlab_units::{Errno, SECTOR_SIZE, Sector, Sectors};

use crate::{Error, Lab};

/// The number of the thin device that [`Force::pool_out_of_data`] fills a pool with: the largest there is.
pub const FILLER: u64 = (1 << 24) - 1;

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
    fn line(&self, name: &str, target: &str) -> Result<TableLine, Error> {
        let table: Table = self.lab.table(name)?.parse()?;
        table.lines.into_iter().find(|line| line.target.as_bytes() == target.as_bytes()).ok_or_else(wrong)
    }

    fn word(line: &TableLine, at: usize) -> Result<String, Error> {
        line.params.word(at).map(str::to_owned).ok_or_else(wrong)
    }

    fn path(name: &str) -> String {
        format!("/dev/mapper/{name}")
    }

    /// Reads a sector and writes the same bytes again.
    fn touch(&self, name: &str, sector: Sector) -> Result<(), Error> {
        let bytes = self.lab.read(&Self::path(name), sector, Sectors(1))?;
        self.lab.write(&Self::path(name), sector, &bytes)
    }

    /// The pool may only be read: it is loaded again with the feature `read_only`.
    ///
    /// # Errors
    /// EINVAL when it is no pool.
    pub fn pool_read_only(&self, name: &str) -> Result<(), Error> {
        let line = self.line(name, "thin-pool")?;
        let mut words: Vec<String> =
            line.params.words().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let count: usize = words.get(4).map_or(Ok(0), |n| n.parse().map_err(|_| wrong()))?;
        words.truncate(4);
        words.push((count + 1).to_string());
        words.extend(line.params.words().skip(5).map(|word| String::from_utf8_lossy(word).into_owned()));
        words.push("read_only".to_owned());
        self.lab.reload(name, format!("{} {} thin-pool {}", line.start, line.len, words.join(" ")))
    }

    /// A commit of the pool's metadata fails, so it gives up the transaction, becomes read-only and wants to be checked.
    ///
    /// # Errors
    /// EINVAL when it is no pool that may be written.
    pub fn pool_needs_check(&self, name: &str) -> Result<(), Error> {
        let metadata = Self::word(&self.line(name, "thin-pool")?, 0)?;
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
        let metadata = Self::word(&self.line(name, "thin-pool")?, 0)?;
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
        let line = self.line(name, "thin-pool")?;
        let block: u64 = Self::word(&line, 2)?.parse().map_err(|_| wrong())?;
        let pool = self.lab.pool(name);
        pool.create_thin(FILLER)?;
        let filler = format!("{name}-filler");
        pool.activate(&filler, FILLER, line.len)?;
        for at in (0..line.len.0).step_by(block as usize) {
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
        self.line(name, "thin-pool")?;
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

    /// The pool's transaction number is one further than its keeper believes.
    ///
    /// # Errors
    /// EINVAL when it is no pool that may be written.
    pub fn pool_transaction_mismatch(&self, name: &str) -> Result<(), Error> {
        let pool = self.lab.pool(name);
        let PoolStatus::Working { transaction, .. } = pool.status()? else { return Err(wrong()) };
        pool.message(&format!("set_transaction_id {transaction} {}", transaction + 1))
    }

    /// A snapshot has lost track of its origin: its store took no exception, and it is invalid.
    ///
    /// # Errors
    /// EINVAL when it is no snapshot, or one of which every chunk was copied already.
    pub fn snapshot_invalid(&self, name: &str) -> Result<(), Error> {
        let line = self.line(name, "snapshot")?;
        let (cow, chunk) = (Self::word(&line, 1)?, Self::word(&line, 3)?);
        let chunk: u64 = chunk.parse().map_err(|_| wrong())?;
        let rule = self.lab.faults().on(&cow).writes().fail(Errno::EIO).add()?;
        let is_invalid = |lab: &Lab| {
            matches!(lab.target_status(name), Ok(Some(TargetStatus::Snapshot(SnapshotStatus::Invalid))))
        };
        let done = (0..line.len.0).step_by(chunk as usize).any(|at| {
            let _ = self.touch(name, Sector(at));
            is_invalid(self.lab)
        });
        self.lab.faults().remove(rule);
        if done { Ok(()) } else { Err(wrong()) }
    }

    /// A leg of a mirror takes no writes from here on, and the mirror has noticed. Released, the disk is well again.
    ///
    /// # Errors
    /// EINVAL when it is no mirror, or has no such leg; legs count from 0.
    pub fn mirror_leg_dead(&self, name: &str, leg: usize) -> Result<Held, Error> {
        let (device, _) = self.leg(name, leg)?;
        let rule = self.lab.faults().on(&device).writes().fail(Errno::EIO).add()?;
        let _ = self.touch(name, Sector::ZERO);
        self.lab.settle();
        Ok(Held { rule })
    }

    /// The device and offset of a mirror's leg: `LOG N ARGS×N LEGS (DEVICE OFFSET)×LEGS`.
    fn leg(&self, name: &str, leg: usize) -> Result<(String, u64), Error> {
        let line = self.line(name, "mirror")?;
        let log_args: usize = Self::word(&line, 1)?.parse().map_err(|_| wrong())?;
        let legs: usize = Self::word(&line, 2 + log_args)?.parse().map_err(|_| wrong())?;
        if leg >= legs {
            return Err(wrong());
        }
        let at = 3 + log_args + 2 * leg;
        Ok((Self::word(&line, at)?, Self::word(&line, at + 1)?.parse().map_err(|_| wrong())?))
    }

    /// A mirror is copying its first leg to the others, and stands at `percent` until released: all regions are out of sync
    /// and those before that point were copied. It is suspended and its table loaded again, from which a core log begins
    /// anew; a disk log forgets meanwhile which regions are clean, as a log that is wiped does.
    ///
    /// # Errors
    /// EINVAL when it is no mirror, or one that takes its legs to be in sync whatever happened (`nosync`).
    pub fn mirror_resyncing(&self, name: &str, percent: u64) -> Result<Held, Error> {
        let line = self.line(name, "mirror")?;
        let (device, offset) = self.leg(name, 1)?;
        let log_args: usize = Self::word(&line, 1)?.parse().map_err(|_| wrong())?;
        let log: Vec<String> = (0..log_args).map(|at| Self::word(&line, 2 + at)).collect::<Result<_, _>>()?;
        if percent >= 100 || log.iter().any(|word| word == "nosync") {
            return Err(wrong());
        }
        let disk = match &*Self::word(&line, 0)? {
            "core" => None,
            "disk" => Some(log.first().ok_or_else(wrong)?),
            _ => return Err(wrong()),
        };
        let from = offset + line.len.0 * percent / 100;
        let beyond = self.lab.faults().on(&device).writes().sectors(from..offset + line.len.0);
        let rule = beyond.hang().add()?;
        self.lab.suspend(name)?;
        let loaded = self.lab.load(name, Table { lines: vec![line] });
        let wiped = loaded.and_then(|()| disk.map_or(Ok(()), |disk| self.wipe_mirror_log(disk)));
        // Whatever became of that, it does not stay suspended.
        self.lab.resume(name)?;
        let held = Held { rule };
        if let Err(error) = wiped {
            held.release(self.lab);
            return Err(error);
        }
        self.lab.advance(Duration::from_secs(1));
        Ok(held)
    }

    /// No region is clean any more, says the log of a mirror on this device.
    fn wipe_mirror_log(&self, device: &str) -> Result<(), Error> {
        // Where the bits begin, behind the header (kernel/mirror.md#the-mirrors-log-on-disk).
        const BITS: usize = 1024;
        let file = self.lab.open(device)?;
        let block = file.device().limits().logical_block_size.0.max(SECTOR_SIZE) as usize;
        drop(file);
        // The header, which is kept, says how many there are.
        let head = self.lab.read(
            device,
            Sector::ZERO,
            Sectors(BITS.next_multiple_of(block) as u64 / SECTOR_SIZE),
        )?;
        let regions = head.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let bytes = (BITS + regions.div_ceil(8) as usize).next_multiple_of(block);
        let mut log = self.lab.read(device, Sector::ZERO, Sectors(bytes as u64 / SECTOR_SIZE))?;
        let bits = log.get_mut(BITS..).ok_or_else(wrong)?;
        bits.fill(0);
        self.lab.write(device, Sector::ZERO, &log)
    }

    /// All paths of a multipath are down.
    ///
    /// # Errors
    /// EINVAL when it is no multipath.
    pub fn multipath_all_paths_down(&self, name: &str) -> Result<(), Error> {
        let line = self.line(name, "multipath")?;
        // A path is what a table of multipath has of devices; it may be in several groups.
        let devices: Vec<String> = line
            .params
            .words()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .filter(|word| word.contains(':') && word.parse::<dmlab_units::DevT>().is_ok())
            .collect();
        if devices.is_empty() {
            return Err(wrong());
        }
        for device in devices {
            self.lab.message(name, &format!("fail_path {device}"))?;
        }
        Ok(())
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
