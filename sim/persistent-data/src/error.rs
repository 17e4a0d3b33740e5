//! What goes wrong with metadata, and where.

use std::fmt;

use dmlab_formats::{CheckError, Validator};
use dmlab_units::{Errno, MetaBlock};

/// Why an operation on metadata failed, with the block and the key that it had come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PdError {
    /// What went wrong.
    pub kind: PdErrorKind,
    /// The block at which it did, where there is one.
    pub block: Option<MetaBlock>,
    /// The key that was looked for: of a tree's entry, the index of an array's, or the number of a counted block.
    pub key: Option<u64>,
}

/// What went wrong. Each target says which errno that is for its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PdErrorKind {
    /// The device refused a read, a write or a flush.
    Device(Errno),
    /// The metadata may not be written.
    ReadOnly,
    /// There is no such block on the device.
    BeyondDevice,
    /// A block is not what it should be.
    Check(CheckError),
    /// A block is in memory as one of another kind.
    ValidatorMismatch {
        /// What it is in memory as.
        found: &'static Validator,
        /// What it was wanted as.
        wanted: &'static Validator,
    },
    /// A block whose checksum is right has values of another size or other room than its place says.
    Shape,
    /// Nodes lead deeper than any sound tree: round in a circle, most likely.
    Loop,
    /// There is no such entry.
    NotFound,
    /// A space map does not count the block.
    BeyondMap,
    /// A block's last reference was given back before.
    NotReferenced,
    /// No block is free.
    NoSpace,
    /// More changes wait for the metadata space map than it can remember.
    TooManyWaiting,
    /// A device has more blocks than a space map can count.
    TooLarge,
}

impl PdErrorKind {
    /// This error, at a block.
    pub fn at(self, block: MetaBlock) -> PdError {
        PdError { kind: self, block: Some(block), key: None }
    }

    /// This error, for a key.
    pub fn of_key(self, key: u64) -> PdError {
        PdError { kind: self, block: None, key: Some(key) }
    }
}

impl From<PdErrorKind> for PdError {
    fn from(kind: PdErrorKind) -> PdError {
        PdError { kind, block: None, key: None }
    }
}

impl PdError {
    /// Returns this error, for a key as well.
    #[must_use]
    pub fn with_key(self, key: u64) -> PdError {
        PdError { key: Some(key), ..self }
    }
}

impl fmt::Display for PdErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PdErrorKind::Device(errno) => write!(f, "the device said {errno}"),
            PdErrorKind::ReadOnly => f.write_str("the metadata may only be read"),
            PdErrorKind::BeyondDevice => f.write_str("the device has no such block"),
            PdErrorKind::Check(error) => error.fmt(f),
            PdErrorKind::ValidatorMismatch { found, wanted } => {
                write!(f, "it is in use as {}, not as {}", found.name, wanted.name)
            }
            PdErrorKind::Shape => f.write_str("its values have another size than they should"),
            PdErrorKind::Loop => f.write_str("the nodes lead round in a circle"),
            PdErrorKind::NotFound => f.write_str("there is no such entry"),
            PdErrorKind::BeyondMap => f.write_str("no space map counts it"),
            PdErrorKind::NotReferenced => f.write_str("nothing refers to it"),
            PdErrorKind::NoSpace => f.write_str("no block is free"),
            PdErrorKind::TooManyWaiting => f.write_str("too many changes wait for the space map"),
            PdErrorKind::TooLarge => f.write_str("a space map cannot count so many blocks"),
        }
    }
}

impl fmt::Display for PdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.block, self.key) {
            (Some(block), Some(key)) => write!(f, "block {block}, key {key}: {}", self.kind),
            (Some(block), None) => write!(f, "block {block}: {}", self.kind),
            (None, Some(key)) => write!(f, "key {key}: {}", self.kind),
            (None, None) => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for PdError {}
