//! poll and its kin. A block device is always ready; the control node's placeholder becomes readable by itself when the
//! event number moves, so it needs no help.

use libc::{c_int, c_void, fd_set, nfds_t, pollfd, size_t, timespec, timeval};

use crate::c_result;
use crate::clock::{self, descriptors};
use crate::files;
use crate::hook::hook;
use crate::state;

fn is_block(fd: c_int) -> bool {
    files::file(fd).is_some_and(|file| file.is_block)
}

/// Polls with the block devices taken out, then puts them back as ready.
fn poll_any(real: impl Fn(*mut pollfd, bool) -> c_int, fds: *mut pollfd, count: nfds_t) -> c_int {
    if !state::has_files() || fds.is_null() {
        return real(fds, false);
    }
    // SAFETY: the program passed `count` entries.
    let entries = unsafe { core::slice::from_raw_parts_mut(fds, count as usize) };
    let mut ready = 0;
    for entry in entries.iter_mut() {
        if is_block(entry.fd) {
            // A negative descriptor is skipped by the kernel; -fd-1 can be turned back.
            entry.fd = -entry.fd - 1;
            let can = libc::POLLIN | libc::POLLOUT | libc::POLLRDNORM | libc::POLLWRNORM;
            entry.revents = entry.events & can;
            ready += c_int::from(entry.revents != 0);
            // Remembered in a bit that no event uses while the kernel runs over the array.
            entry.events |= MARK;
        }
    }
    if ready == 0 && entries.iter().all(|e| e.events & MARK == 0) {
        return real(fds, false);
    }
    let ret = real(fds, ready > 0);
    for entry in entries.iter_mut().filter(|e| e.events & MARK != 0) {
        entry.events &= !MARK;
        entry.fd = -entry.fd - 1;
        let can = libc::POLLIN | libc::POLLOUT | libc::POLLRDNORM | libc::POLLWRNORM;
        entry.revents = entry.events & can;
    }
    if ret < 0 { ret } else { ret + ready }
}

const MARK: i16 = 0x4000;

/// Takes block devices out of a set; the result says whether any was there.
fn take(set: *mut fd_set, nfds: c_int, out: &mut [u64; 16]) -> c_int {
    let mut taken = 0;
    if !set.is_null() {
        for fd in 0..nfds.clamp(0, 1024) {
            // SAFETY: the program passed a set of at least `nfds` bits.
            unsafe {
                if libc::FD_ISSET(fd, set) && is_block(fd) {
                    libc::FD_CLR(fd, set);
                    out[fd as usize / 64] |= 1 << (fd % 64);
                    taken += 1;
                }
            }
        }
    }
    taken
}

fn give_back(set: *mut fd_set, taken: &[u64; 16]) {
    for fd in 0..1024 {
        if taken[fd / 64] & (1 << (fd % 64)) != 0 {
            // SAFETY: only bits that were set in this set come back.
            unsafe { libc::FD_SET(fd as c_int, set) };
        }
    }
}

fn select_any(
    real: impl Fn(bool) -> c_int,
    nfds: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
) -> c_int {
    if !state::has_files() {
        return real(false);
    }
    let (mut reads, mut writes, mut excepts) = ([0; 16], [0; 16], [0; 16]);
    let ready = take(read, nfds, &mut reads) + take(write, nfds, &mut writes);
    take(except, nfds, &mut excepts);
    let ret = real(ready > 0);
    if ret < 0 {
        return ret;
    }
    give_back(read, &reads);
    give_back(write, &writes);
    ret + ready
}

static NO_TIME: timespec = timespec { tv_sec: 0, tv_nsec: 0 };

/// A limit in milliseconds that a virtual clock must keep: `None` if there is no such clock, or nothing to be waited for.
fn limit_of_millis(timeout: c_int) -> Option<u64> {
    u64::try_from(timeout)
        .ok()
        .filter(|&millis| millis > 0 && clock::is_virtual())
        .map(|millis| millis * 1_000_000)
}

/// A limit given as a time that a virtual clock must keep, as [`limit_of_millis`] says.
fn limit_of(timeout: *const timespec) -> Option<u64> {
    if clock::is_virtual() { clock::nanos_at(timeout).filter(|&nanos| nanos > 0) } else { None }
}

/// Three sets of descriptors, and what is waited for in them as entries of a poll.
struct Sets {
    sets: [*mut fd_set; 3],
    wanted: [fd_set; 3],
    entries: [pollfd; 1024],
    nr: usize,
}

const SEEN_BY_SELECT: [i16; 3] = [
    libc::POLLIN | libc::POLLRDNORM | libc::POLLRDBAND | libc::POLLHUP | libc::POLLERR,
    libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND | libc::POLLERR,
    libc::POLLPRI,
];

