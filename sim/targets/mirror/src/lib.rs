//! `mirror`: the same data on several devices (RAID 1, as LVM had it before `raid`).
//!
//! ```text
//! START LEN mirror LOG N_LOG_ARGS LOG_ARGS... N_LEGS (DEVICE OFFSET)... [N_FEATURES FEATURE...]
//! 0 2048 mirror core 1 1024 2 /dev/ram0 0 /dev/ram1 0
//! 0 2048 mirror disk 2 /dev/ram2 1024 2 /dev/ram0 0 /dev/ram1 0 1 handle_errors
//!
//!   write ──> worker: region marked dirty in the log ──> all legs at once ──> ended; region clean again
//!   read ───> region in sync: the default leg, or another if that one fails
//!             not in sync:    the default leg
//! ```
//!
//! The unit is a **region** of the mapped device, a power of two of sectors. The log (`dirty_log`) knows which regions are in
//! sync; those that are not are copied, one after the other, from the default leg to the others (`recovery`). What goes
//! on in a region is the business of the region hash (`region_hash`, the kernel's `dm-region-hash.c`); `set` is the worker and the way of a bio.
//!
//! | | |
//! |---|---|
//! | logs | `core REGION_SIZE [sync|nosync]`, `disk DEVICE REGION_SIZE [sync|nosync]` |
//! | features | `handle_errors`: a write that a leg did not take is held until the next suspend; `keep_log`: it is not |
//! | status line | `N (MAJOR:MINOR)... SYNCED/REGIONS 1 LETTERS LOG`; a letter for each leg, the worst it did: `A`live, `R`ead, `S`ync, `D` for a write, `F`lush |
//! | table line | as loaded |
//! | events | a leg's first failure of a kind (with `handle_errors`), the log's first failure, and all regions in sync |
//! | splits | reads and writes at regions |
//!
//! Not built: the `userspace` log, which is a module of its own that asks a daemon.
//!
//! Behaviour: kernel/mirror.md, recorded cases `mirror/*`.
#![forbid(unsafe_code)]

mod dirty_log;
mod leg;
mod recovery;
mod region_hash;
mod set;

#[doc(hidden)]
pub use set::LOG_AFTER_DATA;

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dmlab_block::{Bio, Meaning};
use dmlab_dm::{
    BoxFuture, Constructor, Ctr, CtrError, CtrResult, DeviceRange, Map, Module, OrRefuse, Saved, StatusKind,
    StatusResult, Target, TargetFeatures, TargetType,
};
use dmlab_units::Sector;

use dirty_log::DirtyLog;
use leg::Leg;
use set::{Features, MirrorSet};

const MODULE: Module = Module {
    meanings: &[
        Meaning::new("mirror-log", "the log device of a mirror: header, bitmap, its flush", "", ""),
        Meaning::new(
            "mirror-recovery",
            "a region that a mirror copies to legs that lack it",
            "",
            "the region",
        ),
    ],
    ..Module::named("dm_mirror")
};

/// `mirror` 1.14.0.
pub static MIRROR: TargetType = TargetType {
    name: "mirror",
    version: [1, 14, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(construct),
    module: &MODULE,
};

/// Most legs of a set: nine.
const MAX_LEGS: u32 = 9;

struct Mirror {
    set: Arc<MirrorSet>,
}

/// What a mirror knows beside its table.
struct MirrorState {
    /// The kinds of failures of each leg.
    failures: Vec<u8>,
    default_leg: usize,
    log: dirty_log::LogState,
}

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let log = parse_log(ctr)?;
    let legs = parse_legs(ctr)?;
    let features = parse_features(ctr)?;
    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = 1;
    ctr.settings.max_io_len = log.region_size();
    let (runtime, events) = (ctr.runtime().clone(), ctr.events());
    let set = MirrorSet::new(legs, features, log, (ctr.start, ctr.len), runtime, events, ctr.machine_state());
    Ok(Box::new(Mirror { set }))
}

fn parse_log(ctr: &mut Ctr<'_>) -> Result<DirtyLog, CtrError> {
    let too_few = CtrError::invalid("Insufficient mirror log arguments");
    let (Some(kind), Some(count)) = (ctr.args.shift(), ctr.args.shift()) else { return Err(too_few) };
    let count = ctr.args.scan_u32(&count).or_refuse("Invalid mirror log argument count")? as usize;
    if count > ctr.args.len() {
        return Err(too_few);
    }
    let args: Vec<Vec<u8>> = std::iter::from_fn(|| ctr.args.shift()).take(count).collect();
    DirtyLog::construct(ctr, &kind, &args).or_refuse("Error creating mirror dirty log")
}

