//! Inodes of the simulated `/dev`, and what `stat` says of any simulated file.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use dmlab_units::DevT;
use libc::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG};

use super::Stat;
use super::sysfs::Entry;

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A block device node.
    Block(DevT),
    /// A character device node.
    Char(DevT),
    /// A symlink.
    Link(Vec<u8>),
    /// A regular file that some program made here; it really lies at this path.
    File(PathBuf),
}

/// What a directory entry is, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Dir,
    /// A symlink and its target.
    Link(Vec<u8>),
    /// A text or regular file.
    File,
    /// A device node, or something else of the host.
    Node,
}

/// An inode of `/dev`.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Its number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names it has.
    pub nr_links: u32,
    /// Access, data change, attribute change: nanoseconds since 1970.
    pub times: [i64; 3],
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

impl Inode {
    /// A new inode, root's.
    pub fn new(ino: u64, kind: Kind, mode: u32) -> Inode {
        Inode { ino, kind, mode: mode & 0o7777, uid: 0, gid: 0, nr_links: 1, times: [now_ns(); 3] }
    }

    /// Changes its permissions.
    pub fn chmod(&mut self, mode: u32) {
        self.mode = mode & 0o7777;
        self.times[2] = now_ns();
    }

    /// Changes its owner and group; `u32::MAX` leaves one alone.
    pub fn chown(&mut self, uid: u32, gid: u32) {
        if uid != u32::MAX {
            self.uid = uid;
        }
        if gid != u32::MAX {
            self.gid = gid;
        }
        self.times[2] = now_ns();
    }

    /// Changes its times; the minimum leaves one alone.
    pub fn utimens(&mut self, atime: i64, mtime: i64) {
        for (time, new) in self.times.iter_mut().zip([atime, mtime]) {
            if new != i64::MIN {
                *time = new;
            }
        }
        self.times[2] = now_ns();
    }

    /// Notes a write through the node: `blkid` and others look at its time to see whether what they know is stale.
    pub fn written(&mut self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let now = now.tv_sec * 1_000_000_000 + now.tv_nsec;
        (self.times[1], self.times[2]) = (now, now);
    }

    pub(super) fn entry_kind(&self) -> EntryKind {
        match &self.kind {
            Kind::Dir => EntryKind::Dir,
            Kind::Link(target) => EntryKind::Link(target.clone()),
            Kind::File(_) => EntryKind::File,
            Kind::Block(_) | Kind::Char(_) => EntryKind::Node,
        }
    }

    /// `stat`, as devtmpfs shows it: nodes have no size and no blocks.
    pub(super) fn stat(&self, dev: u64) -> Stat {
        let (file_type, rdev, size) = match &self.kind {
            Kind::Dir => (S_IFDIR, 0, 0),
            Kind::Block(rdev) => (S_IFBLK, rdev.to_huge(), 0),
            Kind::Char(rdev) => (S_IFCHR, rdev.to_huge(), 0),
            Kind::Link(target) => (S_IFLNK, 0, target.len() as u64),
            Kind::File(_) => (S_IFREG, 0, 0),
        };
        Stat {
            dev,
            ino: self.ino,
            mode: file_type | self.mode,
            nlink: if self.kind == Kind::Dir { 2 } else { self.nr_links },
            uid: self.uid,
            gid: self.gid,
            rdev,
            size,
            blksize: 4096,
            atime_ns: self.times[0],
            mtime_ns: self.times[1],
            ctime_ns: self.times[2],
        }
    }
}

/// `stat` of a rendered file of `/sys` or `/proc`. The inode number is a hash of the path: stable, and distinct enough.
pub(super) fn view_stat(path: &[u8], entry: &Entry) -> Stat {
    let is_proc = path.starts_with(b"/proc");
    let ino = path
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
        & 0xffff_ffff;
    let (mode, nlink, size) = match entry {
        Entry::Dir(_) => (S_IFDIR | 0o755, 2, 0),
        Entry::Link(target) => (S_IFLNK | 0o777, 1, target.len() as u64),
        // sysfs files claim a page, proc files nothing.
        Entry::Text(_) if super::View::is_trigger(path) => (S_IFREG | 0o644, 1, 4096),
        Entry::Text(_) => (S_IFREG | 0o444, 1, if is_proc { 0 } else { 4096 }),
    };
    let now = now_ns();
    Stat {
        dev: if is_proc { 21 } else { 22 },
        ino,
        mode,
        nlink,
        size,
        blksize: if is_proc { 1024 } else { 4096 },
        atime_ns: now,
        mtime_ns: now,
        ctime_ns: now,
        ..Stat::default()
    }
}
