//! One recorded run.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use dmlab_block::{BlockDevice, DiskOps, QueueLimits};
use dmlab_faults::power::{BadChoice, Event, LeftDisk, RecordedDisk, Recorder, Recording, StateId, Walk};
use dmlab_machine::{BootOptions, Driver, Instant, Machine};
use dmlab_units::{DevT, Sectors};

use super::explore::Explore;
use super::{FileError, Outcome, file};
use crate::Lab;
use crate::driver::LabDriver;
use crate::turns::TurnsDriver;

/// Major number of RAM disks, whose numbers and names recorded disks have.
const RAM_MAJOR: u32 = 1;

/// Why there is no run or no state.
#[derive(Debug)]
pub enum CrashError {
    /// The workload failed.
    Workload(String),
    /// A state's name is none, or the run has no such state.
    NoState(String),
    /// A recording in a file cannot be read or written.
    File(FileError),
}

impl fmt::Display for CrashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CrashError::Workload(error) => write!(f, "the workload failed: {error}"),
            CrashError::NoState(why) => f.write_str(why),
            CrashError::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CrashError {}

impl From<BadChoice> for CrashError {
    fn from(error: BadChoice) -> CrashError {
        CrashError::NoState(error.to_string())
    }
}

impl From<FileError> for CrashError {
    fn from(error: FileError) -> CrashError {
        CrashError::File(error)
    }
}

/// A machine on `driver`'s time whose only disks are these: `/dev/ram0` on, with volatile write caches.
pub(super) fn machine_on(
    seed: u64,
    driver: Arc<dyn Driver>,
    disks: impl IntoIterator<Item = (Arc<dyn DiskOps>, QueueLimits, Sectors)>,
) -> Machine {
    let options = BootOptions { seed, driver, ram_disks: 0, ..BootOptions::default() };
    let machine = Machine::boot(options).expect("a machine without disks boots");
    let registry = machine.registry();
    for (minor, (ops, limits, size)) in disks.into_iter().enumerate() {
        let (dev, name) = (DevT::new(RAM_MAJOR, minor as u32), format!("ram{minor}"));
        let (seq, runtime) = (registry.next_disk_seq(), registry.runtime().clone());
        let device = BlockDevice::new(dev, name, seq, runtime, ops, limits);
        device.set_capacity(size);
        registry.add(device).expect("each number is there once");
    }
    machine
}

/// A machine on what a loss of power left.
pub(super) fn left_machine(seed: u64, driver: Arc<dyn Driver>, disks: &[Arc<LeftDisk>]) -> Machine {
    let disks = disks.iter().map(|disk| {
        let ops: Arc<dyn DiskOps> = disk.clone();
        (ops, disk.limits(), disk.capacity())
    });
    machine_on(seed, driver, disks)
}

/// A lab on what a loss of power left.
pub(super) fn lab_on(seed: u64, disks: &[Arc<LeftDisk>]) -> Lab {
    let driver = TurnsDriver::starting_at(Instant::from_nanos(0));
    let machine = left_machine(seed, driver.clone(), disks);
    let mut lab = Lab::of(machine, LabDriver::Turns(driver));
    // The report says what is wrong, of as many states as it names.
    lab.is_quiet = true;
    lab
}

/// Recorded disks, for a machine of one's own making.
pub struct RecordedDisks {
    recorder: Recorder,
    disks: Vec<Arc<RecordedDisk>>,
    begin: parking_lot::Mutex<usize>,
}

impl RecordedDisks {
    /// Disks of these sizes, of zeros.
    pub fn new(sizes: &[Sectors]) -> RecordedDisks {
        let recorder = Recorder::new();
        let disks = sizes.iter().map(|&size| Arc::new(RecordedDisk::new(size, &recorder))).collect();
        RecordedDisks { recorder, disks, begin: parking_lot::Mutex::new(0) }
    }

    /// A machine on `driver`'s time whose only disks are these: `/dev/ram0` on, with volatile write caches.
    pub fn boot(&self, seed: u64, driver: Arc<dyn Driver>) -> Machine {
        let disks = self.disks.iter().map(|disk| {
            let ops: Arc<dyn DiskOps> = disk.clone();
            (ops, disk.limits(), disk.capacity())
        });
        machine_on(seed, driver, disks)
    }

    /// Says where the workload is.
    pub fn mark(&self, text: impl AsRef<str>) {
        self.recorder.mark(text.as_ref());
    }

    /// States before this point are of no interest: what was made until here is there.
    pub fn begin(&self) {
        *self.begin.lock() = self.recorder.len();
    }

    /// Ends the recording.
    pub fn finish(&self, seed: u64) -> CrashRun {
        CrashRun::new(seed, *self.begin.lock(), self.recorder.take())
    }
}

