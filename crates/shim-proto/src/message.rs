//! Requests: a fixed header of words, and byte strings (paths, data) in the payload.

/// Version of these messages; both sides come from one build, so only equality is useful.
pub const PROTOCOL: u32 = 1;

/// Words of a request beside its operation and payload length.
const NR_WORDS: usize = 10;
/// Bytes of an encoded [`Header`].
pub const HEADER_LEN: usize = 8 + NR_WORDS * 8;

/// A request that cannot be what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No operation has this number.
    Operation(u32),
    /// A word does not fit its field.
    Word,
    /// The payload is shorter or longer than the lengths in the header say.
    Payload,
}

/// The fixed part of a request as it lies in the shared area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Which operation.
    pub op: u32,
    /// Bytes of payload in the data part.
    pub len: u32,
    /// The operation's words, then the lengths of its byte strings.
    pub words: [u64; NR_WORDS],
}

impl Header {
    /// The bytes for the shared area.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(&self.op.to_le_bytes());
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        for (chunk, word) in out[8..].chunks_exact_mut(8).zip(self.words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Reads what [`Header::to_bytes`] wrote. Any bytes are some header; [`Request::decode`] judges it.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Header {
        let word = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(w)
        };
        let first = word(0);
        let mut words = [0; NR_WORDS];
        for (i, w) in words.iter_mut().enumerate() {
            *w = word(8 + i * 8);
        }
        Header { op: first as u32, len: (first >> 32) as u32, words }
    }
}

/// A field of a request that travels as one word.
trait Word: Copy {
    fn to_word(self) -> u64;
    fn from_word(word: u64) -> Result<Self, Malformed>;
}

macro_rules! words {
    ($($t:ty),*) => {$(
        impl Word for $t {
            fn to_word(self) -> u64 { self as i64 as u64 }
            fn from_word(word: u64) -> Result<Self, Malformed> {
                let value = word as $t;
                if value as i64 as u64 == word { Ok(value) } else { Err(Malformed::Word) }
            }
        }
    )*};
}
words!(u32, i32, u64, i64);

