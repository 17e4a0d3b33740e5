//! A simulated Linux device mapper for tests: a [`Lab`] holds a machine on virtual time.
//!
//! ```
//! use dmlab::Lab;
//! use dmlab::control::{Striped, Table};
//! use dmlab::units::{Sector, Sectors};
//!
//! let lab = Lab::new(1);
//! let table = Table::new().then(Sectors(64), Striped::new(Sectors(8), [("/dev/ram0", Sector(0)), ("/dev/ram1", Sector(0))]));
//! lab.create("fast", &table)?;
//!
//! // Sector 8 is the first of the second chunk, so it lies at the start of the second stripe.
//! lab.write("/dev/mapper/fast", Sector(8), &[7; 512])?;
//! assert_eq!(lab.read("/dev/ram1", Sector(0), Sectors(1))?, [7; 512]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A refusal carries what the kernel logged:
//!
//! ```
//! # use dmlab::Lab;
//! # use dmlab::units::Errno;
//! let lab = Lab::new(1);
//! let error = lab.create("a", "0 8 linear /dev/ram0 x").unwrap_err();
//! assert_eq!(error.errno(), Some(Errno::EINVAL));
//! assert_eq!(error.log()[0], "device-mapper: table: 254:0: linear: Invalid device sector (-EINVAL)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same seed gives the same bytes, the same log and the same times.
#![forbid(unsafe_code)]

mod builder;
mod caller;
mod caught;
pub mod crash;
mod devices;
mod driver;
mod error;
mod faults;
mod fingerprints;
mod force;
mod fork;
mod io;
mod pending;
mod pool;
mod proof;
mod prove;
mod schedule;
mod transport;
mod turns;
mod watch;

pub use builder::LabBuilder;
pub use devices::IntoTable;
pub use error::{Error, ErrorKind, IoFailure, OrErrno, Scene};
pub use faults::{FaultBuilder, Faults, FaultsError};
pub use force::{FILLER, Force, Held};
pub use fork::{Checkpoint, LabForkError};
pub use pending::{Pending, PendingWrite};
pub use pool::{Pool, ThinDevice};
pub use proof::twice;
pub use prove::{outcome, prove};
pub use schedule::{BadSchedule, Schedule, Schedules};
pub use transport::{InProcess, Killed};
pub use turns::{Client, Deadlock};
pub use watch::{Fingerprint, TimedOut, Trace};

// What a test that takes this crate needs to name.
pub use dmlab_block as block;
pub use dmlab_control as control;
pub use dmlab_machine as machine;
pub use dmlab_recording as recording;
pub use dmlab_units as units;

use caller::Insider;
use dmlab_control::Dm;
use dmlab_machine::{Machine, TargetType};
use dmlab_units::Errno;
use driver::LabDriver;
use std::future::Future;
use std::time::Duration;

/// A machine, and what a test does with it: on virtual time, unless it was [built](Lab::builder) otherwise.
///
/// When a test panics while it has a lab, the lab prints what a reader needs to understand it: the tree of devices, the
/// last lines of the kernel log and the seed.
pub struct Lab {
    machine: Machine,
    driver: LabDriver,
    /// Says nothing of itself when its test panics: it is one of many that a search tries.
    is_quiet: bool,
}

/// Lines of the kernel log that a failing test shows.
const LAST_LINES: usize = 20;

impl Lab {
    /// Boots the reference machine: RAM disks `/dev/ram0` to `/dev/ram7` of 256 MiB, mapped devices with major 254.
    pub fn new(seed: u64) -> Lab {
        Lab::builder(seed).boot().expect("the reference machine boots")
    }

    /// A lab with other disks, targets or time.
    pub fn builder(seed: u64) -> LabBuilder {
        LabBuilder::new(seed)
    }

