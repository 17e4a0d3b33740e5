//! Orders in which tasks and clients take turns: drawn from seeds, written down, replayed, and made as plain as they can be.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use dmlab_machine::{Rng, Scheduler, Stream, TaskId};

use crate::Lab;
use crate::caught::caught;

/// The choices of the client that goes next, each time more than one could: 0 is the one that could first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Drawn from a seed.
    Seeded(u64),
    /// These picks, then always the first.
    Picks(Vec<u32>),
}

impl Schedule {
    /// The schedule of a seed.
    pub fn seeded(seed: u64) -> Schedule {
        Schedule::Seeded(seed)
    }
}

impl fmt::Display for Schedule {
    /// `seed:7`, or the picks: `0.2.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Seeded(seed) => write!(f, "seed:{seed}"),
            Schedule::Picks(picks) => {
                let words: Vec<String> = picks.iter().map(ToString::to_string).collect();
                f.write_str(&words.join("."))
            }
        }
    }
}

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no schedule: it is `seed:NUMBER`, or picks such as `0.2.1`")]
pub struct ParseScheduleError(String);

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ParseScheduleError> {
        let wrong = |_| ParseScheduleError(text.to_owned());
        if let Some(seed) = text.strip_prefix("seed:") {
            return Ok(Schedule::Seeded(seed.parse().map_err(wrong)?));
        }
        let picks = text.split('.').filter(|pick| !pick.is_empty()).map(str::parse);
        Ok(Schedule::Picks(picks.collect::<Result<_, _>>().map_err(wrong)?))
    }
}

type Picked = Arc<Mutex<Vec<u32>>>;

/// Follows a schedule and writes down what it picks.
struct Follower {
    next: Next,
    picked: Picked,
}

enum Next {
    Drawn(Box<Rng>),
    Given(std::vec::IntoIter<u32>),
}

