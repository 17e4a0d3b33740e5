//! What a reader says in place of an answer when a part of the pool can't be read.

use crate::check::check_view;
use crate::metadata::Metadata;
use crate::problem::Problem;
use crate::survey::{OpenError, Survey, View};
use dmlab_units::ThinId;
use std::fmt;

/// Losses that are named; more are only counted.
const NAMED: usize = 20;

/// Parts of a pool that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost(pub Vec<Problem>);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a part of the metadata can't be read (`check` says more, `repair` keeps what survives):",
        )?;
        for problem in self.0.iter().take(NAMED) {
            write!(f, "\n  {problem}")?;
        }
        if self.0.len() > NAMED {
            write!(f, "\n  … and {} more", self.0.len() - NAMED)?;
        }
        Ok(())
    }
}

impl std::error::Error for Lost {}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The metadata can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An answer would leave out what can't be read.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl<M: Metadata + ?Sized> Survey<'_, M> {
    /// All that a view lacks since it can't be read, as far as the survey's scope goes.
    pub fn lost(&self, view: &View) -> Lost {
        let mut problems = Vec::new();
        check_view(self, view, self.scope, &mut problems);
        problems.retain(Problem::is_loss);
        Lost(problems)
    }

    /// That nothing of a view is lost.
    ///
    /// # Errors
    /// What is.
    pub fn expect_whole(&self, view: &View) -> Result<(), Lost> {
        none(self.lost(view))
    }

    /// That no mapping of these devices is lost. A device that is not there may be one that is.
    ///
    /// # Errors
    /// What is lost.
    pub fn expect_devices(&self, view: &View, devices: &[ThinId]) -> Result<(), Lost> {
        let all_are_there = devices.iter().all(|id| view.roots.contains_key(id));
        let mut lost = self.lost(view);
        lost.0.retain(|problem| match problem {
            Problem::Node { device: Some(id), .. } | Problem::NoMappings(id) => devices.contains(id),
            Problem::NoDetails(_) => false,
            _ => !all_are_there,
        });
        none(lost)
    }
}

fn none(lost: Lost) -> Result<(), Lost> {
    if lost.0.is_empty() { Ok(()) } else { Err(lost) }
}
