//! Which errno a failure of the metadata library is for what uses a pool.

use dmlab_formats::Problem;
use dmlab_persistent_data::{PdError, PdErrorKind};
use dmlab_units::Errno;

/// The errno of a failure. Block and key are lost with it: the kernel's log has told them where the kernel does.
pub(super) fn errno(error: PdError) -> Errno {
    match error.kind {
        PdErrorKind::Device(errno) => errno,
        PdErrorKind::ReadOnly => Errno::EPERM,
        PdErrorKind::BeyondDevice => Errno::EIO,
        PdErrorKind::Check(error) => match error.problem {
            Problem::BlockNumber { .. } => Errno::ENOTBLK,
            Problem::Magic { .. } | Problem::Checksum { .. } | Problem::Shape(_) => Errno::EILSEQ,
        },
        PdErrorKind::Shape | PdErrorKind::Loop => Errno::EILSEQ,
        PdErrorKind::NotFound => Errno::ENODATA,
        PdErrorKind::ValidatorMismatch { .. }
        | PdErrorKind::BeyondMap
        | PdErrorKind::NotReferenced
        | PdErrorKind::TooLarge => Errno::EINVAL,
        PdErrorKind::NoSpace => Errno::ENOSPC,
        PdErrorKind::TooManyWaiting => Errno::ENOMEM,
    }
}
