//! What `stat`, `chmod`, `chown` and `utimensat` show and change, of a name, of a marker and of an open file.

use std::sync::Arc;

use dmlab_units::Errno;
use parking_lot::Mutex;

use super::session::{Answer, Session, elsewhere, payload, value};
use crate::world::{Found, Inode};

impl Session {
    pub(super) fn stat(&self, path: &[u8], follow: bool, out: &mut [u8]) -> Answer {
        let world = &self.shared.world;
        let found = world.find(path, follow)?;
        match (world.stat(&found), found) {
            (Some(stat), _) => payload(out, &stat.to_bytes()),
            (None, Found::Elsewhere(path)) => elsewhere(out, &path),
            (None, _) => Err(Errno::ENOENT),
        }
    }

    pub(super) fn stat_marker(&self, dev: u64, ino: u64, out: &mut [u8]) -> Answer {
        let inode = self.marker(dev, ino)?;
        payload(out, &self.shared.world.stat_inode(&inode).to_bytes())
    }

    pub(super) fn fstat(&self, id: u64, out: &mut [u8]) -> Answer {
        payload(out, &self.shared.world.stat_inode(&self.file(id)?.inode).to_bytes())
    }

    pub(super) fn chmod(&self, path: &[u8], mode: u32, follow: bool, out: &mut [u8]) -> Answer {
        self.change(path, follow, out, |inode| inode.chmod(mode))
    }

    pub(super) fn chmod_marker(&self, dev: u64, ino: u64, mode: u32) -> Answer {
        self.marker(dev, ino)?.lock().chmod(mode);
        value(0)
    }

    pub(super) fn fchmod(&self, id: u64, mode: u32) -> Answer {
        self.file(id)?.inode.lock().chmod(mode);
        value(0)
    }

    pub(super) fn chown(&self, path: &[u8], (uid, gid): (u32, u32), follow: bool, out: &mut [u8]) -> Answer {
        self.change(path, follow, out, |inode| inode.chown(uid, gid))
    }

    pub(super) fn chown_marker(&self, dev: u64, ino: u64, (uid, gid): (u32, u32)) -> Answer {
        self.marker(dev, ino)?.lock().chown(uid, gid);
        value(0)
    }

    pub(super) fn fchown(&self, id: u64, (uid, gid): (u32, u32)) -> Answer {
        self.file(id)?.inode.lock().chown(uid, gid);
        value(0)
    }

    pub(super) fn utimens(
        &self,
        path: &[u8],
        (atime, mtime): (i64, i64),
        follow: bool,
        out: &mut [u8],
    ) -> Answer {
        self.change(path, follow, out, |inode| inode.utimens(atime, mtime))
    }

    /// The node that a file at a real path stands for. ENOENT: the file is no marker.
    pub(super) fn marker(&self, dev: u64, ino: u64) -> Result<Arc<Mutex<Inode>>, Errno> {
        self.shared.world.marker(dev, ino).ok_or(Errno::ENOENT)
    }

    /// Changes the attributes of what a path names.
    fn change(&self, path: &[u8], follow: bool, out: &mut [u8], work: impl Fn(&mut Inode)) -> Answer {
        match self.shared.world.find(path, follow)? {
            Found::Node { inode, .. } => {
                work(&mut inode.lock());
                value(0)
            }
            Found::View { .. } => Err(Errno::EPERM),
            Found::Elsewhere(path) => elsewhere(out, &path),
        }
    }
}
