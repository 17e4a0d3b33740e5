//! Owners, permissions, times, extended attributes and the file system's own numbers.

use dmlab_shim_proto::front::Request;
use libc::{c_char, c_int, c_void, gid_t, mode_t, off_t, size_t, ssize_t, timespec, uid_t};

use crate::hook::hook;
use crate::layer::{self, How, in_layer};
use crate::nodes::path_call;
use crate::paths::{PathBuf, c_bytes, leads_into_simulation, simulated};
use crate::{c_result, channel, files, owners, stat, state};

const HERE: c_int = libc::AT_FDCWD;

fn chown_any(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    uid: uid_t,
    gid: gid_t,
    follow: bool,
) -> c_int {
    if !state::enabled() {
        return real(dirfd, path);
    }
    in_layer!(dirfd, path, How::Change { follow });
    if let Some(marker) = stat::marker_at(dirfd, path, follow) {
        let request = Request::ChownMarker { dev: marker.st_dev, ino: marker.st_ino, uid, gid };
        if channel::ask(&request).is_ok() {
            return 0;
        }
    }
    // A real file that may not change hands: as under fakeroot, its new owner is remembered.
    let give = |dirfd: c_int, path: *const c_char| match owners::give(dirfd, path, follow, uid, gid) {
        Some(given) => c_result(given),
        None => real(dirfd, path),
    };
    path_call(give, dirfd, path, follow, |path| Request::Chown { uid, gid, follow, path })
}

fn chown_descriptor(real: impl Fn() -> c_int, fd: c_int, uid: uid_t, gid: gid_t) -> c_int {
    let mut own = PathBuf::new();
    match layer::own_of_descriptor(fd, &mut own) {
        // SAFETY: a path of this library's, and this library's own function.
        Some(Ok(path)) => return unsafe { libc::chown(path, uid, gid) },
        Some(Err(errno)) => return c_result(Err(errno)),
        None => {}
    }
    match owners::give_descriptor(fd, uid, gid) {
        Some(given) => c_result(given),
        None => real(),
    }
}

fn chmod_any(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    mode: mode_t,
    follow: bool,
) -> c_int {
    if !state::enabled() {
        return real(dirfd, path);
    }
    in_layer!(dirfd, path, How::Change { follow });
    if let Some(marker) = stat::marker_at(dirfd, path, follow) {
        let request = Request::ChmodMarker { dev: marker.st_dev, ino: marker.st_ino, mode };
        if channel::ask(&request).is_ok() {
            return 0;
        }
    }
    path_call(real, dirfd, path, follow, |path| Request::Chmod { mode, follow, path })
}

/// Nanoseconds since 1970; the minimum for "leave it".
fn time_ns(time: &timespec) -> i64 {
    match time.tv_nsec {
        libc::UTIME_OMIT => i64::MIN,
        libc::UTIME_NOW => now_ns(),
        ns => time.tv_sec.saturating_mul(1_000_000_000).saturating_add(ns),
    }
}

fn now_ns() -> i64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn utimens_any(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    times: *const timespec,
    follow: bool,
) -> c_int {
    let (atime, mtime) = if times.is_null() {
        (now_ns(), now_ns())
    } else {
        // SAFETY: the program passed two times.
        unsafe { (time_ns(&*times), time_ns(&*times.add(1))) }
    };
    if path.is_null() {
        return match files::file(dirfd) {
            Some(_) => 0,
            None => real(dirfd, path),
        };
    }
    in_layer!(dirfd, path, How::Change { follow });
    path_call(real, dirfd, path, follow, |path| Request::Utimens { atime, mtime, follow, path })
}

/// Simulated files have no extended attributes, as devtmpfs and sysfs have none that matter.
fn xattr_path(
    real: impl Fn(*const c_char) -> ssize_t,
    path: *const c_char,
    follow: bool,
    none: Result<i64, i32>,
) -> ssize_t {
    in_layer!(path, How::Look { follow });
    let mut buf = PathBuf::new();
    let there = state::enabled()
        && (simulated(HERE, path, &mut buf) || leads_into_simulation(HERE, path, follow, &mut buf));
    if !there {
        return real(path);
    }
    match stat::stat_simulated(&mut buf, follow) {
        Ok(stat::Found::Node(_)) => c_result(none),
        Ok(stat::Found::Elsewhere) => real(buf.c_str()),
        Err(errno) => c_result(Err(errno)),
    }
}

