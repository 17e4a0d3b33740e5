//! A smaller case that still breaks.

use dmlab_faults::power::{Fate, Picks, StateId, Walk};

use super::explore::Explore;

/// The state at the same boundary that breaks and differs the least from "all is there" or from "nothing that is not
/// durable is there". So many states are looked at, at most.
pub(super) fn smallest(explore: &Explore<'_>, walk: &Walk<'_>, id: &StateId, mut patience: usize) -> Picks {
    let given = id.choice.picks(id.boundary, walk.pending());
    let mut breaks = |picks: &Picks| {
        let is_left = patience > 0;
        patience = patience.saturating_sub(1);
        let tried = StateId { boundary: id.boundary, choice: picks.clone().choice() };
        is_left && explore.judge_state(walk, &tried, picks).is_err()
    };
    let [all, none] = [true, false].map(|others_kept| shrink(walk, &given, others_kept, &mut breaks));
    if none.named() < all.named() { none } else { all }
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
