//! Waiting for words: a program's futex until the helper says that the time is up, and the helper's own word until a limit ends.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use libc::{c_int, c_long, timespec};

use super::cancelling::cancellable;
use super::helper::{self, For, Noted};
use super::{Limit, State, for_host, is_virtual, monotonic, nanos_at, note};
use crate::sys;

/// A word that is waited for while it has a value.
#[derive(Clone, Copy)]
pub(crate) struct Word<'a> {
    pub(crate) at: &'a AtomicU32,
    pub(crate) while_is: u32,
    /// Only threads of this process change it.
    pub(crate) is_private: bool,
}

/// The kernel's `futex_waitv`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// The word has 32 bits.
const FUTEX_32: u32 = 2;
const PRIVATE: u32 = libc::FUTEX_PRIVATE_FLAG as u32;

fn waiter(word: &Word<'_>) -> Waiter {
    Waiter {
        value: u64::from(word.while_is),
        address: word.at.as_ptr() as u64,
        flags: FUTEX_32 | if word.is_private { PRIVATE } else { 0 },
        reserved: 0,
    }
}

/// For how long a wait for a limit does not look whether the machine is still there.
const PATIENCE: timespec = timespec { tv_sec: 10, tv_nsec: 0 };

/// Waits for a word, or for so long by the host's clock.
pub(crate) fn wait(word: &Word<'_>, most: Option<&timespec>) -> Result<(), i32> {
    let op = libc::FUTEX_WAIT | if word.is_private { libc::FUTEX_PRIVATE_FLAG } else { 0 };
    let most = core::ptr::from_ref(most.unwrap_or(&PATIENCE));
    sys::futex(word.at.as_ptr(), op, word.while_is, most).map(|_| ())
}

/// Wakes the waiters of a private word.
pub(crate) fn wake(word: &AtomicU32, most: u32) {
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    let _ = sys::futex(word.as_ptr(), op, most, core::ptr::null());
}

/// Among the bits of those whose limit the helper keeps. A program's own wakes are for all bits.
pub(super) const LIMITED: u32 = 1 << 31;

/// Wakes the waiters that have a limit.
pub(super) fn wake_limited(word: *mut u32, is_private: bool) {
    let op = libc::FUTEX_WAKE_BITSET | if is_private { libc::FUTEX_PRIVATE_FLAG } else { 0 };
    let _ = sys::futex_bits(word, op, i32::MAX as u32, core::ptr::null(), LIMITED);
}

/// Whether a thread can be cancelled where it waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    Yes,
    No,
}

