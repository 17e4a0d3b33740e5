//! Judges: what is right on a disk whatever a program does.
//!
//! They read the bytes themselves and share no code with the targets that wrote them.

mod mirror;
mod snapshot;
mod thin;

pub use mirror::MirrorLog;
pub use snapshot::SnapshotStore;
pub use thin::ThinCheck;

use super::Moment;

/// Says whether what is on the disks is sound.
pub trait Judge: Send + Sync {
    /// Its name, for reports.
    fn name(&self) -> &str;

    /// Looks at the disks, before any machine has seen them.
    ///
    /// # Errors
    /// What is wrong.
    fn judge(&self, moment: &Moment<'_>) -> Result<(), String>;
}
