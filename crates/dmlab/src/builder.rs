//! How a lab is set up.

use std::fs::File;

use dmlab_driver::{ThreadDriver, Time};
use dmlab_machine::{BootError, BootOptions, Disk, DiskKind, Instant, KernelVersion, Machine, TargetType};
use dmlab_units::Bytes;

use crate::Lab;
use crate::driver::LabDriver;
use crate::schedule::Schedule;
use crate::turns::TurnsDriver;

/// A lab that is not booted yet: what disks it has, by whose time it lives.
///
/// ```
/// use dmlab::{Lab, units::{Bytes, Sector}};
///
/// // One RAM disk, and /dev/vda: a disk that loses what was not flushed when its power goes.
/// let lab = Lab::builder(7).ram_disks(1, Bytes::mib(16)).disk(Bytes::mib(64)).boot()?;
/// lab.write("/dev/vda", Sector(0), &[1; 512])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct LabBuilder {
    options: BootOptions,
    is_shuffled: bool,
    has_threads: bool,
}

impl LabBuilder {
    pub(crate) fn new(seed: u64) -> LabBuilder {
        let options = BootOptions { seed, ..BootOptions::default() };
        LabBuilder { options, is_shuffled: false, has_threads: false }
    }

    /// `/dev/ram0` on: `count` of this size each. They take no flushes, since what they were told is there at once.
    pub fn ram_disks(mut self, count: u32, size: Bytes) -> LabBuilder {
        self.options.ram_disks = count;
        self.options.ram_disk_size = size;
        self
    }

    /// One more disk in memory with a volatile write cache: `/dev/vda`, then `/dev/vdb`…
    pub fn disk(self, size: Bytes) -> LabBuilder {
        self.with_disk(DiskKind::VolatileRam(size), false)
    }

    /// One more disk that is a file of the host, written in place.
    pub fn file_disk(self, file: File) -> LabBuilder {
        self.with_disk(DiskKind::File(file), false)
    }

    /// One more disk that is a file of the host and may only be read.
    pub fn read_only_file_disk(self, file: File) -> LabBuilder {
        self.with_disk(DiskKind::File(file), true)
    }

    fn with_disk(mut self, kind: DiskKind, read_only: bool) -> LabBuilder {
        self.options.disks.push(Disk { kind, read_only });
        self
    }

    /// A target of one's own beside those of the kernel.
    pub fn target(mut self, kind: &'static TargetType) -> LabBuilder {
        self.options.targets.push(kind);
        self
    }

    /// Which Linux its kernel is: versions, errors and texts follow. 6.12 if nothing is said.
    ///
    /// ```
    /// use dmlab::Lab;
    /// use dmlab::machine::KernelVersion;
    ///
    /// let lab = Lab::builder(1).kernel(KernelVersion::V7_2).boot()?;
    /// assert_eq!(lab.dm().version()?, [4, 50, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kernel(mut self, kernel: KernelVersion) -> LabBuilder {
        self.options.kernel = kernel;
        self
    }

    /// Sets a module's parameter: `("dm_multipath.queue_if_no_path_timeout_secs", "60")`.
    pub fn parameter(mut self, name: &str, value: &str) -> LabBuilder {
        self.options.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Tasks of the kernel that could run next take turns as the seed has it, in place of first come, first served.
    pub fn shuffled(mut self) -> LabBuilder {
        self.is_shuffled = true;
        self
    }

    /// Lives by the wall clock, with a thread of its own, so that many threads can use it at once. Such a run is not
    /// repeatable; it is for stress.
    pub fn on_real_time(mut self) -> LabBuilder {
        self.has_threads = true;
        self
    }

    /// Boots it.
    ///
    /// # Errors
    /// See [`BootError`].
    ///
    /// # Panics
    /// On real time, when the host gives it no thread.
    pub fn boot(self) -> Result<Lab, BootError> {
        let LabBuilder { mut options, is_shuffled, has_threads } = self;
        let (machine, driver) = if has_threads {
            let driver = ThreadDriver::new(Time::Real);
            options.driver = driver.clone();
            let machine = Machine::boot(options)?;
            driver.start(machine.runtime().clone(), || {}).expect("the host has room for one more thread");
            (machine, LabDriver::Threads(driver))
        } else {
            let driver = TurnsDriver::starting_at(Instant::from_nanos(0));
            options.driver = driver.clone();
            (Machine::boot(options)?, LabDriver::Turns(driver))
        };
        let lab = Lab::of(machine, driver);
        if is_shuffled {
            lab.follow_schedule(&Schedule::seeded(lab.seed()));
        }
        Ok(lab)
    }
}
