//! The driver of callers that take turns, for a run that is written down.
//!
//! Otherwise callers are threads side by side, and which of two came first cannot be known. Here one at a time is in
//! the kernel: it keeps its turn until its call is over or waits, and leaves the machine idle behind. So all that happens in
//! the machine follows from which had the turn when, and from the time it was: what a [`Witness`] hears. Between two turns
//! nothing is runnable, and the clock stands still during each.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;

use crate::turns::{AnyOrder, Turns};
use crate::{Jump, LOOK_AGAIN, ThreadDriver, Time};
use dmlab_machine::{Instant, Runtime, Stalled, WakeFlag};

/// A witness of the turns: hears which caller runs when. It is told while the turn is taken, so in the order in which
/// things happen.
pub trait Witness: Send + Sync {
    /// The clock moved; what is due by then happens after this.
    fn clock(&self, now: Instant);

    /// The call with this number, which waited, goes on.
    fn goes_on(&self, call: u64);
}

/// The one turn of a machine's callers. Which of them is next is the host's to decide, and the witness writes it down.
pub(crate) struct WitnessedTurns {
    witness: Arc<dyn Witness>,
    turns: Turns<AnyOrder>,
}

thread_local! {
    /// The call that this thread is in.
    static CALL: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The turn, until it is dropped.
pub struct Turn<'a> {
    driver: &'a ThreadDriver,
    turns: &'a WitnessedTurns,
    runtime: &'a Runtime,
}

impl Turn<'_> {
    /// From here on this thread is in call number `call`.
    pub fn enter(&self, call: u64) {
        CALL.with(|current| current.set(Some(call)));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        settle(self.runtime, self.driver.now_in_turn());
        CALL.with(|current| current.set(None));
        self.turns.give_back();
    }
}

impl WitnessedTurns {
    fn take(&self) {
        self.turns.take(&());
    }

    fn give_back(&self) {
        self.turns.give_back(|_| ());
    }
}

/// The call that this thread is in, on a driver that takes turns.
pub fn this_call() -> Option<u64> {
    CALL.with(Cell::get)
}

/// Runs tasks, and fires timers that are due by `now`, until nothing is left to do.
pub fn settle(runtime: &Runtime, now: Instant) {
    loop {
        runtime.run_until_idle();
        if runtime.next_timer().is_none_or(|due| due > now) {
            return;
        }
        runtime.fire_timers(now);
    }
}

/// Runs tasks, and fires timers that are due by `now`, until `flag` is set, and takes it back. False: nothing is left to do,
/// and it is not set.
pub fn run_until_set(runtime: &Runtime, now: Instant, flag: &WakeFlag) -> bool {
    loop {
        if flag.take() {
            return true;
        }
        if runtime.run_one() {
            continue;
        }
        if runtime.next_timer().is_none_or(|due| due > now) {
            return false;
        }
        runtime.fire_timers(now);
    }
}

impl ThreadDriver {
    /// A driver whose callers take turns, and tell `witness`.
    pub fn taking_turns(time: Time, witness: Arc<dyn Witness>) -> Arc<ThreadDriver> {
        ThreadDriver::with(time, Some(WitnessedTurns { witness, turns: Turns::new(AnyOrder) }))
    }

    /// Waits for the turn. `None` where no turns are taken, and for a thread whose turn it is.
    pub fn take_turn<'a>(&'a self, runtime: &'a Runtime) -> Option<Turn<'a>> {
        let turns = self.turns.as_ref()?;
        if this_call().is_some() {
            return None;
        }
        turns.take();
        self.catch_up(turns, runtime);
        Some(Turn { driver: self, turns, runtime })
    }

    pub(crate) fn now_in_turn(&self) -> Instant {
        Instant::from_nanos(self.virtual_ns.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Lets the clock stand where the wall's stands, if it follows that one.
    fn catch_up(&self, turns: &WitnessedTurns, runtime: &Runtime) {
        if self.time == Time::Real {
            self.move_clock(turns, runtime, self.wall_clock());
        }
    }

    fn move_clock(&self, turns: &WitnessedTurns, runtime: &Runtime, now: Instant) {
        if now > self.now_in_turn() {
            self.set_clock(now);
            turns.witness.clock(now);
            settle(runtime, now);
        }
    }

    /// What the worker does: no other thread looks at the clock while all wait.
    pub(crate) fn fire_by_turn(&self, turns: &WitnessedTurns, runtime: &Runtime) {
        let is_due = |due: Instant| due <= self.wall_clock();
        if self.time == Time::Real && runtime.next_timer().is_some_and(is_due) {
            turns.take();
            self.catch_up(turns, runtime);
            turns.give_back();
        }
    }

    /// On virtual time, in the turn of a waiter: jumps to the next timer when nothing can happen before it is due.
    fn jump_in_turn(&self, turns: &WitnessedTurns, runtime: &Runtime) -> Jump {
        let is_wanted = || turns.turns.is_wanted();
        match runtime.next_timer().filter(|_| self.time == Time::Virtual) {
            // As on threads: one may have come while others were looked at.
            Some(due) if !is_wanted() && self.may_jump(due) && !is_wanted() => {
                self.move_clock(turns, runtime, due);
                Jump::Done
            }
            Some(_) => Jump::NotYet,
            None => Jump::Nowhere,
        }
    }

    pub(crate) fn wait_by_turn(
        &self,
        turns: &WitnessedTurns,
        runtime: &Runtime,
        flag: &WakeFlag,
    ) -> Result<(), Stalled> {
        let call = this_call();
        if call.is_none() {
            // A wait that belongs to no call: it lets go of no turn that it has not.
            turns.take();
        }
        let result = self.wait_in_turn(turns, runtime, flag, call);
        if call.is_none() {
            turns.give_back();
        }
        result
    }

    fn wait_in_turn(
        &self,
        turns: &WitnessedTurns,
        runtime: &Runtime,
        flag: &WakeFlag,
        call: Option<u64>,
    ) -> Result<(), Stalled> {
        if run_until_set(runtime, self.now_in_turn(), flag) {
            return Ok(());
        }
        loop {
            turns.give_back();
            match self.time {
                // Setting the flag ends it.
                Time::Real => thread::park(),
                // Also without a timer to jump to: another thread may set one.
                Time::Virtual => thread::park_timeout(LOOK_AGAIN),
            }
            turns.take();
            if flag.take() || (matches!(self.jump_in_turn(turns, runtime), Jump::Done) && flag.take()) {
                self.catch_up(turns, runtime);
                if let Some(call) = call {
                    turns.witness.goes_on(call);
                }
                return Ok(());
            }
        }
    }
}
