//! Recovery: one region after the other, from the default leg to all others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dmlab_block::Tag;
use dmlab_dm::{DeviceRange, kcopyd};
use dmlab_units::Sectors;

use super::leg::{Failure, Leg};
use super::region_hash::Recovered;
use super::set::{MirrorSet, Recovery};

impl MirrorSet {
    /// Begins the recovery of the next region if none is being recovered, and copies it once its writes have ended.
    /// Tells when the last one is done.
    pub(super) fn recover_next(self: &Arc<Self>) {
        let mut work = self.work.lock();
        if work.recovers
            && work.recovery == Recovery::Idle
            && let Some(region) = self.log.next_to_recover()
        {
            work.recovery = Recovery::Chosen(region);
            work.regions.begin_recovery(region, &self.log);
        }
        if let Recovery::Chosen(region) = work.recovery
            && work.regions.is_quiet(region)
        {
            work.recovery = Recovery::Copying;
            let set = self.clone();
            self.runtime.spawn("mirror-recovery", async move { set.recover(region).await }).detach();
        }
        if !work.is_in_sync && self.log.is_all_synced() {
            work.is_in_sync = true;
            self.forgive_legs(&mut work);
            drop(work);
            self.raise_event();
        }
    }

    async fn recover(self: Arc<Self>, region: u64) {
        let default = self.default_leg.load(Ordering::Acquire);
        let others: Vec<usize> = (0..self.legs.len()).filter(|&leg| leg != default).collect();
        let into = Sectors(region * self.log.region_size().0);
        let len = self.log.region_size().min(self.len - into);
        let place = |leg: &Leg| DeviceRange::new(&leg.device, leg.sector(into), len);
        let to: Vec<DeviceRange> = others.iter().map(|&leg| place(&self.legs[leg])).collect();
        let on_error =
            if self.features.handle_errors { kcopyd::OnError::Stop } else { kcopyd::OnError::GoOn };
        let tag = Tag::new("mirror-recovery", 0, region);
        let from = place(&self.legs[default]);
        let errors = kcopyd::copy_tagged(&self.runtime, &from, &to, on_error, tag).await;
        let mut is_news = false;
        if errors.read {
            let text = "Unable to read primary mirror during recovery";
            self.lines.err_limited(&self.limits.recovery_read, text);
            is_news |= self.note_failure(default, Failure::Sync);
        }
        if errors.write != 0 {
            let text = format!("Write error during recovery (error = {:#x})", errors.write);
            self.lines.err_limited(&self.limits.recovery_write, text);
            for (bit, &leg) in others.iter().enumerate() {
                if errors.write & 1 << bit != 0 {
                    is_news |= self.note_failure(leg, Failure::Sync);
                }
            }
        }
        if is_news {
            self.raise_event();
        }
        self.kick(|work| {
            work.regions.end_recovery(Recovered { region, is_whole: errors.is_none() });
            work.recovery = Recovery::Idle;
        });
        self.changed.wake_all();
    }
}
