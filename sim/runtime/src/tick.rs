//! The tick: the steps in which the kernel counts most of its time, and what that makes of its timers.
//!
//! A delay in milliseconds becomes a whole number of ticks, rounded up. A *timer* is coarser still. The kernel keeps
//! timers in a wheel of levels; the further away a timer, the coarser its level, eight times from one to the next,
//! and its time is rounded up to a whole step of the level, at least one tick:
//!
//! | due in | steps of |
//! |---|---|
//! | less than 63 ticks (252 ms) | 1 tick (4 ms) |
//! | less than 504 ticks (2 s) | 8 ticks (32 ms) |
//! | less than 4032 ticks (16 s) | 64 ticks (256 ms) |
//! | ... | eight times longer, eight times coarser |
//!
//! What polls a clock instead of setting a timer sees each tick as it comes.

use std::ops::Add;
use std::time::Duration;

use crate::Instant;

/// Ticks in a second on the reference machine (CONFIG_HZ).
pub const HZ: u64 = 250;
/// Length of a tick.
pub const TICK: Duration = Duration::from_nanos(TICK_NS);
/// Milliseconds in a tick.
pub const TICK_MS: u64 = 1000 / HZ;
const TICK_NS: u64 = 1_000_000_000 / HZ;

/// The kernel's count of ticks at boot: five minutes before 32 bits of it wrap. Steps of the timer wheel are counted
/// from its zero.
const COUNT_AT_BOOT: u64 = (1 << 32) - 300 * HZ;
/// Slots of a level of the timer wheel but one.
const LEVEL_SLOTS: u64 = 63;
/// How much coarser each level is, as a shift.
const LEVEL_SHIFT: u32 = 3;
const LEVELS: u32 = 9;
/// What a delay of 2^31 milliseconds or more counts as: for ever, near enough.
const LONGEST: u64 = (i64::MAX as u64 >> 1) - 1;

/// A length of time in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u64);

impl Ticks {
    /// The ticks that `ms` milliseconds need (`msecs_to_jiffies`).
    pub const fn from_millis(ms: u32) -> Ticks {
        if ms > i32::MAX as u32 { Ticks(LONGEST) } else { Ticks((ms as u64).div_ceil(TICK_MS)) }
    }
}

/// One tick of the machine, counted from its boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// The time at which the tick begins.
    pub const fn begins(self) -> Instant {
        Instant::from_nanos(self.0.saturating_mul(TICK_NS))
    }

    /// How many ticks passed since `earlier`; none if that lies ahead.
    pub const fn since(self, earlier: Tick) -> Ticks {
        Ticks(self.0.saturating_sub(earlier.0))
    }

    /// The tick at which a timer goes off that is set now, in `self`, to expire at `expires`: never before it.
    pub fn timer_fires(self, expires: Tick) -> Tick {
        let (now, due) = (COUNT_AT_BOOT.saturating_add(self.0), COUNT_AT_BOOT.saturating_add(expires.0));
        let Some(delta) = due.checked_sub(now) else { return self };
        let level_start = |level: u32| LEVEL_SLOTS << (LEVEL_SHIFT * (level - 1));
        let level = (1..=LEVELS).find(|&next| delta < level_start(next)).unwrap_or(LEVELS + 1) - 1;
        // What lies beyond the last level goes off at its end and is set again.
        let (level, due) = if level == LEVELS {
            let last_step = 1 << (LEVEL_SHIFT * (LEVELS - 1));
            (LEVELS - 1, now.saturating_add(level_start(LEVELS) - last_step))
        } else {
            (level, due)
        };
        let shift = LEVEL_SHIFT * level;
        let fires = (due.saturating_add(1 << shift) >> shift) << shift;
        Tick(fires.saturating_sub(COUNT_AT_BOOT))
    }
}

impl Add<Ticks> for Tick {
    type Output = Tick;
    fn add(self, ticks: Ticks) -> Tick {
        Tick(self.0.saturating_add(ticks.0))
    }
}

impl Instant {
    /// The tick that this time lies in.
    pub const fn tick(self) -> Tick {
        Tick(self.as_nanos() / TICK_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_up() {
        let ticks = [0, 1, 4, 5, 50, i32::MAX as u32].map(|ms| Ticks::from_millis(ms).0);
        assert_eq!(ticks, [0, 1, 1, 2, 13, 536_870_912]);
        assert_eq!(Ticks::from_millis(1 << 31).0, LONGEST);
    }

    #[test]
    fn a_timer_goes_off_late_by_at_most_a_step_and_never_early() {
        for now in [0, 1, 7, 8, 63, 1000, 75_000, 123_456] {
            for delay in [1, 2, 62, 63, 64, 250, 503, 504, 1000, 4031, 4032, 40_000, 1 << 29] {
                let (now, expires) = (Tick(now), Tick(now + delay));
                let late = now.timer_fires(expires).since(expires).0;
                let step = match delay {
                    ..63 => 1,
                    63..504 => 8,
                    504..4032 => 64,
                    4032..32_256 => 512,
                    32_256..258_048 => 4096,
                    _ => 1 << 24,
                };
                assert!(late >= 1 && late <= step, "set at {now:?} for {delay}: {late} late");
            }
        }
        // What is over goes off at once, what is too far away much too early.
        assert_eq!(Tick(9).timer_fires(Tick(4)), Tick(9));
        let never = Tick(9) + Ticks(LONGEST);
        assert!(Tick(9).timer_fires(never) < never);
    }
}
