//! Handover: a snapshot takes over from the one that stands on the same COW device (kernel/snapshot.md#handover).
//!
//! ```text
//!   source (suspended)        destination (loaded)            writes of the origin
//!        │ copies that were begun end                              │
//!        ├── store, exceptions ──> │ resumed: it is active now     │ what they saw of either before is void:
//!        └ spent                   └                               └ they look at both again
//! ```

use std::sync::Arc;

use dmlab_units::Errno;

use super::cow::SnapshotDevice;

/// What a new snapshot is to those that exist on the same COW device.
pub(super) enum Role {
    /// No other snapshot stands on this origin and store.
    Alone,
    /// The snapshot will take over from the one there is.
    Destination,
    /// The one there is has its destination already.
    Paired,
}

impl SnapshotDevice {
    /// Whether a resume is allowed while another snapshot stands on the same COW device.
    pub(super) fn may_resume(&self) -> Result<(), Errno> {
        if let Some(source) = self.origins.source_for(self) {
            if !source.state.lock().is_suspended {
                self.lines.err("Unable to perform snapshot handover until source is suspended.");
                return Err(Errno::EINVAL);
            }
        } else if self.is_active() && self.origins.destination_for(self).is_some() {
            self.lines.err("Unable to resume snapshot source until handover completes.");
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Takes over from a source, if there is one, and takes part in the origin's writes from now on.
    pub(super) async fn start(&self) {
        match self.origins.source_for(self) {
            Some(source) => source.changed.until(|| self.take_over(&source)).await,
            None => {
                let mut state = self.state.lock();
                state.is_suspended = false;
                state.is_active = true;
            }
        }
    }

    /// Takes the snapshot off the list because its table goes. A destination that still waits for it waits in vain.
    pub(super) fn withdraw(&self) {
        if !self.origins.remove(self) || self.chunk().is_none() {
            return;
        }
        if let Some(destination) = self.origins.destination_for(self) {
            self.lines.err("Cancelling snapshot handover.");
            destination.state.lock().is_valid = false;
        }
    }

    /// Takes exceptions and store from the source, which is invalid from then on. `false`, and nothing is taken, while
    /// copies are under way there that the origin's writes have begun: they end where they began.
    fn take_over(&self, source: &Arc<SnapshotDevice>) -> bool {
        // Both at once, so that no write of the origin finds a moment in which neither of them keeps the chunk.
        let mut from = source.state.lock();
        if !from.is_quiet() {
            return false;
        }
        let mut to = self.state.lock();
        // The store goes over as it is, but for what it shows of an overflow: that is the destination's affair. The
        // source is left with what the destination had asked for, and its table shows that (recorded:
        // `snapshot/handover-letters`).
        let asked = std::mem::replace(&mut to.kind, from.kind);
        to.kind.show_overflow_as(asked);
        from.kind = asked;
        to.store = from.store.take();
        to.exceptions = std::mem::take(&mut from.exceptions);
        to.is_valid = from.is_valid;
        to.has_overflowed = from.has_overflowed;
        to.is_suspended = false;
        to.is_active = true;
        from.is_valid = false;
        from.is_spent = true;
        self.origins.note_handover();
        true
    }
}
