//! Which paths are simulated. A path is judged by its text (made absolute, `.`, `..` and `//` removed), and only a few
//! prefixes are asked of the server; all others pass untouched. A real path that leads nowhere is looked at again, in case a
//! symlink on it leads into the simulated tree.

use core::ffi::CStr;

use dmlab_shim_proto::{Area, area};

use crate::{state, sys};

/// Longest path, with its NUL.
pub(crate) const PATH_MAX: usize = 4096;

/// An absolute path being built, NUL-terminated, without `.`, `..` or doubled slashes.
pub(crate) struct PathBuf {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl PathBuf {
    pub(crate) fn new() -> PathBuf {
        PathBuf { bytes: [0; PATH_MAX], len: 0 }
    }

    pub(crate) fn get(&self) -> &[u8] {
        if self.len == 0 { b"/" } else { &self.bytes[..self.len] }
    }

    /// For system calls and libc.
    pub(crate) fn c_str(&mut self) -> *const libc::c_char {
        if self.len == 0 {
            self.bytes[0] = b'/';
            self.bytes[1] = 0;
        } else {
            self.bytes[self.len] = 0;
        }
        self.bytes.as_ptr().cast()
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Bytes of it; 0 for the root.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Cuts it to its first `len` bytes, which end a component.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Sets the path to `path` as it is.
    pub(crate) fn set(&mut self, path: &[u8]) -> bool {
        self.clear();
        self.push(path)
    }

    /// Appends the components of `path`. False when it gets too long.
    pub(crate) fn push(&mut self, path: &[u8]) -> bool {
        for part in path.split(|&b| b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => self.pop(),
                _ => {
                    if self.len + part.len() + 2 > PATH_MAX {
                        return false;
                    }
                    self.bytes[self.len] = b'/';
                    self.bytes[self.len + 1..self.len + 1 + part.len()].copy_from_slice(part);
                    self.len += 1 + part.len();
                }
            }
        }
        true
    }

