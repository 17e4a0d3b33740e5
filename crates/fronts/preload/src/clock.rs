//! The machine's clock, where that is a virtual one (`dmlab run --time virtual`).
//!
//! Such a clock jumps when all programs of the machine wait. For them time passes then: what they read as the time is the host's plus
//! all jumps so far, which a page shows that the server writes. So a limit that a program sets is up when the clock that it reads
//! says so, and a loop that asks for the time after each wait ends.
//!
//! A wait with a limit has two ends: what it waits for, which the host's kernel knows, and the limit, which the server knows. A wait
//! for descriptors waits for both at once: a message of the server comes beside them ([`limit::Limit`]). A semaphore, a futex or a
//! condition variable is waited for as ever, and a helper thread ([`helper`]), which waits for the earliest limit,
//! wakes the waiter there. What can't be had says once that it takes the host's time ([`note`]).
//!
//! On a machine that lives by the wall clock none of this does anything.

mod cancelling;
mod conditions;
pub(crate) mod descriptors;
pub(crate) mod futex;
mod helper;
mod limit;
mod locks;
mod note;
mod numbers;
mod reading;
mod semaphores;
mod setting;
mod sleep;
mod timerfd;
pub(crate) mod timers;

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use dmlab_shim_proto::{CLOCK_FILE, CLOCK_LEN};
use libc::{clockid_t, timespec};

pub(crate) use limit::{Limit, State};
pub(crate) use numbers::by_number;

use crate::sys;

/// The page that shows how far the clock has jumped. Null: the machine lives by the wall clock.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());

const SECOND: u64 = 1_000_000_000;

/// Looks whether the machine of this run directory has a clock of its own. Called once, at start.
pub(crate) fn find(run_dir: &[u8]) {
    let mut path = [0u8; 512];
    let name = CLOCK_FILE.as_bytes();
    let len = run_dir.len() + name.len();
    if len >= path.len() {
        return;
    }
    path[..run_dir.len()].copy_from_slice(run_dir);
    path[run_dir.len()..len].copy_from_slice(name);
    let Ok(fd) = sys::openat(libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC, 0) else {
        return;
    };
    if let Ok(page) = sys::mmap(CLOCK_LEN, libc::PROT_READ, libc::MAP_SHARED, fd as i32) {
        PAGE.store(page as *mut AtomicU64, Ordering::Release);
    }
    let _ = sys::close(fd as i32);
}

/// Whether the machine has a clock of its own.
#[inline]
pub(crate) fn is_virtual() -> bool {
    !PAGE.load(Ordering::Relaxed).is_null()
}

/// Nanoseconds that the clock has jumped so far.
fn jumped() -> u64 {
    let page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        return 0;
    }
    // SAFETY: mapped once, never unmapped, and begins with an aligned word that the server writes atomically.
    unsafe { &*page }.load(Ordering::Acquire)
}

/// Whether a clock of the host's tells the time, and not what a program has used of a processor.
fn tells_time(clock: clockid_t) -> bool {
    matches!(
        clock,
        libc::CLOCK_REALTIME
            | libc::CLOCK_MONOTONIC
            | libc::CLOCK_MONOTONIC_RAW
            | libc::CLOCK_REALTIME_COARSE
            | libc::CLOCK_MONOTONIC_COARSE
            | libc::CLOCK_BOOTTIME
            | libc::CLOCK_REALTIME_ALARM
            | libc::CLOCK_BOOTTIME_ALARM
            | libc::CLOCK_TAI
    )
}

/// Whether programs can sleep by a clock, and set timers.
fn has_timers(clock: clockid_t) -> bool {
    tells_time(clock)
        && !matches!(
            clock,
            libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE
        )
}

/// What the host's clock shows.
fn host(clock: clockid_t) -> Option<u64> {
    let mut now = time(0);
    sys::clock_gettime(clock, &mut now).ok()?;
    nanos(now.tv_sec, now.tv_nsec)
}

/// What programs see that a clock shows. `None`: there is no such clock.
fn now(clock: clockid_t) -> Option<u64> {
    let jumped = if tells_time(clock) { jumped() } else { 0 };
    Some(host(clock)?.saturating_add(jumped))
}

/// What programs see that the monotonic clock shows.
pub(crate) fn monotonic() -> u64 {
    now(libc::CLOCK_MONOTONIC).unwrap_or(0)
}

/// Nanoseconds of a time, unless it is none.
pub(crate) fn nanos(seconds: i64, nanos: i64) -> Option<u64> {
    let nanos = u64::try_from(nanos).ok().filter(|&n| n < SECOND)?;
    Some(u64::try_from(seconds).ok()?.saturating_mul(SECOND).saturating_add(nanos))
}

/// Nanoseconds of a time that a program passes. `None`: it is none, or null.
pub(crate) fn nanos_at(time: *const timespec) -> Option<u64> {
    // SAFETY: the program passes a time or null.
    let time = unsafe { time.as_ref() }?;
    nanos(time.tv_sec, time.tv_nsec)
}

fn time(nanos: u64) -> timespec {
    timespec { tv_sec: (nanos / SECOND) as i64, tv_nsec: (nanos % SECOND) as i64 }
}

/// How far away a moment of a clock is, as programs see that clock. `None`: it is no moment, or there is no such clock.
fn away(clock: clockid_t, moment: *const timespec) -> Option<u64> {
    Some(nanos_at(moment)?.saturating_sub(now(clock)?))
}

/// The clock of a moment that comes without one. A condition variable keeps its clock to itself; but since 2001 what the
/// realtime clock shows is more than a billion seconds, and no host has been up for so long.
fn clock_of(moment: &timespec) -> clockid_t {
    if moment.tv_sec < 1_000_000_000 { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME }
}

/// Whether a moment is for the C library to refuse.
fn is_no_time(moment: *const timespec) -> bool {
    // SAFETY: the program passes a time or null.
    unsafe { moment.as_ref() }.is_none_or(|time| !(0..SECOND as i64).contains(&time.tv_nsec))
}

/// A moment as the host's clock shows it, of one as programs see that clock.
fn for_host(clock: clockid_t, moment: *const timespec) -> Option<timespec> {
    let jumped = if tells_time(clock) { jumped() } else { 0 };
    Some(time(nanos_at(moment)?.saturating_sub(jumped)))
}
