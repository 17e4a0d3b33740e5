//! What a pool may do (kernel/thin.md#modes-of-a-pool).

use std::sync::atomic::{AtomicU8, Ordering};

use dmlab_block::BlkStatus;
use dmlab_runtime::Level;

use super::metadata::ThinMetadata;
use super::pool::Pool;

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
    const ALL: [Mode; 5] =
        [Mode::Write, Mode::OutOfDataSpace, Mode::OutOfMetadataSpace, Mode::ReadOnly, Mode::Fail];

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

/// The mode that a pool is in, which the way of a bio reads without a lock.
pub(super) struct CurrentMode(AtomicU8);

impl Default for CurrentMode {
    fn default() -> CurrentMode {
        CurrentMode(AtomicU8::new(Mode::Write as u8))
    }
}

impl CurrentMode {
    #[inline]
    pub(super) fn get(&self) -> Mode {
        Mode::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }

    fn set(&self, mode: Mode) {
        self.0.store(mode as u8, Ordering::Release);
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
        self.mode.set(new);
        match new {
            Mode::Write => {
                self.no_space.lock().end_round();
            }
            Mode::OutOfDataSpace if old != new => self.start_no_space_timeout(),
            Mode::OutOfDataSpace => {}
            Mode::OutOfMetadataSpace | Mode::ReadOnly | Mode::Fail => self.fail_waiting(BlkStatus::IoErr),
        }
        if old != new {
            self.announce(new);
        }
    }

    /// Puts the pool into fail mode from its first moment on, because the same pool of the machine that this one was forked
    /// from is in it. Nothing is announced. It had so many `tables`, which it gets back.
    pub(super) fn begin_failed(&self, tables: u32) {
        self.binding.lock().take_back_tables(tables);
        self.mode.set(Mode::Fail);
        if let Some(mut metadata) = self.try_metadata() {
            metadata.set_read_only(true);
        }
    }

    pub(super) fn announce(&self, mode: Mode) {
        let errors = self.binding.lock().features.errors_if_no_space;
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
}
