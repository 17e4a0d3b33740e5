//! States of a snapshot.

use dmlab_control::{Snapshot, SnapshotStatus, TargetStatus};
use dmlab_units::{Errno, Sector};

use super::{Force, wrong};
use crate::{Error, Lab};

impl Force<'_> {
    /// A snapshot has lost track of its origin: its store took no exception, and it is invalid.
    ///
    /// # Errors
    /// EINVAL when it is no snapshot, or one of which every chunk was copied already.
    pub fn snapshot_invalid(&self, name: &str) -> Result<(), Error> {
        let (line, snapshot) = self.line::<Snapshot>(name)?;
        let rule = self.lab.faults().on(&snapshot.cow.to_string()).writes().fail(Errno::EIO).add()?;
        let is_invalid = |lab: &Lab| {
            matches!(lab.target_status(name), Ok(Some(TargetStatus::Snapshot(SnapshotStatus::Invalid))))
        };
        let done = (0..line.len.0).step_by(snapshot.chunk.0 as usize).any(|at| {
            let _ = self.touch(name, Sector(at));
            is_invalid(self.lab)
        });
        self.lab.faults().remove(rule);
        if done { Ok(()) } else { Err(wrong()) }
    }
}
