//! Semaphores with a limit. A thread waits for the semaphore's word until the helper wakes it, as the C library waits for it: the lower
//! half of the first 64 bits counts, the upper half says how many wait, so that a post wakes one; the word after them says
//! whether other processes use it too. A semaphore made here is looked at first whether that is so.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use libc::{c_int, clockid_t, sem_t, timespec};

use super::cancelling::holding;
use super::futex::{self, Cancel, Word};
use super::helper::{self, For, Noted};
use super::{away, for_host, is_no_time, is_virtual, monotonic, note};
use crate::c_result;
use crate::hook::hook;

const ONE_WAITER: u64 = 1 << 32;

const UNKNOWN: u8 = 0;
const AS_EXPECTED: u8 = 1;
const DIFFERENT: u8 = 2;
static LAYOUT: AtomicU8 = AtomicU8::new(UNKNOWN);
/// What the word after the count is in a semaphore of one process.
static PRIVATE: AtomicU32 = AtomicU32::new(0);

fn count(semaphore: *mut sem_t) -> &'static AtomicU64 {
    // SAFETY: the program's semaphore, which is aligned and has at least 16 bytes.
    unsafe { &*semaphore.cast::<AtomicU64>() }
}

fn sharing(semaphore: *mut sem_t) -> u32 {
    // SAFETY: as above.
    unsafe { (*semaphore.cast::<u32>().add(2)).to_owned() }
}

/// Whether semaphores look as this module expects.
fn is_known() -> bool {
    if LAYOUT.load(Ordering::Relaxed) == UNKNOWN {
        let made = |is_shared: c_int| {
            // SAFETY: all zeroes are a valid place for a semaphore.
            let mut semaphore: sem_t = unsafe { core::mem::zeroed() };
            // SAFETY: ours, and it stays where it is.
            unsafe {
                libc::sem_init(&mut semaphore, is_shared, 5);
                libc::sem_post(&mut semaphore);
            }
            (count(&mut semaphore).load(Ordering::Relaxed), sharing(&mut semaphore))
        };
        let ((own, private), (others, shared)) = (made(0), made(1));
        PRIVATE.store(private, Ordering::Relaxed);
        let is_expected = own == 6 && others == 6 && private != shared && cfg!(target_endian = "little");
        LAYOUT.store(if is_expected { AS_EXPECTED } else { DIFFERENT }, Ordering::Relaxed);
    }
    let is_known = LAYOUT.load(Ordering::Relaxed) == AS_EXPECTED;
    if !is_known {
        note::takes_host_time("semaphores", "time limits of semaphores (this C library's are unknown here)");
    }
    is_known
}

/// Takes one if there is one.
fn take(count: &AtomicU64) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |all| (all as u32 > 0).then(|| all - 1)).is_ok()
}

/// A waiter for a semaphore.
struct Waiter {
    count: &'static AtomicU64,
    noted: Noted,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.count.fetch_sub(ONE_WAITER, Ordering::SeqCst);
    }
}

/// Waits for a semaphore. ENOSYS: this can't be had here.
fn wait(semaphore: *mut sem_t, clock: clockid_t, moment: *const timespec) -> Result<(), i32> {
    let count = count(semaphore);
    if take(count) {
        return Ok(());
    }
    let nanos = away(clock, moment).ok_or(libc::ENOSYS)?;
    if nanos == 0 {
        return Err(libc::ETIMEDOUT);
    }
    // SAFETY: the lower half comes first, and is aligned.
    let at = unsafe { &*semaphore.cast::<AtomicU32>() };
    let word = Word { at, while_is: 0, is_private: sharing(semaphore) == PRIVATE.load(Ordering::Relaxed) };
    let noted = helper::note(For::Word(&word), monotonic().saturating_add(nanos)).ok_or(libc::ENOSYS)?;
    count.fetch_add(ONE_WAITER, Ordering::SeqCst);
    holding(&mut Some(Waiter { count, noted }), |waiter| {
        let Some(waiter) = waiter else { return Err(libc::ENOSYS) };
        loop {
            if take(count) {
                return Ok(());
            }
            match futex::wait_noted(&word, &waiter.noted, Cancel::Yes) {
                Ok(()) | Err(libc::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
    })
}

/// Waits by the machine's clock. `None`: the C library must do it.
fn limited(semaphore: *mut sem_t, clock: clockid_t, moment: *const timespec) -> Option<c_int> {
    if !is_virtual()
        || !matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC)
        || is_no_time(moment)
        || !semaphore.is_aligned()
        || !is_known()
    {
        return None;
    }
    match wait(semaphore, clock, moment) {
        Err(libc::ENOSYS) => None,
        waited => Some(c_result(waited.map(|()| 0))),
    }
}

hook! {
    sem_timedwait => |real| (semaphore: *mut sem_t, moment: *const timespec) -> c_int {
        match limited(semaphore, libc::CLOCK_REALTIME, moment) {
            Some(waited) => waited,
            None => match for_host(libc::CLOCK_REALTIME, moment).filter(|_| is_virtual()) {
                Some(moment) => real(semaphore, &moment),
                None => real(semaphore, moment),
            },
        }
    }

    sem_clockwait => |real| (semaphore: *mut sem_t, clock: clockid_t, moment: *const timespec) -> c_int {
        match limited(semaphore, clock, moment) {
            Some(waited) => waited,
            None => match for_host(clock, moment).filter(|_| is_virtual()) {
                Some(moment) => real(semaphore, clock, &moment),
                None => real(semaphore, clock, moment),
            },
        }
    }
}
