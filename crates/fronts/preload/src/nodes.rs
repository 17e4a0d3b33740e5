//! Calls that name files without opening them: nodes, links, directories and the current directory.

use core::mem::MaybeUninit;

use dmlab_shim_proto::front::{Request, marker_mode};
use dmlab_shim_proto::{Place, Stat};
use libc::{c_char, c_int, c_uint, dev_t, mode_t, size_t, ssize_t};

use crate::channel::Call;
use crate::hook::hook;
use crate::layer::{self, How, in_layer};
use crate::open::umask;
use crate::paths::{PathBuf, c_bytes, current_dir, leads_into_simulation, own_prefix, simulated};
use crate::stat::{Found, stat_simulated};
use crate::{c_result, errno, files, owners, set_errno, state, sys};

/// Does one path call: on the server if the path is simulated, else natively; and natively again where the server says so.
pub(crate) fn path_call(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    follow: bool,
    request: impl for<'a> Fn(&'a [u8]) -> Request<'a>,
) -> c_int {
    let mut buf = PathBuf::new();
    if !simulated(dirfd, path, &mut buf) {
        let ret = real(dirfd, path);
        let again =
            ret < 0 && errno() == libc::ENOENT && leads_into_simulation(dirfd, path, follow, &mut buf);
        if !again {
            return ret;
        }
    }
    match ask_about(&mut buf, request) {
        Ok((value, Place::Here)) => c_result(Ok(value)),
        Ok((_, Place::Elsewhere)) => real(libc::AT_FDCWD, buf.c_str()),
        Err(errno) => c_result(Err(errno)),
    }
}

fn ask_about(
    path: &mut PathBuf,
    request: impl for<'a> Fn(&'a [u8]) -> Request<'a>,
) -> Result<(i64, Place), i32> {
    let mut call = Call::begin()?;
    let (reply, _) = call.send(&request(path.get()), 0, None)?;
    if reply.place == Place::Elsewhere && !path.set(call.payload(&reply)) {
        return Err(libc::ENAMETOOLONG);
    }
    Ok((reply.value, reply.place))
}

fn mknod_any(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    mode: mode_t,
    rdev: dev_t,
) -> c_int {
    if !state::enabled() {
        return real(dirfd, path);
    }
    in_layer!(dirfd, path, How::Make);
    let mut buf = PathBuf::new();
    let device = matches!(mode & libc::S_IFMT, libc::S_IFBLK | libc::S_IFCHR);
    let mode = if device { mode & !umask() } else { mode };
    let mut at = (dirfd, path);
    if simulated(dirfd, path, &mut buf) || leads_into_simulation(dirfd, path, false, &mut buf) {
        match ask_about(&mut buf, |path| Request::Mknod { mode, rdev, path }) {
            Ok((value, Place::Here)) => return c_result(Ok(value)),
            Ok((_, Place::Elsewhere)) => at = (libc::AT_FDCWD, buf.c_str()),
            Err(errno) => return c_result(Err(errno)),
        }
    }
    let (major, minor) = (libc::major(rdev), libc::minor(rdev));
    let ours = mode & libc::S_IFMT == libc::S_IFBLK
        || (mode & libc::S_IFMT == libc::S_IFCHR && major == 10 && matches!(minor, 236 | 237));
    if ours { c_result(make_marker(at.0, at.1, mode, rdev)) } else { real(at.0, at.1) }
}

/// Makes the real file that stands for a device node at a real path.
fn make_marker(dirfd: c_int, path: *const c_char, mode: mode_t, rdev: dev_t) -> Result<i64, i32> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let fd = sys::openat(dirfd, path.cast(), flags, 0)? as c_int;
    let registered = sys::fchmod(fd, marker_mode()).and_then(|_| sys::fstat(fd)).and_then(|stat| {
        let request = Request::RegisterMarker { dev: stat.st_dev, ino: stat.st_ino, mode, rdev };
        crate::channel::ask(&request)
    });
    let _ = sys::close(fd);
    if registered.is_err() {
        let _ = sys::unlinkat(dirfd, path.cast(), 0);
    }
    registered.map(|_| 0)
}