const UNSUPPORTED: Result<i64, i32> = Err(libc::EOPNOTSUPP);
const TMPFS_MAGIC: i64 = 0x0102_1994;
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// devtmpfs and sysfs as `statfs` shows them.
fn fill_statfs(out: *mut libc::statfs, path: &[u8]) {
    // SAFETY: the program's place for the answer; all zeroes are a valid `statfs`.
    let out = unsafe {
        out.write_bytes(0, 1);
        &mut *out
    };
    out.f_type = if path.starts_with(b"/sys") { SYSFS_MAGIC } else { TMPFS_MAGIC } as _;
    out.f_bsize = 4096;
    out.f_frsize = 4096;
    out.f_namelen = 255;
}

fn fill_statvfs(out: *mut libc::statvfs) {
    // SAFETY: the program's place for the answer; all zeroes are a valid `statvfs`.
    let out = unsafe {
        out.write_bytes(0, 1);
        &mut *out
    };
    out.f_bsize = 4096;
    out.f_frsize = 4096;
    out.f_namemax = 255;
}

fn statfs_path(real: impl Fn(*const c_char) -> c_int, path: *const c_char, fill: impl Fn(&[u8])) -> c_int {
    in_layer!(path, How::Look { follow: true });
    let mut buf = PathBuf::new();
    if !simulated(HERE, path, &mut buf) {
        return real(path);
    }
    match stat::stat_simulated(&mut buf, true) {
        Ok(stat::Found::Node(_)) => {
            fill(buf.get());
            0
        }
        Ok(stat::Found::Elsewhere) => real(buf.c_str()),
        Err(errno) => c_result(Err(errno)),
    }
}

