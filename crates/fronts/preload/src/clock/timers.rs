//! Alarms and timers that send signals: the server keeps them, for they go on when a program becomes another one, and sends the
//! signals.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use dmlab_shim_proto::front::{Request, timer_kinds};
use libc::{c_int, c_uint, clockid_t, itimerspec, itimerval, sigevent, timer_t, timespec, timeval};

use super::{SECOND, away, is_virtual, nanos, nanos_at, note, time};
use crate::c_result;
use crate::channel::Call;
use crate::hook::hook;

/// When a timer is up, in nanoseconds: until the first time and from one to the next.
#[derive(Clone, Copy, Default)]
pub(super) struct Setting {
    pub(super) first: u64,
    pub(super) every: u64,
}

/// The alarm that each process has.
const ALARM: u64 = 0;

fn ask(request: &Request<'_>) -> Result<Setting, i32> {
    let mut call = Call::begin_own()?;
    let (reply, _) = call.send(request, 0, None)?;
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(|_| libc::EIO);
    let payload = call.payload(&reply);
    let (first, every) = payload.split_at_checked(8).ok_or(libc::EIO)?;
    Ok(Setting { first: word(first)?, every: word(every)? })
}

/// Sets a timer of the server's; how it stood before.
pub(super) fn set(timer: u64, setting: Setting) -> Result<Setting, i32> {
    ask(&Request::SetTimer { timer, first: setting.first, every: setting.every })
}

/// How a timer of the server's stands.
pub(super) fn get(timer: u64) -> Result<Setting, i32> {
    ask(&Request::GetTimer { timer })
}

/// What a program wants of a timer of a clock. Error: it is none.
pub(super) fn wanted(clock: clockid_t, flags: c_int, new: *const itimerspec) -> Result<Setting, i32> {
    // SAFETY: the program passes a setting or null.
    let new = unsafe { new.as_ref() }.ok_or(libc::EFAULT)?;
    let first = nanos_at(&new.it_value).ok_or(libc::EINVAL)?;
    let every = nanos_at(&new.it_interval).ok_or(libc::EINVAL)?;
    if first == 0 || flags & libc::TIMER_ABSTIME == 0 {
        return Ok(Setting { first, every });
    }
    // What is past is up at once.
    Ok(Setting { first: away(clock, &new.it_value).ok_or(libc::EINVAL)?.max(1), every })
}

/// Writes a setting where the program wants it.
pub(super) fn tell(out: *mut itimerspec, setting: Setting) {
    // SAFETY: the program passes a place or null.
    if let Some(out) = unsafe { out.as_mut() } {
        *out = itimerspec { it_interval: time(setting.every), it_value: time(setting.first) };
    }
}

fn wanted_by_micros(new: *const itimerval) -> Result<Setting, i32> {
    let read = |time: &timeval| nanos(time.tv_sec, time.tv_usec.checked_mul(1000)?);
    // SAFETY: the program passes a setting or null, which ends the timer.
    let Some(new) = (unsafe { new.as_ref() }) else { return Ok(Setting::default()) };
    let (first, every) = (read(&new.it_value), read(&new.it_interval));
    Ok(Setting { first: first.ok_or(libc::EINVAL)?, every: every.ok_or(libc::EINVAL)? })
}

fn tell_micros(out: *mut itimerval, setting: Setting) {
    let shown = |nanos: u64| {
        let time = time(nanos.div_ceil(1000) * 1000);
        timeval { tv_sec: time.tv_sec, tv_usec: time.tv_nsec / 1000 }
    };
    // SAFETY: the program passes a place or null.
    if let Some(out) = unsafe { out.as_mut() } {
        *out = itimerval { it_interval: shown(setting.every), it_value: shown(setting.first) };
    }
}

/// Whole seconds, to the next one, but never none where there is something left: as `alarm` counts.
fn seconds(nanos: u64) -> c_uint {
    let nearest = (nanos + SECOND / 2) / SECOND;
    c_uint::try_from(nearest.max(u64::from(nanos > 0))).unwrap_or(c_uint::MAX)
}

/// In a `timer_t` of ours, whose lower half is the server's number and whose next byte the clock; the C library's are small numbers, or
/// have the highest bit.
const OURS: u64 = 1 << 62;

fn ours(timer: timer_t) -> Option<(u64, clockid_t)> {
    let id = timer as u64;
    (is_virtual() && id >> 62 == 1).then_some((id & u64::from(u32::MAX), (id >> 32 & 0xff) as clockid_t))
}

/// This process has made a timer.
static HAS_MADE: AtomicBool = AtomicBool::new(false);

