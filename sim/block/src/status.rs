//! How a bio ended.

use dmlab_units::Errno;

/// Status of a finished bio (`blk_status_t`); the errnos are those of kernel/dm-core.md#status-codes-and-errnos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the block layer's own")]
pub enum BlkStatus {
    Ok,
    NotSupp,
    Timeout,
    NoSpc,
    Transport,
    Target,
    ResvConflict,
    Medium,
    Protection,
    Resource,
    IoErr,
    /// Asks the mapped device above to queue the bio again; never leaves it.
    DmRequeue,
    Again,
    DevResource,
    ZoneOpenResource,
    ZoneActiveResource,
    Offline,
    DurationLimit,
    Invalid,
}

impl BlkStatus {
    /// Whether it went well.
    pub fn is_ok(self) -> bool {
        self == BlkStatus::Ok
    }

    /// The kernel's number of it (`blk_status_t`), as some log lines show it.
    pub fn number(self) -> u8 {
        match self {
            BlkStatus::Ok => 0,
            BlkStatus::NotSupp => 1,
            BlkStatus::Timeout => 2,
            BlkStatus::NoSpc => 3,
            BlkStatus::Transport => 4,
            BlkStatus::Target => 5,
            BlkStatus::ResvConflict => 6,
            BlkStatus::Medium => 7,
            BlkStatus::Protection => 8,
            BlkStatus::Resource => 9,
            BlkStatus::IoErr => 10,
            BlkStatus::DmRequeue => 11,
            BlkStatus::Again => 12,
            BlkStatus::DevResource => 13,
            BlkStatus::ZoneOpenResource => 14,
            BlkStatus::ZoneActiveResource => 15,
            BlkStatus::Offline => 16,
            BlkStatus::DurationLimit => 17,
            BlkStatus::Invalid => 19,
        }
    }

    /// The errno that a caller gets, `None` for success.
    pub fn errno(self) -> Option<Errno> {
        Some(match self {
            BlkStatus::Ok => return None,
            BlkStatus::NotSupp => Errno::EOPNOTSUPP,
            BlkStatus::Timeout => Errno::ETIMEDOUT,
            BlkStatus::NoSpc => Errno::ENOSPC,
            BlkStatus::Transport => Errno::ENOLINK,
            BlkStatus::Target => Errno::EREMOTEIO,
            BlkStatus::ResvConflict => Errno::EBADE,
            BlkStatus::Medium => Errno::ENODATA,
            BlkStatus::Protection => Errno::EILSEQ,
            BlkStatus::Resource => Errno::ENOMEM,
            BlkStatus::IoErr => Errno::EIO,
            BlkStatus::DmRequeue => Errno::EREMCHG,
            BlkStatus::Again => Errno::EAGAIN,
            BlkStatus::DevResource => Errno::EBUSY,
            BlkStatus::ZoneOpenResource => Errno::ETOOMANYREFS,
            BlkStatus::ZoneActiveResource => Errno::EOVERFLOW,
            BlkStatus::Offline => Errno::ENODEV,
            BlkStatus::DurationLimit => Errno::ETIME,
            BlkStatus::Invalid => Errno::EINVAL,
        })
    }

    /// The errno as a result.
    ///
    /// # Errors
    /// Every status but [`BlkStatus::Ok`].
    pub fn result(self) -> Result<(), Errno> {
        self.errno().map_or(Ok(()), Err)
    }
}

impl From<Errno> for BlkStatus {
    /// The exact inverse of [`BlkStatus::errno`]; an errno that no status stands for is an IO error.
    fn from(errno: Errno) -> BlkStatus {
        match errno {
            Errno::EOPNOTSUPP => BlkStatus::NotSupp,
            Errno::ETIMEDOUT => BlkStatus::Timeout,
            Errno::ENOSPC => BlkStatus::NoSpc,
            Errno::ENOLINK => BlkStatus::Transport,
            Errno::EREMOTEIO => BlkStatus::Target,
            Errno::EBADE => BlkStatus::ResvConflict,
            Errno::ENODATA => BlkStatus::Medium,
            Errno::EILSEQ => BlkStatus::Protection,
            Errno::ENOMEM => BlkStatus::Resource,
            Errno::EREMCHG => BlkStatus::DmRequeue,
            Errno::EAGAIN => BlkStatus::Again,
            Errno::EBUSY => BlkStatus::DevResource,
            Errno::ETOOMANYREFS => BlkStatus::ZoneOpenResource,
            Errno::EOVERFLOW => BlkStatus::ZoneActiveResource,
            Errno::ENODEV => BlkStatus::Offline,
            Errno::ETIME => BlkStatus::DurationLimit,
            Errno::EINVAL => BlkStatus::Invalid,
            _ => BlkStatus::IoErr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_go_there_and_back() {
        for status in [BlkStatus::NotSupp, BlkStatus::NoSpc, BlkStatus::Protection, BlkStatus::Invalid] {
            assert_eq!(BlkStatus::from(status.errno().unwrap()), status);
        }
        assert_eq!(BlkStatus::Ok.errno(), None);
        assert_eq!(BlkStatus::from(Errno::EPERM), BlkStatus::IoErr);
    }
}
