//! Streams on simulated files. glibc's streams read and write by hidden calls, so a stream on a device is one of glibc's
//! custom streams whose functions ask this library; texts and directories have real descriptors and need nothing.

use core::sync::atomic::{AtomicU32, Ordering};

use dmlab_shim_proto::FileKind;
use libc::{FILE, c_char, c_int, c_void, off64_t, size_t, ssize_t};

use crate::files;
use crate::hook::hook;
use crate::io::{AT_POSITION, read_file, write_file};
use crate::open::open_any;
use crate::paths::{PathBuf, c_bytes, is_host_trigger, leads_into_simulation, simulated};
use crate::{c_result, set_errno, state, sys};

unsafe extern "C" {
    fn __fpending(file: *mut FILE) -> size_t;
    fn __fpurge(file: *mut FILE);
    fn __flbf(file: *mut FILE) -> c_int;
    static mut stdin: *mut FILE;
    static mut stdout: *mut FILE;
    static mut stderr: *mut FILE;
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut FILE;
}

/// glibc's `cookie_io_functions_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Functions {
    read: unsafe extern "C" fn(*mut c_void, *mut c_char, size_t) -> ssize_t,
    write: unsafe extern "C" fn(*mut c_void, *const c_char, size_t) -> ssize_t,
    seek: unsafe extern "C" fn(*mut c_void, *mut off64_t, c_int) -> c_int,
    close: unsafe extern "C" fn(*mut c_void) -> c_int,
}

/// The cookie is the descriptor. It is looked at afresh each time: a shell moves its standard descriptors to and fro.
unsafe extern "C" fn cookie_read(cookie: *mut c_void, to: *mut c_char, len: size_t) -> ssize_t {
    let fd = cookie as usize as c_int;
    c_result(match files::file(fd) {
        Some(file) => read_file(file, to.cast(), len, AT_POSITION, 0),
        None => sys::read(fd, to.cast(), len).map(|n| n as i64),
    })
}

unsafe extern "C" fn cookie_write(cookie: *mut c_void, from: *const c_char, len: size_t) -> ssize_t {
    let fd = cookie as usize as c_int;
    let result = match files::file(fd) {
        Some(file) => write_file(file, from.cast(), len, AT_POSITION, 0),
        None => sys::write(fd, from.cast(), len).map(|n| n as i64),
    };
    match result {
        Ok(n) => n as ssize_t,
        Err(errno) => {
            set_errno(errno);
            // A custom stream reports failure as nothing written.
            0
        }
    }
}

unsafe extern "C" fn cookie_seek(cookie: *mut c_void, offset: *mut off64_t, whence: c_int) -> c_int {
    let fd = cookie as usize as c_int;
    // SAFETY: glibc passes a place for the position; lseek is this library's own.
    unsafe {
        match libc::lseek64(fd, *offset, whence) {
            -1 => -1,
            at => {
                *offset = at;
                0
            }
        }
    }
}

unsafe extern "C" fn cookie_close(cookie: *mut c_void) -> c_int {
    c_result(sys::close(cookie as usize as c_int).map(|_| 0))
}

const FUNCTIONS: Functions =
    Functions { read: cookie_read, write: cookie_write, seek: cookie_seek, close: cookie_close };

/// Where glibc keeps a stream's descriptor (`_fileno`), on 64-bit architectures. Custom streams have -2 there, and
/// `fileno` then fails; programs want the descriptor for `fstat` and `posix_fadvise`.
const FILENO_OFFSET: usize = 112;

/// Where glibc keeps the start of what a stream has yet to write (`_IO_write_base`), on 64-bit architectures.
const WRITE_BASE_OFFSET: usize = 32;

/// Moves what `old` has yet to write to `new`: it belongs to whatever the descriptor stands for when it is written.
///
/// # Safety
/// Both are open streams of glibc.
unsafe fn move_pending(old: *mut FILE, new: *mut FILE) {
    // SAFETY: the caller vouches for the streams; the pending bytes lie at the base of the write buffer.
    unsafe {
        let pending = __fpending(old);
        if pending > 0 {
            let base = *old.cast::<u8>().add(WRITE_BASE_OFFSET).cast::<*const c_void>();
            libc::fwrite(base, 1, pending, new);
            __fpurge(old);
        }
    }
}

