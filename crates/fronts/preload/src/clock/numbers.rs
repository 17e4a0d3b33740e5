//! Calls by number that know the time: language runtimes make some of them so.

use core::ffi::c_void;

use libc::{c_int, c_long, fd_set, nfds_t, pollfd, timespec, timeval};

use super::{for_host, futex, is_virtual, setting};

/// The call by its own function, which this library exports. `None`: pass it on, with the arguments as they are then; a time that
/// they point to lies in `place`.
pub(crate) fn by_number(nr: c_long, a: &mut [usize; 6], place: &mut timespec) -> Option<c_long> {
    if let Some(result) = setting::by_number(nr, a) {
        return Some(result);
    }
    if !is_virtual() {
        return None;
    }
    let time = |i: usize| a[i] as *const timespec;
    // SAFETY: the program's own arguments, in the order the system call has them; the functions are this library's.
    unsafe {
        Some(c_long::from(match nr {
            libc::SYS_futex => return futex::by_number(a, place),
            libc::SYS_clock_gettime => libc::clock_gettime(a[0] as c_int, a[1] as *mut timespec),
            libc::SYS_gettimeofday => libc::gettimeofday(a[0] as *mut timeval, a[1] as *mut _),
            libc::SYS_nanosleep => libc::nanosleep(time(0), a[1] as *mut timespec),
            libc::SYS_clock_nanosleep => {
                match libc::clock_nanosleep(a[0] as c_int, a[1] as c_int, time(2), a[3] as *mut timespec) {
                    0 => 0,
                    errno => {
                        crate::set_errno(errno);
                        -1
                    }
                }
            }
            libc::SYS_ppoll => {
                libc::ppoll(a[0] as *mut pollfd, a[1] as nfds_t, time(2), a[3] as *const libc::sigset_t)
            }
            libc::SYS_pselect6 => {
                let sets = [a[1], a[2], a[3]].map(|set| set as *mut fd_set);
                // The mask and its length have a place of their own.
                let mask =
                    (a[5] as *const *const libc::sigset_t).as_ref().map_or(core::ptr::null(), |mask| *mask);
                libc::pselect(a[0] as c_int, sets[0], sets[1], sets[2], time(4), mask)
            }
            libc::SYS_epoll_pwait => {
                let (events, mask) = (a[1] as *mut libc::epoll_event, a[4] as *const libc::sigset_t);
                libc::epoll_pwait(a[0] as c_int, events, a[2] as c_int, a[3] as c_int, mask)
            }
            libc::SYS_epoll_pwait2 => epoll_pwait2(
                a[0] as c_int,
                a[1] as *mut c_void,
                a[2] as c_int,
                time(3),
                a[4] as *const c_void,
            ),
            libc::SYS_setitimer => {
                setitimer(a[0] as c_int, a[1] as *const libc::itimerval, a[2] as *mut libc::itimerval)
            }
            libc::SYS_getitimer => getitimer(a[0] as c_int, a[1] as *mut libc::itimerval),
            libc::SYS_timerfd_create => libc::timerfd_create(a[0] as c_int, a[1] as c_int),
            libc::SYS_timerfd_settime => libc::timerfd_settime(
                a[0] as c_int,
                a[1] as c_int,
                a[2] as *const libc::itimerspec,
                a[3] as *mut libc::itimerspec,
            ),
            libc::SYS_timerfd_gettime => libc::timerfd_gettime(a[0] as c_int, a[1] as *mut libc::itimerspec),
            libc::SYS_futex_waitv => {
                *place = for_host(a[4] as c_int, time(3))?;
                a[3] = core::ptr::from_mut(place) as usize;
                return None;
            }
            _ => return legacy(nr, a),
        }))
    }
}

unsafe extern "C" {
    fn setitimer(which: c_int, new: *const libc::itimerval, old: *mut libc::itimerval) -> c_int;
    fn getitimer(which: c_int, out: *mut libc::itimerval) -> c_int;
    fn epoll_pwait2(
        epoll: c_int,
        events: *mut c_void,
        most: c_int,
        timeout: *const timespec,
        mask: *const c_void,
    ) -> c_int;
}

/// Calls that only the oldest architecture still has.
#[cfg(target_arch = "x86_64")]
fn legacy(nr: c_long, a: &[usize; 6]) -> Option<c_long> {
    // SAFETY: as above.
    unsafe {
        Some(match nr {
            libc::SYS_alarm => c_long::from(libc::alarm(a[0] as libc::c_uint)),
            libc::SYS_time => libc::time(a[0] as *mut libc::time_t),
            libc::SYS_poll => c_long::from(libc::poll(a[0] as *mut pollfd, a[1] as nfds_t, a[2] as c_int)),
            libc::SYS_select => {
                let sets = [a[1], a[2], a[3]].map(|set| set as *mut fd_set);
                c_long::from(libc::select(a[0] as c_int, sets[0], sets[1], sets[2], a[4] as *mut timeval))
            }
            libc::SYS_epoll_wait => {
                let events = a[1] as *mut libc::epoll_event;
                c_long::from(libc::epoll_wait(a[0] as c_int, events, a[2] as c_int, a[3] as c_int))
            }
            _ => return None,
        })
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn legacy(_nr: c_long, _a: &[usize; 6]) -> Option<c_long> {
    None
}
