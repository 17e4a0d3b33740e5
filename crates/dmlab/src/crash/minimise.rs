//! A smaller case with the same damage: first an earlier point, then fewer writes that matter there.

use std::collections::BTreeMap;

use dmlab_faults::power::{Event, Fate, Picks, StateId, Tear, Walk, Written};

use super::explore::{Damage, Explore};

/// The smallest case with some damage.
#[derive(Clone)]
pub(super) struct Smallest {
    /// After so many events.
    pub(super) boundary: usize,
    /// What is there of what is not durable.
    pub(super) picks: Picks,
    /// Whether the search for an earlier point ran out of patience.
    pub(super) is_cut_short: bool,
}

/// Whether the power can go there with this choice, and the same is broken.
type Breaks<'a> = dyn FnMut(&Walk<'_>, &Picks) -> bool + 'a;

/// Looks at so many states, at most, for one with the same damage that comes earlier, and in which fewer writes are
/// not as they are in "all is there" or in "nothing that is not durable is there".
pub(super) fn smallest(explore: &Explore<'_>, id: &StateId, damage: &Damage, patience: usize) -> Smallest {
    let walk = explore.run.walk_to(id).expect("it was just examined");
    let given = id.choice.picks(id.boundary, walk.pending());
    let mut broken: BTreeMap<StateId, bool> = BTreeMap::new();
    let mut breaks = |walk: &Walk<'_>, picks: &Picks| {
        let tried = StateId { boundary: walk.boundary(), choice: picks.clone().choice() };
        let judge =
            |tried: &StateId| explore.judge_state(walk, tried, picks).is_err_and(|b| b.damage() == *damage);
        *broken.entry(tried).or_insert_with_key(judge)
    };
    // Half of the patience for either: neither is worth much without the other.
    let mut search = Search { explore, patience: patience / 2, is_thorough: true };
    let found = search.earlier(&walk, &given, &mut breaks);
    let is_cut_short = patience > 0 && !search.is_thorough;
    let (boundary, picks) = found.unwrap_or((id.boundary, given));
    let walk =
        explore.run.walk_to(&StateId { boundary, ..id.clone() }).expect("it lies before one that is there");
    let mut left = patience - patience / 2 + search.patience;
    let [all, none] = [true, false].map(|others_kept| {
        shrink(&walk, &picks, others_kept, &mut |picks| {
            let is_left = left > 0;
            left = left.saturating_sub(1);
            is_left && breaks(&walk, picks)
        })
    });
    let picks = if none.named() < all.named() { none } else { all };
    Smallest { boundary, picks, is_cut_short }
}

/// Ways to lose power at one point that may show the damage of another: the simple ones first.
#[derive(Clone, Copy)]
enum Way {
    /// As in the state that is known to be broken, without what happened after this point.
    AsGiven,
    /// Of what is not durable, only the newest write is there.
    OnlyNewest,
    /// Nothing of it is there, or everything.
    Whole,
    /// One write is lost.
    OneLost,
    /// The newest write is there in part.
    NewestTorn,
    /// The newest write lies below those that it overlaps.
    NewestBelow,
}

impl Way {
    /// The choices of this way at the point where `walk` stands.
    fn choices(self, walk: &Walk<'_>, given: &dyn Fn(&Walk<'_>) -> Picks) -> Vec<Picks> {
        let pending = walk.pending();
        let free = (0..pending.len()).filter(|&write| !pending[write].is_forced);
        let newest = match walk.last() {
            Some(Event::Write(written)) if !written.is_forced => pending.len().checked_sub(1),
            _ => None,
        };
        let with = |mut picks: Picks, write: usize, fate: Fate| {
            picks.set_fate(write, fate);
            picks
        };
        match self {
            Way::AsGiven => vec![given(walk)],
            Way::OnlyNewest => {
                newest.map(|newest| with(Picks::none(), newest, Fate::Kept)).into_iter().collect()
            }
            Way::Whole => vec![Picks::all(), Picks::none()],
            Way::OneLost => free.map(|write| with(Picks::all(), write, Fate::Lost)).collect(),
            Way::NewestTorn => {
                let Some(newest) = newest else { return Vec::new() };
                let (len, half) = (pending[newest].data.len().0, pending[newest].data.len().0 / 2);
                if half == 0 {
                    return Vec::new();
                }
                let halves = [Tear { first: 0, count: half }, Tear { first: half, count: len - half }];
                let torn =
                    |tear| [Picks::all(), Picks::none()].map(|others| with(others, newest, Fate::Torn(tear)));
                halves.into_iter().flat_map(torn).collect()
            }
            Way::NewestBelow => {
                let early = newest.into_iter().collect();
                vec![Picks { early, ..Picks::all() }]
            }
        }
    }
}

struct Search<'a, 'b> {
    explore: &'a Explore<'b>,
    /// States that may still be looked at.
    patience: usize,
    /// Whether all were looked at that could have been.
    is_thorough: bool,
}