impl Sets {
    fn new(nfds: c_int, sets: [*mut fd_set; 3]) -> Sets {
        // SAFETY: all zeroes are an empty set.
        let mut wanted: [fd_set; 3] = unsafe { core::mem::zeroed() };
        for (set, wanted) in sets.iter().zip(&mut wanted) {
            copy_set(*set, wanted, nfds);
        }
        let mut entries = [pollfd { fd: -1, events: 0, revents: 0 }; 1024];
        let mut nr = 0;
        for fd in 0..nfds.clamp(0, 1024) {
            let mut events = 0;
            for (set, seen) in wanted.iter().zip(SEEN_BY_SELECT) {
                // SAFETY: a set of 1024 bits.
                if unsafe { libc::FD_ISSET(fd, set) } {
                    events |= seen;
                }
            }
            if events != 0 {
                entries[nr] = pollfd { fd, events, revents: 0 };
                nr += 1;
            }
        }
        Sets { sets, wanted, entries, nr }
    }

    /// Puts back into the program's sets what it waits for.
    fn restore(nfds: c_int, sets: &[*mut fd_set; 3], wanted: &[fd_set; 3]) {
        for (set, wanted) in sets.iter().zip(wanted) {
            copy_set(wanted, *set, nfds);
        }
    }
}

/// Copies as much of a set as the kernel looks at; a program may have no room for more. Nothing from null or to it.
fn copy_set<T>(from: *const fd_set, to: *mut T, nfds: c_int) {
    if !from.is_null() && !to.is_null() {
        let len = (nfds.max(0) as usize).div_ceil(64) * 8;
        // SAFETY: the program's sets have so many bytes, and the caller has seen that ours do.
        unsafe { core::ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), len) };
    }
}

/// More descriptors than a usual set has room for: looks at them from time to time.
fn select_many(nfds: c_int, sets: [*mut fd_set; 3], nanos: u64, real: impl Fn(u64) -> c_int) -> c_int {
    /// So many descriptors are enough for any program that uses such sets.
    const MOST: usize = 1 << 16;
    if nfds as usize > MOST {
        return real(nanos);
    }
    let mut wanted = [[0u64; MOST / 64]; 3];
    for (set, wanted) in sets.iter().zip(&mut wanted) {
        copy_set(*set, wanted, nfds);
    }
    let again = |nanos| {
        for (set, wanted) in sets.iter().zip(&wanted) {
            copy_set(wanted.as_ptr().cast(), *set, nfds);
        }
        real(nanos)
    };
    match again(0) {
        0 => descriptors::by_moments(clock::monotonic().saturating_add(nanos), again),
        found => found,
    }
}

/// `select` with a limit by the machine's clock. `real`: makes the call with so long a limit by the host's.
fn select_limited(
    nfds: c_int,
    sets: [*mut fd_set; 3],
    nanos: u64,
    mask: *const c_void,
    real: impl Fn(u64) -> c_int,
) -> c_int {
    if nfds > 1024 {
        return select_many(nfds, sets, nanos, real);
    }
    let mut all = Sets::new(nfds, sets);
    let (sets, wanted) = (all.sets, all.wanted);
    let again = |nanos| {
        Sets::restore(nfds, &sets, &wanted);
        real(nanos)
    };
    descriptors::look_and_wait(&mut all.entries[..all.nr], nanos, mask, || again(0), again)
}

/// `epoll_wait` and its kin with a limit by the machine's clock; the same.
fn epoll_limited(epoll: c_int, nanos: u64, mask: *const c_void, real: impl Fn(u64) -> c_int) -> c_int {
    let mut entry = [pollfd { fd: epoll, events: libc::POLLIN, revents: 0 }];
    descriptors::look_and_wait(&mut entry, nanos, mask, || real(0), &real)
}

