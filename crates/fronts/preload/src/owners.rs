//! Owners, as fakeroot has them: a process that is not root may give its files away, and every program of the run sees
//! that it did. The machine's directory has a symlink for each such file, named by its inode; what it leads to says the
//! owners.

use libc::{c_char, c_int, gid_t, uid_t};

use crate::paths::PathBuf;
use crate::{state, sys};

/// Which file.
#[derive(Clone, Copy)]
pub(crate) struct Id {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

/// The id -1, which leaves an owner as it is.
const SAME: u32 = u32::MAX;

/// Appends a number to a text.
fn put(number: u64, to: &mut [u8; 64], len: &mut usize) {
    let mut digits = [0u8; 20];
    let (mut n, mut nr) = (number, 0);
    loop {
        digits[nr] = b'0' + (n % 10) as u8;
        n /= 10;
        nr += 1;
        if n == 0 {
            break;
        }
    }
    for digit in digits[..nr].iter().rev() {
        to[*len] = *digit;
        *len += 1;
    }
}

fn place(id: Id, path: &mut PathBuf) -> bool {
    let mut name = [0u8; 64];
    let mut len = 0;
    put(id.dev, &mut name, &mut len);
    name[len] = b'-';
    len += 1;
    put(id.ino, &mut name, &mut len);
    path.set(state::RUN_DIR.get())
        && path.push(dmlab_shim_proto::OWNERS_DIR.as_bytes())
        && path.push(&name[..len])
}

fn number(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0u32, |n, &b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

/// What was remembered of a file.
fn remembered(id: Id) -> Option<(uid_t, gid_t)> {
    let mut path = PathBuf::new();
    let mut text = [0u8; 32];
    if !place(id, &mut path) {
        return None;
    }
    let len = sys::readlinkat(libc::AT_FDCWD, path.c_str().cast(), text.as_mut_ptr(), text.len()).ok()?;
    let mut ids = text[..len].split(|&b| b == b':');
    Some((number(ids.next()?)?, number(ids.next()?)?))
}

/// A file's owners as programs see them, of which `real` are the host's.
pub(crate) fn shown(id: Id, real: (uid_t, gid_t)) -> (uid_t, gid_t) {
    if let Some(given) = remembered(id) {
        return given;
    }
    // The process is root, so what is its own is root's.
    let uid = if sys::getuid() == Ok(real.0 as usize) { 0 } else { real.0 };
    let gid = if sys::getgid() == Ok(real.1 as usize) { 0 } else { real.1 };
    (uid, gid)
}

fn give_away(stat: &libc::stat, uid: uid_t, gid: gid_t) -> Result<i64, i32> {
    let id = Id { dev: stat.st_dev, ino: stat.st_ino };
    let now = shown(id, (stat.st_uid, stat.st_gid));
    let then = (if uid == SAME { now.0 } else { uid }, if gid == SAME { now.1 } else { gid });
    let mut text = [0u8; 64];
    let mut len = 0;
    put(then.0.into(), &mut text, &mut len);
    text[len] = b':';
    len += 1;
    put(then.1.into(), &mut text, &mut len);
    text[len] = 0;
    let mut path = PathBuf::new();
    if !place(id, &mut path) {
        return Err(libc::ENAMETOOLONG);
    }
    let _ = sys::unlinkat(libc::AT_FDCWD, path.c_str().cast(), 0);
    match sys::symlinkat(text.as_ptr(), libc::AT_FDCWD, path.c_str().cast()) {
        Ok(_) | Err(libc::EEXIST) => Ok(0),
        Err(errno) => Err(errno),
    }
}

/// `chown` of a real file. `None`: the process is root, and the kernel does it.
pub(crate) fn give(
    dirfd: c_int,
    path: *const c_char,
    follow: bool,
    uid: uid_t,
    gid: gid_t,
) -> Option<Result<i64, i32>> {
    if !state::fake_root() {
        return None;
    }
    let mut stat = core::mem::MaybeUninit::<libc::stat>::zeroed();
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    Some(sys::fstatat(dirfd, path.cast(), stat.as_mut_ptr(), flags).and_then(|_| {
        // SAFETY: the kernel filled it.
        give_away(unsafe { stat.assume_init_ref() }, uid, gid)
    }))
}

/// `fchown` of a real file. `None`: the process is root, and the kernel does it.
pub(crate) fn give_descriptor(fd: c_int, uid: uid_t, gid: gid_t) -> Option<Result<i64, i32>> {
    state::fake_root().then(|| sys::fstat(fd).and_then(|stat| give_away(&stat, uid, gid)))
}

/// Removes a name by `work`. The next file with the inode has no owners yet.
pub(crate) fn forget_if_gone(dirfd: c_int, path: *const c_char, work: impl Fn() -> c_int) -> c_int {
    if !state::fake_root() || !state::enabled() {
        return work();
    }
    let mut stat = core::mem::MaybeUninit::<libc::stat>::zeroed();
    let known = sys::fstatat(dirfd, path.cast(), stat.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW).is_ok();
    let ret = work();
    // SAFETY: the kernel filled it if it is known; all zeroes are valid too.
    let stat = unsafe { stat.assume_init_ref() };
    let is_last = stat.st_nlink == 1 || stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if ret == 0 && known && is_last {
        let mut path = PathBuf::new();
        if place(Id { dev: stat.st_dev, ino: stat.st_ino }, &mut path) {
            let _ = sys::unlinkat(libc::AT_FDCWD, path.c_str().cast(), 0);
        }
    }
    ret
}
