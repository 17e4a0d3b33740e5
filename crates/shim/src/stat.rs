//! The stat family.

use dmlab_shim_proto::{Place, Reply, Request, STAT_LEN, Stat, marker_mode};
use libc::{c_char, c_int, c_uint};

use crate::channel::Call;
use crate::hook::hook;
use crate::layer::{How, in_layer};
use crate::paths::{PathBuf, c_bytes, leads_into_simulation, simulated};
use crate::{c_result, errno, files, owners, set_errno, state, sys};

/// An answer to a stat of a path.
pub(crate) enum Found {
    Node(Stat),
    /// A real file; its path is in the buffer now.
    Elsewhere,
}

/// Stats the simulated path in `path`.
pub(crate) fn stat_simulated(path: &mut PathBuf, follow: bool) -> Result<Found, i32> {
    let mut call = Call::begin()?;
    let (reply, _) = call.send(&Request::Stat { follow, path: path.get() }, 0, None)?;
    if reply.place == Place::Elsewhere {
        return if path.set(call.payload(&reply)) { Ok(Found::Elsewhere) } else { Err(libc::ENAMETOOLONG) };
    }
    record(&mut call, &reply).map(Found::Node)
}

fn record(call: &mut Call, reply: &Reply) -> Result<Stat, i32> {
    let bytes: &[u8; STAT_LEN] = (&*call.payload(reply)).try_into().map_err(|_| libc::EPROTO)?;
    Ok(Stat::from_bytes(bytes))
}

/// Stats a simulated open file.
pub(crate) fn stat_file(file: u64) -> Result<Stat, i32> {
    let mut call = Call::begin()?;
    let (reply, _) = call.send(&Request::Fstat { file }, 0, None)?;
    record(&mut call, &reply)
}

/// Whether a real file may stand for a device node.
pub(crate) fn looks_like_marker(stat: &libc::stat) -> bool {
    stat.st_size == 0 && stat.st_mode == libc::S_IFREG | marker_mode()
}

/// The real file at a path, if it may stand for a device node.
pub(crate) fn marker_at(dirfd: c_int, path: *const c_char, follow: bool) -> Option<libc::stat> {
    let flags = libc::O_PATH | libc::O_CLOEXEC | if follow { 0 } else { libc::O_NOFOLLOW };
    let fd = sys::openat(dirfd, path.cast(), flags, 0).ok()? as c_int;
    let stat = sys::fstat(fd);
    let _ = sys::close(fd);
    stat.ok().filter(looks_like_marker)
}

/// The node that a marker file stands for.
pub(crate) fn stat_marker(stat: &libc::stat) -> Option<Stat> {
    let mut call = Call::begin().ok()?;
    let request = Request::StatMarker { dev: stat.st_dev, ino: stat.st_ino };
    let (reply, _) = call.send(&request, 0, None).ok()?;
    record(&mut call, &reply).ok()
}

/// A real file system's device number must not equal a simulated device's: e2fsprogs, lvm and others would take the host's
/// root disk (254:0 where it is virtio) for dm-0 and call it mounted. Numbers of the block majors that a machine uses move up.
pub(crate) fn host_dev(dev: u64) -> u64 {
    let (major, minor) = (libc::major(dev), libc::minor(dev));
    if host_major_collides(major) { libc::makedev(major | 0x800, minor) } else { dev }
}

fn host_major_collides(major: u32) -> bool {
    matches!(major, 1 | 7 | 240..=254)
}

fn fill(out: *mut libc::stat, from: &Stat) {
    if out.is_null() {
        return;
    }
    // SAFETY: the program passed a place for a `stat`; all zeroes are a valid one.
    let out = unsafe {
        out.write_bytes(0, 1);
        &mut *out
    };
    out.st_dev = from.dev;
    out.st_ino = from.ino;
    out.st_mode = from.mode;
    out.st_nlink = from.nlink as _;
    out.st_uid = from.uid;
    out.st_gid = from.gid;
    out.st_rdev = from.rdev;
    out.st_size = from.size as i64;
    out.st_blksize = from.blksize as _;
    (out.st_atime, out.st_atime_nsec) = split(from.atime_ns);
    (out.st_mtime, out.st_mtime_nsec) = split(from.mtime_ns);
    (out.st_ctime, out.st_ctime_nsec) = split(from.ctime_ns);
}

fn split(ns: i64) -> (i64, i64) {
    (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000))
}

