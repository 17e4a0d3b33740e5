//! poll and its kin. A block device is always ready; the control node's placeholder becomes readable by itself when the
//! event number moves, so it needs no help.

use libc::{c_int, c_void, fd_set, nfds_t, pollfd, size_t, timespec, timeval};

use crate::c_result;
use crate::clock;
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

hook! {
    poll => |real| (fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
        poll_any(|fds, now| real(fds, count, if now { 0 } else { timeout }), fds, count)
    }

    __poll_chk => |real| (fds: *mut pollfd, count: nfds_t, timeout: c_int, room: size_t) -> c_int {
        poll_any(|fds, now| real(fds, count, if now { 0 } else { timeout }, room), fds, count)
    }

    ppoll => |real| (fds: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const c_void) -> c_int {
        poll_any(|fds, now| real(fds, count, if now { &raw const NO_TIME } else { timeout }, mask), fds, count)
    }

    __ppoll_chk => |real| (fds: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const c_void,
                           room: size_t) -> c_int {
        poll_any(|fds, now| real(fds, count, if now { &raw const NO_TIME } else { timeout }, mask, room), fds, count)
    }

    select => |real| (nfds: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set,
                      timeout: *mut timeval) -> c_int {
        // SAFETY: a program passes a time or null.
        if let (0, Some(time)) = (nfds, unsafe { timeout.as_ref() }) {
            let nanos = clock::nanos(time.tv_sec, time.tv_usec.saturating_mul(1000));
            if let Some(slept) = nanos.and_then(clock::sleep) {
                return c_result(slept.map(|()| 0).map_err(|_| libc::EINTR));
            }
        }
        let mut none = timeval { tv_sec: 0, tv_usec: 0 };
        let none = &raw mut none;
        select_any(|now| real(nfds, read, write, except, if now { none } else { timeout }), nfds, read, write, except)
    }

    pselect => |real| (nfds: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set,
                       timeout: *const timespec, mask: *const c_void) -> c_int {
        select_any(|now| real(nfds, read, write, except, if now { &raw const NO_TIME } else { timeout }, mask),
                   nfds, read, write, except)
    }

    epoll_ctl => |real| (epoll: c_int, op: c_int, fd: c_int, event: *mut c_void) -> c_int {
        if is_block(fd) {
            // Block devices cannot be waited for.
            return c_result(Err(libc::EPERM));
        }
        real(epoll, op, fd, event)
    }
}
