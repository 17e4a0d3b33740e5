//! What an exploration found.

use std::fmt;
use std::str::FromStr;

use dmlab_faults::power::{Event, Fate, Picks, StateId, Tear, Written};
use serde::{Deserialize, Serialize};

use super::explore::{Broken, Damage};
use super::minimise::Smallest;
use super::record::CrashRun;

/// One part of all states: number `index` of `count`, from 1. Written `2/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 1.
    pub index: u64,
    /// Of how many.
    pub count: u64,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { index: 1, count: 1 };

    /// Whether a state is in it, counted from 0 among all that are looked at.
    pub fn has(self, state: u64) -> bool {
        state % self.count == self.index - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Shard { index, count }),
            _ => Err(format!("{text:?} is no shard: it is I/N, from 1/N to N/N")),
        }
    }
}

/// A state that broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its name.
    pub state: String,
    /// The last thing that happened.
    pub after: String,
    /// The last mark that the workload had passed.
    pub mark: Option<String>,
    /// The judge that says so: its name, or `check`.
    pub judge: String,
    /// What it says.
    pub error: String,
    /// The smallest case of this damage that was found: at the earliest boundary, with the fewest writes that matter. Damage
    /// is the same when the same judge says the same first thing (up to a semicolon or a new line) but for numbers.
    pub smallest: String,
    /// The last thing that happened before it.
    pub smallest_after: String,
    /// Whether the search for it ran out of patience, so that an earlier one may be there.
    pub is_cut_short: bool,
    /// What is special in it, a write a line; empty if everything is there.
    pub writes: Vec<String>,
    /// How many writes are not durable in it.
    pub pending: u64,
}

impl Failure {
    pub(super) fn new(run: &CrashRun, id: &StateId, broken: Broken, smallest: &Smallest) -> Failure {
        let after = |boundary: usize| match boundary.checked_sub(1).map(|last| &run.recording.events[last]) {
            Some(Event::Write(written)) => written.to_string(),
            Some(Event::Flush(disk)) => format!("flush of disk {disk}"),
            Some(Event::Mark(text)) => format!("mark {text:?}"),
            None => "the beginning".to_owned(),
        };
        let passed = run.marks.partition_point(|(at, _)| *at <= id.boundary);
        let Smallest { boundary, picks, is_cut_short } = smallest;
        let small = StateId { boundary: *boundary, choice: picks.clone().choice() };
        let walk = run.walk_to(&small).expect("it was just examined");
        Failure {
            state: id.to_string(),
            after: after(id.boundary),
            mark: passed.checked_sub(1).map(|last| run.marks[last].1.to_string()),
            judge: broken.judge,
            error: broken.error,
            smallest: small.to_string(),
            smallest_after: after(*boundary),
            is_cut_short: *is_cut_short,
            writes: special(walk.pending(), picks),
            pending: walk.pending().len() as u64,
        }
    }

    fn damage(&self) -> Damage {
        Damage::new(&self.judge, &self.error)
    }

    fn smallest_boundary(&self) -> Option<usize> {
        Some(self.smallest.parse::<StateId>().ok()?.boundary)
    }

    /// How many events had happened, in a state's name.
    fn boundary(state: &str) -> &str {
        state.split_once('.').map_or(state, |(boundary, _)| boundary)
    }
}

/// What the choice does to the writes that it names.
fn special(pending: &[&Written], picks: &Picks) -> Vec<String> {
    let line = |(write, written): (usize, &&Written)| {
        let is_early = picks.early.contains(&write);
        let what = match picks.fate(write) {
            Fate::Torn(Tear { first, count }) => format!("torn (sectors {first}+{count} of it are there)"),
            _ if is_early => "below those that it overlaps".to_owned(),
            Fate::Lost if picks.others_kept => "lost".to_owned(),
            Fate::Kept if !picks.others_kept && !written.is_forced => "there".to_owned(),
            Fate::Lost | Fate::Kept => return None,
        };
        Some(format!("{what}: {written}"))
    };
    pending.iter().enumerate().filter_map(line).collect()
}

/// What an exploration found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Tells recordings apart: only reports of one recording can be joined.
    pub recording: String,
    /// The run's seed.
    pub seed: u64,
    /// Which part was looked at.
    pub shard: Shard,
    /// The shards whose reports were joined in this one.
    pub joined: Vec<Shard>,
    /// States of all shards.
    pub states: u64,
    /// States of this shard.
    pub states_in_shard: u64,
    /// How many of them were examined: all, unless enough broke before.
    pub states_examined: u64,
    /// Those that broke, in order.
    pub failures: Vec<Failure>,
    /// How many broke beside those.
    pub further_failures: u64,
}

/// Why reports cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// There is none.
    None,
    /// They are about different recordings or different numbers of shards.
    Different(String, String),
    /// A shard is there twice.
    Twice(Shard),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MergeError::None => f.write_str("there is no report to join"),
            MergeError::Different(a, b) => {
                write!(
                    f,
                    "the reports are not about the same: {a} and {b}; all shards must explore one recording"
                )
            }
            MergeError::Twice(shard) => write!(f, "shard {shard} is there twice"),
        }
    }
}

impl std::error::Error for MergeError {}

impl Report {
    pub(super) fn new(run: &CrashRun, shard: Shard, states: u64) -> Report {
        Report {
            recording: run.fingerprint(),
            seed: run.seed,
            shard,
            joined: vec![shard],
            states,
            states_in_shard: 0,
            states_examined: 0,
            failures: Vec::new(),
            further_failures: 0,
        }
    }

