//! Where a path of the machine's own `/run` and `/etc` leads.

use dmlab_shim_proto::stand_in_mode;

use super::{by_its_own_name, is_layered, is_state_of_disks};
use crate::paths::PathBuf;
use crate::{state, sys};

/// As Linux.
pub(super) const MAX_LINKS: u32 = 40;

/// What lies at the end of a path, whose symlinks have been followed.
pub(super) enum Found {
    /// A file of the machine's.
    Upper(libc::stat),
    /// A file of the host's that shows through.
    Lower(libc::stat),
    /// Nothing, in a directory that is there.
    Absent,
    /// A symlink led out of `/run` and `/etc`.
    Elsewhere,
}

impl Found {
    /// Replaces the path by where it really is.
    pub(super) fn place(&self, path: &mut PathBuf) -> Result<(), i32> {
        match self {
            Found::Upper(_) => upper(path),
            Found::Lower(_) | Found::Elsewhere => Ok(()),
            Found::Absent => Err(libc::ENOENT),
        }
    }
}

/// `prefix` and `path`, as one.
pub(super) fn below(prefix: &[u8], path: &[u8], out: &mut PathBuf) -> Result<(), i32> {
    if out.set(prefix) && out.push(path) { Ok(()) } else { Err(libc::ENAMETOOLONG) }
}

/// Replaces a path by its place in the layer.
pub(super) fn upper(path: &mut PathBuf) -> Result<(), i32> {
    let mut real = PathBuf::new();
    below(state::LAYER.get(), path.get(), &mut real)?;
    *path = real;
    Ok(())
}

/// What lies at a real path; a symlink is itself.
pub(super) fn look(path: &mut PathBuf) -> Result<libc::stat, i32> {
    let mut out = core::mem::MaybeUninit::<libc::stat>::zeroed();
    sys::fstatat(libc::AT_FDCWD, path.c_str().cast(), out.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW)?;
    // SAFETY: all zeroes are a valid `stat`, and the kernel filled it.
    Ok(unsafe { out.assume_init() })
}

/// Whether the layer has anything of the tree (`/run` or `/etc`) that a path lies in.
pub(super) fn has_layer_for(path: &[u8]) -> bool {
    let mut root = PathBuf::new();
    below(state::LAYER.get(), &path[..4.min(path.len())], &mut root).is_ok() && look(&mut root).is_ok()
}

/// Whether programs have removed a name, or a directory on the way to it.
pub(super) fn is_gone(path: &[u8]) -> bool {
    let mut mark = PathBuf::new();
    if below(state::GONE.get(), path, &mut mark).is_err() {
        return false;
    }
    match look(&mut mark) {
        Ok(stat) => stat.st_mode & libc::S_IFMT == libc::S_IFREG,
        Err(errno) => errno == libc::ENOTDIR,
    }
}

/// What the host has at a path and lets through.
pub(super) fn look_below(path: &mut PathBuf) -> Option<libc::stat> {
    if is_state_of_disks(path.get()) || is_gone(path.get()) {
        return None;
    }
    look(path).ok()
}

/// Whether a file of the layer only stands for one of the host's.
pub(super) fn is_stand_in(stat: &libc::stat) -> bool {
    stat.st_size == 0 && stat.st_mode == libc::S_IFREG | stand_in_mode()
}

/// Follows a clean path, and its last component too if that is a symlink and `follow`. The path becomes the one it led to.
pub(super) fn find(path: &mut PathBuf, follow: bool) -> Result<Found, i32> {
    let mut links = 0;
    'again: loop {
        if !is_layered(path.get()) {
            return Ok(Found::Elsewhere);
        }
        let mut at = PathBuf::new();
        let mut real = PathBuf::new();
        let mut in_layer = true;
        let len = path.len();
        while at.len() < len {
            let before = at.len();
            let rest = &path.get()[before + 1..];
            let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            if !at.push(&rest[..end]) {
                return Err(libc::ENAMETOOLONG);
            }
            let is_last = end == rest.len();
            let mut mine = None;
            if in_layer {
                below(state::LAYER.get(), at.get(), &mut real)?;
                mine = look(&mut real).ok().filter(|stat| !is_stand_in(stat));
            }
            in_layer = mine.is_some();
            let is_upper = in_layer;
            let stat = match mine {
                Some(stat) => stat,
                None => match look_below(&mut at) {
                    Some(stat) => {
                        real.set(at.get());
                        stat
                    }
                    None if is_last => return Ok(Found::Absent),
                    None => return Err(libc::ENOENT),
                },
            };
            match stat.st_mode & libc::S_IFMT {
                libc::S_IFLNK if !is_last || follow => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(libc::ELOOP);
                    }
                    let mut target = [0u8; crate::paths::PATH_MAX];
                    let n = sys::readlinkat(
                        libc::AT_FDCWD,
                        real.c_str().cast(),
                        target.as_mut_ptr(),
                        target.len(),
                    )?;
                    let mut next = PathBuf::new();
                    let base = if target[0] == b'/' { &b""[..] } else { &path.get()[..before] };
                    let fits = next.set(base)
                        && next.push(&target[..n])
                        && next.push(&path.get()[before + 1 + end..]);
                    if !fits {
                        return Err(libc::ENAMETOOLONG);
                    }
                    by_its_own_name(&mut next);
                    *path = next;
                    continue 'again;
                }
                _ if is_last => {
                    return Ok(if is_upper { Found::Upper(stat) } else { Found::Lower(stat) });
                }
                libc::S_IFDIR => {}
                _ => return Err(libc::ENOTDIR),
            }
        }
        return Err(libc::ENOENT);
    }
}
