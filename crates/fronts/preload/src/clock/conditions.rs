//! Condition variables with a limit: the thread waits for the variable alone, and the helper wakes it when the time is up.

use libc::{c_int, clockid_t, pthread_cond_t, pthread_mutex_t, timespec};

use super::cancelling::holding;
use super::helper::{self, For, Noted};
use super::{away, clock_of, for_host, is_no_time, is_virtual, monotonic};
use crate::hook::{Next, hook};

static WAIT: Next = Next::new(c"pthread_cond_wait");

/// Waits without a limit of the C library's. `None`: the C library must do it.
fn limited(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    moment: *const timespec,
) -> Option<c_int> {
    if !is_virtual() || is_no_time(moment) || !matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC) {
        return None;
    }
    let at = WAIT.get();
    let away = away(clock, moment)?;
    if away == 0 || at.is_null() || condition.is_null() {
        return None;
    }
    // SAFETY: every C library has it with this signature.
    let wait: unsafe extern "C" fn(*mut pthread_cond_t, *mut pthread_mutex_t) -> c_int =
        unsafe { core::mem::transmute(at) };
    let mut noted = Some(helper::note(For::Condition(condition), monotonic().saturating_add(away))?);
    // SAFETY: the program's condition and mutex.
    let waited = holding(&mut noted, |_| unsafe { wait(condition, mutex) });
    let is_over = noted.as_ref().is_some_and(Noted::is_over);
    Some(if waited == 0 && is_over { libc::ETIMEDOUT } else { waited })
}

/// The clock of a moment that comes alone.
fn clock_at(moment: *const timespec) -> clockid_t {
    // SAFETY: the program passes a time or null.
    unsafe { moment.as_ref() }.map_or(libc::CLOCK_REALTIME, clock_of)
}

/// How C11 names results.
fn c11(result: c_int) -> c_int {
    match result {
        0 => 0,
        libc::ETIMEDOUT => 4,
        libc::ENOMEM => 3,
        _ => 2,
    }
}

hook! {
    pthread_cond_timedwait => |real| (condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t,
                                      moment: *const timespec) -> c_int {
        match limited(condition, mutex, clock_at(moment), moment) {
            Some(waited) => waited,
            None => match for_host(clock_at(moment), moment).filter(|_| is_virtual()) {
                Some(moment) => real(condition, mutex, &moment),
                None => real(condition, mutex, moment),
            },
        }
    }

    pthread_cond_clockwait => |real| (condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, clock: clockid_t,
                                      moment: *const timespec) -> c_int {
        match limited(condition, mutex, clock, moment) {
            Some(waited) => waited,
            None => match for_host(clock, moment).filter(|_| is_virtual()) {
                Some(moment) => real(condition, mutex, clock, &moment),
                None => real(condition, mutex, clock, moment),
            },
        }
    }

    cnd_timedwait => |real| (condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t,
                             moment: *const timespec) -> c_int {
        match limited(condition, mutex, libc::CLOCK_REALTIME, moment) {
            Some(waited) => c11(waited),
            None => match for_host(libc::CLOCK_REALTIME, moment).filter(|_| is_virtual()) {
                Some(moment) => real(condition, mutex, &moment),
                None => real(condition, mutex, moment),
            },
        }
    }
}