/// A stream on descriptor `fd`.
fn stream(fd: c_int, mode: *const c_char) -> *mut FILE {
    // SAFETY: functions of this library, and a mode string of the program.
    unsafe {
        let file = fopencookie(fd as usize as *mut c_void, mode, FUNCTIONS);
        if !file.is_null() {
            let place = file.cast::<u8>().add(FILENO_OFFSET).cast::<c_int>();
            if *place == -2 {
                *place = fd;
            }
        }
        file
    }
}

/// Which of the standard streams are custom already, one bit each.
static ADOPTED: AtomicU32 = AtomicU32::new(0);

/// Descriptor 0, 1 or 2 may stand for a device now: from then on the standard stream of that number asks each time.
pub(crate) fn adopt(fd: c_int) {
    if !(0..=2).contains(&fd) || files::file(fd).is_none() {
        return;
    }
    if ADOPTED.fetch_or(1 << fd, Ordering::AcqRel) & (1 << fd) != 0 {
        return;
    }
    let saved = crate::errno();
    // SAFETY: the three variables are glibc's public names of the standard streams, which programs may assign.
    unsafe {
        let (variable, mode) = match fd {
            0 => (&raw mut stdin, c"r"),
            1 => (&raw mut stdout, c"w"),
            _ => (&raw mut stderr, c"w"),
        };
        if !(*variable).is_null() && libc::fileno(*variable) == fd {
            let new = stream(fd, mode.as_ptr());
            if !new.is_null() {
                if fd == 2 {
                    libc::setvbuf(new, core::ptr::null_mut(), libc::_IONBF, 0);
                }
                if fd != 0 {
                    move_pending(*variable, new);
                }
                if __flbf(*variable) != 0 {
                    libc::setvbuf(new, core::ptr::null_mut(), libc::_IOLBF, 0);
                }
                *variable = new;
            }
        }
    }
    crate::set_errno(saved);
}

/// At start: what the shell redirected.
pub(crate) fn adopt_standard_streams() {
    if state::has_files() {
        (0..=2).for_each(adopt);
    }
}

/// The open flags of a stream mode; the same letters as glibc.
fn mode_flags(mode: *const c_char) -> Option<c_int> {
    let mode = crate::paths::c_bytes(mode);
    let access = if mode.contains(&b'+') { libc::O_RDWR } else { 0 };
    let mut flags = match mode.first()? {
        b'r' => access,
        b'w' => (if access != 0 { access } else { libc::O_WRONLY }) | libc::O_CREAT | libc::O_TRUNC,
        b'a' => (if access != 0 { access } else { libc::O_WRONLY }) | libc::O_CREAT | libc::O_APPEND,
        _ => return None,
    };
    let letters = mode.split(|&b| b == b',').next().unwrap_or_default();
    if letters.contains(&b'e') {
        flags |= libc::O_CLOEXEC;
    }
    if letters.contains(&b'x') {
        flags |= libc::O_EXCL;
    }
    Some(flags)
}

/// Whether the path needs this library at all.
fn is_ours(path: *const c_char) -> bool {
    let mut buf = PathBuf::new();
    if simulated(libc::AT_FDCWD, path, &mut buf) {
        return true;
    }
    let mut node = core::mem::MaybeUninit::<libc::stat>::zeroed();
    let found = sys::openat(libc::AT_FDCWD, path.cast(), libc::O_PATH | libc::O_CLOEXEC, 0);
    match found {
        Ok(fd) => {
            let is_node = sys::fstat_raw(fd as c_int, node.as_mut_ptr()).is_ok() && {
                // SAFETY: just filled.
                let node = unsafe { node.assume_init_ref() };
                node.st_mode & libc::S_IFMT == libc::S_IFBLK
                    || crate::stat::looks_like_marker(node)
                    || (node.st_mode & libc::S_IFMT == libc::S_IFIFO && state::has_files())
            };
            let _ = sys::close(fd as c_int);
            is_node
        }
        Err(libc::ENOENT) => leads_into_simulation(libc::AT_FDCWD, path, true, &mut buf),
        Err(_) => false,
    }
}

