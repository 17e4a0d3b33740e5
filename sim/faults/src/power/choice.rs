//! Which of the writes that are not durable are there, and the short names of it.
//!
//! ```text
//! state   BOUNDARY.CHOICE
//! all     all writes are there
//! none    all that are not durable are lost
//! 5       writes 0 and 2 are there, as bits of a hexadecimal number; the others are lost
//! -5      writes 0 and 2 are lost; the others are there
//! 5~1:0+3 writes 0 and 2 are there, and of write 1 the first three sectors
//! -0^2    all are there, and write 2 below those that it overlaps
//! r5a3f   drawn from the seed 5a3f: some are there, some lost, some torn, some in another order
//! ```
//! Writes are counted among those that are not durable at the boundary, from 0.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use dmlab_runtime::{Rng, Stream};

use super::recording::Written;

/// A piece of a write: so many sectors from this one of its own on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tear {
    /// The first sector that is there.
    pub first: u64,
    /// How many are.
    pub count: u64,
}

/// What becomes of a write that is not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The write is not on the disk.
    Lost,
    /// A piece is there.
    Torn(Tear),
    /// The write is on the disk.
    Kept,
}

/// What becomes of each write that is not durable, in so many words.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Picks {
    /// Whether those that are not named are there.
    pub others_kept: bool,
    /// Those for which that is the other way round.
    pub except: BTreeSet<usize>,
    /// Those that are there in part.
    pub torn: BTreeMap<usize, Tear>,
    /// Those that reached the medium before the ones that they overlap.
    pub early: BTreeSet<usize>,
}

impl Picks {
    /// All are there.
    pub fn all() -> Picks {
        Picks { others_kept: true, ..Picks::default() }
    }

    /// None is there.
    pub fn none() -> Picks {
        Picks::default()
    }

    /// The fate of one write.
    pub fn fate(&self, write: usize) -> Fate {
        match self.torn.get(&write) {
            Some(tear) => Fate::Torn(*tear),
            None if self.others_kept != self.except.contains(&write) => Fate::Kept,
            None => Fate::Lost,
        }
    }

    /// Sets the fate of one write.
    pub fn set_fate(&mut self, write: usize, fate: Fate) {
        self.torn.remove(&write);
        self.except.remove(&write);
        match fate {
            Fate::Torn(tear) => _ = self.torn.insert(write, tear),
            Fate::Kept if !self.others_kept => _ = self.except.insert(write),
            Fate::Lost if self.others_kept => _ = self.except.insert(write),
            Fate::Kept | Fate::Lost => {}
        }
    }

    /// How many writes it names.
    pub fn named(&self) -> usize {
        self.except.len() + self.torn.len() + self.early.len()
    }

    /// The shortest name for it.
    pub fn choice(self) -> Choice {
        match (self.named(), self.others_kept) {
            (0, true) => Choice::All,
            (0, false) => Choice::None,
            _ => Choice::Picks(self),
        }
    }
}

/// Which of the writes that are not durable are there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Choice {
    /// All.
    All,
    /// None.
    None,
    /// These.
    Picks(Picks),
    /// What a stream of random numbers says.
    Drawn(u32),
}

impl Choice {
    /// What it means for the writes of `pending`, those that are not durable after `boundary` events.
    ///
    /// Forced writes among them, which lie on others that are not durable, are always there.
    pub fn picks(&self, boundary: usize, pending: &[&Written]) -> Picks {
        let mut picks = match self {
            Choice::None => Picks::none(),
            Choice::All => Picks::all(),
            Choice::Picks(picks) => picks.clone(),
            Choice::Drawn(seed) => draw(*seed, boundary, pending),
        };
        for (write, _) in pending.iter().enumerate().filter(|(_, written)| written.is_forced) {
            picks.set_fate(write, Fate::Kept);
            picks.early.remove(&write);
        }
        picks
    }
}

/// Gives each write a fate.
fn draw(seed: u32, boundary: usize, pending: &[&Written]) -> Picks {
    let mut rng = Rng::new((boundary as u64) << 32 | u64::from(seed), Stream::Faults);
    let mut picks = Picks::default();
    // Every write has the same chance in one state, and another in the next.
    let (chance, is_ordered) = (rng.below(101), rng.below(4) != 0);
    for (write, written) in pending.iter().enumerate() {
        let (roll, sectors) = (rng.below(100), written.data.len().0);
        let fate = match roll {
            _ if roll < chance => Fate::Kept,
            _ if sectors > 1 && roll.is_multiple_of(5) => {
                let first = rng.below(sectors);
                // Never the whole.
                let longest = if first == 0 { sectors - 1 } else { sectors - first };
                Fate::Torn(Tear { first, count: 1 + rng.below(longest) })
            }
            _ => Fate::Lost,
        };
        picks.set_fate(write, fate);
        if !is_ordered && fate != Fate::Lost && rng.below(4) == 0 {
            picks.early.insert(write);
        }
    }
    picks
}

