//! Sleeping by the machine's clock.

use libc::{c_int, c_uint, clockid_t, timespec, useconds_t};

use super::{SECOND, away, descriptors, is_virtual, monotonic, nanos_at, time};
use crate::c_result;
use crate::hook::hook;

/// A signal came; so many nanoseconds were left.
pub(crate) struct Interrupted(u64);

/// Sleeps by a virtual clock. `None`: there is none here, so the C library must do it.
pub(crate) fn sleep(nanos: u64) -> Option<Result<(), Interrupted>> {
    if !is_virtual() {
        return None;
    }
    let until = monotonic().saturating_add(nanos);
    match descriptors::sleep(nanos)? {
        Ok(()) => Some(Ok(())),
        // A moment at least, or it would look slept through.
        Err(_) => Some(Err(Interrupted(until.saturating_sub(monotonic()).max(1)))),
    }
}

/// `nanosleep`'s way to say how it ended.
fn sleep_left(nanos: u64, left: *mut timespec) -> Option<Result<(), c_int>> {
    Some(sleep(nanos)?.map_err(|Interrupted(rest)| {
        // SAFETY: the program passes a place for the time, or null.
        if let Some(left) = unsafe { left.as_mut() } {
            *left = time(rest);
        }
        libc::EINTR
    }))
}

fn clock_sleep(
    clock: clockid_t,
    flags: c_int,
    wanted: *const timespec,
    left: *mut timespec,
) -> Option<Result<(), c_int>> {
    if !is_virtual() || !super::has_timers(clock) {
        return None;
    }
    if flags & libc::TIMER_ABSTIME == 0 {
        return sleep_left(nanos_at(wanted)?, left);
    }
    sleep_left(away(clock, wanted)?, core::ptr::null_mut())
}

hook! {
    nanosleep => |real| (wanted: *const timespec, left: *mut timespec) -> c_int {
        // A null pointer, and what is no time, are the C library's to refuse.
        match nanos_at(wanted).and_then(|nanos| sleep_left(nanos, left)) {
            Some(slept) => c_result(slept.map(|()| 0)),
            None => real(wanted, left),
        }
    }

    clock_nanosleep => |real| (clock: clockid_t, flags: c_int, wanted: *const timespec, left: *mut timespec) -> c_int {
        match clock_sleep(clock, flags, wanted, left) {
            // It returns the error instead of setting errno.
            Some(slept) => slept.err().unwrap_or(0),
            None if flags & libc::TIMER_ABSTIME != 0 && is_virtual() => match super::for_host(clock, wanted) {
                Some(wanted) => real(clock, flags, &wanted, left),
                None => real(clock, flags, wanted, left),
            },
            None => real(clock, flags, wanted, left),
        }
    }

    usleep => |real| (micros: useconds_t) -> c_int {
        match sleep(u64::from(micros) * 1000) {
            Some(slept) => c_result(slept.map(|()| 0).map_err(|_| libc::EINTR)),
            None => real(micros),
        }
    }

    sleep => |real| (seconds: c_uint) -> c_uint {
        match self::sleep(u64::from(seconds) * SECOND) {
            Some(slept) => slept.err().map_or(0, |Interrupted(rest)| rest.div_ceil(SECOND) as c_uint),
            None => real(seconds),
        }
    }

    thrd_sleep => |real| (wanted: *const timespec, left: *mut timespec) -> c_int {
        match nanos_at(wanted).and_then(|nanos| sleep_left(nanos, left)) {
            Some(slept) => slept.map_or(-1, |()| 0),
            None => real(wanted, left),
        }
    }
}
