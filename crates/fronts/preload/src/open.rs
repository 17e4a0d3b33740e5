//! Opening files.

use dmlab_shim_proto::front::Request;
use dmlab_shim_proto::{FileKind, Place};
use libc::{c_char, c_int, mode_t};

use crate::channel::Call;
use crate::hook::hook;
use crate::paths::{PathBuf, c_bytes, is_host_trigger, leads_into_simulation, simulated};
use crate::{c_result, errno, files, ids, set_errno, stat, state, sys};

/// A simulated open.
pub(crate) enum Opened {
    /// A descriptor.
    Fd(i32, FileKind),
    /// It is a real file; its path is in the buffer now.
    Elsewhere,
}

/// Opens the simulated path in `path`.
pub(crate) fn open_simulated(path: &mut PathBuf, flags: c_int, mode: mode_t) -> Result<Opened, i32> {
    let mut call = Call::begin()?;
    let (reply, fd) =
        call.send(&Request::Open { flags, mode: mode & !current_umask(flags), path: path.get() }, 0, None)?;
    if reply.place == Place::Elsewhere {
        let fits = path.set(call.payload(&reply));
        return if fits { Ok(Opened::Elsewhere) } else { Err(libc::ENAMETOOLONG) };
    }
    arrived(&reply, fd, flags).map(|fd| Opened::Fd(fd, reply.kind))
}

/// The umask matters only when the open may create a file, and can only be read by setting it.
fn current_umask(flags: c_int) -> mode_t {
    if flags & libc::O_CREAT == 0 { 0 } else { umask() }
}

/// The process's umask.
pub(crate) fn umask() -> mode_t {
    // SAFETY: no memory is involved. Another thread that creates a file in between could see the wrong umask, as with
    // every program that reads it; 077 is the safe value to expose.
    unsafe {
        let mask = libc::umask(0o077);
        libc::umask(mask);
        mask
    }
}

fn arrived(reply: &dmlab_shim_proto::Reply, fd: Option<i32>, flags: c_int) -> Result<i32, i32> {
    let fd = fd.ok_or(libc::EPROTO)?;
    match reply.kind {
        FileKind::Block | FileKind::Char => files::remember(reply.extra, reply.kind),
        FileKind::Directory => state::note_mirror(),
        FileKind::Plain => {}
    }
    if flags & libc::O_CLOEXEC == 0 {
        let _ = sys::fcntl(fd, libc::F_SETFD, 0);
    }
    Ok(fd)
}

/// Opens the device that a marker file stands for.
fn open_marker(stat: &libc::stat, flags: c_int) -> Result<i32, i32> {
    let (reply, fd) =
        Call::begin()?.send(&Request::OpenMarker { dev: stat.st_dev, ino: stat.st_ino, flags }, 0, None)?;
    arrived(&reply, fd, flags)
}

/// `open` of whatever it is: `real` does the open natively at a directory descriptor and path.
pub(crate) fn open_any(
    real: impl Fn(c_int, *const c_char, c_int, mode_t) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> Result<(c_int, FileKind), i32> {
    let native = |fd: c_int| if fd < 0 { Err(errno()) } else { Ok((fd, FileKind::Plain)) };
    if !state::enabled() {
        return native(real(dirfd, path, flags, mode));
    }
    let mut place = PathBuf::new();
    let (dirfd, path) = crate::layer::at(dirfd, path, crate::layer::How::Open(flags), &mut place)?;
    let mut buf = PathBuf::new();
    let follow = flags & libc::O_NOFOLLOW == 0;
    let writes = flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) != libc::O_RDONLY;
    // A dangling link that leads to a device must not be created as a file.
    let is_simulated = simulated(dirfd, path, &mut buf)
        || (flags & libc::O_CREAT != 0
            && is_link(dirfd, path)
            && leads_into_simulation(dirfd, path, follow, &mut buf));
    if !is_simulated && flags & libc::O_ACCMODE != libc::O_RDONLY && is_host_trigger(path) {
        return Err(libc::ENODEV);
    }
    if !is_simulated {
        let saved = errno();
        let fd = real(dirfd, path, flags, mode);
        if fd < 0 {
            let failed = errno();
            set_errno(saved);
            match failed {
                libc::ENOENT if leads_into_simulation(dirfd, path, follow, &mut buf) => {}
                libc::ENOENT if !writes && state::is_layer_changed() => {
                    let there = crate::layer::made_behind(dirfd, path, flags, &mut buf).ok_or(failed)?;
                    return native(real(libc::AT_FDCWD, there, flags, mode));
                }
                libc::EACCES => {
                    let marker = stat::marker_at(dirfd, path, follow).ok_or(failed)?;
                    return open_marker(&marker, flags).map(|fd| (fd, FileKind::Block));
                }
                _ => return Err(failed),
            }
        } else {
            match judge(fd, dirfd, path, flags, &mut buf)? {
                Native::Fine(fd) => {
                    if writes {
                        ids::note_opened(fd, c_bytes(path));
                    } else if state::is_layer_changed() && flags & libc::O_PATH == 0 {
                        let there = crate::layer::behind(fd, flags, &mut buf);
                        if !matches!(there, Ok(None)) {
                            let _ = sys::close(fd);
                        }
                        if let Some(there) = there? {
                            return native(real(libc::AT_FDCWD, there, flags, mode));
                        }
                    }
                    return Ok((fd, FileKind::Plain));
                }
                Native::Device(fd) => return Ok((fd, FileKind::Block)),
                Native::Simulated => {}
            }
        }
    }
    match open_simulated(&mut buf, flags, mode)? {
        Opened::Fd(fd, kind) => Ok((fd, kind)),
        Opened::Elsewhere => native(real(libc::AT_FDCWD, buf.c_str(), flags, mode)),
    }
}

