//! Root's view, as under fakeroot: a process that is not root is told that it is. The kernel still decides what it may do with
//! real files; the simulated machine obeys it as root.

use libc::{c_int, gid_t, uid_t};

use crate::hook::hook;
use crate::state;

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
