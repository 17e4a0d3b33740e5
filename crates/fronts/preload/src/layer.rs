//! The machine's own `/run` and `/etc`: a layer over what the host has there.
//!
//! Real files in a folder of the machine hold what programs have written; all else is read from the host. So every program of
//! a run sees the same, locks, sockets and FIFOs work by themselves, and nothing reaches the host. Three things are kept:
//!
//! - the layer: files and directories at their own places below it. A directory that lies over one of the host's is filled,
//!   before a program lists it, with a stand-in for each name that the host has and that was not removed;
//! - what is gone: a regular file at the place of each name that programs have removed;
//! - names that never show what the host has, since it is the state of the host's own disks.

mod change;
mod find;
mod sockets;

use libc::{c_char, c_int};

use crate::paths::{PathBuf, c_bytes, current_dir, fd_path, has_dotdot, unlayer};
use crate::{state, sys};

pub(crate) use change::{link, own_of_descriptor, remove, rename};
use find::{Found, find};

/// What a call is about to do with the path that it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Look at it; through a symlink at its end, or not.
    Look { follow: bool },
    /// List it, or go there.
    List,
    /// Open it with these flags.
    Open(c_int),
    /// Change its attributes or what it holds.
    Change { follow: bool },
    /// Make a new name.
    Make,
}

const ROOTS: [&[u8]; 2] = [b"/run", b"/etc"];

/// Parts of `/run` that stay the host's: the user's session, and what the server shows itself.
const HOSTS_OWN: [&[u8]; 4] = [b"/run/user", b"/run/udev", b"/run/shm", b"/etc/mtab"];

/// Names (and all that begin with them) that show nothing of the host's: they tell of its disks. One that ends with a slash
/// leaves an empty directory where the host has one.
const STATE_OF_DISKS: [&[u8]; 19] = [
    b"/run/lvm",
    b"/run/lock/lvm",
    b"/run/dmeventd",
    b"/run/cryptsetup",
    b"/run/multipath",
    b"/run/lock/multipath",
    b"/run/mdadm",
    b"/run/mount",
    b"/run/blkid",
    b"/run/udisks2",
    b"/run/stratis",
    b"/run/lvmpolld",
    b"/run/lvmlockd",
    b"/run/lock/dm",
    b"/run/vdo",
    b"/etc/lvm/devices",
    b"/etc/lvm/cache",
    b"/etc/lvm/archive/",
    b"/etc/lvm/backup/",
];

fn inside(path: &[u8], root: &[u8]) -> bool {
    path.starts_with(root) && matches!(path.get(root.len()), None | Some(b'/'))
}

/// Whether a clean absolute path lies in the machine's own `/run` or `/etc`.
fn is_layered(path: &[u8]) -> bool {
    ROOTS.iter().any(|root| inside(path, root))
        && !HOSTS_OWN.iter().any(|root| inside(path, root))
        // The machines themselves may live below /run.
        && !path.starts_with(state::RUN_DIR.get())
}

/// Whether nothing of the host's shows at a path.
fn is_state_of_disks(path: &[u8]) -> bool {
    STATE_OF_DISKS.iter().any(|name| path.starts_with(name))
}

/// Whether some name in this directory of the host's is such a one.
fn has_state_of_disks(path: &[u8]) -> bool {
    STATE_OF_DISKS.iter().any(|name| {
        name.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/') && !rest[1..].contains(&b'/'))
    })
}