    /// Whether nothing broke.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    /// Passes if nothing broke.
    ///
    /// # Panics
    /// With the report if something did.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }

    /// The shards that are not there.
    pub fn missing(&self) -> Vec<Shard> {
        let count = self.shard.count;
        (1..=count).map(|index| Shard { index, count }).filter(|shard| !self.joined.contains(shard)).collect()
    }

    /// Joins the reports of several shards; in the order of the shards, whatever order they come in.
    ///
    /// # Errors
    /// See [`MergeError`].
    pub fn merge(reports: impl IntoIterator<Item = Report>) -> Result<Report, MergeError> {
        let mut reports: Vec<Report> = reports.into_iter().collect();
        reports.sort_by(|a, b| a.joined.cmp(&b.joined));
        let mut reports = reports.into_iter();
        let mut all = reports.next().ok_or(MergeError::None)?;
        for report in reports {
            let about = |report: &Report| {
                let Report { recording, states, shard, .. } = report;
                format!("recording {recording}, {states} states in {} shards", shard.count)
            };
            if about(&all) != about(&report) {
                return Err(MergeError::Different(about(&all), about(&report)));
            }
            if let Some(twice) = report.joined.iter().find(|shard| all.joined.contains(shard)) {
                return Err(MergeError::Twice(*twice));
            }
            all.joined.extend(report.joined);
            all.states_in_shard += report.states_in_shard;
            all.states_examined += report.states_examined;
            all.failures.extend(report.failures);
            all.further_failures += report.further_failures;
        }
        all.joined.sort();
        all.failures.sort_by_cached_key(|failure| failure.state.parse::<StateId>().ok());
        all.share_smallest();
        Ok(all)
    }

    /// Each failure gets the earliest case that any shard found of its damage.
    fn share_smallest(&mut self) {
        let found = self.failures.clone();
        for failure in &mut self.failures {
            let same = found.iter().filter(|other| other.damage() == failure.damage());
            let Some(best) = same.min_by_key(|other| (other.smallest_boundary(), other.writes.len())) else {
                continue;
            };
            let Failure { smallest, smallest_after, is_cut_short, writes, pending, .. } = best.clone();
            *failure = Failure { smallest, smallest_after, is_cut_short, writes, pending, ..failure.clone() };
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|state| format!("state {state}"))
    }
}

/// Says how a state can be had again.
type Replay<'a> = &'a dyn Fn(&str) -> String;

impl Failure {
    fn write(&self, f: &mut dyn fmt::Write, replay: Replay<'_>) -> fmt::Result {
        let Failure { state, judge, error, after, pending, smallest, .. } = self;
        writeln!(f, "state {state}: {judge}: {error}")?;
        writeln!(f, "  power went after: {after}")?;
        if let Some(mark) = &self.mark {
            writeln!(f, "  last mark: {mark:?}")?;
        }
        let events = Self::boundary(smallest);
        if events != Self::boundary(state) {
            let (plural, after) = (if events == "1" { "" } else { "s" }, &self.smallest_after);
            writeln!(f, "  the same damage as early as after {events} event{plural}: {after}")?;
        }
        if self.is_cut_short {
            writeln!(f, "  an earlier case may be there: the search for it ran out of patience")?;
        }
        match smallest.split_once('.') {
            _ if *pending == 0 => writeln!(f, "  everything was durable")?,
            Some((_, "all")) => writeln!(f, "  smallest case: everything that was written is there")?,
            Some((_, "none")) => writeln!(f, "  smallest case: only what was durable is there")?,
            split => {
                let others = if split.is_some_and(|(_, c)| c.starts_with('-')) { "there" } else { "lost" };
                let what = if *pending == 1 { "write that is" } else { "writes that are" };
                writeln!(f, "  smallest case, of {pending} {what} not durable, all others {others}:")?;
            }
        }
        self.writes.iter().try_for_each(|write| writeln!(f, "    {write}"))?;
        writeln!(f, "  replay: {}", replay(smallest))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|state| format!("state {state}"))
    }
}

impl Report {
    /// The report as text, each case with what `replay` says of how it can be had again: a command, for example.
    pub fn to_text(&self, replay: impl Fn(&str) -> String) -> String {
        let mut text = String::new();
        self.write(&mut text, &replay).expect("a text takes everything");
        text
    }

    fn write(&self, f: &mut dyn fmt::Write, replay: Replay<'_>) -> fmt::Result {
        let broken = self.failures.len() as u64 + self.further_failures;
        let Report { states_examined, states, recording, seed, .. } = self;
        write!(f, "{states_examined} of {states} states examined, ")?;
        match broken {
            0 => f.write_str("none broke")?,
            n => write!(f, "{n} broke")?,
        }
        writeln!(f, " (recording {recording}, seed {seed})")?;
        let mut shown: Vec<(&str, &str)> = Vec::new();
        for failure in &self.failures {
            let case = (&*failure.smallest, &*failure.judge);
            if !shown.contains(&case) {
                shown.push(case);
                failure.write(f, replay)?;
            }
        }
        match self.failures.len() - shown.len() {
            0 => {}
            n => writeln!(
                f,
                "{n} more of these come down to the same {}",
                if shown.len() == 1 { "case" } else { "cases" }
            )?,
        }
        let further = self.further_failures;
        if further > 0 {
            writeln!(f, "{further} more broke and are not shown")?;
        }
        for shard in self.missing() {
            if self.joined.len() > 1 {
                writeln!(f, "shard {shard} is missing")?;
            }
        }
        Ok(())
    }
}
