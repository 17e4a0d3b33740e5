//! Waiting for descriptors with a limit: poll, select, epoll.

use core::ffi::c_void;

use libc::{c_int, nfds_t, pollfd, timespec};

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
    let Some(mut limit) = Limit::on_socket(nanos) else { return host(nanos) };
    let count = count as usize;
    let waited = with_room(count + 1, |room| {
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
    });
    drop(limit);
    match waited.flatten() {
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

/// Waits for any of the entries, at most for so long by the machine's clock: how many are ready, or a signal's EINTR. `None`:
/// the limit can't be had.
pub(crate) fn wait(entries: &mut [pollfd], nanos: u64) -> Option<Result<c_int, i32>> {
    if nanos == 0 {
        return Some(Ok(0));
    }
    let mut limit = Limit::on_socket(nanos)?;
    wait_limited(entries, core::ptr::null(), &mut limit)
}

/// The same with a limit that is under way and a mask of signals.
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
    let Some(mut limit) = Limit::on_socket(nanos) else { return host(nanos) };
    loop {
        match wait_limited(entries, mask, &mut limit) {
            Some(Err(error)) => {
                drop(limit);
                crate::set_errno(error);
                return -1;
            }
            Some(Ok(0)) => return look(),
            Some(Ok(_)) => {}
            None => {
                drop(limit);
                return host(until.saturating_sub(monotonic()));
            }
        }
        let found = look();
        if found != 0 {
            return found;
        }
        // What is ready in a way that the caller did not ask for would be so for ever.
        for entry in
            entries.iter_mut().filter(|entry| entry.revents & entry.events == 0 && entry.revents != 0)
        {
            entry.fd = -1;
        }
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