fn readlink_any(
    real: impl Fn(c_int, *const c_char) -> ssize_t,
    dirfd: c_int,
    path: *const c_char,
    out: *mut c_char,
    len: size_t,
) -> ssize_t {
    if !state::enabled() {
        return real(dirfd, path);
    }
    in_layer!(dirfd, path, How::Look { follow: false });
    let mut buf = PathBuf::new();
    if !simulated(dirfd, path, &mut buf) {
        let ret = real(dirfd, path);
        if ret > 0 && c_bytes(path).starts_with(b"/proc/") {
            return describe_descriptor(out, len, ret);
        }
        if ret >= 0 || errno() != libc::ENOENT || !leads_into_simulation(dirfd, path, false, &mut buf) {
            return ret;
        }
    }
    let answer = (|| {
        let mut call = Call::begin()?;
        let (reply, _) = call.send(&Request::Readlink { path: buf.get() }, 0, None)?;
        let text = call.payload(&reply);
        if reply.place == Place::Elsewhere {
            return if buf.set(text) { Ok(None) } else { Err(libc::ENAMETOOLONG) };
        }
        let n = text.len().min(len);
        // SAFETY: the program's buffer of `len` bytes.
        unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), out.cast(), n) };
        Ok(Some(n as i64))
    })();
    match answer {
        Ok(None) => real(libc::AT_FDCWD, buf.c_str()),
        Ok(Some(n)) => c_result(Ok(n)),
        Err(errno) => c_result(Err(errno)),
    }
}

