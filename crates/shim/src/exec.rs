//! Starting programs: the library must be there in the new one too, and a program it cannot be loaded into is named.

use libc::{c_char, c_int, c_void};

use crate::hook::hook;
use crate::paths::c_bytes;
use crate::{state, sys};

/// The most variables an environment may have for us to add to it without allocating.
const MAX_VARS: usize = 1022;

/// An environment for a new program.
struct Environment {
    vars: [*const c_char; MAX_VARS + 2],
    socket: [u8; 128],
}

type Vars = *const *const c_char;

/// Calls `run` with the environment the new program should get: `given`, and this library's two variables if somebody
/// dropped them. An empty environment (`env -i`) is respected.
fn with_environment(given: Vars, run: impl FnOnce(Vars) -> c_int) -> c_int {
    if !state::enabled() || given.is_null() {
        return run(given);
    }
    let (mut nr, mut has_preload, mut has_socket) = (0, false, false);
    // SAFETY: a null-terminated array of C strings, as exec takes.
    unsafe {
        while !(*given.add(nr)).is_null() {
            let var = c_bytes(*given.add(nr));
            has_preload |= var.starts_with(b"LD_PRELOAD=");
            has_socket |= var.starts_with(b"DMLAB_SOCKET=");
            nr += 1;
        }
    }
    if nr == 0 || nr > MAX_VARS || (has_preload && has_socket) {
        return run(given);
    }
    let mut env = Environment { vars: [core::ptr::null(); MAX_VARS + 2], socket: [0; 128] };
    // SAFETY: `nr` entries were counted above.
    env.vars[..nr].copy_from_slice(unsafe { core::slice::from_raw_parts(given, nr) });
    if !has_preload {
        let preload = state::PRELOAD.get();
        if preload.is_empty() {
            return run(given);
        }
        // The text lies in a zeroed static, so a NUL follows it.
        env.vars[nr] = preload.as_ptr().cast();
        nr += 1;
    }
    if !has_socket && nr < env.vars.len() - 1 {
        const NAME: &[u8] = b"DMLAB_SOCKET=";
        let value = state::SOCKET.get();
        env.socket[..NAME.len()].copy_from_slice(NAME);
        env.socket[NAME.len()..NAME.len() + value.len()].copy_from_slice(value);
        env.vars[nr] = env.socket.as_ptr().cast();
    }
    run(env.vars.as_ptr())
}

/// Why a program cannot have this library.
fn reason(path: *const c_char) -> Option<&'static [u8]> {
    let fd = sys::openat(libc::AT_FDCWD, path.cast(), libc::O_RDONLY | libc::O_CLOEXEC, 0).ok()? as c_int;
    let reason = (|| {
        let stat = sys::fstat(fd).ok()?;
        let changes_user = stat.st_mode & libc::S_ISUID != 0 && sys::getuid() != Ok(stat.st_uid as usize);
        if stat.st_mode & libc::S_IFMT == libc::S_IFREG && changes_user {
            return Some(&b" is setuid"[..]);
        }
        let mut head = [0u8; 2048];
        let len = sys::pread(fd, head.as_mut_ptr(), head.len(), 0).ok()?;
        let head = &head[..len];
        if !head.starts_with(b"\x7fELF") {
            return None;
        }
        let word = |at: usize, n: usize| -> Option<usize> {
            Some(head.get(at..at + n)?.iter().rev().fold(0, |v, &b| v << 8 | usize::from(b)))
        };
        if head.get(4) != Some(&2) {
            return Some(b" is a 32-bit program");
        }
        let (start, size, nr) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
        for i in 0..nr {
            if word(start + i * size, 4)? == libc::PT_INTERP as usize {
                return None;
            }
        }
        Some(b" is statically linked")
    })();
    let _ = sys::close(fd);
    reason
}

/// Says so on stderr when `path` will run without the simulated devices.
fn warn(path: *const c_char) {
    if path.is_null() || !state::enabled() {
        return;
    }
    let Some(why) = reason(path) else { return };
    let mut line = [0u8; 512];
    let mut len = 0;
    for part in [&b"dmlab: "[..], c_bytes(path), why, b": it runs without the simulated devices\n"] {
        let n = part.len().min(line.len() - len);
        line[len..len + n].copy_from_slice(&part[..n]);
        len += n;
    }
    let _ = sys::write(2, line.as_ptr(), len);
}

/// As [`warn`] for a program that is looked for in `PATH`.
fn warn_by_name(name: *const c_char) {
    if name.is_null() || !state::enabled() {
        return;
    }
    let bytes = c_bytes(name);
    if bytes.contains(&b'/') {
        return warn(name);
    }
    // SAFETY: a C string; the answer stays valid while nobody changes the environment.
    let path = c_bytes(unsafe { libc::getenv(c"PATH".as_ptr()) });
    let mut buf = [0u8; 1024];
    for dir in path.split(|&b| b == b':').filter(|dir| dir.len() + bytes.len() + 2 < 1024) {
        buf[..dir.len()].copy_from_slice(dir);
        buf[dir.len()] = b'/';
        buf[dir.len() + 1..dir.len() + 1 + bytes.len()].copy_from_slice(bytes);
        buf[dir.len() + 1 + bytes.len()] = 0;
        if let Ok(fd) = sys::openat(libc::AT_FDCWD, buf.as_ptr(), libc::O_PATH | libc::O_CLOEXEC, 0) {
            let _ = sys::close(fd as c_int);
            return warn(buf.as_ptr().cast());
        }
    }
}

unsafe extern "C" {
    static environ: Vars;
}

hook! {
    execve => |real| (path: *const c_char, argv: Vars, env: Vars) -> c_int {
        warn(path);
        with_environment(env, |env| real(path, argv, env))
    }

    execv => |real| (path: *const c_char, argv: Vars) -> c_int {
        warn(path);
        real(path, argv)
    }

    execvp => |real| (name: *const c_char, argv: Vars) -> c_int {
        warn_by_name(name);
        real(name, argv)
    }

    execvpe => |real| (name: *const c_char, argv: Vars, env: Vars) -> c_int {
        warn_by_name(name);
        with_environment(env, |env| real(name, argv, env))
    }

    fexecve => |real| (fd: c_int, argv: Vars, env: Vars) -> c_int {
        with_environment(env, |env| real(fd, argv, env))
    }

    posix_spawn => |real| (pid: *mut c_int, path: *const c_char, actions: *const c_void, attributes: *const c_void,
                           argv: Vars, env: Vars) -> c_int {
        warn(path);
        with_environment(or_environ(env), |env| real(pid, path, actions, attributes, argv, env))
    }

    posix_spawnp => |real| (pid: *mut c_int, name: *const c_char, actions: *const c_void, attributes: *const c_void,
                            argv: Vars, env: Vars) -> c_int {
        warn_by_name(name);
        with_environment(or_environ(env), |env| real(pid, name, actions, attributes, argv, env))
    }
}

/// glibc takes a null environment as the process's own.
fn or_environ(env: Vars) -> Vars {
    // SAFETY: libc's own variable, read only.
    if env.is_null() { unsafe { environ } } else { env }
}
