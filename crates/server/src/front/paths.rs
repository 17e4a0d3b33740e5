//! What names do: looking them up, making and removing them.

use std::path::Path;

use dmlab_units::{DevT, Errno};
use rustix::fs::FileType;

use super::session::{Answer, Session, elsewhere, payload, value};
use dmlab_view::{Area, Entry, Found, Kind, View, area};

/// The permissions of a symlink, which mean nothing.
const LINK_MODE: u32 = 0o777;

impl Session {
    pub(super) fn readlink(&self, path: &[u8], out: &mut [u8]) -> Answer {
        match self.shared.view.find(path, false)? {
            Found::Node { inode, .. } => match &inode.lock().kind {
                Kind::Link(target) => payload(out, target),
                _ => Err(Errno::EINVAL),
            },
            Found::View { entry: Entry::Link(target), .. } => payload(out, target.as_bytes()),
            Found::View { .. } => Err(Errno::EINVAL),
            Found::Elsewhere(path) => elsewhere(out, &path),
        }
    }

    pub(super) fn realpath(&self, path: &[u8], out: &mut [u8]) -> Answer {
        match self.shared.view.find(path, true)? {
            Found::Node { path, .. } | Found::View { path, .. } => payload(out, &path),
            Found::Elsewhere(path) => elsewhere(out, &path),
        }
    }

    pub(super) fn mknod(&self, path: &[u8], mode: u32, rdev: u64, out: &mut [u8]) -> Answer {
        let dev = DevT::from_huge(rdev);
        self.changed_in_view(path, out, |view| match FileType::from_raw_mode(mode) {
            FileType::BlockDevice => view.make(path, Kind::Block(dev), mode),
            FileType::CharacterDevice => view.make(path, Kind::Char(dev), mode),
            FileType::RegularFile => make_empty(&view.make_file(path)?),
            // No type at all is a regular file too.
            _ if mode & libc::S_IFMT == 0 => make_empty(&view.make_file(path)?),
            _ => Err(Errno::EPERM),
        })
    }

    /// Takes note of the file at a real path that stands for a device node.
    pub(super) fn register_marker(&self, dev: u64, ino: u64, mode: u32, rdev: u64) -> Answer {
        let rdev = DevT::from_huge(rdev);
        let kind = match FileType::from_raw_mode(mode) {
            FileType::BlockDevice => Kind::Block(rdev),
            _ => Kind::Char(rdev),
        };
        self.shared.view.add_marker(dev, ino, kind, mode);
        value(0)
    }

    pub(super) fn mkdir(&self, path: &[u8], mode: u32, out: &mut [u8]) -> Answer {
        self.changed_in_view(path, out, |view| view.make(path, Kind::Dir, mode))
    }

    pub(super) fn unlink(&self, path: &[u8], is_directory: bool, out: &mut [u8]) -> Answer {
        self.changed_in_view(path, out, |view| view.remove(path, is_directory))
    }

    pub(super) fn symlink(&self, path: &[u8], target: &[u8], out: &mut [u8]) -> Answer {
        self.changed_in_view(path, out, |view| view.make(path, Kind::Link(target.to_vec()), LINK_MODE))
    }

    pub(super) fn rename(&self, path: &[u8], other: &[u8], flags: u32) -> Answer {
        if (area(path), area(other)) == (Area::Real, Area::Real) {
            return Err(Errno::EXDEV);
        }
        self.shared.view.rename(path, other, flags).and_then(|()| value(0))
    }

    pub(super) fn link(&self, path: &[u8], other: &[u8]) -> Answer {
        self.shared.view.link(path, other).and_then(|()| value(0))
    }

    /// Does `work` on the simulated tree; a path outside of it is the client's to do.
    fn changed_in_view(
        &self,
        path: &[u8],
        out: &mut [u8],
        work: impl FnOnce(&View) -> Result<(), Errno>,
    ) -> Answer {
        if area(path) == Area::Real {
            return elsewhere(out, path);
        }
        work(&self.shared.view).and_then(|()| value(0))
    }
}

fn make_empty(file: &Path) -> Result<(), Errno> {
    std::fs::File::create(file).map(drop).map_err(|_| Errno::EIO)
}
