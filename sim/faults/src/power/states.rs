//! Which states are looked at: all of them as long as they are few, and a fair choice beyond.

use dmlab_runtime::{Rng, Stream};

use super::choice::{Choice, Fate, Picks, StateId, Tear};
use super::recording::{Event, Written};
use super::walk::Walk;

/// How many states are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Subsets at one boundary: all of them if they are not more than this, else so many drawn ones. As many again of torn
    /// writes at most, and of writes in another order.
    pub per_boundary: usize,
    /// Where drawn states come from.
    pub seed: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { per_boundary: 64, seed: 0 }
    }
}

/// The states that are looked at where `walk` stands.
///
/// After a write only those in which something of it is there: the others were looked at before it. After a flush and
/// after a mark all, because more is promised there.
pub fn states_here(walk: &Walk<'_>, limits: Limits) -> Vec<StateId> {
    let pending = walk.pending();
    let newest = match walk.last() {
        Some(Event::Write(written)) if !written.is_forced => pending.len().checked_sub(1),
        _ => None,
    };
    let free: Vec<usize> =
        (0..pending.len()).filter(|&i| Some(i) != newest && !pending[i].is_forced).collect();
    let mut rng = Rng::new(limits.seed ^ (walk.boundary() as u64).rotate_left(32), Stream::Faults);
    let mut choices = subsets(&free, newest, limits.per_boundary, &mut rng);
    if let Some(newest) = newest {
        choices.extend(tears(pending, !free.is_empty(), newest, limits.per_boundary, &mut rng));
        choices.extend(order(pending, newest));
    }
    choices.into_iter().map(|choice| StateId { boundary: walk.boundary(), choice }).collect()
}

/// Writes there or lost, each as a whole, with the newest there.
fn subsets(free: &[usize], newest: Option<usize>, limit: usize, rng: &mut Rng) -> Vec<Choice> {
    if free.is_empty() {
        return vec![if newest.is_some() { Choice::All } else { Choice::None }];
    }
    let picked = |mask: usize| {
        let mut picks = Picks::none();
        let bits = free
            .iter()
            .enumerate()
            .filter(|(bit, _)| mask.checked_shr(*bit as u32).is_some_and(|rest| rest & 1 != 0));
        picks.except.extend(bits.map(|(_, &write)| write).chain(newest));
        picks.choice()
    };
    match 1usize.checked_shl(free.len() as u32).filter(|&all| all <= limit) {
        Some(all) => [Choice::All].into_iter().chain((0..all - 1).rev().map(picked)).collect(),
        None => {
            // Short names: the first is drawn and the others count on.
            let first = rng.below(1 << 16) as u32;
            let drawn = limit.saturating_sub(2) as u32;
            let drawn = (0..drawn).map(|i| Choice::Drawn(first.wrapping_add(i)));
            [Choice::All, picked(0)].into_iter().chain(drawn).take(limit.max(1)).collect()
        }
    }
}

/// The newest write torn at each of its sectors, the beginning there or the end; with all others there or none.
fn tears(pending: &[&Written], has_others: bool, newest: usize, limit: usize, rng: &mut Rng) -> Vec<Choice> {
    let sectors = pending[newest].data.len().0;
    let ways = if has_others { 4 } else { 2 };
    let mut numbers: Vec<u64> = (0..ways * sectors.saturating_sub(1)).collect();
    thin_out(&mut numbers, limit, rng);
    let torn = |number: u64| {
        let (way, cut) = (number % ways, 1 + number / ways);
        let tear = match way % 2 {
            0 => Tear { first: 0, count: cut },
            _ => Tear { first: cut, count: sectors - cut },
        };
        let mut picks = if way < 2 { Picks::all() } else { Picks::none() };
        picks.set_fate(newest, Fate::Torn(tear));
        picks.choice()
    };
    numbers.into_iter().map(torn).collect()
}

/// The newest write below those that it overlaps, if there are such.
fn order(pending: &[&Written], newest: usize) -> Option<Choice> {
    let is_below = |earlier: &&Written| !earlier.is_forced && earlier.overlaps(pending[newest]);
    let mut picks = Picks::all();
    picks.early.insert(newest);
    pending[..newest].iter().any(is_below).then(|| picks.choice())
}

/// Leaves so many, chosen fairly, in their order.
fn thin_out<T>(list: &mut Vec<T>, limit: usize, rng: &mut Rng) {
    let mut left = list.len() as u64;
    let mut wanted = limit as u64;
    list.retain(|_| {
        let is_chosen = rng.below(left) < wanted;
        left -= 1;
        wanted -= u64::from(is_chosen);
        is_chosen
    });
}
