//! Changing the machine's own `/run` and `/etc`. What the host has there is only ever read.

use dmlab_shim_proto::stand_in_mode;
use libc::{c_char, c_int, c_uint};

use super::find::{Found, below, find, is_gone, is_stand_in, look, look_below, upper};
use super::{is_dir, layered_for_change};
use crate::paths::{PathBuf, fd_path};
use crate::{state, sys};

/// Makes a clean path's directories in the layer, like those that they lie over; the last component is one too.
pub(super) fn make_dirs(path: &PathBuf) -> Result<(), i32> {
    state::note_layer_change();
    let (mut at, mut real) = (PathBuf::new(), PathBuf::new());
    below(state::LAYER.get(), path.get(), &mut real)?;
    if look(&mut real).is_ok_and(|stat| is_dir(&stat)) {
        return Ok(());
    }
    while at.len() < path.len() {
        let rest = &path.get()[at.len() + 1..];
        let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        at.push(&rest[..end]);
        below(state::LAYER.get(), at.get(), &mut real)?;
        let mode = look_below(&mut at).map_or(0o755, |stat| stat.st_mode & 0o777 | 0o700);
        match sys::mkdirat(libc::AT_FDCWD, real.c_str().cast(), mode) {
            Ok(_) | Err(libc::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes the directories of a new name, and replaces the path by its place in the layer.
pub(super) fn place_for(path: &mut PathBuf) -> Result<(), i32> {
    let mut dir = PathBuf::new();
    dir.set(path.get());
    dir.pop();
    make_dirs(&dir)?;
    upper(path)?;
    // A stand-in for what the host no longer has.
    if look(path).is_ok_and(|stat| is_stand_in(&stat)) {
        let _ = sys::unlinkat(libc::AT_FDCWD, path.c_str().cast(), 0);
    }
    Ok(())
}

/// Makes what was found the machine's own, and replaces the path by its place. `whole`: with what it holds.
pub(super) fn own(found: Found, path: &mut PathBuf, whole: bool) -> Result<(), i32> {
    let stat = match found {
        Found::Upper(_) => return upper(path),
        Found::Elsewhere => return Ok(()),
        Found::Absent => return Err(libc::ENOENT),
        Found::Lower(stat) => stat,
    };
    let mut dir = PathBuf::new();
    dir.set(path.get());
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => {
            make_dirs(&dir)?;
            upper(path)
        }
        libc::S_IFREG => {
            dir.pop();
            make_dirs(&dir)?;
            let mut real = PathBuf::new();
            below(state::LAYER.get(), path.get(), &mut real)?;
            copy(path, &mut real, &stat, whole)?;
            *path = real;
            Ok(())
        }
        libc::S_IFLNK => {
            dir.pop();
            make_dirs(&dir)?;
            let mut real = PathBuf::new();
            below(state::LAYER.get(), path.get(), &mut real)?;
            copy_link(path, &mut real)?;
            *path = real;
            Ok(())
        }
        // Sockets, FIFOs and devices of the host's keep their owners.
        _ => Err(libc::EPERM),
    }
}

/// Copies a symlink.
fn copy_link(from: &mut PathBuf, to: &mut PathBuf) -> Result<(), i32> {
    let mut target = [0u8; crate::paths::PATH_MAX];
    let len = sys::readlinkat(libc::AT_FDCWD, from.c_str().cast(), target.as_mut_ptr(), target.len() - 1)?;
    target[len] = 0;
    match sys::symlinkat(target.as_ptr(), libc::AT_FDCWD, to.c_str().cast()) {
        Ok(_) | Err(libc::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Copies a file of the host's into the layer: a nameless file first, so that half of it is never seen.
fn copy(from: &mut PathBuf, to: &mut PathBuf, stat: &libc::stat, whole: bool) -> Result<(), i32> {
    let source =
        sys::openat(libc::AT_FDCWD, from.c_str().cast(), libc::O_RDONLY | libc::O_CLOEXEC, 0)? as c_int;
    let mut name = PathBuf::new();
    name.set(to.get());
    name.pop();
    let mut own_name = *b".dmlab-own-000000000000";
    let thread = sys::gettid().unwrap_or(0);
    let digits = own_name.len();
    for (i, place) in own_name[digits - 12..].iter_mut().rev().enumerate() {
        *place = b'0' + (thread / 10usize.pow(i as u32) % 10) as u8;
    }
    name.push(&own_name);
    let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_CLOEXEC;
    let made = sys::openat(libc::AT_FDCWD, name.c_str().cast(), flags, 0o600);
    let result = made.and_then(|copy| {
        let copy = copy as c_int;
        let mut chunk = [0u8; 16384];
        let mut filled = Ok(());
        while whole && filled.is_ok() {
            filled = match sys::read(source, chunk.as_mut_ptr(), chunk.len()) {
                Ok(0) => break,
                Ok(n) => write_all(copy, &chunk[..n]),
                Err(errno) => Err(errno),
            };
        }
        let done = filled
            .and_then(|()| sys::fchmod(copy, stat.st_mode & 0o7777))
            .and_then(|_| {
                let time = |sec, nsec| libc::timespec { tv_sec: sec, tv_nsec: nsec };
                let times =
                    [time(stat.st_atime, stat.st_atime_nsec), time(stat.st_mtime, stat.st_mtime_nsec)];
                sys::utimensat(copy, core::ptr::null(), times.as_ptr(), 0)
            })
            .and_then(|_| {
                // Two programs may be at it at once: the first wins, and a stand-in goes.
                if look(to).is_ok_and(|old| !is_stand_in(&old)) {
                    return sys::unlinkat(libc::AT_FDCWD, name.c_str().cast(), 0);
                }
                sys::renameat2(libc::AT_FDCWD, name.c_str().cast(), libc::AT_FDCWD, to.c_str().cast(), 0)
            });
        let _ = sys::close(copy);
        if done.is_err() {
            let _ = sys::unlinkat(libc::AT_FDCWD, name.c_str().cast(), 0);
        }
        done.map(|_| ())
    });
    let _ = sys::close(source);
    result
}

fn write_all(fd: c_int, mut bytes: &[u8]) -> Result<(), i32> {
    while !bytes.is_empty() {
        match sys::write(fd, bytes.as_ptr(), bytes.len()) {
            Ok(n) => bytes = &bytes[n..],
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Calls `each` with every name of a real directory, until it says an error.
fn for_each_name(dir: &mut PathBuf, mut each: impl FnMut(&[u8], u8) -> Result<(), i32>) -> Result<(), i32> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let fd = sys::openat(libc::AT_FDCWD, dir.c_str().cast(), flags, 0)? as c_int;
    let mut buf = [0u8; 4096];
    let mut result = Ok(());
    'all: while let Ok(len @ 1..) = sys::getdents(fd, buf.as_mut_ptr(), buf.len()) {
        let mut rest = &buf[..len];
        while rest.len() > 19 {
            let size = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
            let name = rest[19..size].split(|&b| b == 0).next().unwrap_or_default();
            if name != b"." && name != b".." {
                result = each(name, rest[18]);
                if result.is_err() {
                    break 'all;
                }
            }
            rest = &rest[size..];
        }
    }
    let _ = sys::close(fd);
    result
}

/// Puts a stand-in into the layer's directory for each name that only the host has.
pub(super) fn fill(path: &mut PathBuf) -> Result<(), i32> {
    make_dirs(path)?;
    if look_below(path).is_none_or(|stat| !is_dir(&stat)) {
        return Ok(());
    }
    let len = path.len();
    let mut dir = PathBuf::new();
    dir.set(path.get());
    let mut real = PathBuf::new();
    // A directory of the host's that may not be read shows nothing.
    let _ = for_each_name(&mut dir, |name, kind| {
        path.truncate(len);
        if !path.push(name) || look_below(path).is_none() {
            return Ok(());
        }
        below(state::LAYER.get(), path.get(), &mut real)?;
        let made = match kind {
            libc::DT_DIR => {
                let mode = look(path).map_or(0o755, |stat| stat.st_mode & 0o777 | 0o700);
                sys::mkdirat(libc::AT_FDCWD, real.c_str().cast(), mode).map(|_| ())
            }
            libc::DT_LNK => copy_link(path, &mut real),
            _ => stand_in(&mut real),
        };
        match made {
            Ok(()) | Err(libc::EEXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    });
    path.truncate(len);
    Ok(())
}

fn stand_in(real: &mut PathBuf) -> Result<(), i32> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
    let fd = sys::openat(libc::AT_FDCWD, real.c_str().cast(), flags, 0)? as c_int;
    let made = sys::fchmod(fd, stand_in_mode()).map(|_| ());
    let _ = sys::close(fd);
    made
}

/// Notes that a name of the host's is gone.
fn note_gone(path: &PathBuf) -> Result<(), i32> {
    state::note_layer_change();
    if is_gone(path.get()) {
        return Ok(());
    }
    let mut mark = PathBuf::new();
    mark.set(state::GONE.get());
    let mut at = 0;
    let _ = sys::mkdirat(libc::AT_FDCWD, mark.c_str().cast(), 0o700);
    loop {
        let rest = &path.get()[at + 1..];
        let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        mark.push(&rest[..end]);
        at += 1 + end;
        if at >= path.len() {
            break;
        }
        match sys::mkdirat(libc::AT_FDCWD, mark.c_str().cast(), 0o700) {
            Ok(_) | Err(libc::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    // What was noted below it is covered by it now.
    clear(&mut mark);
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
    let fd = sys::openat(libc::AT_FDCWD, mark.c_str().cast(), flags, 0o600)?;
    let _ = sys::close(fd as c_int);
    Ok(())
}

/// Removes a real directory and what is in it.
fn clear(dir: &mut PathBuf) {
    let len = dir.len();
    let mut copy = PathBuf::new();
    copy.set(dir.get());
    let _ = for_each_name(&mut copy, |name, kind| {
        dir.truncate(len);
        if dir.push(name) {
            if kind == libc::DT_DIR {
                clear(dir);
            } else {
                let _ = sys::unlinkat(libc::AT_FDCWD, dir.c_str().cast(), 0);
            }
        }
        Ok(())
    });
    dir.truncate(len);
    let _ = sys::unlinkat(libc::AT_FDCWD, dir.c_str().cast(), libc::AT_REMOVEDIR);
}

/// `unlink`, or `rmdir` when `directory`. `None`: the path lies elsewhere.
pub(crate) fn remove(dirfd: c_int, path: *const c_char, directory: bool) -> Option<Result<i64, i32>> {
    let mut clean = PathBuf::new();
    layered_for_change(dirfd, path, false, &mut clean)
        .then(|| remove_clean(&mut clean, directory).map(|()| 0))
}

fn remove_clean(path: &mut PathBuf, directory: bool) -> Result<(), i32> {
    let found = find(path, false)?;
    let stat = match &found {
        Found::Upper(stat) | Found::Lower(stat) => stat,
        Found::Absent => return Err(libc::ENOENT),
        Found::Elsewhere => {
            let flags = if directory { libc::AT_REMOVEDIR } else { 0 };
            return sys::unlinkat(libc::AT_FDCWD, path.c_str().cast(), flags).map(|_| ());
        }
    };
    match (directory, is_dir(stat)) {
        (true, false) => return Err(libc::ENOTDIR),
        (false, true) => return Err(libc::EISDIR),
        _ => {}
    }
    let mut real = PathBuf::new();
    below(state::LAYER.get(), path.get(), &mut real)?;
    if directory {
        fill(path)?;
        let len = path.len();
        let mut listed = PathBuf::new();
        listed.set(real.get());
        for_each_name(&mut listed, |name, _| {
            path.truncate(len);
            path.push(name);
            let there = !matches!(find(path, false), Ok(Found::Absent));
            path.truncate(len);
            if there { Err(libc::ENOTEMPTY) } else { Ok(()) }
        })?;
        path.truncate(len);
    }
    if look_below(path).is_some() {
        let mut dir = PathBuf::new();
        dir.set(path.get());
        dir.pop();
        make_dirs(&dir)?;
        note_gone(path)?;
    }
    if directory {
        // Stand-ins for what the host has no more.
        clear(&mut real);
        return if look(&mut real).is_ok() { Err(libc::ENOTEMPTY) } else { Ok(()) };
    }
    match sys::unlinkat(libc::AT_FDCWD, real.c_str().cast(), 0) {
        Ok(_) => Ok(()),
        Err(libc::ENOENT) if matches!(found, Found::Lower(_)) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The real place of a name that is about to be given away, which the machine owns then; and whether the host has it too.
fn giving(at: (c_int, *const c_char), path: &mut PathBuf) -> Result<Option<PathBuf>, i32> {
    if !layered_for_change(at.0, at.1, false, path) {
        return Ok(None);
    }
    let found = find(path, false)?;
    if matches!(found, Found::Elsewhere) {
        return Ok(None);
    }
    let mut clean = PathBuf::new();
    clean.set(path.get());
    let has_below = look_below(&mut clean).is_some();
    if let Found::Upper(stat) | Found::Lower(stat) = &found
        && is_dir(stat)
        && has_below
    {
        // As between two file systems: a program that wants it moved copies it.
        return Err(libc::EXDEV);
    }
    own(found, path, true)?;
    Ok(Some(clean))
}

/// The real place of a name that is about to be made or replaced.
fn taking(at: (c_int, *const c_char), path: &mut PathBuf) -> Result<bool, i32> {
    if !layered_for_change(at.0, at.1, false, path) {
        return Ok(false);
    }
    match find(path, false)? {
        Found::Elsewhere => Ok(false),
        Found::Lower(stat) | Found::Upper(stat) if is_dir(&stat) => {
            fill(path)?;
            upper(path).map(|()| true)
        }
        Found::Upper(_) => upper(path).map(|()| true),
        Found::Lower(_) | Found::Absent => place_for(path).map(|()| true),
    }
}

fn exists_for(at: (c_int, *const c_char)) -> bool {
    let mut path = PathBuf::new();
    layered_for_change(at.0, at.1, false, &mut path)
        && matches!(find(&mut path, false), Ok(Found::Upper(_) | Found::Lower(_)))
}

type Name = (c_int, *const c_char);

/// `renameat2` with at least one name in the layer. `None`: both lie elsewhere.
pub(crate) fn rename(from: Name, to: Name, flags: c_uint) -> Option<Result<i64, i32>> {
    let (mut a, mut b) = (PathBuf::new(), PathBuf::new());
    if !layered_for_change(from.0, from.1, false, &mut a) && !layered_for_change(to.0, to.1, false, &mut b) {
        return None;
    }
    Some(rename_layered(from, to, flags, &mut a, &mut b).map(|()| 0))
}

fn rename_layered(from: Name, to: Name, flags: c_uint, a: &mut PathBuf, b: &mut PathBuf) -> Result<(), i32> {
    if flags & libc::RENAME_NOREPLACE != 0 && exists_for(to) {
        return Err(libc::EEXIST);
    }
    let given = giving(from, a)?;
    let taken = taking(to, b)?;
    let source = if given.is_some() { (libc::AT_FDCWD, a.c_str()) } else { from };
    let target = if taken { (libc::AT_FDCWD, b.c_str()) } else { to };
    if flags & libc::RENAME_EXCHANGE != 0 && !(given.is_some() && taken) {
        return Err(libc::EXDEV);
    }
    sys::renameat2(source.0, source.1.cast(), target.0, target.1.cast(), flags)?;
    match given {
        Some(mut clean) if flags & libc::RENAME_EXCHANGE == 0 => match look_below(&mut clean) {
            Some(_) => note_gone(&clean),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// `linkat` with at least one name in the layer. `None`: both lie elsewhere.
pub(crate) fn link(from: Name, to: Name, flags: c_int) -> Option<Result<i64, i32>> {
    let (mut a, mut b) = (PathBuf::new(), PathBuf::new());
    if !layered_for_change(from.0, from.1, false, &mut a) && !layered_for_change(to.0, to.1, false, &mut b) {
        return None;
    }
    Some((|| {
        if exists_for(to) {
            return Err(libc::EEXIST);
        }
        let is_ours = layered_for_change(from.0, from.1, false, &mut a) && {
            let found = find(&mut a, flags & libc::AT_SYMLINK_FOLLOW != 0)?;
            own(found, &mut a, true)?;
            true
        };
        let taken = taking(to, &mut b)?;
        let source = if is_ours { (libc::AT_FDCWD, a.c_str()) } else { from };
        let target = if taken { (libc::AT_FDCWD, b.c_str()) } else { to };
        let flags = if is_ours { 0 } else { flags };
        sys::linkat(source.0, source.1.cast(), target.0, target.1.cast(), flags).map(|_| 0)
    })())
}

/// The machine's own copy of the host's file in `/run` or `/etc` that a descriptor stands for, made if need be: its attributes
/// are about to be changed.
pub(crate) fn own_of_descriptor(fd: c_int, out: &mut PathBuf) -> Option<Result<*const c_char, i32>> {
    let mut buf = [0u8; crate::paths::PATH_MAX];
    let path = fd_path(fd, &mut buf);
    if path.first() != Some(&b'/') || !super::is_layered(path) || !out.set(path) {
        return None;
    }
    match find(out, false) {
        Ok(found @ (Found::Upper(_) | Found::Lower(_))) => Some(own(found, out, true).map(|()| out.c_str())),
        _ => None,
    }
}
