//! Going through the states of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab_faults::power::{LeftDisk, Limits, Picks, StateId, Walk, states_here};
use dmlab_machine::{Driver, Machine};
use rayon::prelude::*;

use super::minimise::{self, Smallest};
use super::record::{CrashRun, lab_on, left_machine};
use super::report::{Failure, Report, Shard};
use super::{CrashError, Judge, Outcome};
use crate::Lab;
use crate::caught::caught;

/// States that one thread takes at a time.
const GROUP: usize = 64;
/// Groups after which it is decided whether to go on. Fixed, so that the report does not depend on the number of cores.
const WAVE: usize = 32;

type Check<'a> = Box<dyn Fn(&Moment<'_>) -> Outcome + Send + Sync + 'a>;
type Progress<'a> = Box<dyn Fn(u64, u64) + Send + Sync + 'a>;

/// Where the power went, and what is left.
pub struct Moment<'a> {
    /// The state.
    pub id: &'a StateId,
    marks: &'a [(usize, Arc<str>)],
    disks: &'a [Arc<LeftDisk>],
}

impl<'a> Moment<'a> {
    /// The marks that the workload had passed.
    pub fn marks(&self) -> impl DoubleEndedIterator<Item = &'a str> {
        self.marks.iter().map(|(_, text)| &**text)
    }

    /// How many marks it had passed.
    pub fn mark_count(&self) -> usize {
        self.marks.len()
    }

    /// Whether it had passed this one.
    pub fn has_passed(&self, mark: &str) -> bool {
        self.marks().any(|passed| passed == mark)
    }

    /// A machine of one's own on these disks and on `driver`'s time, such as one that programs are to see.
    pub fn boot(&self, seed: u64, driver: Arc<dyn Driver>) -> Machine {
        left_machine(seed, driver, self.disks)
    }

    /// One of the disks.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn disk(&self, number: usize) -> Result<&'a LeftDisk, String> {
        self.disks.get(number).map(|disk| &**disk).ok_or_else(|| format!("there is no disk {number}"))
    }

    /// The disks as they were left; what a machine does to them is seen here.
    pub fn disks(&self) -> &'a [Arc<LeftDisk>] {
        self.disks
    }
}

/// How the states of a run are gone through.
#[must_use = "ends in `check` or `run`"]
pub struct Explore<'a> {
    pub(super) run: &'a CrashRun,
    limits: Limits,
    max_states: Option<usize>,
    shard: Shard,
    only: Option<StateId>,
    enough: usize,
    patience: usize,
    judges: Vec<Box<dyn Judge + 'a>>,
    check: Option<Check<'a>>,
    progress: Option<Progress<'a>>,
}

/// What is wrong with a state, and the judge that says so.
pub(super) struct Broken {
    pub(super) judge: String,
    pub(super) error: String,
}

/// A kind of damage: the judge, and the first thing that it says, without what is told in numbers, such as which block
/// it is. What follows on other lines or behind a semicolon may be more damage, and need not be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    judge: String,
    kind: String,
}

impl Damage {
    pub(super) fn new(judge: &str, error: &str) -> Damage {
        let has_number = |word: &str| word.contains(|c: char| c.is_ascii_digit());
        let first = error.lines().next().unwrap_or_default().split(';').next().unwrap_or_default();
        let words = first.split_whitespace().map(|word| if has_number(word) { "#" } else { word });
        Damage { judge: judge.to_owned(), kind: words.collect::<Vec<&str>>().join(" ") }
    }
}

impl Broken {
    pub(super) fn damage(&self) -> Damage {
        Damage::new(&self.judge, &self.error)
    }
}

/// Some boundaries in a row with the states to look at.
struct Group<'a> {
    /// At the first of them.
    walk: Walk<'a>,
    states: Vec<StateId>,
}

impl<'a> Explore<'a> {
    pub(super) fn new(run: &'a CrashRun) -> Explore<'a> {
        Explore {
            run,
            limits: Limits { seed: run.seed, ..Limits::default() },
            max_states: None,
            shard: Shard::WHOLE,
            only: None,
            enough: 16,
            patience: 512,
            judges: Vec::new(),
            check: None,
            progress: None,
        }
    }

    /// Subsets of the writes that are not durable, at each boundary: all if there are no more, else so many, drawn. 64 if
    /// nothing is said.
    pub fn limit(mut self, per_boundary: usize) -> Self {
        self.limits.per_boundary = per_boundary;
        self
    }

    /// States in all; more than that are chosen among with the seed.
    pub fn max_states(mut self, states: usize) -> Self {
        self.max_states = Some(states);
        self
    }

    /// Where drawn states come from; the run's seed if nothing is said.
    pub fn seed(mut self, seed: u64) -> Self {
        self.limits.seed = seed;
        self
    }

    /// Only this part of all states.
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = shard;
        self
    }

    /// Only this state.
    ///
    /// # Errors
    /// When there is no such state.
    pub fn only(mut self, state: &str) -> Result<Self, CrashError> {
        let id: StateId = state.parse()?;
        self.run.walk_to(&id)?;
        self.only = Some(id);
        Ok(self)
    }

    /// Stops soon after so many states broke; 16 if nothing is said.
    pub fn enough(mut self, failures: usize) -> Self {
        self.enough = failures.max(1);
        self
    }

    /// So many states are looked at, for each kind of damage, to find an earlier and a smaller case of it; 512 if nothing
    /// is said, none with 0.
    pub fn patience(mut self, states: usize) -> Self {
        self.patience = states;
        self
    }