    /// Cuts its last component off.
    pub(crate) fn pop(&mut self) {
        while self.len > 0 {
            self.len -= 1;
            if self.bytes[self.len] == b'/' {
                break;
            }
        }
    }
}

/// Entries of `/dev` that are the host's own and are not even asked about: every program opens some of them.
const HOST_DEV: [&[u8]; 17] = [
    b"null",
    b"zero",
    b"full",
    b"random",
    b"urandom",
    b"tty",
    b"console",
    b"ptmx",
    b"pts",
    b"shm",
    b"fd",
    b"stdin",
    b"stdout",
    b"stderr",
    b"mqueue",
    b"hugepages",
    b"log",
];

/// Whether the server should be asked about this clean absolute path.
fn is_simulated(path: &[u8]) -> bool {
    match area(path) {
        Area::Dev => {
            let name = path.get(5..).unwrap_or_default().split(|&b| b == b'/').next().unwrap_or_default();
            !HOST_DEV.contains(&name)
        }
        area => area != Area::Real,
    }
}

/// Replaces the mirror's prefix by what it mirrors.
fn unmirror(path: &[u8]) -> Option<&[u8]> {
    let mirror = state::MIRROR.get();
    path.strip_prefix(mirror).filter(|rest| !mirror.is_empty() && (rest.is_empty() || rest[0] == b'/'))
}

/// Cuts the prefix of the machine's layer off: what is left is the name that programs know.
pub(crate) fn unlayer(path: &[u8]) -> Option<&[u8]> {
    let layer = state::LAYER.get();
    path.strip_prefix(layer).filter(|rest| !layer.is_empty() && (rest.is_empty() || rest[0] == b'/'))
}

/// Whether the descriptor is a directory of the mirror.
pub(crate) fn is_mirror_dir(fd: i32) -> bool {
    let mut out = [0u8; 256];
    unmirror(fd_path(fd, &mut out)).is_some()
}

pub(crate) fn fd_path(fd: i32, out: &mut [u8]) -> &[u8] {
    let mut name = [0u8; 32];
    fd_name(fd, &mut name);
    match sys::readlinkat(libc::AT_FDCWD, name.as_ptr(), out.as_mut_ptr(), out.len()) {
        Ok(len) => &out[..len],
        Err(_) => &[],
    }
}

/// Writes `/proc/self/fd/N`.
pub(crate) fn fd_name(fd: i32, out: &mut [u8; 32]) {
    const DIR: &[u8] = b"/proc/self/fd/";
    out[..DIR.len()].copy_from_slice(DIR);
    let mut digits = [0u8; 10];
    let (mut n, mut left) = (fd.max(0) as u32, 0);
    loop {
        digits[left] = b'0' + (n % 10) as u8;
        n /= 10;
        left += 1;
        if n == 0 {
            break;
        }
    }
    for (i, d) in digits[..left].iter().rev().enumerate() {
        out[DIR.len() + i] = *d;
    }
    out[DIR.len() + left] = 0;
}

/// Copies the current directory, as programs know it (a directory of the mirror is what it mirrors, one of the layer what it
/// lies over). True when it is one of the mirror.
pub(crate) fn current_dir(out: &mut PathBuf) -> Result<bool, i32> {
    let mut buf = [0u8; PATH_MAX];
    let len = sys::getcwd(buf.as_mut_ptr(), buf.len())?;
    let cwd = &buf[..len.saturating_sub(1)];
    let mirrored = unmirror(cwd);
    if out.set(mirrored.or_else(|| unlayer(cwd)).unwrap_or(cwd)) {
        Ok(mirrored.is_some())
    } else {
        Err(libc::ENAMETOOLONG)
    }
}

pub(crate) fn has_dotdot(path: &[u8]) -> bool {
    path.windows(2).any(|w| w == b"..")
}

/// The C string a program passed; empty for null (the real call will say EFAULT).
pub(crate) fn c_bytes<'a>(path: *const libc::c_char) -> &'a [u8] {
    if path.is_null() {
        return b"";
    }
    // SAFETY: the program passed it to a function that takes a C string, and keeps it for the length of the call.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

/// If the path is simulated, builds its clean absolute form in `out` and says so.
pub(crate) fn simulated(dirfd: i32, path: *const libc::c_char, out: &mut PathBuf) -> bool {
    if !state::enabled() || path.is_null() {
        return false;
    }
    let path = c_bytes(path);
    let mut in_mirror = false;
    match path.first() {
        None => return false,
        Some(b'/') => {
            let first = path.iter().position(|&b| b != b'/').map(|at| path[at]);
            let hopeful = matches!(first, Some(b'd' | b's' | b'p' | b'r' | b'.'))
                || path.ends_with(b"mtab")
                || path.starts_with(b"/lib/modules")
                || path.starts_with(b"/usr/lib/modules");
            if !hopeful
                && !has_dotdot(path)
                && (!state::has_mirror() || !path.starts_with(state::MIRROR.get()))
            {
                return false;
            }
            out.clear();
        }
        Some(_) if dirfd == libc::AT_FDCWD => {
            if !state::cwd_matters() && !has_dotdot(path) {
                return false;
            }
            match current_dir(out) {
                Ok(mirrored) => in_mirror = mirrored,
                Err(_) => return false,
            }
        }
        Some(first) => {
            // How the steps of a path begin that leads into the simulated tree: `dev`, `class`, `virtual`, `block`, …
            if !state::has_mirror()
                && !matches!(first, b'b' | b'c' | b'd' | b'm' | b'p' | b'r' | b's' | b'u' | b'v' | b'.')
            {
                return false;
            }
            let mut buf = [0u8; PATH_MAX];
            let dir = fd_path(dirfd, &mut buf);
            let known = unmirror(dir).or_else(|| unlayer(dir)).unwrap_or(dir);
            if dir.first() != Some(&b'/') || !out.set(known) {
                return false;
            }
            in_mirror = unmirror(dir).is_some();
        }
    }
    if !out.push(path) {
        return false;
    }
    let wants_dir = path.ends_with(b"/");
    if in_mirror {
        // Even a path that is not simulated: natively it would be looked for in the mirror. The server sends it back.
        return true;
    }
    if let Some(rest) = unmirror(out.get()) {
        let mut copy = PathBuf::new();
        copy.set(rest);
        *out = copy;
        return true;
    }
    let is_ours = is_simulated(out.get());
    if is_ours && wants_dir && out.len + 2 < PATH_MAX {
        // A slash at the end follows a symlink there and refuses what is no directory.
        out.bytes[out.len] = b'/';
        out.len += 1;
    }
    is_ours
}

/// For a real path that leads nowhere, or where it should not: follows its symlinks by hand until they enter the simulated
/// tree. True when they do; `out` is then the simulated path.
pub(crate) fn leads_into_simulation(
    dirfd: i32,
    path: *const libc::c_char,
    follow_last: bool,
    out: &mut PathBuf,
) -> bool {
    if !state::enabled() {
        return false;
    }
    let path = c_bytes(path);
    let mut todo = PathBuf::new();
    if path.is_empty() {
        return false;
    }
    if path[0] != b'/' {
        let mut buf = [0u8; PATH_MAX];
        let known = if dirfd == libc::AT_FDCWD {
            current_dir(&mut todo).is_ok()
        } else {
            let dir = fd_path(dirfd, &mut buf);
            let name = unmirror(dir).or_else(|| unlayer(dir)).unwrap_or(dir);
            dir.first() == Some(&b'/') && todo.set(name)
        };
        if !known {
            return false;
        }
    }
    if !todo.push(path) {
        return false;
    }
    out.clear();
    let mut links = 0;
    let mut at = 0;
    let mut target = [0u8; PATH_MAX];
    while at < todo.get().len() && todo.len > 0 {
        let rest = &todo.get()[at + 1..];
        let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        let is_last = end == rest.len();
        let before = out.len;
        if !out.push(&rest[..end]) {
            return false;
        }
        at += 1 + end;
        if is_last && !follow_last {
            break;
        }
        let read = sys::readlinkat(libc::AT_FDCWD, out.c_str().cast(), target.as_mut_ptr(), target.len());
        match read {
            Ok(len) if links < 40 => {
                links += 1;
                out.len = if target[0] == b'/' { 0 } else { before };
                let mut next = PathBuf::new();
                let fits = next.set(out.get()) && next.push(&target[..len]) && next.push(&todo.get()[at..]);
                if !fits {
                    return false;
                }
                if is_simulated(next.get()) {
                    *out = next;
                    return true;
                }
                todo = next;
                out.clear();
                at = 0;
            }
            Err(libc::EINVAL) => {}
            _ => return false,
        }
    }
    is_simulated(out.get())
}

/// Whether a path names a file of the host's sysfs through which events of the host's devices are made: those are none of
/// the machine's devices.
pub(crate) fn is_host_trigger(path: *const libc::c_char) -> bool {
    let path = c_bytes(path);
    path.starts_with(b"/sys/") && path.ends_with(b"/uevent")
}

/// If `text` lies in the mirror or the layer, the length of the prefix to cut off.
pub(crate) fn own_prefix(text: &[u8]) -> Option<usize> {
    unmirror(text).or_else(|| unlayer(text)).map(|rest| text.len() - rest.len())
}
