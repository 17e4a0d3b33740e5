//! Mistakes that can be planted in a machine, so that tests can show that what should find them does.
//!
//! Each is a line in a place where an order or a count matters. Nothing but a test plants one; no option, parameter or
//! command reaches this.

use std::sync::atomic::{AtomicU8, Ordering};

/// A mistake that is built in, for tests that prove that it would be found.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Planted {
    /// A pool's superblock is written before its data are flushed.
    SuperblockBeforeData = 1,
    /// A pool's superblock is written without a flush of the blocks that it points to.
    SuperblockUnflushed,
    /// A pool's superblock keeps the root of the space map of the transaction before.
    SpaceMapRootMissing,
    /// A metadata block that was freed in a transaction is used again in the same one.
    FreedBlockReused,
    /// A mirror's legs are written before its log says so.
    MirrorLogAfterData,
    /// An exception is written down before its copy is flushed.
    ExceptionBeforeCopy,
}

/// Which mistake a machine makes, if any.
#[derive(Default)]
pub(crate) struct PlantedFault(AtomicU8);

impl PlantedFault {
    pub(crate) fn plant(&self, fault: Planted) {
        self.0.store(fault as u8, Ordering::Relaxed);
    }

    pub(crate) fn is(&self, fault: Planted) -> bool {
        self.0.load(Ordering::Relaxed) == fault as u8
    }
}