impl Search<'_, '_> {
    /// The earliest point before the one where `broken` stands, with a choice that breaks there.
    fn earlier(
        &mut self,
        broken: &Walk<'_>,
        given: &Picks,
        breaks: &mut Breaks<'_>,
    ) -> Option<(usize, Picks)> {
        let there: BTreeMap<*const Written, usize> = broken
            .pending()
            .iter()
            .enumerate()
            .map(|(at, written)| (std::ptr::from_ref(*written), at))
            .collect();
        let as_given = |walk: &Walk<'_>| carried(given, &there, walk.pending());
        let mut ways = vec![Way::AsGiven, Way::OnlyNewest, Way::Whole, Way::OneLost];
        ways.extend((!given.torn.is_empty()).then_some(Way::NewestTorn));
        ways.extend((!given.early.is_empty()).then_some(Way::NewestBelow));
        let (mut found, mut end) = (None, broken.boundary());
        let count = ways.len();
        for (done, way) in ways.into_iter().enumerate() {
            // What the ways before did not use is for those behind.
            let share = self.patience / (count - done);
            let choices = |walk: &Walk<'_>| way.choices(walk, &as_given);
            if let Some((boundary, picks)) = self.first(end, share, &choices, breaks) {
                end = boundary;
                found = Some((boundary, picks));
            }
        }
        found
    }

    /// The first state before boundary `end` that breaks, of those that `choices` names. When they are more than may be
    /// looked at, some are, evenly; then those between the first that breaks and the one looked at before it.
    fn first(
        &mut self,
        end: usize,
        share: usize,
        choices: &dyn Fn(&Walk<'_>) -> Vec<Picks>,
        breaks: &mut Breaks<'_>,
    ) -> Option<(usize, Picks)> {
        let total = self.each(end, choices, &mut |_, _, _| false);
        let (mut from, mut to, mut left, mut found) = (0, total, share, None);
        while from < to && left > 0 {
            let step = if to - from <= left { 1 } else { (to - from).div_ceil(left.div_ceil(2)) };
            let mut hit = None;
            self.each(end, choices, &mut |number, walk, picks| {
                let is_tried =
                    number >= from && number < to && (number - from).is_multiple_of(step) && left > 0;
                if is_tried {
                    left -= 1;
                    hit = breaks(walk, picks).then(|| (number, walk.boundary(), picks.clone()));
                }
                hit.is_some() || number >= to
            });
            let Some((number, boundary, picks)) = hit else {
                from = if step == 1 { to } else { from };
                break;
            };
            found = Some((boundary, picks));
            let beginning = (number + 1).saturating_sub(step).max(from);
            // What lies between those that were looked at before it is passed over.
            self.is_thorough &= step == 1 || beginning == from;
            (from, to) = (beginning, number);
        }
        self.patience -= share - left;
        self.is_thorough &= from >= to;
        found
    }

    /// Shows the choices at each point before boundary `end`, numbered, until `is_enough`. Returns how many it has shown.
    fn each(
        &self,
        end: usize,
        choices: &dyn Fn(&Walk<'_>) -> Vec<Picks>,
        is_enough: &mut dyn FnMut(usize, &Walk<'_>, &Picks) -> bool,
    ) -> usize {
        let run = self.explore.run;
        let mut walk = Walk::new(&run.recording);
        walk.go_to(run.begin);
        let mut number = 0;
        while walk.boundary() < end {
            // After a flush there is nothing that was not there before it.
            if !matches!(walk.last(), Some(Event::Flush(_))) || walk.boundary() == run.begin {
                for picks in choices(&walk) {
                    if is_enough(number, &walk, &picks) {
                        return number + 1;
                    }
                    number += 1;
                }
            }
            if walk.step().is_none() {
                break;
            }
        }
        number
    }
}

/// What a choice at one point means at an earlier one: each write has the same fate, and what was durable later is there.
fn carried(picks: &Picks, later: &BTreeMap<*const Written, usize>, here: &[&Written]) -> Picks {
    let mut carried = Picks { others_kept: picks.others_kept, ..Picks::default() };
    for (write, written) in here.iter().enumerate() {
        let there = later.get(&std::ptr::from_ref(*written));
        carried.set_fate(write, there.map_or(Fate::Kept, |there| picks.fate(*there)));
        if there.is_some_and(|there| picks.early.contains(there)) {
            carried.early.insert(write);
        }
    }
    carried
}

/// Leaves out what makes no difference: halves of what is named, then quarters, down to single writes.
fn shrink(
    walk: &Walk<'_>,
    given: &Picks,
    others_kept: bool,
    breaks: &mut impl FnMut(&Picks) -> bool,
) -> Picks {
    let mut picks = Picks { others_kept, early: given.early.clone(), ..Picks::default() };
    for (write, written) in walk.pending().iter().enumerate() {
        // A forced write is there whatever is said of it.
        let fate = if written.is_forced { usual(others_kept) } else { given.fate(write) };
        picks.set_fate(write, fate);
    }
    let mut size = names(&picks).len();
    while size > 0 {
        let mut start = 0;
        loop {
            let names = names(&picks);
            if start >= names.len() {
                break;
            }
            let mut without = picks.clone();
            for write in &names[start..names.len().min(start + size)] {
                without.early.remove(write);
                without.set_fate(*write, usual(others_kept));
            }
            if breaks(&without) {
                picks = without;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    // A write that is lost as a whole is simpler than one of which something is there.
    let torn: Vec<usize> = picks.torn.keys().copied().collect();
    for write in torn {
        let mut whole = picks.clone();
        whole.set_fate(write, usual(!others_kept));
        if breaks(&whole) {
            picks = whole;
        }
    }
    picks
}

fn usual(others_kept: bool) -> Fate {
    if others_kept { Fate::Kept } else { Fate::Lost }
}

/// The writes that are named.
fn names(picks: &Picks) -> Vec<usize> {
    let mut names: Vec<usize> =
        picks.except.iter().chain(picks.torn.keys()).chain(&picks.early).copied().collect();
    names.sort_unstable();
    names.dedup();
    names
}
