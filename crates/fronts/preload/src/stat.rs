//! The stat family.

use dmlab_shim_proto::front::{Request, marker_mode};
use dmlab_shim_proto::{Place, Reply, STAT_LEN, Stat};
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
fn node_of_marker(owners::Id { dev, ino }: owners::Id) -> Option<Stat> {
    let mut call = Call::begin().ok()?;
    let (reply, _) = call.send(&Request::StatMarker { dev, ino }, 0, None).ok()?;
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

/// One of the C library's records, of which all zeroes are a valid one.
trait Record {
    /// Whether any name, and not only one below `/proc` and `/dev`, may lead through a descriptor to a simulated file.
    const ANY_NAME_LEADS_THROUGH_PROC: bool;

    /// Fills a record that is all zeroes.
    fn fill(&mut self, from: &Stat);

    fn id(&self) -> owners::Id;

    fn mode(&self) -> u32;

    fn is_empty(&self) -> bool;

    fn owner(&self) -> (u32, u32);

    fn set_owner(&mut self, owner: (u32, u32));

    fn set_dev(&mut self, dev: u64);
}

impl Record for libc::stat {
    const ANY_NAME_LEADS_THROUGH_PROC: bool = false;

    fn fill(&mut self, from: &Stat) {
        self.st_dev = from.dev;
        self.st_ino = from.ino;
        self.st_mode = from.mode;
        self.st_nlink = from.nlink.into();
        self.st_uid = from.uid;
        self.st_gid = from.gid;
        self.st_rdev = from.rdev;
        self.st_size = from.size as i64;
        self.st_blksize = from.blksize as _;
        (self.st_atime, self.st_atime_nsec) = split(from.atime_ns);
        (self.st_mtime, self.st_mtime_nsec) = split(from.mtime_ns);
        (self.st_ctime, self.st_ctime_nsec) = split(from.ctime_ns);
    }

    fn id(&self) -> owners::Id {
        owners::Id { dev: self.st_dev, ino: self.st_ino }
    }

    fn mode(&self) -> u32 {
        self.st_mode
    }

    fn is_empty(&self) -> bool {
        self.st_size == 0
    }

    fn owner(&self) -> (u32, u32) {
        (self.st_uid, self.st_gid)
    }

    fn set_owner(&mut self, owner: (u32, u32)) {
        (self.st_uid, self.st_gid) = owner;
    }

    fn set_dev(&mut self, dev: u64) {
        self.st_dev = dev;
    }
}

impl Record for libc::statx {
    const ANY_NAME_LEADS_THROUGH_PROC: bool = true;

    fn fill(&mut self, from: &Stat) {
        let time = |ns: i64| {
            // SAFETY: all zeroes are a valid `statx_timestamp`.
            let mut t: libc::statx_timestamp = unsafe { core::mem::zeroed() };
            (t.tv_sec, t.tv_nsec) = (split(ns).0, split(ns).1 as u32);
            t
        };
        self.stx_mask = libc::STATX_BASIC_STATS;
        self.stx_blksize = from.blksize as u32;
        self.stx_nlink = from.nlink;
        self.stx_uid = from.uid;
        self.stx_gid = from.gid;
        self.stx_mode = from.mode as u16;
        self.stx_ino = from.ino;
        self.stx_size = from.size;
        self.stx_atime = time(from.atime_ns);
        self.stx_mtime = time(from.mtime_ns);
        self.stx_ctime = time(from.ctime_ns);
        (self.stx_rdev_major, self.stx_rdev_minor) = (libc::major(from.rdev), libc::minor(from.rdev));
        self.set_dev(from.dev);
    }

    fn id(&self) -> owners::Id {
        owners::Id { dev: libc::makedev(self.stx_dev_major, self.stx_dev_minor), ino: self.stx_ino }
    }

    fn mode(&self) -> u32 {
        self.stx_mode.into()
    }

    fn is_empty(&self) -> bool {
        self.stx_size == 0
    }

    fn owner(&self) -> (u32, u32) {
        (self.stx_uid, self.stx_gid)
    }

    fn set_owner(&mut self, owner: (u32, u32)) {
        (self.stx_uid, self.stx_gid) = owner;
    }

    fn set_dev(&mut self, dev: u64) {
        (self.stx_dev_major, self.stx_dev_minor) = (libc::major(dev), libc::minor(dev));
    }
}

fn fill<R: Record>(out: *mut R, from: &Stat) {
    if !out.is_null() {
        // SAFETY: the program passed a place for a record; all zeroes are a valid one.
        let out = unsafe {
            out.write_bytes(0, 1);
            &mut *out
        };
        out.fill(from);
    }
}

fn split(ns: i64) -> (i64, i64) {
    (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000))
}

/// Corrects what a native stat said of a real file.
fn review<R: Record>(out: *mut R, through_proc: bool) {
    // SAFETY: a native stat just filled it.
    let native = unsafe { &mut *out };
    let id = native.id();
    if native.is_empty() && native.mode() == libc::S_IFREG | marker_mode() {
        if let Some(node) = node_of_marker(id) {
            return fill(out, &node);
        }
    } else if through_proc
        && native.mode() & libc::S_IFMT == libc::S_IFIFO
        && state::has_files()
        && let Some(node) = files::by_inode(id.ino).and_then(|file| stat_file(file.id).ok())
    {
        return fill(out, &node);
    }
    if state::fake_root() {
        native.set_owner(owners::shown(native.id(), native.owner()));
    }
    native.set_dev(host_dev(id.dev));
}

/// `stat` of a path; `real` does it natively.
fn stat_path<R: Record>(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    out: *mut R,
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
            let may_lead =
                || R::ANY_NAME_LEADS_THROUGH_PROC || matches!(c_bytes(path), [b'/', b'p' | b'd', ..]);
            review(out, follow && state::has_files() && may_lead());
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

fn stat_fd<R: Record>(real: impl Fn() -> c_int, fd: c_int, out: *mut R) -> c_int {
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

fn stat_at<R: Record>(
    real: impl Fn(c_int, *const c_char) -> c_int,
    dirfd: c_int,
    path: *const c_char,
    out: *mut R,
    flags: c_int,
) -> c_int {
    if flags & libc::AT_EMPTY_PATH != 0 && c_bytes(path).is_empty() {
        return stat_fd(|| real(dirfd, path), dirfd, out);
    }
    stat_path(real, dirfd, path, out, flags & libc::AT_SYMLINK_NOFOLLOW == 0)
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
        stat_at(|dirfd, path| real(dirfd, path, flags, mask, out), dirfd, path, out, flags)
    }
}
