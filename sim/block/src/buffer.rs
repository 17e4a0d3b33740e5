//! The memory of a bio.
//!
//! On the fast path it is the caller's own: a slice, lent for as long as the caller is inside [`crate::submit`].
//! A layer that keeps a bio longer makes its memory its own first; what is read then travels back to the caller
//! as [`Part`]s. So no layer ever holds a pointer into memory that its owner has taken back.

use std::sync::Arc;

/// The memory of a bio.
#[derive(Debug, Default)]
pub enum BioBuf<'a> {
    /// None: flush, discard, write zeroes.
    #[default]
    None,
    /// Memory to be filled by a read, lent by the caller.
    In(&'a mut [u8]),
    /// Memory to be written, lent by the caller.
    Out(&'a [u8]),
    /// Memory to be filled by a read, owned by the bio alone. Counted, so that what was read can be written elsewhere
    /// as it lies.
    OwnedIn(Arc<[u8]>),
    /// Memory to be written: some bytes of an owned buffer that several bios may share.
    OwnedOut {
        /// The whole buffer.
        data: Arc<[u8]>,
        /// Where this bio's bytes begin in it.
        start: usize,
        /// How many they are.
        len: usize,
    },
    /// What split pieces have read into memory of their own.
    Parts(Vec<Part>),
}

/// Bytes read for a stretch of the original request.
#[derive(Debug)]
pub struct Part {
    /// Where they belong, in bytes from the start of the original request.
    pub offset: usize,
    /// The bytes, which have no other holder.
    pub data: Arc<[u8]>,
}

impl<'a> BioBuf<'a> {
    /// An owned buffer to be written.
    pub fn owned_out(data: Arc<[u8]>) -> BioBuf<'static> {
        let len = data.len();
        BioBuf::OwnedOut { data, start: 0, len }
    }

    /// An owned buffer of `len` bytes to be read into: zeros until then.
    pub fn owned_in(len: usize) -> BioBuf<'static> {
        BioBuf::OwnedIn(std::iter::repeat_n(0, len).collect())
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            BioBuf::None => 0,
            BioBuf::In(buf) => buf.len(),
            BioBuf::Out(buf) => buf.len(),
            BioBuf::OwnedIn(buf) => buf.len(),
            BioBuf::OwnedOut { len, .. } => *len,
            BioBuf::Parts(parts) => parts.iter().map(|part| part.data.len()).sum(),
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes to be written, or already read; `None` when they are not here in one piece.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            BioBuf::In(buf) => Some(buf),
            BioBuf::Out(buf) => Some(buf),
            BioBuf::OwnedIn(buf) => Some(buf),
            BioBuf::OwnedOut { data, start, len } => data.get(*start..*start + *len),
            BioBuf::None | BioBuf::Parts(_) => None,
        }
    }

    /// The memory to read into; `None` when this is not a read, or its memory is not here in one piece.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self {
            BioBuf::In(buf) => Some(buf),
            BioBuf::OwnedIn(buf) => Arc::get_mut(buf),
            _ => None,
        }
    }

    /// Cuts off the first `at` bytes and returns them; `self` keeps the rest.
    pub(crate) fn split_front(&mut self, at: usize) -> BioBuf<'a> {
        match std::mem::take(self) {
            BioBuf::None => BioBuf::None,
            BioBuf::In(buf) => {
                let (front, rest) = buf.split_at_mut(at);
                *self = BioBuf::In(rest);
                BioBuf::In(front)
            }
            BioBuf::Out(buf) => {
                let (front, rest) = buf.split_at(at);
                *self = BioBuf::Out(rest);
                BioBuf::Out(front)
            }
            BioBuf::OwnedIn(buf) => {
                // What a read will fill has no content worth copying.
                *self = BioBuf::owned_in(buf.len() - at);
                BioBuf::owned_in(at)
            }
            BioBuf::OwnedOut { data, start, len } => {
                *self = BioBuf::OwnedOut { data: data.clone(), start: start + at, len: len - at };
                BioBuf::OwnedOut { data, start, len: at }
            }
            BioBuf::Parts(_) => unreachable!("parts exist only in bios that have ended"),
        }
    }

    /// Returns this content in memory of its own. Memory to be read into starts as zeros.
    pub(crate) fn into_owned(self) -> BioBuf<'static> {
        match self {
            BioBuf::None => BioBuf::None,
            BioBuf::In(buf) => BioBuf::owned_in(buf.len()),
            BioBuf::Out(buf) => BioBuf::owned_out(buf.into()),
            BioBuf::OwnedIn(buf) => BioBuf::OwnedIn(buf),
            BioBuf::OwnedOut { data, start, len } => BioBuf::OwnedOut { data, start, len },
            BioBuf::Parts(parts) => BioBuf::Parts(parts),
        }
    }

    /// Returns the content of a write in memory that can be shared.
    pub(crate) fn into_shared(self) -> BioBuf<'a> {
        match self {
            BioBuf::Out(buf) => BioBuf::owned_out(buf.into()),
            other => other,
        }
    }

    /// Returns these bytes to be written once more; nothing of memory that can't be shared.
    pub(crate) fn share(&self) -> BioBuf<'static> {
        match self {
            BioBuf::OwnedOut { data, start, len } => {
                BioBuf::OwnedOut { data: data.clone(), start: *start, len: *len }
            }
            _ => BioBuf::None,
        }
    }

    /// What was read, as parts of the original request, where this buffer begins `offset` bytes into it. Memory that
    /// was lent needs no way back.
    pub(crate) fn into_parts(self, offset: usize) -> Vec<Part> {
        match self {
            BioBuf::OwnedIn(data) => vec![Part { offset, data }],
            BioBuf::Parts(parts) => parts,
            BioBuf::None | BioBuf::In(_) | BioBuf::Out(_) | BioBuf::OwnedOut { .. } => Vec::new(),
        }
    }
}
