//! What a lab's methods fail with.

use std::fmt;

use dmlab_control::TableError;
use dmlab_machine::faults::RuleError;
use dmlab_units::{Errno, NameError, Sector, Sectors};

use crate::Lab;

/// Lines of the kernel log that an error keeps.
const LAST_LINES: u64 = 10;

/// Why something that a test did with a lab did not work, and what the lab looked like then.
///
/// A test that ends with `?` prints its `Debug` form: what was asked of which device and sectors, the errno, the last lines of the
/// kernel log and the seed.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    scene: Option<Scene>,
}

/// What did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
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
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// The kernel's answer was another than the method is there for.
    #[error("{0}")]
    Errno(#[from] Errno),
}

/// IO that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct IoFailure {
    /// The errno that a program would get.
    pub errno: Errno,
    /// What was done: `open`, `read`, `write`, `flush`, `discard`, `write zeroes`.
    pub operation: &'static str,
    /// The device, as the test named it.
    pub device: String,
    /// First sector and how many, where the operation has a range.
    pub range: Option<(Sector, Sectors)>,
}

impl fmt::Display for IoFailure {
    /// `write of sectors 8+2 of /dev/mapper/thin failed: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        if let Some((start, len)) = self.range {
            write!(f, " of sectors {start}+{len}")?;
        }
        write!(f, " of {} failed: {}", self.device, self.errno)
    }
}

/// The lab at the moment of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scene {
    /// The seed that the lab was booted with.
    pub seed: u64,
    /// The last lines of the kernel log, with their times.
    pub log: Vec<String>,
}

impl Scene {
    fn of(lab: &Lab) -> Scene {
        let klog = lab.machine().klog();
        let from = klog.next_seq().saturating_sub(LAST_LINES);
        Scene { seed: lab.seed(), log: klog.since(from).iter().map(ToString::to_string).collect() }
    }
}

impl Error {
    /// What did not work.
    pub fn kind(&self) -> &ErrorKind {
        &self.inner.kind
    }

    /// The lab at that moment; `None` for what no lab was asked for.
    pub fn scene(&self) -> Option<&Scene> {
        self.inner.scene.as_ref()
    }

    /// The errno, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match &self.inner.kind {
            ErrorKind::Control(error) => error.errno(),
            ErrorKind::Io(failure) => Some(failure.errno),
            ErrorKind::Errno(errno) => Some(*errno),
            ErrorKind::Table(_) | ErrorKind::Name(_) | ErrorKind::Fault(_) => None,
        }
    }

    /// What the kernel logged about it.
    pub fn log(&self) -> &[String] {
        match &self.inner.kind {
            ErrorKind::Control(error) => error.log(),
            _ => &[],
        }
    }

    /// Keeps what the lab looks like, unless that was done closer to the cause.
    pub(crate) fn seen_in(mut self, lab: &Lab) -> Error {
        self.inner.scene.get_or_insert_with(|| Scene::of(lab));
        self
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Error {
        Error { inner: Box::new(Inner { kind, scene: None }) }
    }
}

/// Each cause is an error without a scene.
macro_rules! from_causes {
    ($($cause:ty),*) => {
        $(impl From<$cause> for Error {
            fn from(cause: $cause) -> Error {
                Error::from(ErrorKind::from(cause))
            }
        })*
    };
}
from_causes!(dmlab_control::Error, TableError, NameError, RuleError, IoFailure, Errno);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.kind.fmt(f)
    }
}

impl fmt::Debug for Error {
    /// What failed, the kernel's words about it, and the lab at that moment: a failing test shows this form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner.kind)?;
        let Some(Scene { seed, log }) = self.scene() else { return Ok(()) };
        write!(f, "\nthe lab has seed {seed}; its kernel log ends with")?;
        if log.is_empty() {
            f.write_str(" nothing")?;
        }
        log.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.inner.kind)
    }
}

impl PartialEq<Errno> for Error {
    /// Whether it has this errno.
    fn eq(&self, errno: &Errno) -> bool {
        self.errno() == Some(*errno)
    }
}

/// Results whose error comes down to an errno, to be compared with what Linux gives.
pub trait OrErrno<T> {
    /// The value, or the errno.
    ///
    /// # Errors
    /// The error's errno.
    ///
    /// # Panics
    /// When the error has none: what was asked for never reached the kernel.
    fn or_errno(self) -> Result<T, Errno>;
}

impl<T> OrErrno<T> for Result<T, Error> {
    #[track_caller]
    fn or_errno(self) -> Result<T, Errno> {
        self.map_err(|error| error.errno().unwrap_or_else(|| panic!("no errno: {error}")))
    }
}

impl Lab {
    /// Does something, and has an error keep what the lab looks like.
    pub(crate) fn told<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        work().map_err(|error| error.seen_in(self))
    }
}
