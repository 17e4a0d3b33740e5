//! What programs ask the kernel about itself: modules and its log. The kernel that they see is the machine's.

use dmlab_shim_proto::front::Request;
use libc::{c_char, c_int, c_uint, c_ulong, c_void};

use crate::channel::Call;
use crate::hook::hook;
use crate::ioctl::copy_out;
use crate::{c_result, state};

/// The machine's kernel has all that it has built in: what is to be loaded is none of its modules.
fn load(real: impl Fn() -> c_int) -> c_int {
    if state::enabled() { c_result(Err(libc::EPERM)) } else { real() }
}

/// Actions of `syslog(2)`.
mod action {
    pub(super) const CLOSE: i32 = 0;
    pub(super) const OPEN: i32 = 1;
    pub(super) const READ_ALL: i32 = 3;
    pub(super) const READ_CLEAR: i32 = 4;
    pub(super) const CLEAR: i32 = 5;
    pub(super) const CONSOLE_OFF: i32 = 6;
    pub(super) const CONSOLE_ON: i32 = 7;
    pub(super) const CONSOLE_LEVEL: i32 = 8;
    pub(super) const SIZE_UNREAD: i32 = 9;
    pub(super) const SIZE_BUFFER: i32 = 10;
}

/// Bytes of the kernel's log buffer.
const LOG_SIZE: i64 = 1 << 18;

/// `syslog(2)` on the machine's log: the last of what came since it was cleared that there is room for, each line with its priority.
fn log(what: c_int, to: *mut c_char, len: c_int) -> Result<i64, i32> {
    match what {
        action::READ_ALL | action::READ_CLEAR => {
            let room = usize::try_from(len).map_err(|_| libc::EINVAL)?;
            if to.is_null() {
                return Err(libc::EINVAL);
            }
            let read = read_log(to as usize, room)?;
            if what == action::READ_CLEAR {
                mark(true)?;
            }
            Ok(read)
        }
        action::CLEAR => mark(true).map(|_| 0),
        action::CLOSE | action::OPEN | action::CONSOLE_OFF | action::CONSOLE_ON => Ok(0),
        action::CONSOLE_LEVEL if (1..=8).contains(&len) => Ok(0),
        action::SIZE_UNREAD => Ok(0),
        action::SIZE_BUFFER => Ok(LOG_SIZE),
        _ => Err(libc::EINVAL),
    }
}

/// The number of the first line since the log was cleared; clears it then, if asked.
fn mark(clear: bool) -> Result<u64, i32> {
    let (reply, _) = Call::begin()?.send(&Request::SyslogMark { clear }, 0, None)?;
    Ok(reply.value as u64)
}

fn read_log(to: usize, room: usize) -> Result<i64, i32> {
    let first = mark(false)?;
    let mut call = Call::begin()?;
    // Once for its length, once to copy the end of it.
    let (mut whole, mut skip, mut done) = (0usize, usize::MAX, 0usize);
    for is_copy in [false, true] {
        let (mut from, mut at) = (first, 0usize);
        loop {
            let (reply, _) = call.send(&Request::Syslog { from }, 0, None)?;
            let text = call.payload(&reply);
            if text.is_empty() {
                break;
            }
            for line in text.split_inclusive(|&b| b == b'\n').filter(|line| !line.is_empty()) {
                let n = line.len();
                if is_copy && at >= skip && done + n <= room {
                    copy_out(to + done, line)?;
                    done += n;
                }
                at += n;
            }
            if reply.value as u64 <= from {
                break;
            }
            from = reply.value as u64;
        }
        whole = whole.max(at);
        skip = whole.saturating_sub(room);
    }
    Ok(done as i64)
}

hook! {
    klogctl => |real| (what: c_int, to: *mut c_char, len: c_int) -> c_int {
        if state::enabled() { c_result(log(what, to, len)) } else { real(what, to, len) }
    }

    init_module => |real| (image: *mut c_void, len: c_ulong, parameters: *const c_char) -> c_int {
        load(|| real(image, len, parameters))
    }

    finit_module => |real| (fd: c_int, parameters: *const c_char, flags: c_int) -> c_int {
        load(|| real(fd, parameters, flags))
    }

    delete_module => |real| (name: *const c_char, flags: c_uint) -> c_int {
        if state::enabled() { c_result(Err(libc::ENOENT)) } else { real(name, flags) }
    }
}

/// Answers the calls for kernel modules by number. `None`: none of them.
pub(crate) fn by_number(nr: libc::c_long, a: [usize; 6]) -> Option<libc::c_long> {
    Some(match nr {
        libc::SYS_syslog => c_result(log(a[0] as c_int, a[1] as *mut c_char, a[2] as c_int)),
        libc::SYS_init_module | libc::SYS_finit_module => c_result(Err(libc::EPERM)),
        libc::SYS_delete_module => c_result(Err(libc::ENOENT)),
        _ => return None,
    })
}
