//! Write-back errors, reported once to each open file (`errseq_t`).

use dmlab_units::Errno;
use parking_lot::Mutex;

/// The last write-back error of a device.
#[derive(Default)]
pub(crate) struct ErrSeq(Mutex<Last>);

#[derive(Default)]
struct Last {
    /// Errors so far; further errors that no file has seen in between count as the same.
    count: u64,
    errno: Option<Errno>,
    is_seen: bool,
}

/// Up to which error an open file has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl ErrSeq {
    /// A write-back failed.
    pub(crate) fn record(&self, errno: Errno) {
        let mut last = self.0.lock();
        if last.count == 0 || last.is_seen {
            last.count += 1;
            last.is_seen = false;
        }
        last.errno = Some(errno);
    }

    /// Where a file starts that is opened now: an error that no file has seen yet will be reported to it too.
    pub(crate) fn sample(&self) -> Seen {
        let last = self.0.lock();
        Seen(if last.is_seen { last.count } else { last.count.saturating_sub(1) })
    }

    /// Reports an error that the holder of `seen` has not heard of.
    ///
    /// # Errors
    /// That error.
    pub(crate) fn check(&self, seen: &mut Seen) -> Result<(), Errno> {
        let mut last = self.0.lock();
        if seen.0 == last.count {
            return Ok(());
        }
        *seen = Seen(last.count);
        last.is_seen = true;
        last.errno.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_hears_once_and_late_openers_hear_what_nobody_heard() {
        let errors = ErrSeq::default();
        let (mut a, mut b) = (errors.sample(), errors.sample());
        errors.record(Errno::EIO);
        errors.record(Errno::EIO);
        let mut late = errors.sample();
        assert_eq!(errors.check(&mut late), Err(Errno::EIO));
        assert_eq!(errors.check(&mut late), Ok(()));
        assert_eq!(errors.check(&mut a), Err(Errno::EIO));
        assert_eq!(errors.check(&mut b), Err(Errno::EIO));
        let mut later = errors.sample();
        assert_eq!(errors.check(&mut later), Ok(()));
        errors.record(Errno::ENOSPC);
        assert_eq!(errors.check(&mut a), Err(Errno::ENOSPC));
        assert_eq!(errors.check(&mut later), Err(Errno::ENOSPC));
    }
}
