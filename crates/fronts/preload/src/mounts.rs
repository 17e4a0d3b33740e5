//! Calls by which the host's kernel would be given a simulated device: mounting, swapping and the like. The kernel has no such
//! device, and one of its own may have the name. They are refused as a kernel refuses a process that lacks the right.

use libc::{c_char, c_int, c_uint, c_ulong, c_void};

use crate::hook::hook;
use crate::paths::{PathBuf, c_bytes, leads_into_simulation, simulated};
use crate::{c_result, stat, state, sys};

/// Whether a path names something of the machine's: in its views, or a node that a program made.
fn is_ours(dirfd: c_int, path: *const c_char) -> bool {
    if !state::enabled() || c_bytes(path).is_empty() {
        return false;
    }
    let mut buf = PathBuf::new();
    simulated(dirfd, path, &mut buf)
        || leads_into_simulation(dirfd, path, true, &mut buf)
        || stat::marker_at(dirfd, path, true).is_some()
}

/// Says once in each process why.
fn refuse(what: &[u8], name: *const c_char) -> c_int {
    static SAID: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);
    if !SAID.swap(true, core::sync::atomic::Ordering::Relaxed) {
        let mut line = [0u8; 640];
        let mut len = 0;
        let name = c_bytes(name);
        let why = b": it exists for the programs of this machine, not for the host's kernel, which mounts and swaps\n";
        for part in [&b"dmlab: "[..], what, b" is refused for ", &name[..name.len().min(400)], why] {
            let n = part.len().min(line.len() - len);
            line[len..len + n].copy_from_slice(&part[..n]);
            len += n;
        }
        let _ = sys::write(2, line.as_ptr(), len);
    }
    c_result(Err(libc::EPERM))
}

const HERE: c_int = libc::AT_FDCWD;

hook! {
    mount => |real| (source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong,
                     data: *const c_void) -> c_int {
        for name in [source, target] {
            if is_ours(HERE, name) {
                return refuse(b"mount", name);
            }
        }
        real(source, target, kind, flags, data)
    }

    umount => |real| (target: *const c_char) -> c_int {
        if is_ours(HERE, target) { refuse(b"umount", target) } else { real(target) }
    }

    umount2 => |real| (target: *const c_char, flags: c_int) -> c_int {
        if is_ours(HERE, target) { refuse(b"umount", target) } else { real(target, flags) }
    }

    swapon => |real| (path: *const c_char, flags: c_int) -> c_int {
        if is_ours(HERE, path) { refuse(b"swapon", path) } else { real(path, flags) }
    }

    swapoff => |real| (path: *const c_char) -> c_int {
        if is_ours(HERE, path) { refuse(b"swapoff", path) } else { real(path) }
    }

    pivot_root => |real| (new: *const c_char, old: *const c_char) -> c_int {
        for name in [new, old] {
            if is_ours(HERE, name) {
                return refuse(b"pivot_root", name);
            }
        }
        real(new, old)
    }

    acct => |real| (path: *const c_char) -> c_int {
        if is_ours(HERE, path) { refuse(b"acct", path) } else { real(path) }
    }

    quotactl => |real| (what: c_int, special: *const c_char, id: c_int, at: *mut c_char) -> c_int {
        if is_ours(HERE, special) { refuse(b"quotactl", special) } else { real(what, special, id, at) }
    }

    open_tree => |real| (dirfd: c_int, path: *const c_char, flags: c_uint) -> c_int {
        if is_ours(dirfd, path) { refuse(b"open_tree", path) } else { real(dirfd, path, flags) }
    }

    fspick => |real| (dirfd: c_int, path: *const c_char, flags: c_uint) -> c_int {
        if is_ours(dirfd, path) { refuse(b"fspick", path) } else { real(dirfd, path, flags) }
    }

    move_mount => |real| (fromfd: c_int, from: *const c_char, tofd: c_int, to: *const c_char, flags: c_uint) -> c_int {
        if is_ours(fromfd, from) {
            return refuse(b"move_mount", from);
        }
        if is_ours(tofd, to) { refuse(b"move_mount", to) } else { real(fromfd, from, tofd, to, flags) }
    }

    mount_setattr => |real| (dirfd: c_int, path: *const c_char, flags: c_uint, attributes: *mut c_void, len: usize)
        -> c_int {
        if is_ours(dirfd, path) { refuse(b"mount_setattr", path) } else { real(dirfd, path, flags, attributes, len) }
    }

    fsconfig => |real| (fd: c_int, command: c_uint, key: *const c_char, value: *const c_char, aux: c_int) -> c_int {
        /// `FSCONFIG_SET_STRING` and `FSCONFIG_SET_PATH`: the value is a C string.
        const TEXTS: [c_uint; 3] = [1, 3, 4];
        let names_ours = TEXTS.contains(&command) && is_ours(if command == 1 { HERE } else { aux }, value);
        if names_ours { refuse(b"mount", value) } else { real(fd, command, key, value, aux) }
    }
}

/// Answers these calls by number. `None`: none of them.
pub(crate) fn by_number(nr: libc::c_long, a: [usize; 6]) -> Option<libc::c_long> {
    let path = |i: usize| a[i] as *const c_char;
    let fd = |i: usize| a[i] as c_int;
    let (what, at): (&[u8], [(c_int, *const c_char); 2]) = match nr {
        libc::SYS_mount => (b"mount", [(HERE, path(0)), (HERE, path(1))]),
        libc::SYS_umount2 => (b"umount", [(HERE, path(0)), (HERE, path(0))]),
        libc::SYS_swapon => (b"swapon", [(HERE, path(0)), (HERE, path(0))]),
        libc::SYS_swapoff => (b"swapoff", [(HERE, path(0)), (HERE, path(0))]),
        libc::SYS_pivot_root => (b"pivot_root", [(HERE, path(0)), (HERE, path(1))]),
        libc::SYS_acct => (b"acct", [(HERE, path(0)), (HERE, path(0))]),
        libc::SYS_quotactl => (b"quotactl", [(HERE, path(1)), (HERE, path(1))]),
        libc::SYS_open_tree => (b"open_tree", [(fd(0), path(1)), (fd(0), path(1))]),
        libc::SYS_fspick => (b"fspick", [(fd(0), path(1)), (fd(0), path(1))]),
        libc::SYS_mount_setattr => (b"mount_setattr", [(fd(0), path(1)), (fd(0), path(1))]),
        libc::SYS_move_mount => (b"move_mount", [(fd(0), path(1)), (fd(2), path(3))]),
        libc::SYS_fsconfig if a[1] == 1 => (b"mount", [(HERE, path(3)), (HERE, path(3))]),
        libc::SYS_fsconfig if a[1] == 3 || a[1] == 4 => (b"mount", [(fd(4), path(3)), (fd(4), path(3))]),
        _ => return None,
    };
    let (_, name) = at.into_iter().find(|&(dirfd, path)| is_ours(dirfd, path))?;
    Some(refuse(what, name).into())
}