/// Waits for a word until the helper says that the time of `noted` is up: ETIMEDOUT then; EAGAIN: the word has another value
/// already; EINTR: a signal came.
pub(super) fn wait_noted(word: &Word<'_>, noted: &Noted, cancel: Cancel) -> Result<(), i32> {
    let op = libc::FUTEX_WAIT_BITSET | if word.is_private { libc::FUTEX_PRIVATE_FLAG } else { 0 };
    while !noted.is_over() {
        // A signal ends only such waits for good as have a limit. This one is beyond all that the machine's clock could say.
        let most = super::time(super::host(libc::CLOCK_MONOTONIC).unwrap_or(0) + 3600 * super::SECOND);
        let wait = || sys::futex_bits(word.at.as_ptr(), op, word.while_is, &raw const most, LIMITED);
        let woken = if cancel == Cancel::Yes { cancellable(wait) } else { wait() };
        match woken {
            // Woken by the helper, or by the program just then, which it does when it has changed the word.
            Ok(_) if noted.is_over() && word.at.load(Ordering::SeqCst) == word.while_is => break,
            Ok(_) => return Ok(()),
            Err(libc::ETIMEDOUT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(libc::ETIMEDOUT)
}

/// The host's kernel can't wait for several words.
static CANT: AtomicBool = AtomicBool::new(false);

/// Waits for a word until a limit is over. ETIMEDOUT: it is; EAGAIN: the word has another value already; EINTR: a signal came;
/// ENOSYS: this can't be had, and nothing was waited for.
pub(crate) fn wait_until(word: &Word<'_>, limit: &mut Limit) -> Result<(), i32> {
    loop {
        let most = super::time(super::host(libc::CLOCK_MONOTONIC).unwrap_or(0) + 10 * super::SECOND);
        let both = [waiter(word), waiter(&limit.word())];
        let woken = sys::futex_waitv(both.as_ptr().cast(), both.len(), &most, libc::CLOCK_MONOTONIC);
        match woken {
            Ok(0) => return Ok(()),
            Err(libc::ENOSYS | libc::EPERM | libc::EINVAL) => {
                CANT.store(true, Ordering::Relaxed);
                note::takes_host_time("futexes", "time limits of locks (this kernel has no futex_waitv)");
                return Err(libc::ENOSYS);
            }
            Err(errno @ (libc::EINTR | libc::EFAULT)) => return Err(errno),
            // The limit's word has changed, or one of the two had changed before, or it is time to see whether the machine lives.
            _ => {}
        }
        match limit.look() {
            State::Over => return Err(libc::ETIMEDOUT),
            State::Lost => return Err(libc::ENOSYS),
            State::UnderWay if !limit.has_machine() => return Err(libc::ENOSYS),
            State::UnderWay => {}
        }
        if word.at.load(Ordering::SeqCst) != word.while_is {
            return Err(libc::EAGAIN);
        }
    }
}

const COMMAND: c_int = !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
const ANY_BIT: u32 = u32::MAX;

/// `futex` by number: waits with a limit. `None`: for the kernel, with these arguments.
pub(crate) fn by_number(a: &mut [usize; 6], place: &mut timespec) -> Option<c_long> {
    let op = a[1] as c_int;
    let command = op & COMMAND;
    let clock =
        if op & libc::FUTEX_CLOCK_REALTIME != 0 { libc::CLOCK_REALTIME } else { libc::CLOCK_MONOTONIC };
    let moment = a[3] as *const timespec;
    let (away, is_moment, clock) = match command {
        libc::FUTEX_WAIT => (nanos_at(moment)?, false, clock),
        libc::FUTEX_WAIT_BITSET => (super::away(clock, moment)?, true, clock),
        // FUTEX_LOCK_PI goes by the realtime clock, FUTEX_LOCK_PI2 and FUTEX_WAIT_REQUEUE_PI as they say.
        libc::FUTEX_LOCK_PI if !moment.is_null() => (0, true, libc::CLOCK_REALTIME),
        libc::FUTEX_WAIT_REQUEUE_PI | 13 if !moment.is_null() => (0, true, clock),
        _ => return None,
    };
    let address = a[0] as *const AtomicU32;
    let is_plain = matches!(command, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET)
        && (command == libc::FUTEX_WAIT || a[5] as u32 == ANY_BIT)
        && !address.is_null()
        && address.is_aligned();
    if is_plain {
        // SAFETY: the program's own word; a wrong address is the program's fault here as in the C library.
        let at = unsafe { &*address };
        let word = Word { at, while_is: a[2] as u32, is_private: op & libc::FUTEX_PRIVATE_FLAG != 0 };
        let waited = limited(&word, away);
        if waited != Err(libc::ENOSYS) {
            return Some(c_long::from(crate::c_result::<c_int>(waited.map(|()| 0))));
        }
    } else {
        note::takes_host_time("pi-futexes", "time limits of futexes that lend priority or choose bits");
    }
    if is_moment {
        *place = for_host(clock, moment)?;
        a[3] = core::ptr::from_mut(place) as usize;
    }
    None
}

/// Waits for a word for so long by the machine's clock. ENOSYS: it can't be had.
fn limited(word: &Word<'_>, nanos: u64) -> Result<(), i32> {
    debug_assert!(is_virtual());
    if word.at.load(Ordering::SeqCst) != word.while_is {
        return Err(libc::EAGAIN);
    }
    if nanos == 0 {
        return Err(libc::ETIMEDOUT);
    }
    let end = monotonic().saturating_add(nanos);
    let noted = helper::note(For::Word(word), end).ok_or(libc::ENOSYS)?;
    wait_noted(word, &noted, Cancel::No)
}

/// Waits for a word as the helper does, by a limit of its own.
pub(super) fn until_limit(word: &Word<'_>, nanos: u64) -> Result<(), i32> {
    if CANT.load(Ordering::Relaxed) {
        return Err(libc::ENOSYS);
    }
    let mut limit = Limit::on_word(nanos).ok_or(libc::ENOSYS)?;
    wait_until(word, &mut limit)
}