hook! {
    poll => |real| (fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
        poll_any(|fds, now| match limit_of_millis(timeout).filter(|_| !now) {
            Some(nanos) => descriptors::poll(fds, count, nanos, || real(fds, count, 0), |fds, count| real(fds, count, -1),
                                             |left| real(fds, count, descriptors::millis(left))),
            None => real(fds, count, if now { 0 } else { timeout }),
        }, fds, count)
    }

    __poll_chk => |real| (fds: *mut pollfd, count: nfds_t, timeout: c_int, room: size_t) -> c_int {
        poll_any(|fds, now| match limit_of_millis(timeout).filter(|_| !now) {
            Some(nanos) => descriptors::poll(fds, count, nanos, || real(fds, count, 0, room),
                                             |fds, count| real(fds, count, -1, size_t::MAX),
                                             |left| real(fds, count, descriptors::millis(left), room)),
            None => real(fds, count, if now { 0 } else { timeout }, room),
        }, fds, count)
    }

    ppoll => |real| (fds: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const c_void) -> c_int {
        poll_any(|fds, now| match limit_of(timeout).filter(|_| !now) {
            Some(nanos) => descriptors::poll(fds, count, nanos, || real(fds, count, &NO_TIME, mask),
                                             |fds, count| real(fds, count, core::ptr::null(), mask),
                                             |left| real(fds, count, &descriptors::for_host(left), mask)),
            None => real(fds, count, if now { &raw const NO_TIME } else { timeout }, mask),
        }, fds, count)
    }

    __ppoll_chk => |real| (fds: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const c_void,
                           room: size_t) -> c_int {
        poll_any(|fds, now| match limit_of(timeout).filter(|_| !now) {
            Some(nanos) => descriptors::poll(fds, count, nanos, || real(fds, count, &NO_TIME, mask, room),
                                             |fds, count| real(fds, count, core::ptr::null(), mask, size_t::MAX),
                                             |left| real(fds, count, &descriptors::for_host(left), mask, room)),
            None => real(fds, count, if now { &raw const NO_TIME } else { timeout }, mask, room),
        }, fds, count)
    }

    select => |real| (nfds: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set,
                      timeout: *mut timeval) -> c_int {
        // SAFETY: a program passes a time or null.
        let wanted = unsafe { timeout.as_ref() }.filter(|_| clock::is_virtual());
        // More microseconds than a second has are more seconds.
        let nanos = wanted.filter(|time| time.tv_usec >= 0).and_then(|time| {
            let seconds = time.tv_sec.checked_add(time.tv_usec / 1_000_000).filter(|_| time.tv_sec >= 0)?;
            clock::nanos(seconds, time.tv_usec % 1_000_000 * 1000)
        });
        let by_host = |nanos: u64| {
            let time = descriptors::for_host(nanos);
            let mut time = timeval { tv_sec: time.tv_sec, tv_usec: time.tv_nsec / 1000 };
            real(nfds, read, write, except, &mut time)
        };
        select_any(|now| match nanos.filter(|&nanos| nanos > 0 && !now) {
            Some(nanos) => {
                let end = clock::monotonic().saturating_add(nanos);
                let found = select_limited(nfds, [read, write, except], nanos, core::ptr::null(), by_host);
                let left = descriptors::for_host(if found == 0 { 0 } else { end.saturating_sub(clock::monotonic()) });
                // SAFETY: there is a time. What is left of it is written there, as Linux does.
                unsafe { *timeout = timeval { tv_sec: left.tv_sec, tv_usec: left.tv_nsec / 1000 } };
                found
            }
            None if now => by_host(0),
            None => real(nfds, read, write, except, timeout),
        }, nfds, read, write, except)
    }

    pselect => |real| (nfds: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set,
                       timeout: *const timespec, mask: *const c_void) -> c_int {
        select_any(|now| match limit_of(timeout).filter(|_| !now) {
            Some(nanos) => select_limited(nfds, [read, write, except], nanos, mask, |nanos| {
                real(nfds, read, write, except, &descriptors::for_host(nanos), mask)
            }),
            None => real(nfds, read, write, except, if now { &raw const NO_TIME } else { timeout }, mask),
        }, nfds, read, write, except)
    }

    epoll_wait => |real| (epoll: c_int, events: *mut c_void, most: c_int, timeout: c_int) -> c_int {
        match limit_of_millis(timeout) {
            Some(nanos) => epoll_limited(epoll, nanos, core::ptr::null(), |nanos| {
                real(epoll, events, most, descriptors::millis(nanos))
            }),
            None => real(epoll, events, most, timeout),
        }
    }

    epoll_pwait => |real| (epoll: c_int, events: *mut c_void, most: c_int, timeout: c_int,
                           mask: *const c_void) -> c_int {
        match limit_of_millis(timeout) {
            Some(nanos) => epoll_limited(epoll, nanos, mask, |nanos| {
                real(epoll, events, most, descriptors::millis(nanos), mask)
            }),
            None => real(epoll, events, most, timeout, mask),
        }
    }

    epoll_pwait2 => |real| (epoll: c_int, events: *mut c_void, most: c_int, timeout: *const timespec,
                            mask: *const c_void) -> c_int {
        match limit_of(timeout) {
            Some(nanos) => epoll_limited(epoll, nanos, mask, |nanos| {
                real(epoll, events, most, &descriptors::for_host(nanos), mask)
            }),
            None => real(epoll, events, most, timeout, mask),
        }
    }

    epoll_ctl => |real| (epoll: c_int, op: c_int, fd: c_int, event: *mut c_void) -> c_int {
        if is_block(fd) {
            // Block devices cannot be waited for.
            return c_result(Err(libc::EPERM));
        }
        real(epoll, op, fd, event)
    }
}
