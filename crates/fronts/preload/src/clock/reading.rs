//! Reading the time: the host's clocks, moved by what the machine's has jumped.

use libc::{c_int, c_long, c_void, clockid_t, sysinfo as Sysinfo, time_t, timespec, timeval, tms};

use super::{SECOND, is_virtual, jumped, tells_time, time};
use crate::hook::hook;

/// Moves a time.
fn moved(seconds: i64, nanos: i64) -> timespec {
    let jump = time(jumped());
    let nanos = nanos + jump.tv_nsec;
    let carry = i64::from(nanos >= SECOND as i64);
    timespec { tv_sec: seconds.saturating_add(jump.tv_sec) + carry, tv_nsec: nanos - carry * SECOND as i64 }
}

/// Ticks of `times`: hundredths of a second.
const TICK: u64 = SECOND / 100;

hook! {
    clock_gettime => |real| (clock: clockid_t, out: *mut timespec) -> c_int {
        let ret = real(clock, out);
        if ret == 0 && is_virtual() && tells_time(clock) {
            // SAFETY: the C library has just written there.
            unsafe { *out = moved((*out).tv_sec, (*out).tv_nsec) };
        }
        ret
    }

    gettimeofday => |real| (out: *mut timeval, zone: *mut c_void) -> c_int {
        let ret = real(out, zone);
        // SAFETY: the C library has just written there, unless it is null.
        if let (0, true, Some(out)) = (ret, is_virtual(), unsafe { out.as_mut() }) {
            let now = moved(out.tv_sec, out.tv_usec * 1000);
            *out = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000 };
        }
        ret
    }

    time => |real| (out: *mut time_t) -> time_t {
        if !is_virtual() {
            return real(out);
        }
        let now = super::now(libc::CLOCK_REALTIME_COARSE).map_or(-1, |now| (now / SECOND) as time_t);
        // SAFETY: the program passes a place or null.
        if let Some(out) = unsafe { out.as_mut() } {
            *out = now;
        }
        now
    }

    timespec_get => |real| (out: *mut timespec, base: c_int) -> c_int {
        let ret = real(out, base);
        // TIME_UTC. The other bases that the C library may know are clocks plus one.
        if ret != 0 && is_virtual() && tells_time(base - 1) {
            // SAFETY: the C library has just written there.
            unsafe { *out = moved((*out).tv_sec, (*out).tv_nsec) };
        }
        ret
    }

    times => |real| (out: *mut tms) -> c_long {
        real(out).wrapping_add((jumped() / TICK) as c_long)
    }

    sysinfo => |real| (out: *mut Sysinfo) -> c_int {
        let ret = real(out);
        if ret == 0 {
            // SAFETY: the C library has just written there.
            unsafe { (*out).uptime += (jumped() / SECOND) as c_long };
        }
        ret
    }
}
