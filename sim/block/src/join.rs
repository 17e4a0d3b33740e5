//! Where the pieces of a split bio meet again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::{Bio, BioBuf, BlkStatus, Part};

/// What waits for several pieces: the bio they were cut from, without its memory.
pub(crate) struct Join {
    pieces_left: AtomicU32,
    state: Mutex<State>,
}

struct State {
    parent: Option<Bio<'static>>,
    status: BlkStatus,
    parts: Vec<Part>,
}

impl Join {
    /// A join for the one piece that exists so far.
    pub(crate) fn new(parent: Bio<'static>) -> Arc<Join> {
        Arc::new(Join {
            pieces_left: AtomicU32::new(1),
            state: Mutex::new(State { parent: Some(parent), status: BlkStatus::Ok, parts: Vec::new() }),
        })
    }

    pub(crate) fn add_piece(&self) {
        self.pieces_left.fetch_add(1, Ordering::Relaxed);
    }

    /// A piece has ended. The last one gets the parent back, with the status of the whole: the last error recorded
    /// wins, but a request to queue again outranks them all (kernel/dm-core.md#the-path-of-a-bio).
    pub(crate) fn arrive(&self, mut piece: Bio<'_>, status: BlkStatus) -> Option<(Bio<'static>, BlkStatus)> {
        piece.is_done = true;
        let parts = std::mem::take(&mut piece.buf).into_parts(piece.root_offset);
        let mut state = self.state.lock();
        if !status.is_ok() && state.status != BlkStatus::DmRequeue {
            state.status = status;
        }
        state.parts.extend(parts);
        if self.pieces_left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        let mut parent = state.parent.take()?;
        if !state.parts.is_empty() {
            parent.buf = BioBuf::Parts(std::mem::take(&mut state.parts));
        }
        Some((parent, state.status))
    }
}
