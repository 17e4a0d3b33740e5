//! The mirror: real directories that show what the simulated ones hold, for programs that list them. Only the names, the
//! directories and the symlinks in it mean anything; every open and stat goes to the view. Device nodes are sockets, so that
//! an open that the preload library misses fails.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{CWD, FileType, Mode};

use dmlab_view::{Found, View};

pub(crate) struct Mirror {
    root: PathBuf,
    /// One at a time: two clients may list the same directory.
    building: Mutex<()>,
}

impl Mirror {
    pub(crate) fn new(root: PathBuf) -> io::Result<Mirror> {
        fs::create_dir_all(&root)?;
        Ok(Mirror { root, building: Mutex::new(()) })
    }

    /// The real directory for a simulated one, brought up to date.
    pub(crate) fn directory(&self, view: &View, found: &Found) -> io::Result<PathBuf> {
        let _alone = self.building.lock();
        let path = match found {
            Found::Node { path, .. } | Found::View { path, .. } => path,
            Found::Elsewhere(path) => return Ok(PathBuf::from(OsStr::from_bytes(path))),
        };
        let real = self.root.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
        fs::create_dir_all(&real)?;
        let wanted = view.list(found).ok_or_else(|| io::Error::from(io::ErrorKind::NotADirectory))?;
        let mut have: Vec<OsString> = fs::read_dir(&real)?.flatten().map(|entry| entry.file_name()).collect();
        for (name, kind) in wanted {
            let name = OsStr::from_bytes(&name);
            have.retain(|old| old != name);
            make(&real.join(name), &kind)?;
        }
        for gone in have {
            remove(&real.join(gone))?;
        }
        Ok(real)
    }
}

use dmlab_view::EntryKind;

/// Makes one entry, unless it is there already.
fn make(path: &Path, kind: &EntryKind) -> io::Result<()> {
    if let Ok(meta) = fs::symlink_metadata(path) {
        let fits = match kind {
            EntryKind::Dir => meta.is_dir(),
            EntryKind::Link(target) => {
                fs::read_link(path).is_ok_and(|have| have.as_os_str().as_bytes() == target)
            }
            EntryKind::File => meta.is_file(),
            EntryKind::Node => meta.file_type().is_socket(),
        };
        if fits {
            return Ok(());
        }
        remove(path)?;
    }
    match kind {
        EntryKind::Dir => fs::create_dir(path),
        EntryKind::Link(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), path),
        EntryKind::File => fs::File::create(path).map(|_| ()),
        EntryKind::Node => Ok(rustix::fs::mknodat(CWD, path, FileType::Socket, Mode::empty(), 0)?),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}
