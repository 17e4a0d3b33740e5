//! Unix sockets whose names lie in the machine's own `/run` or `/etc`.

use libc::{c_int, c_void, size_t, sockaddr, sockaddr_un, socklen_t, ssize_t};

use super::{How, at};
use crate::hook::hook;
use crate::paths::{PathBuf, fd_name, unlayer};
use crate::{c_result, state, sys};

/// Where the path begins in a `sockaddr_un`.
const PATH_AT: usize = core::mem::offset_of!(sockaddr_un, sun_path);
/// Bytes of the longest path in one, with its NUL.
const PATH_LEN: usize = size_of::<sockaddr_un>() - PATH_AT;
/// Abstract names of daemons that serve the machine's devices.
const ABSTRACT: &[u8] = b"\0/org/kernel/linux/storage/";

/// An address that stands for the program's.
struct Address {
    real: sockaddr_un,
    len: socklen_t,
    /// A directory that is open for as long as its name is short.
    dir: c_int,
}

impl Address {
    fn pointer(&self) -> *const sockaddr {
        (&raw const self.real).cast()
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        if self.dir >= 0 {
            let _ = sys::close(self.dir);
        }
    }
}

fn path_of<'a>(address: *const sockaddr, len: socklen_t) -> Option<&'a [u8]> {
    let len = (len as usize).min(size_of::<sockaddr_un>());
    if !state::enabled() || address.is_null() || len <= PATH_AT {
        return None;
    }
    // SAFETY: the program passed an address of `len` bytes, which lives as long as the call.
    unsafe {
        if i32::from((*address).sa_family) != libc::AF_UNIX {
            return None;
        }
        Some(core::slice::from_raw_parts(address.cast::<u8>().add(PATH_AT), len - PATH_AT))
    }
}

/// The address to use instead of the program's, if it names something of the machine's own.
fn translated(address: *const sockaddr, len: socklen_t, how: How) -> Result<Option<Address>, i32> {
    let Some(path) = path_of(address, len) else { return Ok(None) };
    if let Some(rest) = path.strip_prefix(ABSTRACT) {
        // Machines have names of their own there, too.
        let mut name = [0u8; PATH_LEN];
        let run_dir = state::RUN_DIR.get();
        let run_dir = &run_dir[run_dir.len().saturating_sub(40)..];
        let parts = [b"\0dmlab", run_dir, rest];
        let whole: usize = parts.iter().map(|part| part.len()).sum();
        if whole > name.len() {
            return Ok(None);
        }
        let mut end = 0;
        for part in parts {
            name[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        return Ok(Some(address_of(&name[..end], -1)));
    }
    let mut text = [0u8; PATH_LEN + 1];
    let len = path.iter().position(|&b| b == 0).unwrap_or(path.len());
    text[..len].copy_from_slice(&path[..len]);
    let mut real = PathBuf::new();
    let (_, to) = at(libc::AT_FDCWD, text.as_ptr().cast(), how, &mut real)?;
    if len == 0 || to == text.as_ptr().cast() {
        return Ok(None);
    }
    if real.get().len() < PATH_LEN {
        return Ok(Some(address_of(real.get(), -1)));
    }
    // Too long for an address: by a descriptor of its directory.
    let start = real.get().iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let mut name = [0u8; PATH_LEN];
    let last = &real.get()[start..];
    let name_len = last.len();
    if name_len + 32 > PATH_LEN {
        return Err(libc::ENAMETOOLONG);
    }
    name[..name_len].copy_from_slice(last);
    real.pop();
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let dir = sys::openat(libc::AT_FDCWD, real.c_str().cast(), flags, 0)? as c_int;
    let mut prefix = [0u8; 32];
    fd_name(dir, &mut prefix);
    let prefix_len = prefix.iter().position(|&b| b == 0).unwrap_or(0);
    let mut short = [0u8; PATH_LEN];
    short[..prefix_len].copy_from_slice(&prefix[..prefix_len]);
    short[prefix_len] = b'/';
    short[prefix_len + 1..prefix_len + 1 + name_len].copy_from_slice(&name[..name_len]);
    Ok(Some(address_of(&short[..prefix_len + 1 + name_len], dir)))
}

fn address_of(path: &[u8], dir: c_int) -> Address {
    // SAFETY: all zeroes are a valid `sockaddr_un`.
    let mut real: sockaddr_un = unsafe { core::mem::zeroed() };
    real.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in real.sun_path.iter_mut().zip(path) {
        *to = *from as libc::c_char;
    }
    // An abstract name has no end but its length.
    let end = usize::from(path.first() != Some(&0));
    Address { real, len: (PATH_AT + path.len() + end) as socklen_t, dir }
}

/// Names a socket by what programs call it.
fn untranslate(address: *mut sockaddr, len: *mut socklen_t, room: socklen_t) {
    if len.is_null() {
        return;
    }
    // SAFETY: the kernel just wrote a length there, and as much of an address as there was room for.
    let (said, held) = unsafe { (*len, (*len).min(room)) };
    let Some(path) = path_of(address, held).filter(|_| said == held) else { return };
    let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
    let Some(known) = unlayer(&path[..end]) else { return };
    let cut = end - known.len();
    // SAFETY: as above; the name moves to the front of its place, a NUL after it.
    unsafe {
        let at = address.cast::<u8>().add(PATH_AT);
        core::ptr::copy(at.add(cut), at, known.len());
        *at.add(known.len()) = 0;
        *len = (PATH_AT + known.len() + 1) as socklen_t;
    }
}

hook! {
    bind => |real| (fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
        match translated(address, len, How::Make) {
            Ok(None) => real(fd, address, len),
            Ok(Some(mine)) => real(fd, mine.pointer(), mine.len),
            Err(libc::EEXIST) => c_result(Err(libc::EADDRINUSE)),
            Err(errno) => c_result(Err(errno)),
        }
    }

    connect => |real| (fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
        match translated(address, len, How::Look { follow: true }) {
            Ok(None) => real(fd, address, len),
            Ok(Some(mine)) => real(fd, mine.pointer(), mine.len),
            Err(errno) => c_result(Err(errno)),
        }
    }

    sendto => |real| (fd: c_int, data: *const c_void, n: size_t, flags: c_int, address: *const sockaddr, len: socklen_t)
        -> ssize_t {
        match translated(address, len, How::Look { follow: true }) {
            Ok(None) => real(fd, data, n, flags, address, len),
            Ok(Some(mine)) => real(fd, data, n, flags, mine.pointer(), mine.len),
            Err(errno) => c_result(Err(errno)),
        }
    }

    getsockname => |real| (fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
        // SAFETY: the program's place for a length.
        let room = if len.is_null() { 0 } else { unsafe { *len } };
        let ret = real(fd, address, len);
        if ret == 0 {
            untranslate(address, len, room);
        }
        ret
    }

    getpeername => |real| (fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
        // SAFETY: the program's place for a length.
        let room = if len.is_null() { 0 } else { unsafe { *len } };
        let ret = real(fd, address, len);
        if ret == 0 {
            untranslate(address, len, room);
        }
        ret
    }
}
