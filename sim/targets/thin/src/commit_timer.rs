//! When a pool commits by itself (`COMMIT_PERIOD` and `do_waker`).

use std::time::Duration;

use dmlab_runtime::Instant;

/// Changed mappings are committed at least this often.
const COMMIT_PERIOD: Duration = Duration::from_secs(1);

/// The times that decide when a timed commit is due.
pub(super) struct CommitTimer {
    last_commit: Instant,
    /// The pool's seconds are counted from here.
    resumed_at: Instant,
    /// Something is uncommitted.
    has_changes: bool,
}

impl CommitTimer {
    /// The timer of a pool without changes.
    pub(super) fn new(now: Instant) -> CommitTimer {
        CommitTimer { last_commit: now, resumed_at: now, has_changes: false }
    }

    /// Counts the pool's seconds from now on.
    pub(super) fn resume(&mut self, now: Instant) {
        self.resumed_at = now;
    }

    /// Notes a commit of the worker's.
    pub(super) fn committed(&mut self, now: Instant) {
        self.last_commit = now;
    }

    /// Notes whether anything is uncommitted, which makes the timer run.
    pub(super) fn note_changes(&mut self, has_changes: bool) {
        self.has_changes = has_changes;
    }

    /// Whether more than the period has passed since the last commit.
    pub(super) fn is_period_over(&self, now: Instant) -> bool {
        now > self.last_commit + COMMIT_PERIOD
    }

    /// The first tick of the pool's second that comes more than the period after the last commit. `None` while nothing has
    /// changed.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        if !self.has_changes {
            return None;
        }
        let due = self.last_commit + COMMIT_PERIOD;
        let since = due.saturating_since(self.resumed_at);
        let ticks = (since.as_nanos() / COMMIT_PERIOD.as_nanos()) as u32 + 1;
        Some(self.resumed_at + COMMIT_PERIOD * ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_is_the_first_of_the_pools_seconds_after_the_period() {
        let begin = Instant::default() + Duration::from_secs(100);
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let mut timer = CommitTimer::new(begin);
        assert_eq!(timer.next_tick(), None);
        timer.note_changes(true);
        assert_eq!(timer.next_tick(), Some(at(2000)));
        timer.committed(at(300));
        assert_eq!(timer.next_tick(), Some(at(2000)));
        assert_eq!([1300, 1301].map(|millis| timer.is_period_over(at(millis))), [false, true]);
        timer.resume(at(500));
        assert_eq!(timer.next_tick(), Some(at(1500)));
        timer.note_changes(false);
        assert_eq!(timer.next_tick(), None);
    }
}
