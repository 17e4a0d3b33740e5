//! Locks, queues and joins with a limit, which programs rarely set: the C library waits for a moment at a time, until the time
//! is up by the machine's clock. The helper lets that clock run meanwhile.

use core::ffi::{c_char, c_void};

use libc::{
    c_int, c_uint, clockid_t, mqd_t, pthread_mutex_t, pthread_rwlock_t, pthread_t, siginfo_t, sigset_t,
    size_t, socklen_t, ssize_t, timespec,
};

use super::helper::{self, For};
use super::{away, for_host, host, is_no_time, is_virtual, monotonic, nanos_at, note, time};
use crate::errno;
use crate::hook::hook;

/// Nanoseconds that the C library waits at a time.
const MOMENT: u64 = 3_000_000;

/// Tries until the time is up. `attempt` waits until a moment of the host's clock; `is_timeout` tells that from other results.
fn until<R>(
    clock: clockid_t,
    moment: *const timespec,
    is_timeout: impl Fn(&R) -> bool,
    attempt: impl Fn(*const timespec) -> R,
) -> R {
    if !is_virtual() || is_no_time(moment) || !super::tells_time(clock) {
        return attempt(moment);
    }
    let (Some(now), Some(away)) = (host(clock), away(clock, moment)) else { return attempt(moment) };
    // What can be had at once needs no limit.
    let result = attempt(&time(now.saturating_sub(1)));
    if away == 0 || !is_timeout(&result) {
        return result;
    }
    let end = monotonic().saturating_add(away);
    let Some(_noted) = helper::note(For::Nothing, end) else {
        let moment = for_host(clock, moment);
        return attempt(moment.as_ref().map_or(core::ptr::null(), core::ptr::from_ref));
    };
    loop {
        let result = attempt(&time(host(clock).unwrap_or(now).saturating_add(MOMENT)));
        if !is_timeout(&result) || monotonic() >= end {
            return result;
        }
    }
}

/// Takes a lock within a limit that says how long to wait.
fn within<R>(
    limit: *const timespec,
    is_timeout: impl Fn(&R) -> bool,
    attempt: impl Fn(*const timespec) -> R,
) -> R {
    let Some(nanos) = nanos_at(limit).filter(|_| is_virtual()) else { return attempt(limit) };
    let result = attempt(&time(0));
    if nanos == 0 || !is_timeout(&result) {
        return result;
    }
    let end = monotonic().saturating_add(nanos);
    let Some(_noted) = helper::note(For::Nothing, end) else { return attempt(limit) };
    loop {
        let result = attempt(&time(MOMENT));
        if !is_timeout(&result) || monotonic() >= end {
            return result;
        }
    }
}

fn says_timeout(result: &c_int) -> bool {
    *result == libc::ETIMEDOUT
}

fn has_failed_with(error: c_int) -> impl Fn(&c_int) -> bool {
    move |result| *result < 0 && errno() == error
}

hook! {
    pthread_mutex_timedlock => |real| (mutex: *mut pthread_mutex_t, moment: *const timespec) -> c_int {
        until(libc::CLOCK_REALTIME, moment, says_timeout, |moment| real(mutex, moment))
    }

    pthread_mutex_clocklock => |real| (mutex: *mut pthread_mutex_t, clock: clockid_t, moment: *const timespec) -> c_int {
        until(clock, moment, says_timeout, |moment| real(mutex, clock, moment))
    }

    mtx_timedlock => |real| (mutex: *mut pthread_mutex_t, moment: *const timespec) -> c_int {
        // C11's thrd_timedout.
        until(libc::CLOCK_REALTIME, moment, |result| *result == 4, |moment| real(mutex, moment))
    }

    pthread_rwlock_timedrdlock, pthread_rwlock_timedwrlock => |real| (lock: *mut pthread_rwlock_t,
                                                                      moment: *const timespec) -> c_int {
        until(libc::CLOCK_REALTIME, moment, says_timeout, |moment| real(lock, moment))
    }

    pthread_rwlock_clockrdlock, pthread_rwlock_clockwrlock => |real| (lock: *mut pthread_rwlock_t, clock: clockid_t,
                                                                      moment: *const timespec) -> c_int {
        until(clock, moment, says_timeout, |moment| real(lock, clock, moment))
    }

    pthread_timedjoin_np => |real| (thread: pthread_t, value: *mut *mut c_void, moment: *const timespec) -> c_int {
        until(libc::CLOCK_REALTIME, moment, says_timeout, |moment| real(thread, value, moment))
    }

    pthread_clockjoin_np => |real| (thread: pthread_t, value: *mut *mut c_void, clock: clockid_t,
                                    moment: *const timespec) -> c_int {
        until(clock, moment, says_timeout, |moment| real(thread, value, clock, moment))
    }

    mq_timedsend => |real| (queue: mqd_t, from: *const c_char, len: size_t, priority: c_uint,
                            moment: *const timespec) -> c_int {
        until(libc::CLOCK_REALTIME, moment, has_failed_with(libc::ETIMEDOUT), |moment| {
            real(queue, from, len, priority, moment)
        })
    }

    mq_timedreceive => |real| (queue: mqd_t, to: *mut c_char, len: size_t, priority: *mut c_uint,
                               moment: *const timespec) -> ssize_t {
        let is_timeout = |result: &ssize_t| *result < 0 && errno() == libc::ETIMEDOUT;
        until(libc::CLOCK_REALTIME, moment, is_timeout, |moment| real(queue, to, len, priority, moment))
    }

    sigtimedwait => |real| (set: *const sigset_t, info: *mut siginfo_t, limit: *const timespec) -> c_int {
        within(limit, has_failed_with(libc::EAGAIN), |limit| real(set, info, limit))
    }

    setsockopt => |real| (socket: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int {
        if level == libc::SOL_SOCKET && matches!(name, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) {
            note::takes_host_time("sockets", "time limits of sockets (SO_RCVTIMEO, SO_SNDTIMEO)");
        }
        real(socket, level, name, value, len)
    }
}
