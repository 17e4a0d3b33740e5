//! `multipath`: several ways to one disk.
//!
//! ```text
//! START LEN multipath FEATURES HANDLER #GROUPS FIRST (SELECTOR #ARGS ARGS #PATHS #PER_PATH (DEVICE ARGS)...)...
//! 0 524288 multipath 2 queue_mode bio 0 2 1 round-robin 0 1 1 /dev/sda 1 round-robin 0 1 1 /dev/sdb 1
//!
//!   bio ──> current group ──> selector ──> path ──> its device
//!                │ no path left               │ error of the path
//!                v                            v
//!          another group                path failed, bio queued ──> another path
//!                │ none has one
//!                v
//!          queue_if_no_path: wait   else: EIO
//! ```
//!
//! All paths lead to the same sectors. They stand in **priority groups**; IO uses one group as long as that has a path
//! that works, and a **selector** chooses among its paths for each bio. A bio that fails for a reason that may lie in
//! the path fails the path, and goes another way: it is moved there, so it ends once. A failed path comes back by a
//! message, which `multipathd` sends when it finds the path well again.
//!
//! | | |
//! |---|---|
//! | status line | `2 QUEUE_IO 0 0 #GROUPS GROUP (D\|A\|E SELECTOR_STATUS #PATHS #ARGS (DEVICE A\|F FAILURES ARGS)...)...` |
//! | table line | as loaded, with what was switched since |
//! | features | `queue_if_no_path`, `queue_mode bio\|rq\|mq`, `retain_attached_hw_handler`, `pg_init_retries N`, `pg_init_delay_msecs N` |
//! | selectors | `round-robin`, `queue-length`, `service-time`, `historical-service-time`, `io-affinity` |
//! | messages | `fail_path D`, `reinstate_path D`, `switch_group N`, `disable_group N`, `enable_group N`, `queue_if_no_path`, `fail_if_no_path` |
//! | events | one for each change of a path or group; user space is told of paths |
//!
//! In the default mode a table is **request-based**: Linux hands it requests of a request queue, and each path must have
//! one (loop devices and virtio disks have; RAM disks and most mapped devices don't). There are no request queues here,
//! so such a table takes bios like any other; what it may stand on, what may replace it and how it suspends are as on
//! Linux. Hardware handlers exist for SCSI devices only, so naming one is refused as Linux refuses it on other devices,
//! and `pg_init` never has anything to do.
//!
//! Start reading at `MultipathDevice`, which knows the paths. Behaviour: kernel/multipath.md, recorded cases
//! `multipath/*`, and more runs of Linux 6.12.95 whose results stand in sim/machine/tests/machine/multipath.
#![forbid(unsafe_code)]

mod arguments;
mod messages;
mod paths;
mod selector;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dmlab_block::{Bio, BlkStatus, Caller, End};
use dmlab_dm::{
    BoxFuture, Constructor, DeviceRange, IoctlRoute, Map, MessageResult, Messages, Module, ModuleParameter,
    Saved, StatusKind, StatusResult, Target, TargetFeatures, TargetType, parse_u32_strict,
};
use dmlab_units::{Errno, Sector, Sectors};

use arguments::construct;
use paths::{MultipathDevice, MultipathState};

const MODULE: Module = Module {
    parameters: &[ModuleParameter {
        name: "queue_if_no_path_timeout_secs",
        get: |states| states.get::<Parameters>().queue_if_no_path_timeout_secs().to_string(),
        set: |states, value| {
            let secs = parse_u32_strict(value.as_bytes()).ok_or(Errno::EINVAL)?;
            states.get::<Parameters>().set_queue_if_no_path_timeout_secs(secs);
            Ok(())
        },
    }],
    ..Module::named("dm_multipath")
};

/// `multipath` 1.14.0.
pub static MULTIPATH: TargetType = TargetType {
    name: "multipath",
    version: [1, 14, 0],
    features: TargetFeatures::SINGLETON
        .union(TargetFeatures::IMMUTABLE)
        .union(TargetFeatures::PASSES_INTEGRITY),
    ctr: Constructor::Now(construct),
    module: &MODULE,
};

/// The parameters of the module: one set for each machine.
#[derive(Default)]
pub struct Parameters {
    queue_if_no_path_timeout_secs: AtomicU32,
}

impl Parameters {
    /// Seconds after which a device without a path stops queueing (`queue_if_no_path_timeout_secs`); 0 = it never does.
    pub fn queue_if_no_path_timeout_secs(&self) -> u32 {
        self.queue_if_no_path_timeout_secs.load(Ordering::Relaxed)
    }

    /// Sets it, for timers that start from here on.
    pub fn set_queue_if_no_path_timeout_secs(&self, secs: u32) {
        self.queue_if_no_path_timeout_secs.store(secs, Ordering::Relaxed);
    }
}

/// The one line of a multipath table.
struct Multipath {
    core: Arc<MultipathDevice>,
    start: Sector,
    len: Sectors,
}

impl Target for Multipath {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        self.core.map(bio)
    }

    fn end_io(&self, bio: &mut Bio<'_>, bio_data: u64, status: BlkStatus) -> End {
        self.core.end_io(bio, bio_data, status)
    }

    /// What waits for a path fails now, or goes back to the core in a noflush suspend. A request-based device lets it
    /// wait through a noflush suspend as it is.
    fn presuspend(&self, noflush: bool) -> BoxFuture<'_, ()> {
        self.core.presuspend(noflush);
        Box::pin(async {})
    }

    fn presuspend_undo(&self) -> BoxFuture<'_, ()> {
        self.core.presuspend_undo();
        Box::pin(async {})
    }

    fn postsuspend(&self) -> BoxFuture<'_, ()> {
        self.core.postsuspend();
        Box::pin(async {})
    }

    fn resume(&self) -> BoxFuture<'_, ()> {
        self.core.resume();
        Box::pin(async {})
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let written = match kind {
            StatusKind::Info => self.core.write_info(out),
            StatusKind::Table => self.core.write_table(out),
            StatusKind::Ima => self.core.write_measurement(out),
        };
        written.into()
    }

    /// Which paths and groups are used, and what the selectors have learnt. Whether IO without a path waits is in the table
    /// line.
    fn save(&self) -> Option<Saved> {
        Some(Saved::new(self.core.save()))
    }

    fn restore(&self, saved: &Saved) {
        self.core.restore(saved.get::<MultipathState>());
    }

    fn messages(&self) -> Option<&dyn Messages> {
        Some(self)
    }

    /// Routes an ioctl to a path; while there is none but IO is queued, the caller waits as IO does.
    fn route_ioctl(&self) -> IoctlRoute<'_> {
        let seen = self.core.changes.number();
        match self.core.path_for_ioctl() {
            Ok(Some(device)) => {
                let is_whole = self.len == device.capacity();
                IoctlRoute::To { device, is_whole }
            }
            Ok(None) => IoctlRoute::Wait(Box::pin(self.core.changes.moved_from(seen))),
            Err(errno) => IoctlRoute::Failed(errno),
        }
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        let range = |device| DeviceRange::new(device, self.start, self.len);
        Some(self.core.paths.iter().map(range).collect())
    }
}

impl Messages for Multipath {
    fn message<'a>(&'a self, words: &'a [Vec<u8>], caller: &'a dyn Caller) -> BoxFuture<'a, MessageResult> {
        let done = self.core.message(words, caller);
        Box::pin(async move { done.map(|()| None) })
    }
}