impl Scheduler for Follower {
    fn pick(&mut self, ready: &[(TaskId, &'static str)]) -> usize {
        // Where there is no choice, none is written down: a schedule stays short, and stays good when tasks come and go.
        if ready.len() < 2 {
            return 0;
        }
        let last = ready.len() - 1;
        let pick = match &mut self.next {
            Next::Drawn(rng) => rng.below(ready.len() as u64) as usize,
            Next::Given(picks) => (picks.next().unwrap_or(0) as usize).min(last),
        };
        self.picked.lock().unwrap_or_else(PoisonError::into_inner).push(pick as u32);
        pick
    }
}

impl Lab {
    /// From here on, tasks and clients take turns as `schedule` has it.
    pub fn follow_schedule(&self, schedule: &Schedule) {
        self.follow(schedule);
    }

    fn follow(&self, schedule: &Schedule) -> Picked {
        let picked = Picked::default();
        let next = match schedule {
            Schedule::Seeded(seed) => Next::Drawn(Box::new(Rng::new(*seed, Stream::Scheduling))),
            Schedule::Picks(picks) => Next::Given(picks.clone().into_iter()),
        };
        self.machine().runtime().set_scheduler(Box::new(Follower { next, picked: picked.clone() }));
        picked
    }
}

/// A schedule under which a test fails, as plain as it could be made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("under schedule {schedule} (found as {found_as}): {why}")]
pub struct BadSchedule {
    /// The schedule. [`Schedules::replay`] runs it again.
    pub schedule: Schedule,
    /// The one that was found first.
    pub found_as: Schedule,
    /// What the test said.
    pub why: String,
}

/// Looks for an order of tasks and clients in which a test fails.
///
/// ```
/// use dmlab::{Client, Lab, Schedules};
///
/// // Both look whether the name is free, then take it.
/// let take = |lab: &Lab| {
///     if lab.info("volume").is_err() {
///         lab.create("volume", "0 8 zero").expect("nobody has it");
///     }
/// };
/// let found = Schedules::new(|| Lab::new(1)).check(|lab| {
///     lab.run_clients([Client::new("a", take), Client::new("b", take)]).map_err(|e| e.to_string())
/// });
/// let bad = found.expect_err("there is an order in which both find it free");
/// assert!(bad.why.contains("nobody has it"));
/// ```
pub struct Schedules<B> {
    boot: B,
    tries: u64,
    first_seed: u64,
}

impl<B: Fn() -> Lab> Schedules<B> {
    /// A search over labs that `boot` makes, one for each try; 1,000 tries unless told otherwise.
    pub fn new(boot: B) -> Schedules<B> {
        Schedules { boot, tries: 1000, first_seed: 0 }
    }

    /// How many schedules to try.
    #[must_use]
    pub fn tries(mut self, tries: u64) -> Schedules<B> {
        self.tries = tries;
        self
    }

    /// The seed of the first; the others follow it.
    #[must_use]
    pub fn from_seed(mut self, seed: u64) -> Schedules<B> {
        self.first_seed = seed;
        self
    }

    /// Tries schedules until `test` fails: by its result, or by a panic.
    ///
    /// # Errors
    /// The failing schedule: the fewest picks, and the most of them 0, that could be found to fail still.
    pub fn check(&self, test: impl Fn(&Lab) -> Result<(), String>) -> Result<(), BadSchedule> {
        for seed in self.first_seed..self.first_seed.saturating_add(self.tries) {
            let found_as = Schedule::Seeded(seed);
            if let (picks, Err(why)) = self.run(&found_as, &test) {
                let (picks, why) = self.simplify(picks, why, &test);
                return Err(BadSchedule { schedule: Schedule::Picks(picks), found_as, why });
            }
        }
        Ok(())
    }

    /// Runs `test` under one schedule.
    ///
    /// # Errors
    /// What it said.
    pub fn replay(
        &self,
        schedule: &Schedule,
        test: impl Fn(&Lab) -> Result<(), String>,
    ) -> Result<(), String> {
        self.run(schedule, &test).1
    }

    fn run(
        &self,
        schedule: &Schedule,
        test: &impl Fn(&Lab) -> Result<(), String>,
    ) -> (Vec<u32>, Result<(), String>) {
        let mut lab = (self.boot)();
        lab.is_quiet = true;
        let picked = lab.follow(schedule);
        let result = caught(|| test(&lab));
        let picks = picked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (picks, result)
    }

    /// Cuts the end off, then makes picks 0, as long as the test still fails.
    fn simplify(
        &self,
        mut picks: Vec<u32>,
        mut why: String,
        test: &impl Fn(&Lab) -> Result<(), String>,
    ) -> (Vec<u32>, String) {
        let fails = |candidate: &[u32]| self.run(&Schedule::Picks(candidate.to_vec()), test).1.err();
        let mut len = picks.len();
        while len > 0 {
            len /= 2;
            if let Some(said) = fails(&picks[..len]) {
                (picks, why) = (picks[..len].to_vec(), said);
            } else {
                break;
            }
        }
        let mut at = picks.len();
        while at > 0 {
            at -= 1;
            let mut candidate = picks.clone();
            if at + 1 == candidate.len() {
                candidate.pop();
            } else if candidate[at] != 0 {
                candidate[at] = 0;
            } else {
                continue;
            }
            if let Some(said) = fails(&candidate) {
                (picks, why) = (candidate, said);
            }
        }
        (picks, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;

    #[test]
    fn schedules_are_written_and_read() {
        for text in ["seed:12", "0.2.1", ""] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        assert!("seed:x".parse::<Schedule>().is_err());
        assert!("1.b".parse::<Schedule>().unwrap_err().to_string().contains("`1.b` is no schedule"));
    }

    fn look_then_take(lab: &Lab) {
        if lab.info("volume").is_err() {
            lab.create("volume", "0 8 zero").expect("nobody has it");
        }
    }

    #[test]
    fn a_race_is_found_made_plain_and_replayed() {
        let schedules = Schedules::new(|| Lab::new(1));
        let test = |lab: &Lab| {
            let clients = ["a", "b", "c"].map(|name| Client::new(name, look_then_take));
            lab.run_clients(clients).map_err(|error| error.to_string())
        };
        let bad = schedules.check(test).expect_err("two of them can find it free");
        let Schedule::Picks(picks) = &bad.schedule else { panic!("{bad}") };
        assert!(picks.len() <= 4, "{bad}");
        let again: Schedule = bad.schedule.to_string().parse().unwrap();
        assert!(schedules.replay(&again, test).unwrap_err().contains("nobody has it"));
        // One after the other there is nothing to find.
        let alone = |lab: &Lab| {
            for _ in 0..3 {
                lab.run_clients([Client::new("a", look_then_take)]).map_err(|error| error.to_string())?;
            }
            Ok(())
        };
        schedules.tries(50).check(alone).unwrap();
    }
}
