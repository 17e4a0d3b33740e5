//! Setting the time: the clocks are the host's, which nothing of a run may touch, whatever user it runs as.

use libc::{c_int, c_long, c_void, clockid_t, timespec, timeval, timex};

use crate::hook::hook;
use crate::{c_result, state};

fn refused() -> c_int {
    c_result(Err(libc::EPERM))
}

/// Whether a request of `adjtimex` changes something.
fn changes(request: *const timex) -> bool {
    // SAFETY: the program passes a request or null, which is the C library's to refuse.
    state::enabled() && unsafe { request.as_ref() }.is_some_and(|request| request.modes != 0)
}

hook! {
    clock_settime => |real| (clock: clockid_t, to: *const timespec) -> c_int {
        if state::enabled() { refused() } else { real(clock, to) }
    }

    settimeofday => |real| (to: *const timeval, zone: *const c_void) -> c_int {
        if state::enabled() { refused() } else { real(to, zone) }
    }

    adjtime => |real| (by: *const timeval, before: *mut timeval) -> c_int {
        if state::enabled() && !by.is_null() { refused() } else { real(by, before) }
    }

    adjtimex, ntp_adjtime => |real| (request: *mut timex) -> c_int {
        if changes(request) { refused() } else { real(request) }
    }

    clock_adjtime => |real| (clock: clockid_t, request: *mut timex) -> c_int {
        if changes(request) { refused() } else { real(clock, request) }
    }
}

/// Answers calls that set the time, by number. `None`: pass it on.
pub(super) fn by_number(nr: c_long, a: &[usize; 6]) -> Option<c_long> {
    let refuses = match nr {
        libc::SYS_clock_settime | libc::SYS_settimeofday => true,
        libc::SYS_adjtimex => changes(a[0] as *const timex),
        libc::SYS_clock_adjtime => changes(a[1] as *const timex),
        _ => false,
    };
    refuses.then(|| c_long::from(refused()))
}