/// Corrects what a native stat said of a real file.
fn review(out: *mut libc::stat, through_proc: bool) {
    // SAFETY: a native stat just filled it.
    let native = unsafe { &mut *out };
    if looks_like_marker(native) {
        if let Some(node) = stat_marker(native) {
            return fill(out, &node);
        }
    } else if through_proc
        && native.st_mode & libc::S_IFMT == libc::S_IFIFO
        && state::has_files()
        && let Some(node) = files::by_inode(native.st_ino).and_then(|file| stat_file(file.id).ok())
    {
        return fill(out, &node);
    }
    if state::fake_root() {
        let id = owners::Id { dev: native.st_dev, ino: native.st_ino };
        (native.st_uid, native.st_gid) = owners::shown(id, (native.st_uid, native.st_gid));
    }
    native.st_dev = host_dev(native.st_dev);
}

/// `stat` of a path; `real` does it natively.
fn stat_path(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    out: *mut libc::stat,
    follow: bool,
) -> c_int {
    if !state::enabled() {
        return real(dirfd, path);
    }
    let saved = errno();
    in_layer!(dirfd, path, How::Look { follow });
    let mut buf = PathBuf::new();
    if !simulated(dirfd, path, &mut buf) {
        let ret = real(dirfd, path);
        if ret == 0 {
            review(out, follow && state::has_files() && matches!(c_bytes(path), [b'/', b'p' | b'd', ..]));
            return 0;
        }
        if errno() != libc::ENOENT || !leads_into_simulation(dirfd, path, follow, &mut buf) {
            return ret;
        }
        set_errno(saved);
    }
    match stat_simulated(&mut buf, follow) {
        Ok(Found::Node(node)) => {
            fill(out, &node);
            0
        }
        Ok(Found::Elsewhere) => {
            let ret = real(libc::AT_FDCWD, buf.c_str());
            if ret == 0 {
                review(out, follow);
            }
            ret
        }
        Err(errno) => c_result(Err(errno)),
    }
}

fn stat_fd(real: impl Fn() -> c_int, fd: c_int, out: *mut libc::stat) -> c_int {
    match files::file(fd) {
        Some(file) => c_result(stat_file(file.id).map(|node| {
            fill(out, &node);
            0
        })),
        None => {
            let ret = real();
            if ret == 0 && state::enabled() {
                if let Some(node) = state::has_mirror().then(|| mirror_dir(fd)).flatten() {
                    fill(out, &node);
                } else {
                    review(out, false);
                }
            }
            ret
        }
    }
}

/// What `fstat` of a mirror directory says: what it mirrors.
fn mirror_dir(fd: c_int) -> Option<Stat> {
    let mut buf = PathBuf::new();
    if !crate::paths::is_mirror_dir(fd) || !simulated(fd, c".".as_ptr(), &mut buf) {
        return None;
    }
    match stat_simulated(&mut buf, false) {
        Ok(Found::Node(node)) => Some(node),
        _ => None,
    }
}

fn stat_at(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    out: *mut libc::stat,
    flags: c_int,
) -> c_int {
    if flags & libc::AT_EMPTY_PATH != 0 && c_bytes(path).is_empty() {
        return stat_fd(|| real(dirfd, path), dirfd, out);
    }
    stat_path(real, dirfd, path, out, flags & libc::AT_SYMLINK_NOFOLLOW == 0)
}

fn fill_statx(out: *mut libc::statx, from: &Stat) {
    if out.is_null() {
        return;
    }
    // SAFETY: the program passed a place for a `statx`; all zeroes are a valid one.
    let out = unsafe {
        out.write_bytes(0, 1);
        &mut *out
    };
    let time = |ns: i64| {
        // SAFETY: all zeroes are a valid `statx_timestamp`.
        let mut t: libc::statx_timestamp = unsafe { core::mem::zeroed() };
        (t.tv_sec, t.tv_nsec) = (split(ns).0, split(ns).1 as u32);
        t
    };
    out.stx_mask = libc::STATX_BASIC_STATS;
    out.stx_blksize = from.blksize as u32;
    out.stx_nlink = from.nlink;
    out.stx_uid = from.uid;
    out.stx_gid = from.gid;
    out.stx_mode = from.mode as u16;
    out.stx_ino = from.ino;
    out.stx_size = from.size;
    out.stx_atime = time(from.atime_ns);
    out.stx_mtime = time(from.mtime_ns);
    out.stx_ctime = time(from.ctime_ns);
    (out.stx_rdev_major, out.stx_rdev_minor) = (libc::major(from.rdev), libc::minor(from.rdev));
    (out.stx_dev_major, out.stx_dev_minor) = (libc::major(from.dev), libc::minor(from.dev));
}