/// A link of /proc/self/fd that names a placeholder or a directory of the mirror names what they stand for.
fn describe_descriptor(out: *mut c_char, room: size_t, len: ssize_t) -> ssize_t {
    // SAFETY: the native call wrote `len` bytes of the program's `room` there.
    let text = unsafe { core::slice::from_raw_parts_mut(out.cast::<u8>(), len as usize) };
    if let Some(cut) = own_prefix(text) {
        text.copy_within(cut.., 0);
        return len - cut as ssize_t;
    }
    let Some(digits) = text.strip_prefix(b"pipe:[").and_then(|t| t.strip_suffix(b"]")) else { return len };
    if !state::has_files() {
        return len;
    }
    let Some(id) =
        digits.iter().try_fold(0u64, |n, &b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
    else {
        return len;
    };
    let Some(file) = files::by_inode(id) else { return len };
    let Ok(mut call) = Call::begin() else { return len };
    let Ok((reply, _)) = call.send(&Request::PathOf { file: file.id }, 0, None) else { return len };
    let path = call.payload(&reply);
    let n = path.len().min(room);
    // SAFETY: the program's buffer of `room` bytes.
    unsafe { core::ptr::copy_nonoverlapping(path.as_ptr(), out.cast(), n) };
    n as ssize_t
}

/// Whether root may access a node as asked: everything but executing what no user may execute.
fn access_node(node: &Stat, how: c_int) -> Result<i64, i32> {
    let is_dir = node.mode & libc::S_IFMT == libc::S_IFDIR;
    let refused = how & libc::X_OK != 0 && !is_dir && node.mode & 0o111 == 0;
    if refused { Err(libc::EACCES) } else { Ok(0) }
}

pub(crate) fn access_any(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    how: c_int,
    follow: bool,
) -> c_int {
    if !state::enabled() {
        return real(dirfd, path);
    }
    if layer::may_write(dirfd, path, how, follow) {
        return 0;
    }
    in_layer!(dirfd, path, How::Look { follow });
    let mut buf = PathBuf::new();
    if !simulated(dirfd, path, &mut buf) {
        let ret = real(dirfd, path);
        if ret == 0 {
            return 0;
        }
        match errno() {
            libc::EACCES if crate::stat::marker_at(dirfd, path, follow).is_some() => return 0,
            libc::ENOENT if leads_into_simulation(dirfd, path, follow, &mut buf) => {}
            _ => return ret,
        }
    }
    match stat_simulated(&mut buf, follow) {
        Ok(Found::Node(node)) => c_result(access_node(&node, how)),
        Ok(Found::Elsewhere) => real(libc::AT_FDCWD, buf.c_str()),
        Err(errno) => c_result(Err(errno)),
    }
}

fn rename_any(
    real: impl Fn(c_int, *const c_char, c_int, *const c_char) -> c_int,
    from: (c_int, *const c_char),
    to: (c_int, *const c_char),
    flags: c_uint,
) -> c_int {
    if let Some(result) = layer::rename(from, to, flags) {
        return c_result(result);
    }
    let (mut a, mut b) = (PathBuf::new(), PathBuf::new());
    match (simulated(from.0, from.1, &mut a), simulated(to.0, to.1, &mut b)) {
        (false, false) => real(from.0, from.1, to.0, to.1),
        (true, true) => {
            let asked = Call::begin().and_then(|mut call| {
                let request = Request::Rename { flags, path: a.get(), other: b.get() };
                call.send(&request, 0, None).map(|(reply, _)| reply)
            });
            match asked {
                Ok(reply) if reply.place == Place::Elsewhere => {
                    real(libc::AT_FDCWD, a.c_str(), libc::AT_FDCWD, b.c_str())
                }
                Ok(reply) => c_result(Ok(reply.value)),
                Err(errno) => c_result(Err(errno)),
            }
        }
        // Between two file systems.
        _ => c_result(Err(libc::EXDEV)),
    }
}

fn link_any(
    real: impl Fn(c_int, *const c_char, c_int, *const c_char) -> c_int,
    from: (c_int, *const c_char),
    to: (c_int, *const c_char),
    flags: c_int,
) -> c_int {
    if let Some(result) = layer::link(from, to, flags) {
        return c_result(result);
    }
    let (mut a, mut b) = (PathBuf::new(), PathBuf::new());
    match (simulated(from.0, from.1, &mut a), simulated(to.0, to.1, &mut b)) {
        (false, false) => real(from.0, from.1, to.0, to.1),
        (true, true) => c_result(
            crate::channel::ask(&Request::Link { path: a.get(), other: b.get() }).map(|reply| reply.value),
        ),
        _ => c_result(Err(libc::EXDEV)),
    }
}

fn symlink_any(
    real: impl Fn(c_int, *const c_char) -> c_int,
    target: *const c_char,
    dirfd: c_int,
    path: *const c_char,
) -> c_int {
    in_layer!(dirfd, path, How::Make);
    let mut buf = PathBuf::new();
    if !simulated(dirfd, path, &mut buf) && !leads_into_simulation(dirfd, path, false, &mut buf) {
        return real(dirfd, path);
    }
    match ask_about(&mut buf, |path| Request::Symlink { path, other: c_bytes(target) }) {
        Ok((value, Place::Here)) => c_result(Ok(value)),
        Ok((_, Place::Elsewhere)) => real(libc::AT_FDCWD, buf.c_str()),
        Err(errno) => c_result(Err(errno)),
    }
}

fn realpath_any(
    real: impl Fn(*const c_char) -> *mut c_char,
    path: *const c_char,
    out: *mut c_char,
) -> *mut c_char {
    if !state::enabled() {
        return real(path);
    }
    let mut place = PathBuf::new();
    let path = match layer::at(HERE, path, How::Look { follow: true }, &mut place) {
        Ok((_, path)) => path,
        Err(errno) => return c_result_null(errno),
    };
    let real = |path: *const c_char| layer::by_known_name(real(path));
    let mut buf = PathBuf::new();
    if !simulated(libc::AT_FDCWD, path, &mut buf) {
        let ret = real(path);
        if !ret.is_null()
            || errno() != libc::ENOENT
            || !leads_into_simulation(libc::AT_FDCWD, path, true, &mut buf)
        {
            return ret;
        }
    }
    let answer = (|| {
        let mut call = Call::begin()?;
        let (reply, _) = call.send(&Request::Realpath { path: buf.get() }, 0, None)?;
        let fits = buf.set(call.payload(&reply));
        if fits { Ok(reply.place) } else { Err(libc::ENAMETOOLONG) }
    })();
    match answer {
        Ok(Place::Elsewhere) => real(buf.c_str()),
        Ok(Place::Here) => {
            let len = buf.get().len() + 1;
            // SAFETY: the program's buffer has PATH_MAX bytes by realpath's contract; without one it frees what malloc gave.
            unsafe {
                let to = if out.is_null() { libc::malloc(len).cast::<c_char>() } else { out };
                if !to.is_null() {
                    core::ptr::copy_nonoverlapping(buf.c_str(), to, len);
                }
                to
            }
        }
        Err(errno) => c_result_null(errno),
    }
}

fn c_result_null<T>(errno: i32) -> *mut T {
    set_errno(errno);
    core::ptr::null_mut()
}

/// Goes to a directory of the mirror for a simulated one.
fn chdir_any(real: impl Fn(*const c_char) -> c_int, path: *const c_char) -> c_int {
    if !state::enabled() {
        return real(path);
    }
    in_layer!(path, How::List);
    let mut buf = PathBuf::new();
    let is_simulated = simulated(libc::AT_FDCWD, path, &mut buf);
    let mut ret = 0;
    if !is_simulated {
        ret = real(path);
    }
    if is_simulated
        || (ret < 0 && errno() == libc::ENOENT && leads_into_simulation(libc::AT_FDCWD, path, true, &mut buf))
    {
        ret = match crate::open::open_simulated(&mut buf, libc::O_DIRECTORY | libc::O_CLOEXEC, 0) {
            Ok(crate::open::Opened::Fd(fd, _)) => {
                let moved = sys::fchdir(fd);
                let _ = sys::close(fd);
                c_result(moved.map(|_| 0))
            }
            Ok(crate::open::Opened::Elsewhere) => real(buf.c_str()),
            Err(errno) => c_result(Err(errno)),
        };
    }
    if ret == 0 {
        state::look_at_cwd();
    }
    ret
}

fn getcwd_any(real: impl Fn() -> *mut c_char, out: *mut c_char, len: size_t) -> *mut c_char {
    if !state::enabled() || !state::cwd_matters() {
        return real();
    }
    let mut buf = PathBuf::new();
    if current_dir(&mut buf).is_err() {
        return real();
    }
    let need = buf.get().len() + 1;
    if !out.is_null() && len < need {
        return c_result_null(if len == 0 { libc::EINVAL } else { libc::ERANGE });
    }
    // SAFETY: the program's buffer has `len` bytes; without one it frees what malloc gave.
    unsafe {
        let to = if out.is_null() { libc::malloc(need.max(len)).cast::<c_char>() } else { out };
        if !to.is_null() {
            core::ptr::copy_nonoverlapping(buf.c_str(), to, need);
        }
        to
    }
}

const HERE: c_int = libc::AT_FDCWD;

hook! {
    access => |real| (path: *const c_char, how: c_int) -> c_int {
        access_any(|_, path| real(path, how), HERE, path, how, true)
    }
    eaccess, euidaccess => |real| (path: *const c_char, how: c_int) -> c_int {
        access_any(|_, path| real(path, how), HERE, path, how, true)
    }
    faccessat => |real| (dirfd: c_int, path: *const c_char, how: c_int, flags: c_int) -> c_int {
        access_any(|dirfd, path| real(dirfd, path, how, flags), dirfd, path, how, flags & libc::AT_SYMLINK_NOFOLLOW == 0)
    }
    mknod => |real| (path: *const c_char, mode: mode_t, dev: dev_t) -> c_int {
        mknod_any(|_, path| real(path, mode, dev), HERE, path, mode, dev)
    }
    mknodat => |real| (dirfd: c_int, path: *const c_char, mode: mode_t, dev: dev_t) -> c_int {
        mknod_any(|dirfd, path| real(dirfd, path, mode, dev), dirfd, path, mode, dev)
    }
    __xmknod => |real| (version: c_int, path: *const c_char, mode: mode_t, dev: *mut dev_t) -> c_int {
        // SAFETY: the program's device number.
        let number = unsafe { dev.as_ref() }.copied().unwrap_or(0);
        mknod_any(|_, path| real(version, path, mode, dev), HERE, path, mode, number)
    }
    __xmknodat => |real| (version: c_int, dirfd: c_int, path: *const c_char, mode: mode_t, dev: *mut dev_t) -> c_int {
        // SAFETY: the program's device number.
        let number = unsafe { dev.as_ref() }.copied().unwrap_or(0);
        mknod_any(|dirfd, path| real(version, dirfd, path, mode, dev), dirfd, path, mode, number)
    }
    mkdir => |real| (path: *const c_char, mode: mode_t) -> c_int {
        in_layer!(path, How::Make);
        path_call(|_, path| real(path, mode), HERE, path, false, |path| Request::Mkdir { mode: mode & !umask(), path })
    }
    mkdirat => |real| (dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int {
        in_layer!(dirfd, path, How::Make);
        path_call(|dirfd, path| real(dirfd, path, mode), dirfd, path, false,
                  |path| Request::Mkdir { mode: mode & !umask(), path })
    }
    mkfifo => |real| (path: *const c_char, mode: mode_t) -> c_int {
        in_layer!(path, How::Make);
        real(path, mode)
    }
    mkfifoat => |real| (dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int {
        in_layer!(dirfd, path, How::Make);
        real(dirfd, path, mode)
    }
    inotify_add_watch => |real| (fd: c_int, path: *const c_char, mask: u32) -> c_int {
        in_layer!(path, How::List);
        real(fd, path, mask)
    }
    unlink => |real| (path: *const c_char) -> c_int {
        if let Some(result) = layer::remove(HERE, path, false) {
            return c_result(result);
        }
        let gone = |_, path| owners::forget_if_gone(HERE, path, || real(path));
        path_call(gone, HERE, path, false, |path| Request::Unlink { directory: false, path })
    }
    rmdir => |real| (path: *const c_char) -> c_int {
        if let Some(result) = layer::remove(HERE, path, true) {
            return c_result(result);
        }
        path_call(|_, path| real(path), HERE, path, false, |path| Request::Unlink { directory: true, path })
    }
    unlinkat => |real| (dirfd: c_int, path: *const c_char, flags: c_int) -> c_int {
        let directory = flags & libc::AT_REMOVEDIR != 0;
        if let Some(result) = layer::remove(dirfd, path, directory) {
            return c_result(result);
        }
        let gone = |dirfd, path| owners::forget_if_gone(dirfd, path, || real(dirfd, path, flags));
        path_call(gone, dirfd, path, false, |path| Request::Unlink { directory, path })
    }
    remove => |real| (path: *const c_char) -> c_int {
        let mut buf = PathBuf::new();
        if layer::layered(HERE, path, &mut buf) {
            let removed = match layer::remove(HERE, path, false) {
                Some(Err(libc::EISDIR)) => layer::remove(HERE, path, true),
                other => other,
            };
            return c_result(removed.unwrap_or(Err(libc::ENOENT)));
        }
        if !simulated(HERE, path, &mut buf) {
            return owners::forget_if_gone(HERE, path, || real(path));
        }
        let mut node = MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: a path and a place for the answer; the call goes to this library's own lstat.
        let directory = unsafe {
            libc::lstat(path, node.as_mut_ptr()) == 0 && node.assume_init().st_mode & libc::S_IFMT == libc::S_IFDIR
        };
        path_call(|_, path| real(path), HERE, path, false, |path| Request::Unlink { directory, path })
    }
    rename => |real| (from: *const c_char, to: *const c_char) -> c_int {
        rename_any(|_, from, _, to| real(from, to), (HERE, from), (HERE, to), 0)
    }
    renameat => |real| (fromfd: c_int, from: *const c_char, tofd: c_int, to: *const c_char) -> c_int {
        rename_any(real, (fromfd, from), (tofd, to), 0)
    }
    renameat2 => |real| (fromfd: c_int, from: *const c_char, tofd: c_int, to: *const c_char, flags: c_uint) -> c_int {
        rename_any(|fromfd, from, tofd, to| real(fromfd, from, tofd, to, flags), (fromfd, from), (tofd, to), flags)
    }
    link => |real| (from: *const c_char, to: *const c_char) -> c_int {
        link_any(|_, from, _, to| real(from, to), (HERE, from), (HERE, to), 0)
    }
    linkat => |real| (fromfd: c_int, from: *const c_char, tofd: c_int, to: *const c_char, flags: c_int) -> c_int {
        link_any(|fromfd, from, tofd, to| real(fromfd, from, tofd, to, flags), (fromfd, from), (tofd, to), flags)
    }
    symlink => |real| (target: *const c_char, path: *const c_char) -> c_int {
        symlink_any(|_, path| real(target, path), target, HERE, path)
    }
    symlinkat => |real| (target: *const c_char, dirfd: c_int, path: *const c_char) -> c_int {
        symlink_any(|dirfd, path| real(target, dirfd, path), target, dirfd, path)
    }
    readlink => |real| (path: *const c_char, out: *mut c_char, len: size_t) -> ssize_t {
        readlink_any(|_, path| real(path, out, len), HERE, path, out, len)
    }
    __readlink_chk => |real| (path: *const c_char, out: *mut c_char, len: size_t, room: size_t) -> ssize_t {
        readlink_any(|_, path| real(path, out, len, room), HERE, path, out, len)
    }
    readlinkat => |real| (dirfd: c_int, path: *const c_char, out: *mut c_char, len: size_t) -> ssize_t {
        readlink_any(|dirfd, path| real(dirfd, path, out, len), dirfd, path, out, len)
    }
    __readlinkat_chk => |real| (dirfd: c_int, path: *const c_char, out: *mut c_char, len: size_t, room: size_t)
        -> ssize_t {
        readlink_any(|dirfd, path| real(dirfd, path, out, len, room), dirfd, path, out, len)
    }
    realpath => |real| (path: *const c_char, out: *mut c_char) -> *mut c_char {
        realpath_any(|path| real(path, out), path, out)
    }
    __realpath_chk => |real| (path: *const c_char, out: *mut c_char, room: size_t) -> *mut c_char {
        realpath_any(|path| real(path, out, room), path, out)
    }
    canonicalize_file_name => |real| (path: *const c_char) -> *mut c_char {
        realpath_any(real, path, core::ptr::null_mut())
    }
    chdir => |real| (path: *const c_char) -> c_int {
        chdir_any(real, path)
    }
    fchdir => |real| (fd: c_int) -> c_int {
        let ret = real(fd);
        if ret == 0 && state::enabled() {
            state::look_at_cwd();
        }
        ret
    }
    getcwd => |real| (out: *mut c_char, len: size_t) -> *mut c_char {
        getcwd_any(|| real(out, len), out, len)
    }
    __getcwd_chk => |real| (out: *mut c_char, len: size_t, room: size_t) -> *mut c_char {
        getcwd_any(|| real(out, len, room), out, len)
    }
    get_current_dir_name => |real| () -> *mut c_char {
        getcwd_any(real, core::ptr::null_mut(), 0)
    }
}
