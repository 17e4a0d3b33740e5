//! A rule: where × what × when × how often.

use std::fmt;

use dmlab_units::Errno;
use thiserror::Error;

use crate::action::{BLOCK_ERRORS, is_block_error};
use crate::{Action, Ops, Place, Timing};

/// A fault that waits for its moment.
///
/// ```
/// use dmlab_faults::Rule;
/// let rule: Rule = "device=/dev/ram1 sectors=0..8 op=write fail=EIO nth=3".parse()?;
/// assert_eq!(rule.to_string(), "device=/dev/ram1 sectors=0..8 op=write fail=EIO nth=3");
/// # Ok::<(), dmlab_faults::RuleError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What other rules and people call it.
    pub name: Option<String>,
    /// Where it strikes.
    pub place: Place,
    /// What it does.
    pub action: Action,
    /// When, and how often.
    pub timing: Timing,
}

/// Why a rule is none, or cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// A word without a place in the grammar.
    #[error("unknown key `{key}`{}; the keys are {}", .close.map(|close| format!(", perhaps `{close}`")).unwrap_or_default(), crate::grammar::key_list())]
    UnknownKey {
        /// The word.
        key: String,
        /// One that looks like it.
        close: Option<&'static str>,
    },
    /// A key that is there twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A value that its key can't have.
    #[error("{key} = {value:?} is not {want}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What it must be.
        want: String,
    },
    /// Something does not go together.
    #[error("{0}")]
    Senseless(String),
    /// No action, or more than one.
    #[error("a rule does one thing, one of {}; this one has {}", crate::grammar::ACTION_KEYS.join(", "), if .0.is_empty() { "none".to_owned() } else { .0.join(", ") })]
    Actions(Vec<&'static str>),
    /// Another rule has that name.
    #[error("there is a rule named `{0}` already")]
    NameTaken(String),
    /// No rule has that name or number.
    #[error("there is no rule `{0}`")]
    NoSuchRule(String),
}

fn senseless(text: impl Into<String>) -> RuleError {
    RuleError::Senseless(text.into())
}

impl Rule {
    /// Whether it makes sense. Everything that adds a rule asks.
    ///
    /// # Errors
    /// See [`RuleError`]: names what does not go together, and what would.
    pub fn check(&self) -> Result<(), RuleError> {
        if let Some(name) = &self.name {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || !name.chars().all(is_plain) || name.bytes().all(|b| b.is_ascii_digit()) {
                return Err(RuleError::Value {
                    key: "name",
                    value: name.clone(),
                    want: "a word of letters, digits, '-', '_' and '.', and not all digits".to_owned(),
                });
            }
        }
        self.check_timing()?;
        match &self.place {
            Place::Bio(place) => {
                if let Some(sectors) = &place.sectors
                    && sectors.is_empty()
                {
                    let text = format!("sectors {}..{} are none", sectors.start, sectors.end);
                    return Err(senseless(text));
                }
                self.check_bio_action(place.ops)
            }
            Place::Ioctl(_) => match self.action {
                Action::Watch | Action::Fail(_) | Action::Delay(_) | Action::Hang | Action::Kill => Ok(()),
                _ => Err(senseless("an ioctl can be watched, fail, be delayed, hang or kill its caller")),
            },
            Place::Uevent(_) => match self.action {
                Action::Watch | Action::Drop => Ok(()),
                _ => Err(senseless("an event can be watched or dropped")),
            },
        }
    }

    fn check_bio_action(&self, ops: Ops) -> Result<(), RuleError> {
        let is_possible_for = match self.action {
            Action::Watch | Action::Fail(_) | Action::Delay(_) | Action::Hang => Ops::all(),
            Action::Drop => Ops::all() - Ops::READ,
            Action::Torn { .. } => Ops::WRITE,
            Action::Flip { .. } | Action::Misdirect { .. } => Ops::READ | Ops::WRITE,
            Action::Kill => {
                return Err(senseless("only an ioctl can kill its caller: add ioctl = \"any\" or a command"));
            }
        };
        if !ops.intersects(is_possible_for) {
            let could: Vec<&str> = Ops::WORDS
                .iter()
                .filter(|(_, op)| is_possible_for.contains(*op))
                .map(|(word, _)| *word)
                .collect();
            return Err(senseless(format!("this can only be done to bios of op {}", could.join(", "))));
        }
        let errno = match self.action {
            Action::Fail(errno) => Some(errno),
            Action::Torn { keep, then } => {
                if keep.is_some_and(dmlab_units::Sectors::is_zero) {
                    return Err(senseless(
                        "a write torn before its first sector is not written at all: use drop, or fail",
                    ));
                }
                then
            }
            _ => None,
        };
        match errno {
            Some(errno) if !is_block_error(errno) => Err(not_a_block_error(errno)),
            _ => Ok(()),
        }
    }

    fn check_timing(&self) -> Result<(), RuleError> {
        let timing = &self.timing;
        if timing.nth.is_some() && timing.every.is_some() {
            return Err(senseless("nth is one match, every is many: give one of the two"));
        }
        for (key, count) in [("nth", timing.nth), ("every", timing.every), ("times", timing.times)] {
            if count == Some(0) {
                return Err(senseless(format!("{key} counts from 1")));
            }
        }
        if timing.chance.is_some_and(|chance| !(chance > 0.0 && chance <= 1.0)) {
            return Err(senseless("chance is above 0 and at most 1"));
        }
        if let (Some(from), Some(until)) = (timing.from, timing.until)
            && from >= until
        {
            return Err(senseless("until lies before from: the rule would never be awake"));
        }
        Ok(())
    }
}

fn not_a_block_error(errno: Errno) -> RuleError {
    let names: Vec<&str> = BLOCK_ERRORS.iter().filter_map(|errno| errno.name()).collect();
    RuleError::Value {
        key: "fail",
        value: errno.name().map_or_else(|| errno.raw().to_string(), str::to_owned),
        want: format!("an error that a block device reports: {}", names.join(", ")),
    }
}

impl fmt::Display for Rule {
    /// The words that it would be read from. A predicate has none: `while=...` stands for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, value)) in self.to_words().iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{key}={value}")?;
        }
        if self.timing.predicate.is_some() {
            f.write_str(" while=...")?;
        }
        Ok(())
    }
}
