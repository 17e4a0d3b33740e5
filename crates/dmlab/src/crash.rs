//! Crashes at every point: a run is recorded once, and then the power goes after each of its writes.
//!
//! ```
//! use dmlab::crash::{Crash, ThinCheck};
//! use dmlab::units::{Sector, Sectors};
//!
//! const POOL: &str = "0 8192 thin-pool /dev/ram0 /dev/ram1 128 0";
//! const THIN: &str = "0 1024 thin /dev/mapper/pool 0";
//!
//! // Disk 0 is /dev/ram0, disk 1 /dev/ram1: both have a volatile write cache.
//! let run = Crash::record(1, &[Sectors(1024), Sectors(8192)], |lab| {
//!     lab.create("pool", POOL)?;
//!     // The states from here on are of interest.
//!     lab.begin();
//!     lab.message("pool", "create_thin 0")?;
//!     lab.mark("made");
//!     lab.create("thin", THIN)?;
//!     lab.write("/dev/mapper/thin", Sector(0), &[7; 512])?;
//!     lab.open("/dev/mapper/thin")?.sync()?;
//!     lab.mark("written");
//!     Ok(())
//! })?;
//!
//! let report = run.explore().judge(ThinCheck::on(0)).check(|lab, moment| {
//!     lab.create("pool", POOL)?;
//!     if moment.has_passed("made") {
//!         lab.create("thin", THIN)?;
//!     }
//!     if moment.has_passed("written") && lab.read("/dev/mapper/thin", Sector(0), Sectors(1))? != [7; 512] {
//!         return Err("what was synced is gone".into());
//!     }
//!     Ok(())
//! });
//! assert!(report.states_examined > 20);
//! report.assert_clean();
//! # Ok::<(), dmlab::crash::CrashError>(())
//! ```
//!
//! What a loss of power may leave is written down in [`dmlab_faults::power`]. Each state is built on forks of the disks,
//! opened in a machine of its own on virtual time, and judged: by judges that look at the disks alone ([`ThinCheck`],
//! [`MirrorLog`], [`SnapshotStore`], your own [`Judge`]s), then by a closure that may do whatever a program does after a
//! reboot. States are examined on all cores; the report is the same however many there are.

mod explore;
mod file;
mod judge;
mod minimise;
mod record;
mod report;

pub use dmlab_faults::power::{Choice, Event, LeftDisk, Recording, StateId, Written};
pub use explore::{Explore, Moment};
pub use file::FileError;
pub use judge::{JUDGES, Judge, JudgeKind, MirrorLog, SnapshotStore, ThinCheck, judge as judge_of_words};
pub use record::{Crash, CrashError, CrashRun, CrashState, RecordedDisks, RecordedLab};
pub use report::{Failure, MergeError, Report, Shard};

/// What a workload and a check return: any error will do.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;
