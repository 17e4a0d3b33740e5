//! Following a path through the simulated tree and the real file system, symlinks and all.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use dmlab_shim_proto::host_dev_shows;
use dmlab_units::Errno;
use parking_lot::Mutex;

use super::node::{Inode, Kind};
use super::sysfs::{self, Entry};
use super::tree::{Tree, parent};
use super::{Area, Semaphores, area, procfs};
use dmlab_machine::Machine;

/// Where a path leads.
#[derive(Clone)]
pub enum Found {
    /// An inode of `/dev`.
    Node {
        /// Its path without symlinks.
        path: Vec<u8>,
        /// The inode.
        inode: Arc<Mutex<Inode>>,
    },
    /// Something of `/sys` or `/proc`.
    View {
        /// Its path without symlinks.
        path: Vec<u8>,
        /// What it is.
        entry: Entry,
    },
    /// A path of the real file system (whether or not anything is there).
    Elsewhere(Vec<u8>),
}

/// What the view is made from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) tree: &'a Tree,
    pub(super) machine: &'a Machine,
    pub(super) semaphores: &'a dyn Semaphores,
}

/// As Linux.
const MAX_LINKS: u32 = 40;
/// Bytes of a path, the one that ends it among them.
const MAX_PATH: usize = 4096;
/// Most bytes of a name in `/dev`.
const MAX_NAME: usize = 255;

/// Follows `path`.
pub(super) fn find(from: Sources<'_>, path: &[u8], follow_last: bool) -> Result<Found, Errno> {
    if path.len() >= MAX_PATH {
        return Err(Errno::ENAMETOOLONG);
    }
    if area(path) == Area::Proc {
        // Not to be walked: `/proc/self` would be the server's.
        return arrive(from, path.to_vec());
    }
    let mut todo: Vec<Vec<u8>> = components(path);
    let mut done: Vec<u8> = Vec::new();
    let mut links = 0;
    let wants_dir = path.ends_with(b"/");
    while let Some(part) = todo.pop() {
        if part == b".." {
            done.truncate(parent(&done).len());
            if done == b"/" {
                done.clear();
            }
            continue;
        }
        let base = done.clone();
        done.push(b'/');
        done.extend_from_slice(&part);
        let is_last = todo.is_empty();
        let target = match look(from, &done)? {
            Step::Link(_) if is_last && !follow_last && !wants_dir => None,
            Step::Link(target) => Some(target),
            Step::End if !is_last || wants_dir => return Err(Errno::ENOTDIR),
            Step::Host => {
                // The rest is the host's business.
                for part in todo.iter().rev() {
                    done.push(b'/');
                    done.extend_from_slice(part);
                }
                return Ok(Found::Elsewhere(done));
            }
            _ => None,
        };
        if let Some(target) = target {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP);
            }
            done = if target.starts_with(b"/") { Vec::new() } else { base };
            todo.extend(components(&target));
        }
    }
    arrive(from, done)
}

/// The last first, so that they can be popped.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}

enum Step {
    /// A directory, or something real that may be one.
    Into,
    /// A symlink.
    Link(Vec<u8>),
    /// Something with nothing below it.
    End,
    /// An entry of `/dev` that is the host's own.
    Host,
}

/// What lies at a path whose directory was walked.
fn look(from: Sources<'_>, path: &[u8]) -> Result<Step, Errno> {
    match area(path) {
        Area::Dev if path.len() - parent(path).len() > MAX_NAME + 1 => Err(Errno::ENAMETOOLONG),
        Area::Dev => match from.tree.get(path) {
            Some(inode) => Ok(match &inode.lock().kind {
                Kind::Dir => Step::Into,
                Kind::Link(target) => Step::Link(target.clone()),
                _ => Step::End,
            }),
            None if parent(path) == b"/dev" => match std::fs::symlink_metadata(OsStr::from_bytes(path)) {
                Ok(meta) if is_hosts_own(path, &meta) => Ok(Step::Host),
                _ => Err(Errno::ENOENT),
            },
            None => Err(Errno::ENOENT),
        },
        Area::Sys => match sysfs::lookup(from.machine, path).ok_or(Errno::ENOENT)? {
            Entry::Dir(_) => Ok(Step::Into),
            Entry::Link(target) => Ok(Step::Link(target.into_bytes())),
            Entry::Text(_) => Ok(Step::End),
        },
        Area::Proc => Ok(Step::End),
        Area::Udev => match from.tree.udev_view(path).ok_or(Errno::ENOENT)? {
            Entry::Dir(_) => Ok(Step::Into),
            _ => Ok(Step::End),
        },
        Area::Absent => Err(Errno::ENOENT),
        Area::Real => match std::fs::read_link(Path::new(OsStr::from_bytes(path))) {
            Ok(target) => Ok(Step::Link(target.into_os_string().into_vec())),
            Err(_) => Ok(Step::Into),
        },
    }
}

/// Whether an entry of the host's `/dev` shows: its disks, and what leads to them, do not.
fn is_hosts_own(path: &[u8], meta: &std::fs::Metadata) -> bool {
    let kind = meta.file_type();
    !kind.is_block_device() && host_dev_shows(&path[b"/dev/".len()..], kind.is_dir())
}

fn arrive(from: Sources<'_>, path: Vec<u8>) -> Result<Found, Errno> {
    if path.is_empty() {
        return Ok(Found::Elsewhere(b"/".to_vec()));
    }
    match area(&path) {
        Area::Dev => {
            let inode = from.tree.get(&path).ok_or(Errno::ENOENT)?.clone();
            let kind = inode.lock().kind.clone();
            match kind {
                Kind::File(backing) => Ok(Found::Elsewhere(backing.into_os_string().into_vec())),
                _ => Ok(Found::Node { path, inode }),
            }
        }
        Area::Sys => {
            let entry = sysfs::lookup(from.machine, &path).ok_or(Errno::ENOENT)?;
            Ok(Found::View { path, entry })
        }
        Area::Proc => {
            let entry =
                Entry::Text(procfs::render(from.machine, from.semaphores, &path).ok_or(Errno::ENOENT)?);
            Ok(Found::View { path, entry })
        }
        Area::Udev => {
            let entry = from.tree.udev_view(&path).ok_or(Errno::ENOENT)?;
            Ok(Found::View { path, entry })
        }
        Area::Absent => Err(Errno::ENOENT),
        Area::Real => Ok(Found::Elsewhere(path)),
    }
}

/// The path at which a call that makes or removes a name acts: symlinks on the way are followed, the last part is not.
///
/// EPERM outside `/dev`, where nothing can be made.
pub(super) fn place(from: Sources<'_>, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let clean: Vec<Vec<u8>> = components(path);
    let name = clean.first().ok_or(Errno::EEXIST)?;
    let mut dir: Vec<u8> = Vec::new();
    for part in clean[1..].iter().rev() {
        dir.push(b'/');
        dir.extend_from_slice(part);
    }
    match find(from, &dir, true)? {
        Found::Node { path, inode } if inode.lock().kind == Kind::Dir => {
            Ok([&path, &b"/"[..], name].concat())
        }
        Found::Node { .. } => Err(Errno::ENOTDIR),
        Found::View { .. } => Err(Errno::EPERM),
        // The caller asks the real file system.
        Found::Elsewhere(_) if area(path) == Area::Dev && parent(path) == b"/" => Err(Errno::EEXIST),
        Found::Elsewhere(_) => Err(Errno::EXDEV),
    }
}
