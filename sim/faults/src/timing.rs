//! When a rule strikes, and how often.
//!
//! What comes by at a rule's place is a **match** if the rule is awake: within its time, between its events, while its
//! predicate holds. Matches are counted from 1. Which of them are **hits** is then a matter of `skip`, `nth`, `every`,
//! `chance` and `times`, in this order.

use std::fmt;
use std::sync::Arc;

use dmlab_block::{Bio, BlockDevice};
use dmlab_runtime::{Instant, Rng};

use crate::{EventSeen, IoctlCall};

/// What comes by, as a predicate sees it.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A bio on its way to a device; what it would write is in [`Bio::bytes`].
    Bio(&'a BlockDevice, &'a Bio<'a>),
    /// An ioctl.
    Ioctl(IoctlCall<'a>),
    /// An event.
    Uevent(EventSeen<'a>),
}

/// A test of whether a rule is awake. It is called on the path of IO with no lock held; it must not do IO that the same rule
/// would see.
#[derive(Clone)]
pub struct Predicate(Arc<dyn Fn(&Event<'_>) -> bool + Send + Sync>);

impl Predicate {
    /// A predicate.
    pub fn new(holds: impl Fn(&Event<'_>) -> bool + Send + Sync + 'static) -> Predicate {
        Predicate(Arc::new(holds))
    }

    pub(crate) fn holds(&self, event: &Event<'_>) -> bool {
        (self.0)(event)
    }
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Predicate) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// When a rule strikes, and how often. The default: always.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timing {
    /// Not before this time since boot.
    pub from: Option<Instant>,
    /// No more from this time on.
    pub until: Option<Instant>,
    /// Not before the rule of this name has hit.
    pub from_rule: Option<String>,
    /// No more once the rule of this name has hit.
    pub until_rule: Option<String>,
    /// Only while this holds.
    pub predicate: Option<Predicate>,
    /// Not the first so many matches; `nth` and `every` count from there.
    pub skip: u64,
    /// The nth match, and no other.
    pub nth: Option<u64>,
    /// Every nth match.
    pub every: Option<u64>,
    /// The probability of a hit, above 0 and at most 1.
    pub chance: Option<f64>,
    /// The most hits that there are.
    pub times: Option<u64>,
}

/// What a rule has seen and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What came by at its place while it was awake.
    pub matches: u64,
    /// What it struck.
    pub hits: u64,
}

impl Timing {
    pub(crate) fn is_time(&self, now: Instant) -> bool {
        self.from.is_none_or(|from| now >= from) && self.until.is_none_or(|until| now < until)
    }

    /// Counts one more match, and says whether it is a hit.
    pub(crate) fn strikes(&self, counts: &mut Counts, rng: &mut Rng) -> bool {
        counts.matches += 1;
        let Some(nr) = counts.matches.checked_sub(self.skip).filter(|&nr| nr > 0) else { return false };
        if self.nth.is_some_and(|nth| nr != nth) || self.every.is_some_and(|every| !nr.is_multiple_of(every))
        {
            return false;
        }
        // Drawn for each, so that what `times` ends does not shift later draws.
        let is_lucky = self.chance.is_none_or(|chance| fraction(rng) < chance);
        if !is_lucky || self.times.is_some_and(|times| counts.hits >= times) {
            return false;
        }
        counts.hits += 1;
        true
    }
}

/// A number of [0, 1), of 53 bits.
fn fraction(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmlab_runtime::Stream;

    fn hits(timing: &Timing, matches: u64) -> Vec<u64> {
        let (mut counts, mut rng) = (Counts::default(), Rng::new(1, Stream::Faults));
        (1..=matches).filter(|_| timing.strikes(&mut counts, &mut rng)).collect()
    }

    #[test]
    fn matches_become_hits() {
        assert_eq!(hits(&Timing::default(), 3), [1, 2, 3]);
        assert_eq!(hits(&Timing { nth: Some(3), ..Timing::default() }, 9), [3]);
        assert_eq!(hits(&Timing { every: Some(3), ..Timing::default() }, 9), [3, 6, 9]);
        assert_eq!(
            hits(&Timing { every: Some(3), skip: 1, times: Some(2), ..Timing::default() }, 99),
            [4, 7]
        );
        assert_eq!(hits(&Timing { skip: 2, times: Some(1), ..Timing::default() }, 9), [3]);
        assert_eq!(hits(&Timing { chance: Some(1.0), ..Timing::default() }, 3), [1, 2, 3]);
        let some = hits(&Timing { chance: Some(0.25), ..Timing::default() }, 10_000).len();
        assert!((2200..2800).contains(&some), "{some}");
    }
}