fn is_link(dirfd: c_int, path: *const c_char) -> bool {
    let mut byte = [0u8; 1];
    sys::readlinkat(dirfd, path.cast(), byte.as_mut_ptr(), 1).is_ok()
}

enum Native {
    /// An ordinary file.
    Fine(c_int),
    /// The descriptor was replaced by a placeholder.
    Device(c_int),
    /// A symlink led to a node of the host where the simulation has one.
    Simulated,
}

/// Looks at what a native open got: a marker file, a block device of the host (which does not exist here), or another name
/// of a placeholder.
fn judge(
    fd: c_int,
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    buf: &mut PathBuf,
) -> Result<Native, i32> {
    if flags & libc::O_PATH != 0 {
        return Ok(Native::Fine(fd));
    }
    let Ok(stat) = sys::fstat(fd) else { return Ok(Native::Fine(fd)) };
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG if stat::looks_like_marker(&stat) => match open_marker(&stat, flags) {
            Ok(device) => {
                let _ = sys::close(fd);
                Ok(Native::Device(device))
            }
            Err(libc::ENOENT) => Ok(Native::Fine(fd)),
            Err(errno) => {
                let _ = sys::close(fd);
                Err(errno)
            }
        },
        libc::S_IFBLK => {
            let _ = sys::close(fd);
            if leads_into_simulation(dirfd, path, true, buf) {
                Ok(Native::Simulated)
            } else {
                Err(libc::ENXIO)
            }
        }
        libc::S_IFIFO => match files::file(fd) {
            // /dev/stdin, /proc/self/fd/N: a new open file of the same device.
            Some(file) => {
                let answer = Call::begin()
                    .and_then(|mut call| call.send(&Request::Reopen { file: file.id, flags }, 0, None));
                let _ = sys::close(fd);
                let (reply, fd) = answer?;
                arrived(&reply, fd, flags).map(Native::Device)
            }
            None => Ok(Native::Fine(fd)),
        },
        _ => Ok(Native::Fine(fd)),
    }
}

/// What `open` returns, with the standard streams looked after when the new descriptor is one of theirs.
fn finish(result: Result<(c_int, FileKind), i32>) -> c_int {
    if let Ok((fd @ 0..=2, FileKind::Block | FileKind::Char)) = result {
        crate::stdio::adopt(fd);
    }
    c_result(result.map(|(fd, _)| i64::from(fd)))
}

hook! {
    open, open64 => |real| (path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        finish(open_any(|_, path, flags, mode| real(path, flags, mode), libc::AT_FDCWD, path, flags, mode))
    }

    openat, openat64 => |real| (dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        finish(open_any(real, dirfd, path, flags, mode))
    }

    __open_2, __open64_2 => |real| (path: *const c_char, flags: c_int) -> c_int {
        finish(open_any(|_, path, flags, _| real(path, flags), libc::AT_FDCWD, path, flags, 0))
    }

    __openat_2, __openat64_2 => |real| (dirfd: c_int, path: *const c_char, flags: c_int) -> c_int {
        finish(open_any(|dirfd, path, flags, _| real(dirfd, path, flags), dirfd, path, flags, 0))
    }

    creat, creat64 => |real| (path: *const c_char, mode: mode_t) -> c_int {
        let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
        finish(open_any(|_, path, _, mode| real(path, mode), libc::AT_FDCWD, path, flags, mode))
    }
}
