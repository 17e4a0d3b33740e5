//! What root may ask of the kernel for itself: every process of a run is root, so it is told that it got it, as under fakeroot.
//! The kernel is asked first, and gives what it may; the root of a container often may not have all.

use libc::{c_int, c_uint, c_void, gid_t, id_t, pid_t, rlimit, size_t};

use crate::hook::hook;
use crate::{errno, set_errno, state};

/// A refusal for want of a privilege is none to root.
fn as_root(ret: c_int, before: c_int) -> c_int {
    if ret < 0
        && state::enabled()
        && matches!(errno(), libc::EPERM | libc::EACCES | libc::ENOMEM | libc::EAGAIN)
    {
        set_errno(before);
        return 0;
    }
    ret
}

/// Sets what may be set of a limit: not more than the hard limit.
fn as_far_as_possible(
    real: impl Fn(*const rlimit) -> c_int,
    get: impl Fn(*mut rlimit) -> c_int,
    wanted: *const rlimit,
) -> c_int {
    let before = errno();
    let ret = real(wanted);
    if ret == 0 || wanted.is_null() || errno() != libc::EPERM || !state::enabled() {
        return ret;
    }
    let mut now = rlimit { rlim_cur: 0, rlim_max: 0 };
    if get(&mut now) == 0 {
        // SAFETY: the program passed a limit, which the kernel has read.
        let wanted = unsafe { *wanted };
        let max = wanted.rlim_max.min(now.rlim_max);
        real(&rlimit { rlim_cur: wanted.rlim_cur.min(max), rlim_max: max });
    }
    set_errno(before);
    0
}

hook! {
    setpriority => |real| (which: c_uint, who: id_t, value: c_int) -> c_int {
        let before = errno();
        as_root(real(which, who, value), before)
    }

    nice => |real| (by: c_int) -> c_int {
        let before = errno();
        set_errno(0);
        let ret = real(by);
        if ret == -1 && state::enabled() && matches!(errno(), libc::EPERM | libc::EACCES) {
            set_errno(before);
            return by.clamp(-20, 19);
        }
        if errno() == 0 {
            set_errno(before);
        }
        ret
    }

    mlock => |real| (at: *const c_void, len: size_t) -> c_int {
        let before = errno();
        as_root(real(at, len), before)
    }

    mlock2 => |real| (at: *const c_void, len: size_t, flags: c_uint) -> c_int {
        let before = errno();
        as_root(real(at, len, flags), before)
    }

    munlock => |real| (at: *const c_void, len: size_t) -> c_int {
        let before = errno();
        as_root(real(at, len), before)
    }

    mlockall => |real| (flags: c_int) -> c_int {
        let before = errno();
        as_root(real(flags), before)
    }

    munlockall => |real| () -> c_int {
        let before = errno();
        as_root(real(), before)
    }

    sched_setscheduler => |real| (pid: pid_t, policy: c_int, parameters: *const c_void) -> c_int {
        let before = errno();
        as_root(real(pid, policy, parameters), before)
    }

    sched_setparam => |real| (pid: pid_t, parameters: *const c_void) -> c_int {
        let before = errno();
        as_root(real(pid, parameters), before)
    }

    setgroups => |real| (n: size_t, groups: *const gid_t) -> c_int {
        let before = errno();
        as_root(real(n, groups), before)
    }

    initgroups => |real| (user: *const libc::c_char, group: gid_t) -> c_int {
        let before = errno();
        as_root(real(user, group), before)
    }

    setrlimit, setrlimit64 => |real| (resource: c_uint, limit: *const rlimit) -> c_int {
        // SAFETY: a place for the answer.
        as_far_as_possible(|limit| real(resource, limit), |now| unsafe { libc::getrlimit(resource, now) }, limit)
    }

    prlimit, prlimit64 => |real| (pid: pid_t, resource: c_uint, limit: *const rlimit, old: *mut rlimit) -> c_int {
        as_far_as_possible(
            |limit| real(pid, resource, limit, old),
            |now| real(pid, resource, core::ptr::null(), now),
            limit,
        )
    }
}