/// Corrects what a native statx said; the same rules as [`review`].
fn review_statx(out: *mut libc::statx, through_proc: bool) {
    // SAFETY: a native statx just filled it.
    let native = unsafe { &mut *out };
    let mode = u32::from(native.stx_mode);
    if native.stx_size == 0 && mode == libc::S_IFREG | marker_mode() {
        // SAFETY: all zeroes are a valid `stat`.
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        stat.st_dev = libc::makedev(native.stx_dev_major, native.stx_dev_minor);
        stat.st_ino = native.stx_ino;
        if let Some(node) = stat_marker(&stat) {
            return fill_statx(out, &node);
        }
    } else if through_proc
        && mode & libc::S_IFMT == libc::S_IFIFO
        && state::has_files()
        && let Some(node) = files::by_inode(native.stx_ino).and_then(|file| stat_file(file.id).ok())
    {
        return fill_statx(out, &node);
    }
    if state::fake_root() {
        let id = owners::Id {
            dev: libc::makedev(native.stx_dev_major, native.stx_dev_minor),
            ino: native.stx_ino,
        };
        (native.stx_uid, native.stx_gid) = owners::shown(id, (native.stx_uid, native.stx_gid));
    }
    if host_major_collides(native.stx_dev_major) {
        native.stx_dev_major |= 0x800;
    }
}

fn statx_any(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    out: *mut libc::statx,
) -> c_int {
    if !state::enabled() {
        return real(dirfd, path);
    }
    if c_bytes(path).is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
        if let Some(file) = files::file(dirfd) {
            return c_result(stat_file(file.id).map(|node| {
                fill_statx(out, &node);
                0
            }));
        }
        let ret = real(dirfd, path);
        if ret == 0 {
            match state::has_mirror().then(|| mirror_dir(dirfd)).flatten() {
                Some(node) => fill_statx(out, &node),
                None => review_statx(out, false),
            }
        }
        return ret;
    }
    let saved = errno();
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    in_layer!(dirfd, path, How::Look { follow });
    let mut buf = PathBuf::new();
    if !simulated(dirfd, path, &mut buf) {
        let ret = real(dirfd, path);
        if ret == 0 {
            review_statx(out, follow);
            return 0;
        }
        if errno() != libc::ENOENT || !leads_into_simulation(dirfd, path, follow, &mut buf) {
            return ret;
        }
        set_errno(saved);
    }
    match stat_simulated(&mut buf, follow) {
        Ok(Found::Node(node)) => {
            fill_statx(out, &node);
            0
        }
        Ok(Found::Elsewhere) => {
            let ret = real(libc::AT_FDCWD, buf.c_str());
            if ret == 0 {
                review_statx(out, follow);
            }
            ret
        }
        Err(errno) => c_result(Err(errno)),
    }
}

hook! {
    stat, stat64 => |real| (path: *const c_char, out: *mut libc::stat) -> c_int {
        stat_path(|_, path| real(path, out), libc::AT_FDCWD, path, out, true)
    }

    lstat, lstat64 => |real| (path: *const c_char, out: *mut libc::stat) -> c_int {
        stat_path(|_, path| real(path, out), libc::AT_FDCWD, path, out, false)
    }

    fstat, fstat64 => |real| (fd: c_int, out: *mut libc::stat) -> c_int {
        stat_fd(|| real(fd, out), fd, out)
    }

    fstatat, fstatat64 => |real| (dirfd: c_int, path: *const c_char, out: *mut libc::stat, flags: c_int) -> c_int {
        stat_at(|dirfd, path| real(dirfd, path, out, flags), dirfd, path, out, flags)
    }

    __xstat, __xstat64 => |real| (version: c_int, path: *const c_char, out: *mut libc::stat) -> c_int {
        stat_path(|_, path| real(version, path, out), libc::AT_FDCWD, path, out, true)
    }

    __lxstat, __lxstat64 => |real| (version: c_int, path: *const c_char, out: *mut libc::stat) -> c_int {
        stat_path(|_, path| real(version, path, out), libc::AT_FDCWD, path, out, false)
    }

    __fxstat, __fxstat64 => |real| (version: c_int, fd: c_int, out: *mut libc::stat) -> c_int {
        stat_fd(|| real(version, fd, out), fd, out)
    }

    __fxstatat, __fxstatat64 => |real| (version: c_int, dirfd: c_int, path: *const c_char, out: *mut libc::stat,
                                        flags: c_int) -> c_int {
        stat_at(|dirfd, path| real(version, dirfd, path, out, flags), dirfd, path, out, flags)
    }

    statx => |real| (dirfd: c_int, path: *const c_char, flags: c_int, mask: c_uint, out: *mut libc::statx) -> c_int {
        statx_any(|dirfd, path| real(dirfd, path, flags, mask, out), dirfd, path, flags, out)
    }
}