/// The name of a state: after so many events, with this choice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId {
    /// How many events had happened.
    pub boundary: usize,
    /// What is there.
    pub choice: Choice,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::All => f.write_str("all"),
            Choice::None => f.write_str("none"),
            Choice::Drawn(seed) => write!(f, "r{seed:x}"),
            Choice::Picks(picks) => {
                f.write_str(if picks.others_kept { "-" } else { "" })?;
                let digits = picks.except.last().map_or(1, |last| last / 4 + 1);
                for digit in (0..digits).rev() {
                    let bits = (0..4).filter(|bit| picks.except.contains(&(4 * digit + bit)));
                    write!(f, "{:x}", bits.fold(0u8, |all, bit| all | 1 << bit))?;
                }
                for (write, Tear { first, count }) in &picks.torn {
                    write!(f, "~{write}:{first}+{count}")?;
                }
                picks.early.iter().try_for_each(|write| write!(f, "^{write}"))
            }
        }
    }
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boundary, self.choice)
    }
}

/// Text that names no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadChoice(String);

impl fmt::Display for BadChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} names no state: it is BOUNDARY.CHOICE, such as 17.all, 17.5 or 17.r5a3f", self.0)
    }
}

impl std::error::Error for BadChoice {}

fn parse_picks(text: &str) -> Option<Picks> {
    let (others_kept, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let end = text.find(['~', '^']).unwrap_or(text.len());
    let (digits, mut rest) = text.split_at(end);
    if digits.is_empty() {
        return None;
    }
    let mut picks = Picks { others_kept, ..Picks::default() };
    for (digit, c) in digits.chars().rev().enumerate() {
        let bits = c.to_digit(16)?;
        picks.except.extend((0..4).filter(|bit| bits & 1 << bit != 0).map(|bit| 4 * digit + bit));
    }
    while let Some(kind) = rest.chars().next() {
        let body = &rest[1..];
        let end = body.find(['~', '^']).unwrap_or(body.len());
        let word = &body[..end];
        if kind == '^' {
            picks.early.insert(word.parse().ok()?);
        } else {
            let (write, tear) = word.split_once(':')?;
            let (first, count) = tear.split_once('+')?;
            let tear = Tear { first: first.parse().ok()?, count: count.parse().ok()? };
            // In this order, so that nothing is torn and an exception at once.
            picks.set_fate(write.parse().ok()?, Fate::Torn(tear));
        }
        rest = &body[end..];
    }
    Some(picks)
}

impl FromStr for Choice {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<Choice, BadChoice> {
        let choice = match text {
            "all" => Some(Choice::All),
            "none" => Some(Choice::None),
            _ => match text.strip_prefix('r') {
                Some(seed) => u32::from_str_radix(seed, 16).ok().map(Choice::Drawn),
                None => parse_picks(text).map(Choice::Picks),
            },
        };
        choice.ok_or_else(|| BadChoice(text.to_owned()))
    }
}

impl FromStr for StateId {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<StateId, BadChoice> {
        let bad = || BadChoice(text.to_owned());
        let (boundary, choice) = text.split_once('.').ok_or_else(bad)?;
        let boundary = boundary.parse().map_err(|_| bad())?;
        Ok(StateId { boundary, choice: choice.parse().map_err(|_| bad())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for text in [
            "0.none",
            "17.all",
            "17.5",
            "3.r5a3f",
            "9.5~1:0+3",
            "9.7^2",
            "9.80000000000000001~3:1+1~5:0+2^0^68",
        ] {
            let id: StateId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
        for text in [
            "",
            "17",
            "17.",
            "x.5",
            "17.g",
            "17.5~",
            "17.5~1",
            "17.5~1:0",
            "17.5^",
            "17.r",
            "17.~1:0+1",
            "17.5é",
        ] {
            assert!(text.parse::<StateId>().is_err(), "{text}");
        }
    }
}