hook! {
    chown => |real| (path: *const c_char, uid: uid_t, gid: gid_t) -> c_int {
        chown_any(|_, path| real(path, uid, gid), HERE, path, uid, gid, true)
    }
    lchown => |real| (path: *const c_char, uid: uid_t, gid: gid_t) -> c_int {
        chown_any(|_, path| real(path, uid, gid), HERE, path, uid, gid, false)
    }
    fchownat => |real| (dirfd: c_int, path: *const c_char, uid: uid_t, gid: gid_t, flags: c_int) -> c_int {
        if c_bytes(path).is_empty() {
            return chown_descriptor(|| real(dirfd, path, uid, gid, flags), dirfd, uid, gid);
        }
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        chown_any(|dirfd, path| real(dirfd, path, uid, gid, flags), dirfd, path, uid, gid, follow)
    }
    fchown => |real| (fd: c_int, uid: uid_t, gid: gid_t) -> c_int {
        match files::file(fd) {
            Some(file) => c_result(channel::ask(&Request::Fchown { file: file.id, uid, gid }).map(|r| r.value)),
            None => chown_descriptor(|| real(fd, uid, gid), fd, uid, gid),
        }
    }
    chmod => |real| (path: *const c_char, mode: mode_t) -> c_int {
        chmod_any(|_, path| real(path, mode), HERE, path, mode, true)
    }
    fchmodat => |real| (dirfd: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int {
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        chmod_any(|dirfd, path| real(dirfd, path, mode, flags), dirfd, path, mode, follow)
    }
    fchmod => |real| (fd: c_int, mode: mode_t) -> c_int {
        match files::file(fd) {
            Some(file) => c_result(channel::ask(&Request::Fchmod { file: file.id, mode }).map(|r| r.value)),
            None => {
                let mut own = PathBuf::new();
                match layer::own_of_descriptor(fd, &mut own) {
                    // SAFETY: a path of this library's, and this library's own function.
                    Some(Ok(path)) => unsafe { libc::chmod(path, mode) },
                    Some(Err(errno)) => c_result(Err(errno)),
                    None => real(fd, mode),
                }
            }
        }
    }
    utimensat => |real| (dirfd: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int {
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        utimens_any(|dirfd, path| real(dirfd, path, times, flags), dirfd, path, times, follow)
    }
    utime => |real| (path: *const c_char, times: *const libc::utimbuf) -> c_int {
        in_layer!(path, How::Change { follow: true });
        real(path, times)
    }
    utimes => |real| (path: *const c_char, times: *const libc::timeval) -> c_int {
        in_layer!(path, How::Change { follow: true });
        real(path, times)
    }
    lutimes => |real| (path: *const c_char, times: *const libc::timeval) -> c_int {
        in_layer!(path, How::Change { follow: false });
        real(path, times)
    }
    setxattr => |real| (path: *const c_char, name: *const c_char, value: *const c_void, len: size_t, flags: c_int)
        -> c_int {
        in_layer!(path, How::Change { follow: true });
        real(path, name, value, len, flags)
    }
    lsetxattr => |real| (path: *const c_char, name: *const c_char, value: *const c_void, len: size_t, flags: c_int)
        -> c_int {
        in_layer!(path, How::Change { follow: false });
        real(path, name, value, len, flags)
    }
    removexattr => |real| (path: *const c_char, name: *const c_char) -> c_int {
        in_layer!(path, How::Change { follow: true });
        real(path, name)
    }
    futimens => |real| (fd: c_int, times: *const timespec) -> c_int {
        match files::file(fd) {
            Some(_) => 0,
            None => real(fd, times),
        }
    }
    truncate, truncate64 => |real| (path: *const c_char, len: off_t) -> c_int {
        in_layer!(path, How::Change { follow: true });
        let mut buf = PathBuf::new();
        if !simulated(HERE, path, &mut buf) {
            return real(path, len);
        }
        match stat::stat_simulated(&mut buf, true) {
            Ok(stat::Found::Node(_)) => c_result(Err(libc::EINVAL)),
            Ok(stat::Found::Elsewhere) => real(buf.c_str(), len),
            Err(errno) => c_result(Err(errno)),
        }
    }
    getxattr => |real| (path: *const c_char, name: *const c_char, out: *mut c_void, len: size_t) -> ssize_t {
        xattr_path(|path| real(path, name, out, len), path, true, UNSUPPORTED)
    }
    lgetxattr => |real| (path: *const c_char, name: *const c_char, out: *mut c_void, len: size_t) -> ssize_t {
        xattr_path(|path| real(path, name, out, len), path, false, UNSUPPORTED)
    }
    fgetxattr => |real| (fd: c_int, name: *const c_char, out: *mut c_void, len: size_t) -> ssize_t {
        if files::file(fd).is_some() { c_result(UNSUPPORTED) } else { real(fd, name, out, len) }
    }
    listxattr => |real| (path: *const c_char, out: *mut c_char, len: size_t) -> ssize_t {
        xattr_path(|path| real(path, out, len), path, true, Ok(0))
    }
    llistxattr => |real| (path: *const c_char, out: *mut c_char, len: size_t) -> ssize_t {
        xattr_path(|path| real(path, out, len), path, false, Ok(0))
    }
    flistxattr => |real| (fd: c_int, out: *mut c_char, len: size_t) -> ssize_t {
        if files::file(fd).is_some() { 0 } else { real(fd, out, len) }
    }
    statfs, statfs64 => |real| (path: *const c_char, out: *mut libc::statfs) -> c_int {
        statfs_path(|path| real(path, out), path, |path| fill_statfs(out, path))
    }
    fstatfs, fstatfs64 => |real| (fd: c_int, out: *mut libc::statfs) -> c_int {
        let mut buf = PathBuf::new();
        if files::file(fd).is_some() {
            fill_statfs(out, b"/dev");
            return 0;
        }
        if state::has_mirror() && crate::paths::is_mirror_dir(fd) && simulated(fd, c".".as_ptr(), &mut buf) {
            fill_statfs(out, buf.get());
            return 0;
        }
        real(fd, out)
    }
    statvfs, statvfs64 => |real| (path: *const c_char, out: *mut libc::statvfs) -> c_int {
        statfs_path(|path| real(path, out), path, |_| fill_statvfs(out))
    }
    fstatvfs, fstatvfs64 => |real| (fd: c_int, out: *mut libc::statvfs) -> c_int {
        if files::file(fd).is_some() {
            fill_statvfs(out);
            return 0;
        }
        real(fd, out)
    }
}