impl Word for bool {
    fn to_word(self) -> u64 {
        u64::from(self)
    }
    fn from_word(word: u64) -> Result<bool, Malformed> {
        match word {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Word),
        }
    }
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident = $number:literal { $($(#[$wdoc:meta])* $word:ident : $type:ty),* ; $($(#[$bdoc:meta])* $blob:ident),* })*) => {
        /// One call of a program, as the preload library understood it. Fields are named as the system call's arguments;
        /// `file` is the inode of a placeholder.
        #[allow(missing_docs, reason = "the variants say what their fields are")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Request<'a> {
            $($(#[$doc])* $name { $($(#[$wdoc])* $word: $type,)* $($(#[$bdoc])* $blob: &'a [u8],)* },)*
        }

        impl<'a> Request<'a> {
            /// The header of this request; its byte strings are copied to the start of `payload`.
            /// `Err` when they do not fit.
            pub fn encode(&self, payload: &mut [u8]) -> Result<Header, Malformed> {
                self.encode_with_tail(payload, 0)
            }

            /// As [`Request::encode`], for data that lies in the area already: the last byte string (given empty) is
            /// the `tail` bytes that follow the others.
            pub fn encode_with_tail(&self, payload: &mut [u8], tail: usize) -> Result<Header, Malformed> {
                let mut header = Header::default();
                #[allow(unused_mut, unused_variables, unused_assignments)]
                let (mut word, mut end) = (0, 0);
                match *self {
                    $(Request::$name { $($word,)* $($blob,)* } => {
                        header.op = $number;
                        $(header.words[word] = Word::to_word($word); word += 1;)*
                        $(
                            payload.get_mut(end..end + $blob.len()).ok_or(Malformed::Payload)?.copy_from_slice($blob);
                            header.words[word] = $blob.len() as u64;
                            word += 1;
                            end += $blob.len();
                        )*
                        if let Some(last) = header.words.get_mut(word.wrapping_sub(1)).filter(|_| tail > 0) {
                            *last += tail as u64;
                            end += tail;
                        }
                    })*
                }
                header.len = u32::try_from(end).map_err(|_| Malformed::Payload)?;
                Ok(header)
            }

            /// Reads a request. `payload` is the whole data part, or as much of it as the header's length names.
            pub fn decode(header: &Header, payload: &'a [u8]) -> Result<Request<'a>, Malformed> {
                #[allow(unused_mut, unused_variables, unused_assignments)]
                let (mut word, mut rest) = (0, payload.get(..header.len as usize).ok_or(Malformed::Payload)?);
                match header.op {
                    $($number => {
                        $(let $word = <$type as Word>::from_word(header.words[word])?; word += 1;)*
                        $(
                            let len = usize::try_from(header.words[word]).map_err(|_| Malformed::Payload)?;
                            let ($blob, tail) = rest.split_at_checked(len).ok_or(Malformed::Payload)?;
                            rest = tail;
                            word += 1;
                        )*
                        let _ = (word, rest);
                        Ok(Request::$name { $($word,)* $($blob,)* })
                    })*
                    other => Err(Malformed::Operation(other)),
                }
            }
        }
    };
}

requests! {
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
    /// Kernel log lines from a sequence number on, as many as fit; the value is the next number.
    Klog = 34 { from: u64; }
    /// Uevents from a sequence number on, as many as fit; the value is the next number.
    Uevents = 35 { from: u64; }
    /// Lists the block devices, one text line each.
    Devices = 36 {;}
    /// Rules of faults: a verb and its words with NUL between. The payload of the answer is text, from number `from` on where
    /// it is long; its `extra` is 1 when it says what is wrong.
    Faults = 42 { from: u64; command }
    /// The release of the machine's kernel, as text.
    Release = 50 {;}
    /// Ends the server.
    Halt = 37 {;}
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
    /// A DM ioctl without an open control node, for dmlab's own commands.
    DmIoctl = 38 { cmd: u32; data }
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

/// How path answers may be marked.
pub mod path_flags {
    /// The path lies outside the simulated tree: do the call on the path in the payload.
    pub const ELSEWHERE: u32 = 1;
}

/// Permission bits (with a zero size) of the real file that stands for a device node at a real path: no program makes
/// such files by itself, and none but root can open one.
pub const fn marker_mode() -> u32 {
    0o1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_trip() {
        let mut payload = [0; 64];
        let request = Request::Rename { flags: 1, path: b"/dev/a", other: b"/dev/bb" };
        let header = request.encode(&mut payload).unwrap();
        let header = Header::from_bytes(&header.to_bytes());
        assert_eq!(Request::decode(&header, &payload), Ok(request));
        let request =
            Request::Read { file: u64::MAX, pos: -1, len: 4096, flags: 0, addresses: 512, lengths: 512 };
        let header = request.encode(&mut payload).unwrap();
        assert_eq!(Request::decode(&header, &payload), Ok(request));
    }

    #[test]
    fn lying_headers_are_refused() {
        let payload = [0; 16];
        let header = Request::Open { flags: 0, mode: 0, path: b"/dev/ram0" }.encode(&mut [0; 16]).unwrap();
        assert_eq!(Request::decode(&Header { len: 17, ..header }, &payload), Err(Malformed::Payload));
        assert_eq!(Request::decode(&Header { len: 3, ..header }, &payload), Err(Malformed::Payload));
        let mut words = header.words;
        words[0] = 1 << 40;
        assert_eq!(Request::decode(&Header { words, ..header }, &payload), Err(Malformed::Word));
        assert_eq!(Request::decode(&Header { op: 999, ..header }, &payload), Err(Malformed::Operation(999)));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        let payload = [7; 128];
        let mut seed = 1u64;
        for op in 0..60 {
            for _ in 0..200 {
                let mut header = Header { op, len: 0, words: [0; NR_WORDS] };
                for word in &mut header.words {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    *word = if seed & (1 << 40) == 0 { seed >> 58 } else { seed };
                }
                header.len = (seed >> 33) as u32 % 256;
                let _ = Request::decode(&header, &payload);
            }
        }
    }
}
