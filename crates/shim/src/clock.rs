//! Sleeping by the machine's clock. On a machine with virtual time (`dmlab run --time virtual`) a program that sleeps waits
//! for nothing but the other programs; on one that lives by the wall clock the C library sleeps itself.

use core::sync::atomic::{AtomicU8, Ordering};

use dmlab_shim_proto::Request;
use libc::{c_int, c_uint, clockid_t, timespec, useconds_t};

use crate::hook::hook;
use crate::{c_result, channel, state};

const UNKNOWN: u8 = 0;
const WALL: u8 = 1;
const VIRTUAL: u8 = 2;
/// Which clock the machine has; asked at the first sleep.
static CLOCK: AtomicU8 = AtomicU8::new(UNKNOWN);

const SECOND: u64 = 1_000_000_000;

/// A signal came; so many nanoseconds were left.
pub(crate) struct Interrupted(u64);

/// Nanoseconds of a time, unless it is none.
pub(crate) fn nanos(seconds: i64, nanos: i64) -> Option<u64> {
    let nanos = u64::try_from(nanos).ok().filter(|&n| n < SECOND)?;
    Some(u64::try_from(seconds).ok()?.saturating_mul(SECOND).saturating_add(nanos))
}

fn time(nanos: u64) -> timespec {
    timespec { tv_sec: (nanos / SECOND) as i64, tv_nsec: (nanos % SECOND) as i64 }
}

/// Sleeps by a virtual clock. `None`: there is none here, so the C library must do it.
pub(crate) fn sleep(nanos: u64) -> Option<Result<(), Interrupted>> {
    if !state::enabled() || CLOCK.load(Ordering::Relaxed) == WALL {
        return None;
    }
    match channel::ask(&Request::Sleep { nanos }) {
        Ok(reply) => {
            CLOCK.store(VIRTUAL, Ordering::Relaxed);
            Some(if reply.value == 0 { Ok(()) } else { Err(Interrupted(reply.value as u64)) })
        }
        Err(errno) => {
            if errno == libc::ENOSYS {
                CLOCK.store(WALL, Ordering::Relaxed);
            }
            None
        }
    }
}

/// `nanosleep`'s way to say how it ended.
fn sleep_left(nanos: Option<u64>, left: *mut timespec) -> Option<Result<(), c_int>> {
    Some(sleep(nanos?)?.map_err(|Interrupted(rest)| {
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
    // SAFETY: the program passes a time; a null pointer is the C library's to refuse.
    let wanted = unsafe { wanted.as_ref() }?;
    let nanos_wanted = nanos(wanted.tv_sec, wanted.tv_nsec)?;
    if flags & libc::TIMER_ABSTIME == 0 {
        return sleep_left(Some(nanos_wanted), left);
    }
    let mut now = time(0);
    // SAFETY: a valid place for the time.
    if unsafe { libc::clock_gettime(clock, &mut now) } != 0 {
        return None;
    }
    // Clocks that programs read are the host's, so a moment is as far away as those say.
    let away = nanos_wanted.saturating_sub(nanos(now.tv_sec, now.tv_nsec)?);
    sleep_left(Some(away), core::ptr::null_mut())
}

hook! {
    nanosleep => |real| (wanted: *const timespec, left: *mut timespec) -> c_int {
        // SAFETY: the program passes a time; a null pointer is the C library's to refuse.
        let wanted_nanos = unsafe { wanted.as_ref() }.and_then(|t| nanos(t.tv_sec, t.tv_nsec));
        match sleep_left(wanted_nanos, left) {
            Some(slept) => c_result(slept.map(|()| 0)),
            None => real(wanted, left),
        }
    }

    clock_nanosleep => |real| (clock: clockid_t, flags: c_int, wanted: *const timespec, left: *mut timespec) -> c_int {
        match clock_sleep(clock, flags, wanted, left) {
            // It returns the error instead of setting errno.
            Some(slept) => slept.err().unwrap_or(0),
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
}