fn parse_legs(ctr: &mut Ctr<'_>) -> Result<Vec<Leg>, CtrError> {
    let count = ctr.args.number(2, MAX_LEGS, "Invalid number of mirrors")?;
    if ctr.args.len() < 2 * count as usize {
        return Err(CtrError::invalid("Too few mirror arguments"));
    }
    let mut legs = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (device, offset) = (ctr.args.shift().unwrap_or_default(), ctr.args.shift().unwrap_or_default());
        let offset = ctr.args.scan_u64(&offset).or_refuse("Invalid offset")?;
        let device = ctr.device(&device).or_refuse("Device lookup failure")?;
        legs.push(Leg::new(device, Sector(offset)));
    }
    Ok(legs)
}

fn parse_features(ctr: &mut Ctr<'_>) -> Result<Features, CtrError> {
    let mut features = Features::default();
    let Some(count) = ctr.args.shift() else { return Ok(features) };
    let count = ctr.args.scan_u32(&count).or_refuse("Invalid number of features")? as usize;
    if count > ctr.args.len() {
        return Err(CtrError::invalid("Not enough arguments to support feature count"));
    }
    for _ in 0..count {
        match ctr.args.shift().as_deref() {
            Some(b"handle_errors") => features.handle_errors = true,
            Some(b"keep_log") => features.keep_log = true,
            _ => return Err(CtrError::invalid("Unrecognised feature requested")),
        }
    }
    if features.keep_log && !features.handle_errors {
        return Err(CtrError::invalid("keep_log feature requires the handle_errors feature"));
    }
    if !ctr.args.is_empty() {
        return Err(CtrError::invalid("Too many mirror arguments"));
    }
    Ok(features)
}

impl Target for Mirror {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        self.set.map(bio)
    }

    fn presuspend(&self, noflush: bool) -> BoxFuture<'_, ()> {
        Box::pin(self.set.presuspend(noflush))
    }

    fn postsuspend(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.set.postsuspend())
    }

    fn resume(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.set.resume())
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let MirrorSet { legs, log, features, .. } = &*self.set;
        let count = legs.len();
        let written = match kind {
            StatusKind::Info => {
                let devices: String = legs.iter().map(|leg| format!("{} ", leg.device.dev())).collect();
                let letters: String = legs.iter().map(Leg::letter).collect();
                let (synced, regions) = (log.synced(), log.regions());
                write!(out, "{count} {devices}{synced}/{regions} 1 {letters} {}", log.info())
            }
            StatusKind::Table => {
                let places: String =
                    legs.iter().map(|leg| format!(" {} {}", leg.device.dev(), leg.offset)).collect();
                write!(out, "{}{count}{places}", log.table()).and_then(|()| features.write(out))
            }
            StatusKind::Ima => {
                let devices: String = (legs.iter().enumerate())
                    .map(|(i, leg)| {
                        format!(
                            "mirror_device_{i}={},mirror_device_{i}_status={},",
                            leg.device.dev(),
                            leg.letter()
                        )
                    })
                    .collect();
                let yes_or_no = |is: bool| if is { 'y' } else { 'n' };
                let (errors, keep) = (yes_or_no(features.handle_errors), yes_or_no(features.keep_log));
                write!(
                    out,
                    "nr_mirrors={count},{devices}handle_errors={errors},keep_log={keep},log_type_status=;"
                )
            }
        };
        written.into()
    }

    /// What has failed, and with a log in memory what is in sync.
    fn save(&self) -> Option<Saved> {
        let MirrorSet { legs, default_leg, log, .. } = &*self.set;
        Some(Saved::new(MirrorState {
            failures: legs.iter().map(Leg::failures).collect(),
            default_leg: default_leg.load(Ordering::Acquire),
            log: log.save(),
        }))
    }

    fn restore(&self, saved: &Saved) {
        let known = saved.get::<MirrorState>();
        for (leg, failures) in self.set.legs.iter().zip(&known.failures) {
            leg.set_failures(*failures);
        }
        self.set.default_leg.store(known.default_leg, Ordering::Release);
        self.set.log.restore(&known.log);
        self.set.work.lock().is_in_sync = self.set.log.is_all_synced();
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        let len = self.set.len;
        Some(self.set.legs.iter().map(|leg| DeviceRange::new(&leg.device, leg.offset, len)).collect())
    }
}

impl Features {
    fn write(self, out: &mut String) -> std::fmt::Result {
        let count = u32::from(self.handle_errors) + u32::from(self.keep_log);
        if count > 0 {
            write!(out, " {count}")?;
        }
        if self.handle_errors {
            write!(out, " handle_errors")?;
        }
        if self.keep_log {
            write!(out, " keep_log")?;
        }
        Ok(())
    }
}
