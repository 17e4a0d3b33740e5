//! What the preload library asks for a program.

use crate::message::requests;

requests! {
    /// One call of a program, as the preload library understood it. Fields are named as the system call's arguments;
    /// `file` is the inode of a placeholder.
    pub enum Request;

    /// First call on a channel: the version of the messages.
    Hello = 1 { protocol: u32; }
    /// `open`: the answer carries a descriptor, or says where else the file is.
    Open = 2 { flags: i32, mode: u32; path }
    /// `open` of a marker file: a node that a program made at a real path.
    OpenMarker = 3 { dev: u64, ino: u64, flags: i32; }
    /// `stat` or `lstat`; the payload of the answer is a [`crate::Stat`].
    Stat = 4 { follow: bool; path }
    /// `stat` of a marker file. ENOENT: this file is no marker.
    StatMarker = 5 { dev: u64, ino: u64; }
    /// `readlink`; the payload of the answer is the target.
    Readlink = 6 {; path }
    /// `realpath`; the payload of the answer is the path.
    Realpath = 7 {; path }
    /// `mknod` inside the simulated directories.
    Mknod = 8 { mode: u32, rdev: u64; path }
    /// `mknod` of a device at a real path: the library made the marker file and says which.
    RegisterMarker = 9 { dev: u64, ino: u64, mode: u32, rdev: u64; }
    /// `mkdir`.
    Mkdir = 10 { mode: u32; path }
    /// `unlink`, or `rmdir` when `directory`.
    Unlink = 11 { directory: bool; path }
    /// `renameat2` with both names simulated.
    Rename = 12 { flags: u32; path, other }
    /// `symlink`: `other` is the target.
    Symlink = 13 {; path, other }
    /// `link`: `other` is the new name.
    Link = 14 {; path, other }
    /// `chmod`.
    Chmod = 15 { mode: u32, follow: bool; path }
    /// `chown`; -1 leaves an id alone.
    Chown = 16 { uid: u32, gid: u32, follow: bool; path }
    /// `utimensat`, nanoseconds since 1970; `i64::MIN` leaves a time alone.
    Utimens = 17 { atime: i64, mtime: i64, follow: bool; path }
    /// `chmod` of a marker file.
    ChmodMarker = 18 { dev: u64, ino: u64, mode: u32; }
    /// `chown` of a marker file.
    ChownMarker = 19 { dev: u64, ino: u64, uid: u32, gid: u32; }
    /// Is this pipe the placeholder of an open file? Answers its kind, or EBADF.
    Identify = 20 { file: u64; }
    /// `fstat`.
    Fstat = 21 { file: u64; }
    /// `read`/`pread` of up to `len` bytes. `pos` -1: at the file position. `addresses` and `lengths`: those of all
    /// buffers, or'ed, for direct IO.
    Read = 22 { file: u64, pos: i64, len: u32, flags: u32, addresses: u64, lengths: u64; }
    /// `write`/`pwrite`; the data is the payload.
    Write = 23 { file: u64, pos: i64, flags: u32, addresses: u64, lengths: u64; data }
    /// `lseek`.
    Seek = 24 { file: u64, offset: i64, whence: i32; }
    /// `fsync`, `fdatasync`.
    Fsync = 25 { file: u64, data_only: bool; }
    /// `fallocate`.
    Fallocate = 26 { file: u64, mode: i32, offset: i64, len: i64; }
    /// `ioctl`: `claimed` is how long the caller says its memory is; the payload is what could be read of it, after
    /// `staged` bytes that came with [`Request::Stage`].
    Ioctl = 27 { file: u64, cmd: u32, arg: u64, claimed: u64, staged: u64, with_fd: bool; data }
    /// The next piece of an ioctl argument that is longer than the data part.
    Stage = 28 { offset: u64; data }
    /// The piece at `offset` of an answer that is longer than the data part.
    Fetch = 29 { offset: u64, len: u32; }
    /// `fcntl(F_GETFL)`.
    GetFlags = 30 { file: u64; }
    /// `fcntl(F_SETFL)`.
    SetFlags = 31 { file: u64, flags: i32; }
    /// `fchmod`.
    Fchmod = 32 { file: u64, mode: u32; }
    /// `fchown`.
    Fchown = 33 { file: u64, uid: u32, gid: u32; }
    /// The path by which an open file was opened (`readlink` of `/proc/self/fd/N`).
    PathOf = 39 { file: u64; }
    /// `open` of `/proc/self/fd/N` or `/dev/stdin`: a new open file of the same node.
    Reopen = 40 { file: u64, flags: i32; }
    /// A wait by the machine's clock, if that is a virtual one; ENOSYS if it is the wall's. The value is what was left of the
    /// time when the client took it back.
    Sleep = 41 { nanos: u64; }
    /// `posix_fadvise`, or `readahead` when `advice` is the least number.
    Advise = 43 { file: u64, advice: i32, offset: i64, len: i64; }
    /// `sync_file_range` that writes. `len` 0: to the end.
    WriteBack = 44 { file: u64, offset: i64, len: i64; }
    /// A descriptor of a file that was written was closed: waits for the file's end, if that was the last one.
    Closed = 45 { file: u64; }
    /// A new timer by a virtual clock, of one of [`timer_kinds`]; the value is its number. One for a descriptor is a pipe, whose
    /// read end comes with the answer: eight bytes of it say how often the time was up.
    NewTimer = 46 { kind: u32, signal: i32, thread: i32, value: u64, nonblocking: bool; }
    /// Sets a timer: nanoseconds until it is up (0: never) and from then on between one time and the next (0: only once). The
    /// payload of the answer is both numbers as they stood before. Timer 0 is the alarm that each process has.
    SetTimer = 47 { timer: u64, first: u64, every: u64; }
    /// How a timer stands; the payload is as that of [`Request::SetTimer`].
    GetTimer = 48 { timer: u64; }
    /// Ends a timer; 0: all that this process made, but not its alarm.
    DropTimer = 49 { timer: u64; }
    /// `semget` by a program with these effective ids; the value is the set's number.
    GetSemaphores = 51 { key: i32, len: i32, flags: i32, uid: u32, gid: u32; }
    /// `semop` and `semtimedop`: the payload is an array of `struct sembuf`; `nanos` is the limit, or [`crate::NO_LIMIT`]. The client
    /// may take it back as it does a [`Request::Sleep`]: EINTR then.
    OperateSemaphores = 52 { set: i32, nanos: u64, uid: u32, gid: u32; operations }
    /// `semctl`: `argument` is the value of `SETVAL`; the payload is what `SETALL` and `IPC_SET` set. The payload of the answer is a
    /// [`crate::SemaphoreStatus`], the values, or the ten numbers of a `struct seminfo`. `SETALL` without values answers how many
    /// there are.
    ControlSemaphores = 53 { set: i32, number: i32, command: i32, argument: i32, uid: u32, gid: u32; data }
    /// `syslog`: kernel log lines from a sequence number on, each with its priority, as many as fit; the value is the next number.
    Syslog = 54 { from: u64; }
    /// `syslog`: the number of the first line since the log was cleared. Clears it then, if asked.
    SyslogMark = 55 { clear: bool; }
}

/// What a timer does when its time is up.
pub mod timer_kinds {
    /// It sends a signal to the process that made it.
    pub const SIGNAL: u32 = 0;
    /// Nothing.
    pub const NOTHING: u32 = 1;
    /// It sends a signal to one thread of it.
    pub const THREAD_SIGNAL: u32 = 4;
    /// A descriptor becomes readable.
    pub const DESCRIPTOR: u32 = 5;
}

/// Flags of [`Request::Read`] and [`Request::Write`].
pub mod io_flags {
    /// `RWF_NOWAIT`.
    pub const NOWAIT: u32 = 1;
    /// `RWF_DSYNC` or `RWF_SYNC`.
    pub const DSYNC: u32 = 2;
}

/// Permission bits (with a zero size) of the real file that stands for a device node at a real path: no program makes
/// such files by itself, and none but root can open one.
pub const fn marker_mode() -> u32 {
    0o1000
}
