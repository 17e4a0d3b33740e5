//! What mapped bios share with their device.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dmlab_block::{Bio, BlkStatus};
use dmlab_runtime::Runtime;
use dmlab_units::DevT;
use parking_lot::Mutex;

use crate::kit::{BioList, InFlight};
use crate::stats::Stats;

/// No bio goes to the table: bios are deferred (`DMF_BLOCK_IO_FOR_SUSPEND`).
pub(crate) const BLOCKED: u32 = 1 << 0;
/// A suspend with noflush is under way or done: targets may have bios queued again (`DMF_NOFLUSH_SUSPENDING`).
pub(crate) const NOFLUSH: u32 = 1 << 1;
/// The device is suspended (`DMF_SUSPENDED`).
pub(crate) const SUSPENDED: u32 = 1 << 2;

/// The state of a mapped device that its bios look at: it outlives every table.
pub(crate) struct IoState {
    pub(crate) dev: DevT,
    pub(crate) runtime: Arc<Runtime>,
    flags: AtomicU32,
    pub(crate) in_flight: InFlight,
    /// Bios that came while the device was suspended, the longest waiting first (`md->deferred`).
    deferred: Mutex<BioList>,
    pub(crate) stats: Stats,
}

impl IoState {
    pub(crate) fn new(dev: DevT, runtime: Arc<Runtime>) -> Arc<IoState> {
        Arc::new(IoState {
            dev,
            stats: Stats::default(),
            runtime,
            flags: AtomicU32::new(0),
            in_flight: InFlight::default(),
            deferred: Mutex::default(),
        })
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::SeqCst) & flag != 0
    }

    pub(crate) fn set(&self, flag: u32, on: bool) {
        if on {
            self.flags.fetch_or(flag, Ordering::SeqCst);
        } else {
            self.flags.fetch_and(!flag, Ordering::SeqCst);
        }
    }

    /// Counts the bio as in flight; returns false when the device is blocked and the bio must be deferred.
    #[inline]
    pub(crate) fn enter(&self) -> bool {
        self.in_flight.enter();
        if !self.has(BLOCKED) {
            return true;
        }
        self.in_flight.leave();
        false
    }

    /// Defers a bio to the next resume, behind those that wait already.
    pub(crate) fn defer(&self, bio: Bio<'static>) {
        self.deferred.lock().push_back(bio);
    }

    /// Defers a bio that a target gave back, before all others.
    pub(crate) fn defer_again(&self, bio: Bio<'static>) {
        self.deferred.lock().push_front(bio);
    }

    /// Fails what waits for a resume that will never come. A waiting bio holds its device, and so this list.
    pub(crate) fn fail_deferred(&self) {
        while let Some(bio) = self.next_deferred() {
            bio.end(BlkStatus::IoErr);
        }
    }

    /// The bio that has waited longest.
    pub(crate) fn next_deferred(&self) -> Option<Bio<'static>> {
        self.deferred.lock().pop_front()
    }
}
