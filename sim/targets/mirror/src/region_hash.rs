//! The region hash (`dm-region-hash.c`): what is going on in each region.
//!
//! ```text
//!                    write begins                     last write ends
//!        clean ────────────────────────> dirty ────────────────────────> clean
//!          ^                               │ a leg fails
//!          │ copied                        v
//!      recovering <──────────────────── nosync
//!           │      its turn has come       ^
//!           └──────────────────────────────┘
//!             a write under way has failed
//! ```
//!
//! A region in which nothing goes on is not kept: it is clean if the log says that it is in sync, else nosync.

use std::collections::BTreeMap;

use dmlab_block::Bio;
use dmlab_dm::kit::BioList;

use super::dirty_log::DirtyLog;

/// What may be done with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegionState {
    /// All legs hold the same.
    Clean,
    /// All legs are being written.
    Dirty,
    /// Only the default leg is good.
    NoSync,
    /// The default leg is being copied over the others.
    Recovering,
}

struct Region {
    state: RegionState,
    /// Writes under way.
    pending: u32,
    /// Writes that wait for the recovery to end.
    delayed: BioList,
}

/// How a recovery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recovered {
    pub(super) region: u64,
    /// Every leg was written.
    pub(super) is_whole: bool,
}

#[derive(Default)]
pub(super) struct RegionHash {
    kept: BTreeMap<u64, Region>,
    /// Clean regions whose bit is not set again yet.
    idle: Vec<u64>,
    recovered: Vec<Recovered>,
    /// A flush failed on a leg: what was written since may be lost there.
    flush_failed: bool,
}

impl RegionHash {
    pub(super) fn state(&self, region: u64, log: &DirtyLog) -> RegionState {
        match self.kept.get(&region) {
            Some(kept) => kept.state,
            None if log.is_in_sync(region) => RegionState::Clean,
            None => RegionState::NoSync,
        }
    }

    fn keep(&mut self, region: u64, log: &DirtyLog) -> &mut Region {
        let state = self.state(region, log);
        self.kept.entry(region).or_insert(Region { state, pending: 0, delayed: BioList::default() })
    }

    /// A write begins.
    pub(super) fn begin_write(&mut self, region: u64, log: &DirtyLog) {
        let kept = self.keep(region, log);
        kept.pending += 1;
        if kept.state == RegionState::Clean {
            kept.state = RegionState::Dirty;
            self.idle.retain(|&idle| idle != region);
            log.mark_dirty(region);
        }
    }

    /// A write has ended. Says whether the worker has something to do now.
    pub(super) fn end_write(&mut self, region: u64) -> bool {
        let Some(kept) = self.kept.get_mut(&region) else { return false };
        kept.pending -= 1;
        if kept.pending > 0 {
            return false;
        }
        match kept.state {
            RegionState::Recovering => {}
            _ if self.flush_failed => kept.state = RegionState::NoSync,
            RegionState::Dirty => {
                kept.state = RegionState::Clean;
                self.idle.push(region);
            }
            RegionState::NoSync | RegionState::Clean => {
                self.kept.remove(&region);
            }
        }
        true
    }

    /// The legs no longer hold the same. If the region's turn to be recovered had come, that has failed before it began:
    /// gives the writes that have waited for it.
    pub(super) fn mark_nosync(&mut self, region: u64, log: &DirtyLog) -> Option<BioList> {
        let kept = self.keep(region, log);
        let was = std::mem::replace(&mut kept.state, RegionState::NoSync);
        let delayed = std::mem::take(&mut kept.delayed);
        self.idle.retain(|&idle| idle != region);
        log.set_in_sync(region, false);
        (was == RegionState::Recovering).then_some(delayed)
    }

    /// Remembers that a flush of a leg failed: regions that are written from here on stay unclean.
    pub(super) fn mark_flush_failed(&mut self) {
        self.flush_failed = true;
    }

    /// A region's turn to be recovered has come: no write goes there any more.
    pub(super) fn begin_recovery(&mut self, region: u64, log: &DirtyLog) {
        self.keep(region, log).state = RegionState::Recovering;
    }

    /// Whether the writes that were under way when its turn came have ended.
    pub(super) fn is_quiet(&self, region: u64) -> bool {
        self.kept.get(&region).is_none_or(|kept| kept.pending == 0)
    }

    /// A write to a region that is being recovered waits.
    pub(super) fn delay(&mut self, region: u64, bio: Bio<'static>) {
        if let Some(kept) = self.kept.get_mut(&region) {
            kept.delayed.push_back(bio);
        }
    }

    pub(super) fn end_recovery(&mut self, recovered: Recovered) {
        self.recovered.push(recovered);
    }

    /// Brings the log up to date; gives the writes that have waited for a recovery.
    pub(super) fn retire(&mut self, log: &DirtyLog, ignores_errors: bool) -> BioList {
        let mut released = BioList::default();
        for Recovered { region, is_whole } in std::mem::take(&mut self.recovered) {
            if is_whole {
                log.mark_clean(region);
            }
            // As Linux does it: without `handle_errors` the region counts as recovered.
            log.set_in_sync(region, is_whole || ignores_errors);
            released.extend(self.kept.remove(&region).into_iter().flat_map(|kept| kept.delayed));
        }
        for region in std::mem::take(&mut self.idle) {
            log.mark_clean(region);
            self.kept.remove(&region);
        }
        released
    }
}
