//! Waits for words of memory, and for condition variables, which keep to themselves what they wait for. Each is noted in a table with
//! when it is to end, and a thread of the process waits for the earliest of these by the machine's clock and then wakes it.
//!
//! The thread is there while there are such waits and a moment longer, so that a program whose own threads have all ended, ends.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use libc::{c_int, c_void, pthread_cond_t, timespec};

use super::futex::{self, Word};
use super::{host, monotonic};
use crate::hook::Next;
use crate::sys;

const FREE: u32 = 0;
/// A thread is about to fill it in.
const TAKEN: u32 = 1;
const WAITING: u32 = 2;
/// The helper wakes it just now.
const IN_HAND: u32 = 3;
/// Its time is up, and it was told.
const OVER: u32 = 4;

/// A wait under way.
struct Place {
    state: AtomicU32,
    /// What it waits for; null if it looks by itself from time to time.
    at: AtomicPtr<c_void>,
    /// That is a word of memory, and no condition variable.
    is_word: AtomicBool,
    /// A word that only this process uses.
    is_private: AtomicBool,
    until: AtomicU64,
}

static PLACES: [Place; 4096] = [const {
    Place {
        state: AtomicU32::new(FREE),
        at: AtomicPtr::new(core::ptr::null_mut()),
        is_word: AtomicBool::new(false),
        is_private: AtomicBool::new(false),
        until: AtomicU64::new(0),
    }
}; 4096];

/// Changes when the helper is to look again.
static CHANGES: AtomicU32 = AtomicU32::new(0);
/// What the helper waits for.
static EARLIEST: AtomicU64 = AtomicU64::new(u64::MAX);
/// Whether there is a helper, and in which process: after a fork there is none.
static HELPER: AtomicI32 = AtomicI32::new(0);

/// A wait that is noted, until it is dropped.
pub(super) struct Noted(&'static Place);

/// What a thread waits for.
#[derive(Clone, Copy)]
pub(super) enum For<'a> {
    Condition(*mut pthread_cond_t),
    /// The waiters for this word of memory that have [`futex::LIMITED`] among their bits.
    Word(&'a Word<'a>),
    /// It looks by itself from time to time.
    Nothing,
}

/// Notes a wait until a moment of the monotonic clock. `None`: the host's clock must do.
pub(super) fn note(what: For<'_>, until: u64) -> Option<Noted> {
    start()?;
    let free = |place: &&Place| {
        place.state.compare_exchange(FREE, TAKEN, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    };
    let place = PLACES.iter().find(free)?;
    let (at, word) = match what {
        For::Condition(condition) => (condition.cast(), None),
        For::Word(word) => (word.at.as_ptr().cast(), Some(word)),
        For::Nothing => (core::ptr::null_mut(), None),
    };
    place.at.store(at, Ordering::Relaxed);
    place.is_word.store(word.is_some(), Ordering::Relaxed);
    place.is_private.store(word.is_some_and(|word| word.is_private), Ordering::Relaxed);
    place.until.store(until, Ordering::Relaxed);
    place.state.store(WAITING, Ordering::SeqCst);
    if until < EARLIEST.load(Ordering::SeqCst) {
        look_again();
    }
    // One that was about to leave may not have seen this wait.
    start()?;
    Some(Noted(place))
}

impl Noted {
    /// Whether the helper has seen that the time is up.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.0.state.load(Ordering::SeqCst), IN_HAND | OVER)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let place = self.0;
        let until = place.until.load(Ordering::Relaxed);
        for from in [WAITING, OVER].into_iter().cycle() {
            if place.state.compare_exchange(from, FREE, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                break;
            }
            // The helper has it in hand for as long as a wake takes.
            let _ = sys::sched_yield();
        }
        // Or the clock would jump to a moment that nothing waits for.
        if until <= EARLIEST.load(Ordering::SeqCst) {
            look_again();
        }
    }
}

fn look_again() {
    CHANGES.fetch_add(1, Ordering::SeqCst);
    futex::wake(&CHANGES, 1);
}

/// Starts the helper, if there is none.
fn start() -> Option<()> {
    let process = sys::getpid().ok()? as i32;
    loop {
        let before = HELPER.load(Ordering::SeqCst);
        if before == process {
            return Some(());
        }
        if HELPER.compare_exchange(before, process, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            continue;
        }
        if before != 0 {
            // A fork: the waits are the parent's.
            for place in &PLACES {
                place.state.store(FREE, Ordering::SeqCst);
            }
            EARLIEST.store(u64::MAX, Ordering::SeqCst);
        }
        let held = sys::hold_signals();
        let mut thread = 0;
        // SAFETY: the function is this library's, which is never unloaded; the attributes are the usual ones.
        let made =
            unsafe { libc::pthread_create(&mut thread, core::ptr::null(), help, core::ptr::null_mut()) };
        if made == 0 {
            // SAFETY: the thread was just made and is never joined.
            unsafe { libc::pthread_detach(thread) };
        }
        sys::release_signals(held);
        if made != 0 {
            HELPER.store(0, Ordering::SeqCst);
            return None;
        }
        return Some(());
    }
}