/// Builds the clean absolute form of a path that lies in the machine's own `/run` or `/etc`.
pub(crate) fn layered(dirfd: c_int, path: *const c_char, out: &mut PathBuf) -> bool {
    if !state::enabled() || path.is_null() {
        return false;
    }
    let path = c_bytes(path);
    match path.first() {
        None => return false,
        Some(b'/') => {
            let first = path.iter().position(|&b| b != b'/').map(|at| path[at]);
            let hopeful = matches!(first, Some(b'r' | b'e' | b'v' | b'.')) || unlayer(path).is_some();
            if !hopeful && !has_dotdot(path) {
                return false;
            }
            out.clear();
        }
        Some(_) if dirfd == libc::AT_FDCWD => {
            if !state::cwd_matters() && !has_dotdot(path) {
                return false;
            }
            if current_dir(out).is_err() {
                return false;
            }
        }
        Some(first) => {
            if !state::has_layer() && !matches!(first, b'r' | b'e' | b'v' | b'.') {
                return false;
            }
            let mut buf = [0u8; crate::paths::PATH_MAX];
            let dir = fd_path(dirfd, &mut buf);
            if dir.first() != Some(&b'/') || !out.set(unlayer(dir).unwrap_or(dir)) {
                return false;
            }
        }
    }
    if !out.push(unlayer(path).unwrap_or(path)) {
        return false;
    }
    by_its_own_name(out);
    is_layered(out.get())
}

/// As [`layered`], for a call that changes something: what leads to the host's `/run` or `/etc` by a symlink or by `/proc/self/root`
/// lies there as well. `follow`: a symlink at the end is followed.
pub(crate) fn layered_for_change(dirfd: c_int, path: *const c_char, follow: bool, out: &mut PathBuf) -> bool {
    if layered(dirfd, path, out) {
        return true;
    }
    state::enabled() && !path.is_null() && leads_there(dirfd, c_bytes(path), follow, out)
}

/// Whether a path leads into the layer once the host has followed its symlinks; `out` is where.
fn leads_there(dirfd: c_int, path: &[u8], follow: bool, out: &mut PathBuf) -> bool {
    const DIRECTORY: c_int = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let mut text = [0u8; crate::paths::PATH_MAX];
    let Some(mut len) = copy_name(path, &mut text) else { return false };
    let mut at = Directory(dirfd, false);
    for _ in 0..find::MAX_LINKS {
        // The directory, as the host finds it; a name without one lies in `at`.
        let split = text[..len].iter().rposition(|&b| b == b'/');
        let mut parent = [0u8; crate::paths::PATH_MAX];
        let found = match split {
            Some(0) => copy_name(b"/", &mut parent),
            Some(end) => copy_name(&text[..end], &mut parent),
            None => copy_name(b".", &mut parent),
        };
        let name = &text[split.map_or(0, |at| at + 1)..len];
        if found.is_none() || name.is_empty() || name == b"." || name == b".." {
            return false;
        }
        let Ok(fd) = sys::openat(at.0, parent.as_ptr(), DIRECTORY, 0) else { return false };
        at = Directory(fd as c_int, true);
        let mut buf = [0u8; crate::paths::PATH_MAX];
        let dir = fd_path(at.0, &mut buf);
        if dir.first() != Some(&b'/') || !out.set(unlayer(dir).unwrap_or(dir)) || !out.push(name) {
            return false;
        }
        by_its_own_name(out);
        if is_layered(out.get()) {
            return true;
        }
        let mut link = [0u8; crate::paths::PATH_MAX];
        let mut last = [0u8; 256];
        if !follow || copy_name(name, &mut last).is_none() {
            return false;
        }
        let Ok(target) = sys::readlinkat(at.0, last.as_ptr(), link.as_mut_ptr(), link.len()) else {
            return false;
        };
        match copy_name(&link[..target], &mut text) {
            Some(new) => len = new,
            None => return false,
        }
    }
    false
}

/// A directory that paths are relative to, and whether it was opened here.
struct Directory(c_int, bool);

impl Drop for Directory {
    fn drop(&mut self) {
        if self.1 {
            let _ = sys::close(self.0);
        }
    }
}

/// Copies a path without slashes at its end, as a C string; its length, if it fits.
fn copy_name(path: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut len = path.len();
    while len > 1 && path[len - 1] == b'/' {
        len -= 1;
    }
    if len == 0 || len >= out.len() {
        return None;
    }
    out[..len].copy_from_slice(&path[..len]);
    out[len] = 0;
    Some(len)
}

