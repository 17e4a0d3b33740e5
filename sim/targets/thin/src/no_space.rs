//! Writes that wait for space (`retry_on_resume_list` and `no_space_timeout` of `dm-thin.c`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dmlab_block::{Bio, BlkStatus};
use dmlab_dm::refuse;

use super::modes::Mode;
use super::pool::{Pool, Queued, ThinDevice};

/// How long writes wait for space before they fail.
const NO_SPACE_TIMEOUT: Duration = Duration::from_secs(60);

/// The writes that wait, and which wait it is.
#[derive(Default)]
pub(super) struct NoSpace {
    waiting: VecDeque<Queued>,
    /// A timeout that belongs to an older wait does nothing.
    round: u64,
}

impl NoSpace {
    /// Makes the timeout that is under way, if there is one, do nothing.
    pub(super) fn end_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// Takes out what a thin device has waiting.
    pub(super) fn take_of(&mut self, thin: &Arc<ThinDevice>) -> Vec<Bio<'static>> {
        let mut taken = Vec::new();
        for (owner, bio) in std::mem::take(&mut self.waiting) {
            if Arc::ptr_eq(&owner, thin) {
                taken.push(bio);
            } else {
                self.waiting.push_back((owner, bio));
            }
        }
        taken
    }
}

impl Pool {
    /// Lets a bio wait, or refuses it, that needs space or metadata that the pool cannot give now.
    pub(super) fn unserviceable(&self, thin: &Arc<ThinDevice>, bio: Bio<'static>) {
        if thin.is_requeueing.load(Ordering::Acquire) {
            bio.end(BlkStatus::DmRequeue);
            return;
        }
        let mut no_space = self.no_space.lock();
        // Looked at under the lock: what ends the wait changes the mode first, and then takes out what waits.
        if self.mode() == Mode::OutOfDataSpace && !self.binding.lock().features.errors_if_no_space {
            no_space.waiting.push_back((thin.clone(), bio));
            return;
        }
        drop(no_space);
        refuse(bio, self.generic_error());
    }

    /// Lets writes that waited for space try again.
    pub(super) fn retry_waiting(&self) {
        let waiting = std::mem::take(&mut self.no_space.lock().waiting);
        for (thin, bio) in waiting {
            thin.queue.lock().push_back(bio);
        }
        self.wake();
    }

    /// Ends writes that waited for space.
    pub(super) fn fail_waiting(&self, status: BlkStatus) {
        let waiting = std::mem::take(&mut self.no_space.lock().waiting);
        for (_, bio) in waiting {
            refuse(bio, status);
        }
    }

    /// Makes writes wait for space only so long.
    pub(super) fn start_no_space_timeout(&self) {
        let round = self.no_space.lock().end_round();
        if self.binding.lock().features.errors_if_no_space {
            return;
        }
        let Some(pool) = self.this() else { return };
        let pool = Arc::downgrade(&pool);
        let sleep = self.runtime.sleep(NO_SPACE_TIMEOUT);
        self.runtime
            .spawn("thin-no-space", async move {
                sleep.await;
                let Some(pool) = pool.upgrade() else { return };
                {
                    let no_space = pool.no_space.lock();
                    if no_space.round != round || pool.mode() != Mode::OutOfDataSpace {
                        return;
                    }
                    pool.binding.lock().features.errors_if_no_space = true;
                }
                pool.announce(Mode::OutOfDataSpace);
                pool.fail_waiting(BlkStatus::NoSpc);
            })
            .detach();
    }
}
