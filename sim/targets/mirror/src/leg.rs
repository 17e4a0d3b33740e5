//! A leg: one of the devices that hold the same, and what went wrong with it.

use std::sync::atomic::{AtomicU8, Ordering};

use dmlab_dm::TableDevice;
use dmlab_units::{Sector, Sectors};

/// What failed on a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Failure {
    /// A flush.
    Flush = 1 << 0,
    /// A write.
    Write = 1 << 1,
    /// A read or write of a recovery.
    Sync = 1 << 2,
    /// A read.
    Read = 1 << 3,
}

pub(super) struct Leg {
    pub(super) device: TableDevice,
    pub(super) offset: Sector,
    failures: AtomicU8,
}

impl Leg {
    pub(super) fn new(device: TableDevice, offset: Sector) -> Leg {
        Leg { device, offset, failures: AtomicU8::new(0) }
    }

    /// Where on the device the sector lies that is `into` the set. An offset near 2^64 is refused when the limits are
    /// computed.
    pub(super) fn sector(&self, into: Sectors) -> Sector {
        Sector(self.offset.0.wrapping_add(into.0))
    }

    pub(super) fn has_errors(&self) -> bool {
        self.failures.load(Ordering::Acquire) != 0
    }

    /// Remembers a failure; whether it is the first of its kind.
    pub(super) fn fail(&self, kind: Failure) -> bool {
        self.failures.fetch_or(kind as u8, Ordering::AcqRel) & kind as u8 == 0
    }

    /// Forgets all of them.
    pub(super) fn forgive(&self) {
        self.failures.store(0, Ordering::Release);
    }

    /// All of its failures, for [`Leg::set_failures`].
    pub(super) fn failures(&self) -> u8 {
        self.failures.load(Ordering::Acquire)
    }

    /// Sets the kinds of failures that the leg has had.
    pub(super) fn set_failures(&self, failures: u8) {
        self.failures.store(failures, Ordering::Release);
    }

    /// The leg's letter in the status line: the worst that it has done.
    pub(super) fn letter(&self) -> char {
        let failures = self.failures.load(Ordering::Acquire);
        let has = |kind: Failure| failures & kind as u8 != 0;
        match () {
            () if has(Failure::Flush) => 'F',
            () if has(Failure::Write) => 'D',
            () if has(Failure::Sync) => 'S',
            () if has(Failure::Read) => 'R',
            () => 'A',
        }
    }
}