/// `/var/run` and `/var/lock` are links to `/run` and `/run/lock`.
fn by_its_own_name(path: &mut PathBuf) {
    for (link, target) in [(&b"/var/run"[..], &b"/run"[..]), (b"/var/lock", b"/run/lock")] {
        if inside(path.get(), link) {
            let mut copy = PathBuf::new();
            if copy.set(target) && copy.push(&path.get()[link.len()..]) {
                *path = copy;
            }
        }
    }
}

/// Whether a descriptor is a directory in the machine's own `/run` or `/etc`.
pub(crate) fn is_dir_of_it(fd: c_int) -> bool {
    let mut buf = [0u8; crate::paths::PATH_MAX];
    let path = fd_path(fd, &mut buf);
    unlayer(path).is_some() || is_layered(path)
}

/// Whether a name in an open directory may be a stand-in of the layer's.
pub(crate) fn is_layer_dir(fd: c_int) -> bool {
    let mut buf = [0u8; 512];
    unlayer(fd_path(fd, &mut buf)).is_some()
}

/// Where a call has to go instead: unchanged for a path elsewhere, else the real place, which `out` keeps.
pub(crate) fn at(
    dirfd: c_int,
    path: *const c_char,
    how: How,
    out: &mut PathBuf,
) -> Result<(c_int, *const c_char), i32> {
    let is_ours = match how {
        How::Look { .. } | How::List => layered(dirfd, path, out),
        How::Open(flags) if flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) == 0 => {
            layered(dirfd, path, out)
        }
        How::Open(flags) => layered_for_change(dirfd, path, flags & libc::O_NOFOLLOW == 0, out),
        How::Change { follow } => layered_for_change(dirfd, path, follow, out),
        How::Make => layered_for_change(dirfd, path, false, out),
    };
    if !is_ours {
        return Ok((dirfd, path));
    }
    let wants_dir = c_bytes(path).ends_with(b"/");
    real_place(how, wants_dir, out)?;
    Ok((libc::AT_FDCWD, out.c_str()))
}

/// Where an open with these flags, none of which writes, should have gone that has gone to `fd`: a symlink of the host's, or
/// `/proc/self/root`, may have led it past what programs have changed. `None`: right there.
#[cold]
pub(crate) fn behind(fd: c_int, flags: c_int, out: &mut PathBuf) -> Result<Option<*const c_char>, i32> {
    let mut buf = [0u8; crate::paths::PATH_MAX];
    let path = fd_path(fd, &mut buf);
    if !is_layered(path) || !out.set(path) {
        return Ok(None);
    }
    real_place(How::Open(flags), false, out)?;
    Ok((out.get() != path).then(|| out.c_str()))
}

/// Where an open with these flags, none of which writes, should go that has found nothing: a symlink of the host's may have led
/// it past what programs have made.
#[cold]
pub(crate) fn made_behind(
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
    out: &mut PathBuf,
) -> Option<*const c_char> {
    if !leads_there(dirfd, c_bytes(path), flags & libc::O_NOFOLLOW == 0, out) {
        return None;
    }
    real_place(How::Open(flags), c_bytes(path).ends_with(b"/"), out).ok()?;
    Some(out.c_str())
}

/// Shadows a descriptor and a path with where the call has to go instead; an error ends the calling function.
macro_rules! in_layer {
    ($dirfd:ident, $path:ident, $how:expr) => {
        let mut place = $crate::paths::PathBuf::new();
        let ($dirfd, $path) = match $crate::layer::at($dirfd, $path, $how, &mut place) {
            Ok(at) => at,
            Err(errno) => return $crate::c_result(Err(errno)),
        };
    };
    ($path:ident, $how:expr) => {
        let here = libc::AT_FDCWD;
        $crate::layer::in_layer!(here, $path, $how);
        let _ = here;
    };
}
pub(crate) use in_layer;

