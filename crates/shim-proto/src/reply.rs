//! Replies, and the `stat` record.

/// Bytes of an encoded [`Reply`].
pub const REPLY_LEN: usize = 64;
/// Bytes of an encoded [`Stat`].
pub const STAT_LEN: usize = 16 * 8;

/// Where the answer to a path call is to be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Here: the reply is the answer.
    #[default]
    Here,
    /// In the real file system, at the path in the payload.
    Elsewhere,
}

/// What an open file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileKind {
    /// A real file (the text of a /proc or /sys file, a directory of the mirror): the descriptor is all there is.
    #[default]
    Plain,
    /// A directory of the mirror.
    Directory,
    /// A block device behind a placeholder.
    Block,
    /// A character device behind a placeholder.
    Char,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// What the call returns: negative is an error number.
    pub value: i64,
    /// Bytes of payload.
    pub len: u32,
    /// A descriptor comes over the socket.
    pub with_fd: bool,
    /// Where the answer is.
    pub place: Place,
    /// What was opened or identified.
    pub kind: FileKind,
    /// The placeholder's inode for an open; for an ioctl, where in the caller's memory the payload begins.
    pub extra: u64,
    /// For an ioctl: length of the whole answer, when it does not fit the data part.
    pub total: u64,
}

impl Reply {
    /// The call failed with this (positive) error number.
    pub const fn error(errno: i32) -> Reply {
        Reply {
            value: -(errno as i64),
            len: 0,
            with_fd: false,
            place: Place::Here,
            kind: FileKind::Plain,
            extra: 0,
            total: 0,
        }
    }

    /// The bytes for the shared area.
    pub fn to_bytes(&self) -> [u8; REPLY_LEN] {
        let mut out = [0; REPLY_LEN];
        out[0..8].copy_from_slice(&self.value.to_le_bytes());
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[12] = u8::from(self.with_fd);
        out[13] = match self.place {
            Place::Here => 0,
            Place::Elsewhere => 1,
        };
        out[14] = match self.kind {
            FileKind::Plain => 0,
            FileKind::Directory => 1,
            FileKind::Block => 2,
            FileKind::Char => 3,
        };
        out[16..24].copy_from_slice(&self.extra.to_le_bytes());
        out[24..32].copy_from_slice(&self.total.to_le_bytes());
        out
    }

    /// Reads a reply; `None` when a byte means nothing or the payload could not lie in the data part.
    pub fn from_bytes(bytes: &[u8; REPLY_LEN]) -> Option<Reply> {
        let long = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let len = u32::from_le_bytes(bytes[8..12].try_into().ok()?);
        if len as usize > crate::DATA_LEN {
            return None;
        }
        Some(Reply {
            value: long(0)? as i64,
            len,
            with_fd: bytes[12] != 0,
            place: match bytes[13] {
                0 => Place::Here,
                1 => Place::Elsewhere,
                _ => return None,
            },
            kind: match bytes[14] {
                0 => FileKind::Plain,
                1 => FileKind::Directory,
                2 => FileKind::Block,
                3 => FileKind::Char,
                _ => return None,
            },
            extra: long(16)?,
            total: long(24)?,
        })
    }
}

/// What `stat` tells, independent of any C library's struct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Device of the file system, as `st_dev` encodes it.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// File type and permissions.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device of a node, as `st_rdev` encodes it.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Preferred IO size.
    pub blksize: u64,
    /// Last access, nanoseconds since 1970.
    pub atime_ns: i64,
    /// Last change of the data, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of the attributes, nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl Stat {
    /// The bytes of a payload.
    pub fn to_bytes(&self) -> [u8; STAT_LEN] {
        let words = [
            self.dev,
            self.ino,
            u64::from(self.mode),
            u64::from(self.nlink),
            u64::from(self.uid),
            u64::from(self.gid),
            self.rdev,
            self.size,
            self.blksize,
            self.atime_ns as u64,
            self.mtime_ns as u64,
            self.ctime_ns as u64,
        ];
        let mut out = [0; STAT_LEN];
        for (chunk, word) in out.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Reads a payload.
    pub fn from_bytes(bytes: &[u8; STAT_LEN]) -> Stat {
        let word = |i: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&bytes[i * 8..i * 8 + 8]);
            u64::from_le_bytes(w)
        };
        Stat {
            dev: word(0),
            ino: word(1),
            mode: word(2) as u32,
            nlink: word(3) as u32,
            uid: word(4) as u32,
            gid: word(5) as u32,
            rdev: word(6),
            size: word(7),
            blksize: word(8),
            atime_ns: word(9) as i64,
            mtime_ns: word(10) as i64,
            ctime_ns: word(11) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_and_stats_survive_the_trip() {
        let reply =
            Reply { value: -22, len: 9, with_fd: true, kind: FileKind::Block, extra: 7, ..Reply::default() };
        assert_eq!(Reply::from_bytes(&reply.to_bytes()), Some(reply));
        assert_eq!(Reply::from_bytes(&[0xff; REPLY_LEN]), None);
        let stat = Stat { dev: 1, ino: 2, mode: 3, uid: 4, mtime_ns: -5, ..Stat::default() };
        assert_eq!(Stat::from_bytes(&stat.to_bytes()), stat);
    }
}
