//! What a rule does to what it strikes.

use std::time::Duration;

use dmlab_block::{Bio, BlkStatus, Op};
use dmlab_units::{Errno, SECTOR_SIZE, Sector, Sectors};

/// What a rule does. Where a number may be left open, it is drawn from the rule's own seeded stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it is counted and noted, and later rules see it too.
    Watch,
    /// The operation ends with this error and is not carried out. Of a bio, the error is one that a block device can report.
    Fail(Errno),
    /// A write, discard or flush ends well and is not carried out; an event is lost.
    Drop,
    /// The first sectors of a write are written.
    Torn {
        /// How many: at least one, and not all. Open: any such number.
        keep: Option<Sectors>,
        /// How the write ends. `None`: well.
        then: Option<Errno>,
    },
    /// One bit of what is read, or of what is written, is the other one.
    Flip {
        /// Which, counted from the first byte of the bio, lowest bit first. Open: any.
        bit: Option<u64>,
    },
    /// The bytes are read from, or written to, another place on the device.
    Misdirect {
        /// The sector to go to, or as near to it as fits the device. Open: any other.
        to: Option<Sector>,
    },
    /// The operation goes on later, by the machine's clock.
    Delay(Duration),
    /// The operation goes on when the rule is told to release it, or is removed.
    Hang,
    /// The client that made the ioctl is killed (SIGKILL).
    Kill,
}

impl Action {
    /// Whether there is anything of this kind to do to a bio: a tear needs two sectors, a flip data.
    pub(crate) fn fits(self, bio: &Bio<'_>) -> bool {
        match self {
            Action::Watch | Action::Fail(_) | Action::Delay(_) | Action::Hang => true,
            Action::Drop => bio.op != Op::Read,
            Action::Torn { keep, .. } => bio.op == Op::Write && bio.len() > keep.unwrap_or(Sectors(1)),
            Action::Flip { bit } => {
                matches!(bio.op, Op::Read | Op::Write) && bit.unwrap_or(0) < bits_of(bio.len())
            }
            Action::Misdirect { .. } => matches!(bio.op, Op::Read | Op::Write) && !bio.is_empty(),
            Action::Kill => false,
        }
    }

    /// Whether a rule that has struck lets later rules see it.
    pub(crate) fn lets_on(self) -> bool {
        matches!(self, Action::Watch | Action::Delay(_) | Action::Hang)
    }
}

/// Bits of so many sectors.
pub(crate) fn bits_of(len: Sectors) -> u64 {
    len.0.saturating_mul(SECTOR_SIZE * 8)
}

/// Whether a block device can report this error: the errnos of block status codes
/// (kernel/dm-core.md#status-codes-and-errnos), except the one that asks a mapped device above to try again, which no
/// disk says.
pub(crate) fn is_block_error(errno: Errno) -> bool {
    errno != Errno::EREMCHG && BlkStatus::from(errno).errno() == Some(errno)
}

/// The errors that block devices report.
pub const BLOCK_ERRORS: [Errno; 16] = [
    Errno::EIO,
    Errno::ENOSPC,
    Errno::EOPNOTSUPP,
    Errno::ETIMEDOUT,
    Errno::ENOLINK,
    Errno::EREMOTEIO,
    Errno::EBADE,
    Errno::ENODATA,
    Errno::EILSEQ,
    Errno::ENOMEM,
    Errno::EAGAIN,
    Errno::EBUSY,
    Errno::ENODEV,
    Errno::ETIME,
    Errno::EINVAL,
    Errno::EOVERFLOW,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_what_goes() {
        assert!(BLOCK_ERRORS.into_iter().all(is_block_error));
        assert!(![Errno::EPERM, Errno::EREMCHG, Errno::EINTR].into_iter().any(is_block_error));
    }
}