/// A lab whose disks are recorded: a [`Lab`] that also takes marks.
pub struct RecordedLab {
    lab: Lab,
    disks: RecordedDisks,
}

impl RecordedLab {
    /// Says where the workload is; a check asks for it with [`Moment::has_passed`](super::Moment::has_passed).
    pub fn mark(&self, text: impl AsRef<str>) {
        self.disks.mark(text);
    }

    /// States before this point are of no interest. Without it, all are looked at.
    pub fn begin(&self) {
        self.disks.begin();
    }
}

impl Deref for RecordedLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

/// Records runs.
pub struct Crash;

impl Crash {
    /// Runs `workload` on a machine on virtual time whose disks have these sizes and which are recorded; they are
    /// `/dev/ram0` on.
    ///
    /// # Errors
    /// When the workload fails.
    pub fn record(
        seed: u64,
        sizes: &[Sectors],
        workload: impl FnOnce(&RecordedLab) -> Outcome,
    ) -> Result<CrashRun, CrashError> {
        let driver = TurnsDriver::starting_at(Instant::from_nanos(0));
        let disks = RecordedDisks::new(sizes);
        let machine = disks.boot(seed, driver.clone());
        let lab = RecordedLab { lab: Lab::of(machine, LabDriver::Turns(driver)), disks };
        workload(&lab).map_err(|error| CrashError::Workload(error.to_string()))?;
        Ok(lab.disks.finish(seed))
    }
}

/// What a run told its disks.
pub struct CrashRun {
    pub(super) seed: u64,
    pub(super) begin: usize,
    pub(super) recording: Recording,
    /// Each mark with the first boundary behind it.
    pub(super) marks: Vec<(usize, Arc<str>)>,
}

impl CrashRun {
    pub(super) fn new(seed: u64, begin: usize, recording: Recording) -> CrashRun {
        let marks = recording.events.iter().enumerate().filter_map(|(at, event)| match event {
            Event::Mark(text) => Some((at + 1, text.clone())),
            Event::Write(_) | Event::Flush(_) => None,
        });
        CrashRun { seed, begin, marks: marks.collect(), recording }
    }

    /// What happened.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The first boundary whose states are of interest: how many events lay behind when
    /// [`begin`](RecordedLab::begin) was called.
    pub fn begin(&self) -> usize {
        self.begin
    }

    /// How many writes, discards and writes of zeros the run did after [`begin`](RecordedLab::begin): 0 says that each of its
    /// states is the same, so that a check of them proves nothing.
    pub fn nr_writes(&self) -> usize {
        let looked_at = self.recording.events.iter().skip(self.begin);
        looked_at.filter(|event| matches!(event, Event::Write(_))).count()
    }

    /// The seed of the run, and of the machines that its states are opened in.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Looks at what a loss of power may leave: set up how, then [`Explore::check`] or [`Explore::run`].
    pub fn explore(&self) -> Explore<'_> {
        Explore::new(self)
    }

    /// One state by its name, opened in a machine, to look at by hand.
    ///
    /// # Errors
    /// When there is no such state.
    pub fn replay(&self, state: &str) -> Result<CrashState, CrashError> {
        let id: StateId = state.parse()?;
        let walk = self.walk_to(&id)?;
        let disks: Vec<Arc<LeftDisk>> = walk.disks(&id.choice).into_iter().map(Arc::new).collect();
        Ok(CrashState { lab: lab_on(self.seed, &disks), disks })
    }

    pub(super) fn walk_to(&self, id: &StateId) -> Result<Walk<'_>, CrashError> {
        let mut walk = Walk::new(&self.recording);
        if walk.go_to(id.boundary) {
            Ok(walk)
        } else {
            let count = self.recording.events.len();
            Err(CrashError::NoState(format!("there is no state {id}: the run has {count} events")))
        }
    }

    /// A number that tells recordings apart.
    pub fn fingerprint(&self) -> String {
        file::fingerprint(self)
    }

    /// Writes the run to a file, from which [`CrashRun::load`] makes it again on another machine.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self, path: &std::path::Path) -> Result<(), CrashError> {
        Ok(file::save(self, path)?)
    }

    /// Reads a run from a file.
    ///
    /// # Errors
    /// The system's, and when the file is no recording.
    pub fn load(path: &std::path::Path) -> Result<CrashRun, CrashError> {
        Ok(file::load(path)?)
    }
}

/// What a loss of power left, in a machine of its own.
pub struct CrashState {
    lab: Lab,
    disks: Vec<Arc<LeftDisk>>,
}

impl CrashState {
    /// A disk, to be looked at from outside the machine.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn disk(&self, number: usize) -> &LeftDisk {
        &self.disks[number]
    }
}

impl Deref for CrashState {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}