/// Replaces a clean path by its real place.
fn real_place(how: How, wants_dir: bool, path: &mut PathBuf) -> Result<(), i32> {
    let reads = match how {
        How::Look { .. } | How::List => true,
        How::Open(flags) => flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) == 0,
        How::Change { .. } | How::Make => false,
    };
    if reads && !state::fake_root() && !is_state_of_disks(path.get()) && !find::has_layer_for(path.get()) {
        // Nothing was written there yet, and nothing is closed to root.
        if matches!(how, How::List | How::Open(_)) {
            state::note_layer();
        }
        if !(has_state_of_disks(path.get()) && matches!(how, How::List | How::Open(_))) {
            return Ok(());
        }
    }
    let follow = match how {
        How::Look { follow } | How::Change { follow } => follow || wants_dir,
        How::List => true,
        How::Open(flags) => {
            flags & libc::O_NOFOLLOW == 0
                && flags & (libc::O_CREAT | libc::O_EXCL) != libc::O_CREAT | libc::O_EXCL
        }
        How::Make => false,
    };
    let found = find(path, follow)?;
    match how {
        How::Look { .. } => found.place(path),
        How::List => list(found, path),
        How::Open(flags) => open(found, flags, path),
        How::Change { .. } => change::own(found, path, true),
        How::Make => match found {
            Found::Absent => change::place_for(path),
            Found::Elsewhere => Ok(()),
            Found::Upper(_) | Found::Lower(_) => Err(libc::EEXIST),
        },
    }
}

/// Whether a program may write where `access` asks for it: to what the host has it may not, but a copy is made in time.
pub(crate) fn may_write(dirfd: c_int, path: *const c_char, how: c_int, follow: bool) -> bool {
    if how & libc::W_OK == 0 {
        return false;
    }
    let mut clean = PathBuf::new();
    if !layered(dirfd, path, &mut clean) {
        return false;
    }
    let Ok(Found::Lower(stat)) = find(&mut clean, follow) else { return false };
    let how = how & !libc::W_OK;
    is_dir(&stat) || sys::faccessat(libc::AT_FDCWD, clean.c_str().cast(), how | libc::R_OK).is_ok()
}

/// The path that libc found, as programs know it.
pub(crate) fn by_known_name(path: *mut c_char) -> *mut c_char {
    if let Some(known) = unlayer(c_bytes(path)) {
        // SAFETY: `known` is the end of this C string, which lies in memory that is the program's to write.
        unsafe { core::ptr::copy(known.as_ptr(), path.cast(), known.len() + 1) };
    }
    path
}

fn is_dir(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

/// The directory that a program lists, with all names in it.
fn list(found: Found, path: &mut PathBuf) -> Result<(), i32> {
    let fill = match &found {
        Found::Upper(stat) => is_dir(stat),
        Found::Lower(stat) => is_dir(stat) && (has_state_of_disks(path.get()) || is_closed(path)),
        Found::Elsewhere => return Ok(()),
        Found::Absent => return Err(libc::ENOENT),
    };
    state::note_layer();
    if fill {
        change::fill(path)?;
        return find::upper(path);
    }
    found.place(path)
}

/// Whether a directory of the host's is open to root alone. In the machine every program is root, and finds it empty.
fn is_closed(path: &mut PathBuf) -> bool {
    let how = libc::R_OK | libc::X_OK;
    state::fake_root() && sys::faccessat(libc::AT_FDCWD, path.c_str().cast(), how) == Err(libc::EACCES)
}

fn open(found: Found, flags: c_int, path: &mut PathBuf) -> Result<(), i32> {
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
    match &found {
        Found::Elsewhere => Ok(()),
        Found::Absent if flags & libc::O_CREAT != 0 => change::place_for(path),
        Found::Absent => Err(libc::ENOENT),
        Found::Upper(stat) | Found::Lower(stat) if is_dir(stat) => {
            if flags & libc::O_TMPFILE == libc::O_TMPFILE {
                change::make_dirs(path)?;
                return find::upper(path);
            }
            if writes || flags & libc::O_CREAT != 0 {
                return Err(libc::EISDIR);
            }
            list(found, path)
        }
        Found::Lower(_) if flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL => {
            Err(libc::EEXIST)
        }
        Found::Lower(stat) if writes && stat.st_mode & libc::S_IFMT == libc::S_IFREG => {
            change::own(found, path, flags & libc::O_TRUNC == 0)
        }
        _ => found.place(path),
    }
}
