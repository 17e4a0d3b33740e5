//! What `stat`, `chmod`, `chown` and `utimensat` show and change, of a name, of a marker and of an open file.

use std::sync::Arc;

use dmlab_shim_proto as proto;
use dmlab_units::Errno;
use dmlab_view::{Found, Inode, Stat};
use parking_lot::Mutex;

use super::session::{Answer, Session, elsewhere, payload, value};

impl Session {
    pub(super) fn stat(&self, path: &[u8], follow: bool, out: &mut [u8]) -> Answer {
        let view = &self.shared.view;
        let found = view.find(path, follow)?;
        match (view.stat(&found), found) {
            (Some(stat), _) => tell(out, &stat),
            (None, Found::Elsewhere(path)) => elsewhere(out, &path),
            (None, _) => Err(Errno::ENOENT),
        }
    }

    pub(super) fn stat_marker(&self, dev: u64, ino: u64, out: &mut [u8]) -> Answer {
        let inode = self.marker(dev, ino)?;
        tell(out, &self.shared.view.stat_inode(&inode))
    }

    pub(super) fn fstat(&self, id: u64, out: &mut [u8]) -> Answer {
        tell(out, &self.shared.view.stat_inode(&self.file(id)?.inode))
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
        self.shared.view.marker(dev, ino).ok_or(Errno::ENOENT)
    }

    /// Changes the attributes of what a path names.
    fn change(&self, path: &[u8], follow: bool, out: &mut [u8], work: impl Fn(&mut Inode)) -> Answer {
        match self.shared.view.find(path, follow)? {
            Found::Node { inode, .. } => {
                work(&mut inode.lock());
                value(0)
            }
            Found::View { .. } => Err(Errno::EPERM),
            Found::Elsewhere(path) => elsewhere(out, &path),
        }
    }
}

/// A reply with what `stat` tells.
fn tell(out: &mut [u8], stat: &Stat) -> Answer {
    let Stat { dev, ino, mode, nlink, uid, gid, rdev, size, blksize, atime_ns, mtime_ns, ctime_ns } = *stat;
    let stat =
        proto::Stat { dev, ino, mode, nlink, uid, gid, rdev, size, blksize, atime_ns, mtime_ns, ctime_ns };
    payload(out, &stat.to_bytes())
}
