//! Timers that are descriptors: the read end of a pipe, into which the server writes how often the time was up. So they can be
//! read, polled, handed on and closed as any descriptor, and need nothing of this library for it.

use dmlab_shim_proto::front::{Request, timer_kinds};
use libc::{c_int, clockid_t, itimerspec};

use super::{clock_of, is_virtual, timers};
use crate::channel::Call;
use crate::hook::hook;
use crate::{c_result, sys};

/// In the number of a timer that is a descriptor; the rest is its inode.
const DESCRIPTOR: u64 = 1 << 62;

/// The timer behind a descriptor, if it may be one of the machine's.
fn timer(fd: c_int) -> Option<u64> {
    if !is_virtual() {
        return None;
    }
    let stat = sys::fstat(fd).ok()?;
    (stat.st_mode & libc::S_IFMT == libc::S_IFIFO).then_some(DESCRIPTOR | stat.st_ino)
}

fn make(clock: clockid_t, flags: c_int) -> Option<Result<i64, i32>> {
    let is_known = super::has_timers(clock) && clock != libc::CLOCK_TAI;
    if !is_virtual() || !is_known || flags & !(libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) != 0 {
        return None;
    }
    let request = Request::NewTimer {
        kind: timer_kinds::DESCRIPTOR,
        signal: 0,
        thread: 0,
        value: 0,
        nonblocking: flags & libc::TFD_NONBLOCK != 0,
    };
    let fd = Call::begin().ok()?.send(&request, 0, None).ok()?.1?;
    if flags & libc::TFD_CLOEXEC == 0 {
        // It came as one that programs which this one starts don't get.
        let _ = sys::fcntl(fd, libc::F_SETFD, 0);
    }
    Some(Ok(i64::from(fd)))
}

/// What a program wants, by the clock that its time is one of.
fn wanted(flags: c_int, new: *const itimerspec) -> Result<timers::Setting, i32> {
    // SAFETY: the program passes a setting or null.
    let clock = unsafe { new.as_ref() }.map_or(libc::CLOCK_MONOTONIC, |new| clock_of(&new.it_value));
    timers::wanted(clock, flags & libc::TFD_TIMER_ABSTIME, new)
}

hook! {
    timerfd_create => |real| (clock: clockid_t, flags: c_int) -> c_int {
        match make(clock, flags) {
            Some(made) => c_result(made),
            None => real(clock, flags),
        }
    }

    timerfd_settime => |real| (fd: c_int, flags: c_int, new: *const itimerspec, old: *mut itimerspec) -> c_int {
        let Some(timer) = timer(fd) else { return real(fd, flags, new, old) };
        c_result(wanted(flags, new).and_then(|wanted| timers::set(timer, wanted)).map(|before| {
            timers::tell(old, before);
            0
        }))
    }

    timerfd_gettime => |real| (fd: c_int, out: *mut itimerspec) -> c_int {
        let Some(timer) = timer(fd) else { return real(fd, out) };
        c_result(timers::get(timer).map(|setting| {
            timers::tell(out, setting);
            0
        }))
    }
}