    /// The reference machine with targets of one's own beside those of the kernel.
    ///
    /// # Panics
    /// When two targets have the same name.
    pub fn with_targets(seed: u64, targets: impl IntoIterator<Item = &'static TargetType>) -> Lab {
        let builder = targets.into_iter().fold(Lab::builder(seed), LabBuilder::target);
        builder.boot().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn of(machine: Machine, driver: LabDriver) -> Lab {
        Lab { machine, driver, is_quiet: false }
    }

    pub(crate) fn become_other(&mut self, mut other: Lab) {
        std::mem::swap(&mut self.machine, &mut other.machine);
        std::mem::swap(&mut self.driver, &mut other.driver);
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The seed that all its randomness comes from.
    pub fn seed(&self) -> u64 {
        self.machine.runtime().seed()
    }

    /// A control node of its own on the machine's device mapper.
    pub fn dm(&self) -> Dm<InProcess> {
        Dm::new(InProcess::new(&self.machine))
    }

    /// What is to go wrong, and what did.
    pub fn faults(&self) -> Faults<'_> {
        Faults::new(self.machine.faults())
    }

    /// The kernel log from the boot on, without time stamps.
    pub fn klog(&self) -> Vec<String> {
        self.machine.klog().since(0).into_iter().map(|line| line.text).collect()
    }

    /// Lets `span` of time pass: every timer in it fires. On real time it sleeps.
    pub fn advance(&self, span: Duration) {
        self.driver.advance(&self.machine, span);
    }

    /// Runs what the kernel has yet to do, such as delivering events, without letting time pass.
    pub fn settle(&self) {
        self.machine.runtime().run_until_idle();
    }

    /// Runs a future to its end, as a task of its own would run beside those of the kernel.
    ///
    /// # Errors
    /// EDEADLK when it waits for something that can't happen any more.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Errno> {
        self.machine.runtime().block_on(future).map_err(|_| Errno::EDEADLK)
    }

    /// Makes a device-mapper ioctl with these very bytes; `buf` is all the memory that the caller has.
    ///
    /// # Errors
    /// The errno of the system call.
    pub fn ioctl(&self, request: u32, buf: &mut Vec<u8>) -> Result<i32, Errno> {
        self.machine.open_control().ioctl(&Insider::new(&self.machine), request, buf)
    }

    /// Makes a device-mapper ioctl as a process without CAP_SYS_ADMIN that inherited the open control node.
    ///
    /// # Errors
    /// EACCES, whatever the bytes are.
    pub fn ioctl_unprivileged(&self, request: u32, buf: &mut Vec<u8>) -> Result<i32, Errno> {
        self.machine.open_control().ioctl(&Insider::unprivileged(&self.machine), request, buf)
    }

    /// What a failing test shows: the tree of devices, the last lines of the kernel log, the last faults, the seed.
    pub fn describe(&self) -> String {
        let log = self.machine.klog().since(0);
        let last: Vec<String> = log[log.len().saturating_sub(LAST_LINES)..]
            .iter()
            .map(|line| format!("  [{}] {}\n", line.time, line.text))
            .collect();
        let hits = self.faults().hits();
        let struck: Vec<String> =
            hits[hits.len().saturating_sub(LAST_LINES)..].iter().map(|hit| format!("  {hit}\n")).collect();
        let faults = match struck.len() {
            0 => String::new(),
            nr => format!("faults, last {nr} of {}:\n{}", hits.len(), struck.concat()),
        };
        format!(
            "the lab at {} s, seed {}\n{}kernel log, last {} lines of {}:\n{}{faults}",
            self.now().to_string().trim_start(),
            self.seed(),
            self.tree(),
            last.len(),
            log.len(),
            last.concat()
        )
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_quiet {
            #[expect(clippy::print_stderr, reason = "a failing test's output is where its reader looks")]
            {
                eprintln!("{}", self.describe());
            }
        }
        if !std::thread::panicking() && !self.is_quiet {
            fingerprints::note(self);
        }
        self.driver.stop();
    }
}

/// The chapter's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/testing.md")]
struct TestingChapter;
