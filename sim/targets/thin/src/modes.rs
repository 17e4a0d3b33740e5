//! What a pool may do (kernel/thin.md#modes-of-a-pool).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dmlab_block::BlkStatus;
use dmlab_runtime::Level;

use super::metadata::ThinMetadata;
use super::pool::Pool;

/// How long writes wait for space before they fail (`no_space_timeout`).
const NO_SPACE_TIMEOUT: Duration = Duration::from_secs(60);

/// A pool's mode. IMPORTANT: their order is what "at least as bad as" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// All is well.
    Write,
    /// No data block is free: writes that need one wait or fail.
    OutOfDataSpace,
    /// No metadata block is free.
    OutOfMetadataSpace,
    /// The metadata may not be changed.
    ReadOnly,
    /// The metadata is lost.
    Fail,
}

impl Mode {
    /// The mode as the status line shows it.
    pub(super) fn shown(self) -> &'static str {
        match self {
            Mode::Write => "rw",
            Mode::OutOfDataSpace => "out_of_data_space",
            Mode::OutOfMetadataSpace | Mode::ReadOnly => "ro",
            Mode::Fail => "Fail",
        }
    }
}

impl Pool {
    /// Goes into another mode, as far as that is allowed, and tells the world.
    pub(super) fn set_mode(&self, metadata: &mut ThinMetadata, wanted: Mode) {
        let old = self.mode();
        let mut new = wanted;
        if new == Mode::Write && metadata.needs_check() {
            self.log(Level::Err, "unable to switch pool to write mode until repaired.");
            new = if old > new { old } else { Mode::ReadOnly };
        }
        if old == Mode::Fail {
            // Nothing brings lost metadata back.
            new = Mode::Fail;
        }
        metadata.set_read_only(new >= Mode::OutOfMetadataSpace);
        self.state.lock().mode = new;
        self.mode_hint.store(new as u8, Ordering::Relaxed);
        match new {
            Mode::Write => self.state.lock().no_space_round += 1,
            Mode::OutOfDataSpace if old != new => self.start_no_space_timeout(),
            Mode::OutOfDataSpace => {}
            Mode::OutOfMetadataSpace | Mode::ReadOnly | Mode::Fail => self.fail_waiting(BlkStatus::IoErr),
        }
        if old != new {
            self.announce(new);
        }
    }

    /// Puts the pool into fail mode from its first moment on, because the same pool of the machine that this one was forked
    /// from is in it. Nothing is announced.
    pub(super) fn begin_failed(&self) {
        self.state.lock().mode = Mode::Fail;
        self.mode_hint.store(Mode::Fail as u8, Ordering::Relaxed);
        if let Some(mut metadata) = self.try_metadata() {
            metadata.set_read_only(true);
        }
    }

    fn announce(&self, mode: Mode) {
        let errors = self.state.lock().features.errors_if_no_space;
        let name = match mode {
            Mode::Write => "write",
            Mode::OutOfDataSpace if errors => "out-of-data-space (error IO)",
            Mode::OutOfDataSpace => "out-of-data-space (queue IO)",
            Mode::OutOfMetadataSpace | Mode::ReadOnly => "read-only",
            Mode::Fail => "fail",
        };
        self.raise_event();
        self.log(Level::Info, format_args!("switching pool to {name} mode"));
    }

    /// Writes that wait for space wait only so long.
    fn start_no_space_timeout(&self) {
        let (round, errors) = {
            let mut state = self.state.lock();
            state.no_space_round += 1;
            (state.no_space_round, state.features.errors_if_no_space)
        };
        if errors {
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
                    let mut state = pool.state.lock();
                    if state.no_space_round != round || state.mode != Mode::OutOfDataSpace {
                        return;
                    }
                    state.features.errors_if_no_space = true;
                }
                pool.announce(Mode::OutOfDataSpace);
                pool.fail_waiting(BlkStatus::NoSpc);
            })
            .detach();
    }
}