    /// Also asks this judge about each state, before any machine has seen it.
    pub fn judge(mut self, judge: impl Judge + 'a) -> Self {
        self.judges.push(Box::new(judge));
        self
    }

    /// Tells how many states of how many were examined, now and then and from any thread.
    pub fn progress(mut self, told: impl Fn(u64, u64) + Send + Sync + 'a) -> Self {
        self.progress = Some(Box::new(told));
        self
    }

    /// Goes through the states: asks the judges, then opens each in a machine of its own on virtual time and asks `check`.
    /// What panics is broken.
    pub fn check(self, check: impl Fn(&Lab, &Moment<'_>) -> Outcome + Send + Sync + 'a) -> Report {
        let seed = self.run.seed;
        self.check_disks(move |moment| check(&lab_on(seed, moment.disks), moment))
    }

    /// Goes through the states with a check that opens the disks itself, with [`Moment::boot`], or only looks at them.
    pub fn check_disks(mut self, check: impl Fn(&Moment<'_>) -> Outcome + Send + Sync + 'a) -> Report {
        self.check = Some(Box::new(check));
        self.run()
    }

    /// Goes through the states with the judges alone.
    pub fn run(self) -> Report {
        let (groups, total) = self.groups();
        let mut report = Report::new(self.run, self.shard, total);
        report.states_in_shard = groups.iter().map(|group| group.states.len() as u64).sum();
        let done = AtomicU64::new(0);
        let mut smallest: Vec<(Damage, Smallest)> = Vec::new();
        for wave in groups.chunks(WAVE) {
            let found: Vec<Vec<(StateId, Broken)>> =
                wave.par_iter().map(|group| self.examine(group, &done, report.states_in_shard)).collect();
            report.states_examined += wave.iter().map(|group| group.states.len() as u64).sum::<u64>();
            for (id, broken) in found.into_iter().flatten() {
                if report.failures.len() < self.enough {
                    report.failures.push(self.describe(&id, broken, &mut smallest));
                } else {
                    report.further_failures += 1;
                }
            }
            if report.failures.len() >= self.enough {
                break;
            }
        }
        report
    }

    /// All states to look at, in groups, and how many there are in all shards.
    fn groups(&self) -> (Vec<Group<'a>>, u64) {
        if let Some(id) = &self.only {
            let walk = self.run.walk_to(id).expect("it was there when it was asked for");
            return (vec![Group { walk, states: vec![id.clone()] }], 1);
        }
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut walk = Walk::new(&self.run.recording);
        walk.go_to(self.run.begin);
        loop {
            let states = states_here(&walk, self.limits);
            match groups.last_mut() {
                Some(group) if group.states.len() < GROUP => group.states.extend(states),
                _ => groups.push(Group { walk: walk.fork(), states }),
            }
            if walk.step().is_none() {
                break;
            }
        }
        let all: usize = groups.iter().map(|group| group.states.len()).sum();
        let chosen = self.max_states.unwrap_or(all).min(all);
        let mut rng = dmlab_runtime::Rng::new(self.limits.seed, dmlab_runtime::Stream::Workload);
        let (mut left, mut wanted, mut number) = (all as u64, chosen as u64, 0);
        for group in &mut groups {
            group.states.retain(|_| {
                let is_chosen = rng.below(left) < wanted;
                left -= 1;
                wanted -= u64::from(is_chosen);
                number += u64::from(is_chosen);
                is_chosen && self.shard.has(number - 1)
            });
        }
        groups.retain(|group| !group.states.is_empty());
        (groups, chosen as u64)
    }

    fn examine(&self, group: &Group<'a>, done: &AtomicU64, total: u64) -> Vec<(StateId, Broken)> {
        let mut walk = group.walk.fork();
        let mut found = Vec::new();
        for id in &group.states {
            walk.go_to(id.boundary);
            let picks = id.choice.picks(id.boundary, walk.pending());
            if let Err(broken) = self.judge_state(&walk, id, &picks) {
                found.push((id.clone(), broken));
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(told) = &self.progress {
                told(done, total);
            }
        }
        found
    }

    /// Builds a state and asks all judges.
    pub(super) fn judge_state(&self, walk: &Walk<'_>, id: &StateId, picks: &Picks) -> Result<(), Broken> {
        let disks: Vec<Arc<LeftDisk>> = walk.disks_with(picks).into_iter().map(Arc::new).collect();
        let marks = &self.run.marks[..self.run.marks.partition_point(|(at, _)| *at <= id.boundary)];
        let moment = Moment { id, marks, disks: &disks };
        for judge in &self.judges {
            let said = judge.judge(&moment);
            said.map_err(|error| Broken { judge: judge.name().to_owned(), error })?;
        }
        let Some(check) = &self.check else { return Ok(()) };
        let said = caught(|| check(&moment).map_err(|error| error.to_string()));
        said.map_err(|error| Broken { judge: "check".to_owned(), error })
    }

    /// `known` holds the smallest case of each damage so far: the states come in order, so it is not behind this one.
    fn describe(&self, id: &StateId, broken: Broken, known: &mut Vec<(Damage, Smallest)>) -> Failure {
        let damage = broken.damage();
        let smallest = match known.iter().find(|(other, _)| *other == damage) {
            Some((_, smallest)) => smallest.clone(),
            None => {
                let smallest = minimise::smallest(self, id, &damage, self.patience);
                known.push((damage, smallest.clone()));
                smallest
            }
        };
        Failure::new(self.run, id, broken, &smallest)
    }
}
