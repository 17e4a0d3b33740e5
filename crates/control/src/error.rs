//! What can go wrong with a command.

use crate::TransportError;
use dmlab_abi::{HeaderError, PayloadError};
use dmlab_units::Errno;
use std::fmt;

/// A command that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel said no.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// The kernel was not reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A name or uuid that does not fit the struct.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A reply that cannot be read: not what a kernel sends.
    #[error("reply to {command}: {source}")]
    Reply {
        /// The command's name.
        command: &'static str,
        /// What is wrong with its payload.
        source: PayloadError,
    },
    /// A reply that still does not fit a buffer of this many bytes.
    #[error("reply to {command} does not fit {bytes} bytes, the most a device-mapper ioctl takes")]
    TooLarge {
        /// The command's name.
        command: &'static str,
        /// The last size tried.
        bytes: usize,
    },
}

impl Error {
    /// The kernel's errno, if it was the kernel who refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Refused(refusal) => Some(refusal.errno),
            _ => None,
        }
    }

    /// The kernel's log lines about it, as far as the transport sees the log.
    pub fn log(&self) -> &[String] {
        match self {
            Error::Refused(refusal) => &refusal.log,
            _ => &[],
        }
    }
}

/// The kernel's refusal of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked, in dmsetup's words: `create`, `reload`, `remove`…
    pub command: &'static str,
    /// The device it was about, empty for commands about none.
    pub device: String,
    /// The errno.
    pub errno: Errno,
    /// Kernel log lines that the command caused, oldest first; empty when the transport sees no log.
    pub log: Vec<String>,
}

impl fmt::Display for Refusal {
    /// `reload ioctl on a failed: Invalid argument (EINVAL)`, then a line for each log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ioctl", self.command)?;
        if !self.device.is_empty() {
            write!(f, " on {}", self.device)?;
        }
        write!(f, " failed: {}", self.errno)?;
        self.log.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Refusal {}
