//! IO statistics of ranges of a device: the `@stats_*` messages (kernel/dm-core.md#statistics).
//!
//! A region is a range cut into areas of equal length. Each piece of IO counts in every area it touches: once as an
//! io, with the sectors that lie there. Times are counted in ticks of 4 ms (jiffies at HZ=250), or in nanoseconds
//! for a region with precise timestamps.

mod messages;
mod region;

use std::sync::atomic::{AtomicBool, Ordering};

use dmlab_block::{Bio, Op};
use dmlab_runtime::{Instant, Runtime};
use dmlab_units::{Sector, Sectors};
use parking_lot::Mutex;

pub(crate) use messages::StatsReply;
use region::Region;

/// Set in the word that a counted bio carries.
const COUNTED: u64 = 1 << 63;

/// The regions of one device.
#[derive(Default)]
pub(crate) struct Stats {
    is_on: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Clone, Default)]
struct Inner {
    /// Regions by their id; ids are the lowest free ones.
    regions: Vec<Option<Region>>,
    /// Where the last piece of IO ended, and whether it wrote: what starts there in the same direction "merges".
    last: Option<(Sector, bool)>,
}

/// One piece of IO, as regions count it.
struct Piece {
    start: Sector,
    end: Sector,
    is_write: bool,
}

impl Stats {
    /// A copy of these regions with their counters.
    pub(crate) fn copy(&self) -> Stats {
        let copy = Stats::default();
        copy.become_copy(self);
        copy
    }

    /// Replaces regions and counters by copies of another's.
    pub(crate) fn become_copy(&self, other: &Stats) {
        let inner = other.inner.lock().clone();
        *self.inner.lock() = inner;
        self.is_on.store(other.is_on.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Counts a piece in. What it returns belongs to [`Stats::end`].
    #[inline]
    pub(crate) fn start(&self, runtime: &Runtime, bio: &Bio<'_>) -> u64 {
        if self.is_on.load(Ordering::Relaxed) { self.start_counted(runtime, bio) } else { 0 }
    }

    #[cold]
    fn start_counted(&self, runtime: &Runtime, bio: &Bio<'_>) -> u64 {
        let Some(piece) = Piece::of(bio) else { return 0 };
        let now = runtime.now();
        let mut inner = self.inner.lock();
        let is_merged = inner.last == Some((piece.start, piece.is_write));
        inner.last = Some((piece.end, piece.is_write));
        for region in inner.regions.iter_mut().flatten() {
            region.start(&piece, now);
        }
        COUNTED | ((now.as_nanos() << 1) & !COUNTED) | u64::from(is_merged)
    }

    /// Counts a piece out.
    #[inline]
    pub(crate) fn end(&self, runtime: &Runtime, bio: &Bio<'_>, started: u64) {
        if started & COUNTED != 0 {
            self.end_counted(runtime, bio, started);
        }
    }

    #[cold]
    fn end_counted(&self, runtime: &Runtime, bio: &Bio<'_>, started: u64) {
        let Some(piece) = Piece::of(bio) else { return };
        let is_merged = started & 1 != 0;
        let began = Instant::from_nanos((started & !COUNTED) >> 1);
        let now = runtime.now();
        for region in self.inner.lock().regions.iter_mut().flatten() {
            region.end(&piece, began, now, is_merged);
        }
    }

    /// Forgets a piece that was refused: it is as if it had not been counted in.
    #[cold]
    pub(crate) fn forget(&self, bio: &Bio<'_>, started: u64) {
        let Some(piece) = Piece::of(bio).filter(|_| started & COUNTED != 0) else { return };
        for region in self.inner.lock().regions.iter_mut().flatten() {
            region.forget(&piece);
        }
    }
}

impl Piece {
    fn of(bio: &Bio<'_>) -> Option<Piece> {
        if bio.op == Op::Flush || bio.is_empty() {
            return None;
        }
        Some(Piece { start: bio.sector, end: bio.end_sector(), is_write: bio.op.is_write() })
    }

    fn overlap(&self, start: Sector, end: Sector) -> Sectors {
        let (from, to) = (self.start.max(start), self.end.min(end));
        to.checked_since(from).unwrap_or(Sectors::ZERO)
    }
}