static BROADCAST: Next = Next::new(c"pthread_cond_broadcast");

impl Place {
    /// Wakes the waiter here. For others that wait for the same it is a wake without a reason, which they must expect.
    fn wake(&self) {
        let what = self.at.load(Ordering::Relaxed);
        if what.is_null() {
            return;
        }
        if self.is_word.load(Ordering::Relaxed) {
            futex::wake_limited(what.cast(), self.is_private.load(Ordering::Relaxed));
            return;
        }
        let at = BROADCAST.get();
        if at.is_null() {
            return;
        }
        // SAFETY: every C library has it with this signature.
        let broadcast: unsafe extern "C" fn(*mut pthread_cond_t) -> c_int =
            unsafe { core::mem::transmute(at) };
        // SAFETY: one waits for it, and cannot leave while its place is in hand.
        unsafe { broadcast(what.cast()) };
    }
}

/// Ends what is over.
struct Seen {
    earliest: u64,
    /// There are waits.
    any: bool,
    /// One whose time is up is still there: it may not have been asleep yet when it was told, or looks only in a moment.
    any_to_leave: bool,
}

fn look() -> Seen {
    let now = monotonic();
    let mut seen = Seen { earliest: u64::MAX, any: false, any_to_leave: false };
    for place in &PLACES {
        let state = place.state.load(Ordering::SeqCst);
        if state == FREE {
            continue;
        }
        seen.any = true;
        let until = place.until.load(Ordering::Relaxed);
        let is_over = state == OVER || (state == WAITING && until <= now);
        if !is_over {
            // One that is being filled in says so itself.
            if state == WAITING {
                seen.earliest = seen.earliest.min(until);
            }
            continue;
        }
        seen.any_to_leave = true;
        if state == OVER && place.at.load(Ordering::Relaxed).is_null() {
            continue;
        }
        if place.state.compare_exchange(state, IN_HAND, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            place.wake();
            place.state.store(OVER, Ordering::SeqCst);
        }
    }
    seen
}

const TELL_AGAIN: timespec = timespec { tv_sec: 0, tv_nsec: 1_000_000 };
const LINGER: timespec = timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Nanoseconds that those whose time is up may need to leave.
const HURRY: u64 = 20_000_000;

extern "C" fn help(_: *mut c_void) -> *mut c_void {
    let mut first_told = None;
    loop {
        let changes = CHANGES.load(Ordering::SeqCst);
        let word = Word { at: &CHANGES, while_is: changes, is_private: true };
        // What is noted from here on says so.
        EARLIEST.store(u64::MAX, Ordering::SeqCst);
        let seen = look();
        EARLIEST.store(seen.earliest, Ordering::SeqCst);
        if seen.any_to_leave {
            // Time stands still for a program that runs: it must not pass before they have seen that theirs is up. One that
            // can't leave, since its lock is held, does not hold the clock.
            let now = host(libc::CLOCK_MONOTONIC).unwrap_or(0);
            let since = *first_told.get_or_insert(now);
            if now.saturating_sub(since) < HURRY {
                let _ = sys::sched_yield();
            } else {
                let _ = futex::wait(&word, Some(&TELL_AGAIN));
            }
            continue;
        }
        first_told = None;
        if seen.earliest < u64::MAX {
            let away = seen.earliest.saturating_sub(monotonic());
            if away > 0 && futex::until_limit(&word, away) == Err(libc::ENOSYS) {
                let by_host = super::time(away);
                let _ = futex::wait(&word, Some(&by_host));
            }
        } else if seen.any {
            let _ = futex::wait(&word, None);
        } else if futex::wait(&word, Some(&LINGER)) == Err(libc::ETIMEDOUT) {
            HELPER.store(0, Ordering::SeqCst);
            let is_needed = look().any;
            let me = sys::getpid().unwrap_or(0) as i32;
            // A thread that noted a wait meanwhile has started another helper, or relies on this one.
            if !is_needed || HELPER.compare_exchange(0, me, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                return core::ptr::null_mut();
            }
        }
    }
}