/// Makes a timer. `None`: the C library must do it.
fn make(clock: clockid_t, event: *mut sigevent, out: *mut timer_t) -> Option<Result<i64, i32>> {
    if !is_virtual() || !super::has_timers(clock) || out.is_null() {
        return None;
    }
    // SAFETY: the program passes an event or null.
    let event = unsafe { event.as_ref() };
    let (kind, signal, thread, value) = match event {
        None => (timer_kinds::SIGNAL, libc::SIGALRM, 0, 0),
        Some(event) => {
            let kind = match event.sigev_notify {
                libc::SIGEV_SIGNAL => timer_kinds::SIGNAL,
                libc::SIGEV_NONE => timer_kinds::NOTHING,
                libc::SIGEV_THREAD_ID => timer_kinds::THREAD_SIGNAL,
                libc::SIGEV_THREAD => {
                    note::takes_host_time("thread-timers", "timers that start a thread (SIGEV_THREAD)");
                    return None;
                }
                _ => return None,
            };
            (kind, event.sigev_signo, event.sigev_notify_thread_id, event.sigev_value.sival_ptr as u64)
        }
    };
    let request = Request::NewTimer { kind, signal, thread, value, nonblocking: false };
    let made = match crate::channel::ask_own(&request) {
        // The machine is gone, or cannot see this process.
        Err(libc::ENOSYS | libc::EIO | libc::ENXIO) => return None,
        made => made,
    };
    Some(made.map(|reply| {
        HAS_MADE.store(true, Ordering::Relaxed);
        let id = OURS | (clock as u64 & 0xff) << 32 | (reply.value as u64 & u64::from(u32::MAX));
        // SAFETY: the program's place for it.
        unsafe { *out = id as timer_t };
        0
    }))
}

/// The program becomes another one: what it has made ends, as in a kernel, but its alarm goes on.
pub(crate) fn before_exec() {
    // A child of a vfork has none, but its parent's memory, which says that there are some.
    if HAS_MADE.load(Ordering::Relaxed) {
        // The machine is gone, and they with it.
        let _ = crate::channel::ask_own(&Request::DropTimer { timer: 0 });
    }
}

/// `alarm` and `setitimer`. `None`: the C library must do it.
fn set_alarm(setting: Setting) -> Option<Setting> {
    if is_virtual() { set(ALARM, setting).ok() } else { None }
}

hook! {
    alarm => |real| (wanted: c_uint) -> c_uint {
        match set_alarm(Setting { first: u64::from(wanted) * SECOND, every: 0 }) {
            Some(before) => seconds(before.first),
            None => real(wanted),
        }
    }

    ualarm => |real| (first: c_uint, every: c_uint) -> c_uint {
        match set_alarm(Setting { first: u64::from(first) * 1000, every: u64::from(every) * 1000 }) {
            Some(before) => (before.first / 1000) as c_uint,
            None => real(first, every),
        }
    }

    setitimer => |real| (which: c_int, new: *const itimerval, old: *mut itimerval) -> c_int {
        if which != libc::ITIMER_REAL || !is_virtual() {
            return real(which, new, old);
        }
        match wanted_by_micros(new).map(set_alarm) {
            Ok(Some(before)) => {
                tell_micros(old, before);
                0
            }
            Ok(None) => real(which, new, old),
            Err(errno) => c_result(Err(errno)),
        }
    }

    getitimer => |real| (which: c_int, out: *mut itimerval) -> c_int {
        let is_ours = which == libc::ITIMER_REAL && is_virtual() && !out.is_null();
        match is_ours.then(|| get(ALARM).ok()).flatten() {
            Some(setting) => {
                tell_micros(out, setting);
                0
            }
            None => real(which, out),
        }
    }

    timer_create => |real| (clock: clockid_t, event: *mut sigevent, out: *mut timer_t) -> c_int {
        match make(clock, event, out) {
            Some(made) => c_result(made),
            None => real(clock, event, out),
        }
    }

    timer_settime => |real| (timer: timer_t, flags: c_int, new: *const itimerspec, old: *mut itimerspec) -> c_int {
        let Some((number, clock)) = ours(timer) else {
            // SAFETY: the program passes a setting or null.
            return match unsafe { new.as_ref() }.filter(|_| is_virtual() && flags & libc::TIMER_ABSTIME != 0) {
                Some(wanted) => {
                    let moment = super::for_host(super::clock_of(&wanted.it_value), &wanted.it_value);
                    let new = itimerspec { it_value: moment.unwrap_or(wanted.it_value), ..*wanted };
                    real(timer, flags, &new, old)
                }
                None => real(timer, flags, new, old),
            };
        };
        c_result(wanted(clock, flags, new).and_then(|wanted| set(number, wanted)).map(|before| {
            tell(old, before);
            0
        }))
    }

    timer_gettime => |real| (timer: timer_t, out: *mut itimerspec) -> c_int {
        match ours(timer) {
            Some((number, _)) => c_result(get(number).map(|setting| {
                tell(out, setting);
                0
            })),
            None => real(timer, out),
        }
    }

    timer_getoverrun => |real| (timer: timer_t) -> c_int {
        match ours(timer) {
            // The machine's clock stands still for as long as a program has a signal to take.
            Some((number, _)) => c_result(get(number).map(|_| 0)),
            None => real(timer),
        }
    }

    timer_delete => |real| (timer: timer_t) -> c_int {
        match ours(timer) {
            Some((number, _)) => {
                c_result(crate::channel::ask_own(&Request::DropTimer { timer: number }).map(|_| 0))
            }
            None => real(timer),
        }
    }
}

const _: () = assert!(size_of::<timer_t>() == size_of::<*mut c_void>() && size_of::<timespec>() == 16);
