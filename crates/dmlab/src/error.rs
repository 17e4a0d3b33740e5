//! What a lab's methods fail with.

use dmlab_control::TableError;
use dmlab_machine::faults::RuleError;
use dmlab_units::{Errno, NameError};

/// Why something with a mapped device did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel said no, or could not be asked.
    #[error(transparent)]
    Control(#[from] dmlab_control::Error),
    /// A table's text is none.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A name that no device can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A fault rule that none can be.
    #[error(transparent)]
    Fault(#[from] RuleError),
    /// IO failed.
    #[error("IO failed: {0}")]
    Io(#[from] Errno),
}

impl Error {
    /// The errno, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Control(error) => error.errno(),
            Error::Io(errno) => Some(*errno),
            Error::Table(_) | Error::Name(_) | Error::Fault(_) => None,
        }
    }

    /// What the kernel logged about it.
    pub fn log(&self) -> &[String] {
        match self {
            Error::Control(error) => error.log(),
            _ => &[],
        }
    }
}
