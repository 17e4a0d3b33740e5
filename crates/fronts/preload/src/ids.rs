//! Root's view, as under fakeroot: a process that is not root is told that it is. The kernel still decides what it may do with
//! real files; the simulated machine obeys it as root.

use core::sync::atomic::{AtomicI32, Ordering};

use libc::{c_int, gid_t, uid_t};

use crate::hook::hook;
use crate::paths::fd_path;
use crate::{state, sys};

/// The descriptor of a user namespace's map of ids that was opened last; -1 where there is none.
static MAP: AtomicI32 = AtomicI32::new(-1);

/// The longest map that is looked at.
const MAX_MAP: usize = 256;

fn is_map(path: &[u8]) -> bool {
    path.ends_with(b"uid_map") || path.ends_with(b"gid_map")
}

/// Remembers a descriptor that was opened for writing, if it is a map of ids.
pub(crate) fn note_opened(fd: c_int, path: &[u8]) {
    if state::fake_root() && is_map(path) {
        MAP.store(fd, Ordering::Relaxed);
    }
}

/// Whether a write goes to a map of ids.
#[inline]
pub(crate) fn is_id_map(fd: c_int) -> bool {
    MAP.load(Ordering::Relaxed) == fd && fd >= 0
}

/// Writes a map of ids, `INSIDE OUTSIDE COUNT`. To the program its own id outside is root's; to the kernel it is the user's.
/// `None`: it is none, or another one.
pub(crate) fn write_map(fd: c_int, text: &[u8]) -> Option<Result<i64, i32>> {
    MAP.store(-1, Ordering::Relaxed);
    let mut buf = [0u8; crate::paths::PATH_MAX];
    let path = fd_path(fd, &mut buf);
    if !is_map(path) || text.len() > MAX_MAP {
        return None;
    }
    let own = if path.ends_with(b"uid_map") { sys::getuid() } else { sys::getgid() }.ok()?;
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let (inside, outside, count) = (words.next()?, words.next()?, words.next()?);
    if outside != b"0" || count != b"1" || words.next().is_some() || inside.len() > 10 {
        return None;
    }
    let (mut line, mut len) = ([0u8; 64], 0);
    let mut digits = [0u8; 20];
    for part in [inside, b" ", decimal(own, &mut digits), b" 1\n"] {
        line[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    Some(sys::write(fd, line.as_ptr(), len).map(|_| text.len() as i64 + 1))
}

fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Fills three ids with root's.
fn all_root(ids: [*mut u32; 3]) -> c_int {
    for id in ids.into_iter().filter(|id| !id.is_null()) {
        // SAFETY: the program's places for the ids.
        unsafe { *id = 0 };
    }
    0
}

hook! {
    getuid => |real| () -> uid_t { if state::fake_root() { 0 } else { real() } }
    geteuid => |real| () -> uid_t { if state::fake_root() { 0 } else { real() } }
    getgid => |real| () -> gid_t { if state::fake_root() { 0 } else { real() } }
    getegid => |real| () -> gid_t { if state::fake_root() { 0 } else { real() } }

    getresuid => |real| (r: *mut uid_t, e: *mut uid_t, s: *mut uid_t) -> c_int {
        if state::fake_root() { all_root([r, e, s]) } else { real(r, e, s) }
    }

    getresgid => |real| (r: *mut gid_t, e: *mut gid_t, s: *mut gid_t) -> c_int {
        if state::fake_root() { all_root([r, e, s]) } else { real(r, e, s) }
    }

    setuid => |real| (id: uid_t) -> c_int { if state::fake_root() && id == 0 { 0 } else { real(id) } }
    seteuid => |real| (id: uid_t) -> c_int { if state::fake_root() && id == 0 { 0 } else { real(id) } }
    setgid => |real| (id: gid_t) -> c_int { if state::fake_root() && id == 0 { 0 } else { real(id) } }
    setegid => |real| (id: gid_t) -> c_int { if state::fake_root() && id == 0 { 0 } else { real(id) } }
}
