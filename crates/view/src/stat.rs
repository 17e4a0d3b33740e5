//! What `stat` tells.

/// What `stat` tells of a simulated file, independent of any C library's struct and of any front's messages.
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
    /// Preferred IO size in bytes.
    pub blksize: u64,
    /// Last access, nanoseconds since 1970.
    pub atime_ns: i64,
    /// Last change of the data, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of the attributes, nanoseconds since 1970.
    pub ctime_ns: i64,
}