fn native_open(dirfd: c_int, path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    c_result(sys::openat(dirfd, path.cast(), flags, mode).map(|fd| fd as i64))
}

fn open_for_stream(path: *const c_char, mode: *const c_char) -> Result<(c_int, FileKind), i32> {
    let flags = mode_flags(mode).ok_or(libc::EINVAL)?;
    open_any(native_open, libc::AT_FDCWD, path, flags, 0o666)
}

/// Where a stream's file is, if it lies in the machine's own `/run` or `/etc`.
fn stream_place(path: *const c_char, mode: *const c_char, place: &mut PathBuf) -> Result<*const c_char, i32> {
    if !state::enabled() || path.is_null() || mode.is_null() {
        return Ok(path);
    }
    let Some(flags) = mode_flags(mode) else { return Ok(path) };
    crate::layer::at(libc::AT_FDCWD, path, crate::layer::How::Open(flags), place).map(|(_, path)| path)
}

fn fopen_any(
    real: impl Fn(*const c_char, *const c_char) -> *mut FILE,
    path: *const c_char,
    mode: *const c_char,
) -> *mut FILE {
    let mut place = PathBuf::new();
    let path = match stream_place(path, mode, &mut place) {
        Ok(path) => path,
        Err(errno) => {
            set_errno(errno);
            return core::ptr::null_mut();
        }
    };
    if !state::enabled() || path.is_null() || mode.is_null() || !is_ours(path) {
        if state::enabled() && !path.is_null() && is_host_trigger(path) && !c_bytes(mode).starts_with(b"r") {
            set_errno(libc::ENODEV);
            return core::ptr::null_mut();
        }
        return real(path, mode);
    }
    match open_for_stream(path, mode) {
        Ok((fd, FileKind::Block | FileKind::Char)) => stream(fd, mode),
        // SAFETY: a descriptor that is ours to give away.
        Ok((fd, _)) => unsafe { libc::fdopen(fd, mode) },
        Err(errno) => {
            set_errno(errno);
            core::ptr::null_mut()
        }
    }
}

fn freopen_any(
    real: impl Fn(*const c_char, *const c_char, *mut FILE) -> *mut FILE,
    path: *const c_char,
    mode: *const c_char,
    old: *mut FILE,
) -> *mut FILE {
    let mut place = PathBuf::new();
    let path = match stream_place(path, mode, &mut place) {
        Ok(path) => path,
        Err(errno) => {
            set_errno(errno);
            return core::ptr::null_mut();
        }
    };
    if !state::enabled() || path.is_null() || mode.is_null() || !is_ours(path) {
        return real(path, mode, old);
    }
    match open_for_stream(path, mode) {
        Ok((fd, FileKind::Block | FileKind::Char)) => {
            // SAFETY: the program's open stream.
            let at = unsafe {
                libc::fflush(old);
                libc::fileno(old)
            };
            if at < 0 {
                return stream(fd, mode);
            }
            let _ = sys::dup3(fd, at, 0);
            let _ = sys::close(fd);
            if at <= 2 {
                adopt(at);
                // SAFETY: glibc's own variables.
                return unsafe {
                    match at {
                        0 => stdin,
                        1 => stdout,
                        _ => stderr,
                    }
                };
            }
            stream(at, mode)
        }
        Ok((fd, _)) => {
            let mut name = [0u8; 32];
            crate::paths::fd_name(fd, &mut name);
            let file = real(name.as_ptr().cast(), mode, old);
            let _ = sys::close(fd);
            file
        }
        Err(errno) => {
            set_errno(errno);
            core::ptr::null_mut()
        }
    }
}

hook! {
    fopen, fopen64 => |real| (path: *const c_char, mode: *const c_char) -> *mut FILE {
        fopen_any(real, path, mode)
    }

    freopen, freopen64 => |real| (path: *const c_char, mode: *const c_char, old: *mut FILE) -> *mut FILE {
        freopen_any(real, path, mode, old)
    }

    setmntent => |real| (path: *const c_char, mode: *const c_char) -> *mut FILE {
        fopen_any(real, path, mode)
    }

    fdopen => |real| (fd: c_int, mode: *const c_char) -> *mut FILE {
        match files::file(fd) {
            Some(_) => stream(fd, mode),
            None => real(fd, mode),
        }
    }
}
