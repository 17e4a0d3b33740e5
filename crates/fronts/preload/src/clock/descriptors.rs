//! Waiting for descriptors with a limit: poll, select, epoll.

use core::ffi::c_void;
use core::sync::atomic::AtomicU32;

use libc::{c_int, nfds_t, pollfd, timespec};

use super::cancelling::holding;
use super::futex::{self, Cancel, Word};
use super::helper::{self, For};
use super::{Limit, State, is_virtual, monotonic, time};
use crate::hook::Next;
use crate::{errno, sys};

const NOTHING: pollfd = pollfd { fd: -1, events: 0, revents: 0 };
/// As many descriptors find room on the stack.
const ROOM: usize = 128;

/// Gives `work` room for so many entries.
fn with_room<R>(nr: usize, work: impl FnOnce(&mut [pollfd]) -> R) -> Option<R> {
    if nr <= ROOM {
        return Some(work(&mut [NOTHING; ROOM][..nr]));
    }
    let len = nr.checked_mul(size_of::<pollfd>())?;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let at = sys::mmap(len, protection, flags, -1).ok()? as *mut pollfd;
    // SAFETY: just mapped, zeroed, and as long as `nr` entries; zeroes are a valid entry.
    let result = work(unsafe { core::slice::from_raw_parts_mut(at, nr) });
    let _ = sys::munmap(at.cast(), len);
    Some(result)
}

/// Nanoseconds that a wait for which there is no channel any more takes at a time.
const MOMENT: u64 = 50_000_000;
/// So many waits have a channel each; there are no more.
const MOST: usize = 500;
/// So many sleeps have a channel each.
const MOST_SLEEPS: usize = 32;

/// Waits by the host's clock, for a moment at a time, until the machine's shows `until`.
pub(crate) fn by_moments(until: u64, host: impl Fn(u64) -> c_int) -> c_int {
    let left = || until.saturating_sub(monotonic());
    let Some(noted) = helper::note(For::Nothing, until) else { return host(left()) };
    holding(&mut Some(noted), |_| {
        loop {
            let ready = host(MOMENT);
            if ready != 0 || left() == 0 {
                return ready;
            }
        }
    })
}

/// Waits without a limit of its own; `errno` says why.
fn without_limit(errno: i32, until: u64, host: impl Fn(u64) -> c_int) -> c_int {
    if matches!(errno, libc::ENFILE | libc::EMFILE) {
        by_moments(until, host)
    } else {
        host(until.saturating_sub(monotonic()))
    }
}

/// `poll` with a limit that is not zero. `look` polls without waiting; `wait` waits without a limit for the entries that it is
/// given; `host` waits for so long by the host's clock.
pub(crate) fn poll(
    fds: *mut pollfd,
    count: nfds_t,
    nanos: u64,
    look: impl Fn() -> c_int,
    wait: impl Fn(*mut pollfd, nfds_t) -> c_int,
    host: impl Fn(u64) -> c_int,
) -> c_int {
    let ready = look();
    if ready != 0 {
        return ready;
    }
    let until = monotonic().saturating_add(nanos);
    let limit = match Limit::on_socket(nanos, MOST) {
        Ok(limit) => limit,
        Err(errno) => return without_limit(errno, until, host),
    };
    let count = count as usize;
    let mut limit = Some(limit);
    let waited = holding(&mut limit, |limit| {
        let limit = limit.as_mut()?;
        with_room(count + 1, |room| {
            loop {
                // SAFETY: the program passed `count` entries, which the kernel has just looked at.
                let entries = unsafe { core::slice::from_raw_parts_mut(fds, count) };
                room[..count].copy_from_slice(entries);
                room[count] = pollfd { fd: limit.socket(), events: libc::POLLIN, revents: 0 };
                let ready = wait(room.as_mut_ptr(), room.len() as nfds_t);
                if ready < 0 {
                    return Some(ready);
                }
                let is_limit = room[count].revents != 0;
                if ready > c_int::from(is_limit) {
                    entries.copy_from_slice(&room[..count]);
                    return Some(ready - c_int::from(is_limit));
                }
                match limit.look() {
                    State::Over => return Some(0),
                    State::Lost => return None,
                    State::UnderWay => {}
                }
            }
        })?
    });
    drop(limit);
    match waited {
        Some(ready) => ready,
        None => host(until.saturating_sub(monotonic())),
    }
}

static PPOLL: Next = Next::new(c"ppoll");

/// Waits without a limit, as a place where a thread can be cancelled.
fn wait_for_any(entries: &mut [pollfd], mask: *const c_void) -> c_int {
    let at = PPOLL.get();
    if at.is_null() {
        crate::set_errno(libc::ENOSYS);
        return -1;
    }
    // SAFETY: every C library has it with this signature.
    let ppoll: unsafe extern "C" fn(*mut pollfd, nfds_t, *const timespec, *const c_void) -> c_int =
        unsafe { core::mem::transmute(at) };
    // SAFETY: the entries are ours, and the mask the program's.
    unsafe { ppoll(entries.as_mut_ptr(), entries.len() as nfds_t, core::ptr::null(), mask) }
}

/// Sleeps for so long by the machine's clock. Error: a signal came. `None`: it can't be had.
pub(crate) fn sleep(nanos: u64) -> Option<Result<(), i32>> {
    if nanos == 0 {
        return Some(Ok(()));
    }
    let until = monotonic().saturating_add(nanos);
    let Ok(limit) = Limit::on_socket(nanos, MOST_SLEEPS) else { return sleep_noted(until) };
    holding(&mut Some(limit), |limit| wait_limited(&mut [], core::ptr::null(), limit.as_mut()?))
        .map(|waited| waited.map(|_| ()))
}

/// Sleeps until `until`, in a program with many threads that sleep, which need no channel each.
fn sleep_noted(until: u64) -> Option<Result<(), i32>> {
    let nothing = AtomicU32::new(0);
    let word = Word { at: &nothing, while_is: 0, is_private: true };
    let noted = helper::note(For::Word(&word), until)?;
    let slept = holding(&mut Some(noted), |noted| {
        let noted = noted.as_ref().ok_or(libc::EIO)?;
        loop {
            futex::wait_noted(&word, noted, Cancel::Yes)?;
        }
    });
    Some(if slept == Err(libc::ETIMEDOUT) { Ok(()) } else { slept })
}

/// Waits for any of the entries with a limit that is under way and a mask of signals: how many are ready, or a signal's EINTR.
/// `None`: the limit is lost.
fn wait_limited(
    entries: &mut [pollfd],
    mask: *const c_void,
    limit: &mut Limit,
) -> Option<Result<c_int, i32>> {
    let count = entries.len();
    with_room(count + 1, |room| {
        loop {
            room[..count].copy_from_slice(entries);
            room[count] = pollfd { fd: limit.socket(), events: libc::POLLIN, revents: 0 };
            let saved = errno();
            let ready = wait_for_any(room, mask);
            if ready < 0 {
                let error = errno();
                crate::set_errno(saved);
                return Some(Err(error));
            }
            let is_limit = room[count].revents != 0;
            if ready > c_int::from(is_limit) {
                entries.copy_from_slice(&room[..count]);
                return Some(Ok(ready - c_int::from(is_limit)));
            }
            match limit.look() {
                State::Over => return Some(Ok(0)),
                State::Lost => return None,
                State::UnderWay => {}
            }
        }
    })?
}

/// What `select` and `epoll_wait` do with a limit: look, and wait until there may be something to be seen, until there is or the time
/// is up. `look` returns what the call would if it did not wait; `host` makes the call with so long a limit by the host's clock.
pub(crate) fn look_and_wait(
    entries: &mut [pollfd],
    nanos: u64,
    mask: *const c_void,
    look: impl Fn() -> c_int,
    host: impl Fn(u64) -> c_int,
) -> c_int {
    debug_assert!(is_virtual());
    let found = look();
    if found != 0 || nanos == 0 {
        return found;
    }
    let until = monotonic().saturating_add(nanos);
    let limit = match Limit::on_socket(nanos, MOST) {
        Ok(limit) => limit,
        Err(errno) => return without_limit(errno, until, host),
    };
    let mut limit = Some(limit);
    let waited = holding(&mut limit, |limit| {
        let limit = limit.as_mut()?;
        loop {
            match wait_limited(entries, mask, limit)? {
                Err(error) => return Some(Err(error)),
                Ok(0) => return Some(Ok(look())),
                Ok(_) => {}
            }
            let found = look();
            if found != 0 {
                return Some(Ok(found));
            }
            // What is ready in a way that the caller did not ask for would be so for ever.
            for entry in
                entries.iter_mut().filter(|entry| entry.revents & entry.events == 0 && entry.revents != 0)
            {
                entry.fd = -1;
            }
        }
    });
    let saved = errno();
    drop(limit);
    crate::set_errno(saved);
    match waited {
        Some(Ok(found)) => found,
        Some(Err(error)) => {
            crate::set_errno(error);
            -1
        }
        None => host(until.saturating_sub(monotonic())),
    }
}

/// A limit as `timespec`, for the host.
pub(crate) fn for_host(nanos: u64) -> timespec {
    time(nanos)
}

/// A limit in milliseconds, for the host.
pub(crate) fn millis(nanos: u64) -> c_int {
    c_int::try_from(nanos.div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}
