//! System V semaphores: the numbers of Linux's ABI, and the records that travel about them.

/// Limits of a fresh System V namespace of Linux.
pub mod semaphore_limits {
    /// `SEMMNI`: sets.
    pub const SETS: usize = 32000;
    /// `SEMMSL`: semaphores of a set.
    pub const OF_A_SET: usize = 32000;
    /// `SEMMNS`: semaphores of all sets.
    pub const IN_ALL: usize = 1_024_000_000;
    /// `SEMOPM`: operations of one call.
    pub const OPERATIONS: usize = 500;
    /// `SEMVMX`, and `SEMAEM` in both directions: the largest value, and what is undone of one.
    pub const VALUE: i32 = 32767;
}

/// Commands of `semctl`.
pub mod semaphore_commands {
    #![allow(missing_docs, reason = "the manual's names")]
    pub const IPC_RMID: i32 = 0;
    pub const IPC_SET: i32 = 1;
    pub const IPC_STAT: i32 = 2;
    pub const IPC_INFO: i32 = 3;
    pub const GETPID: i32 = 11;
    pub const GETVAL: i32 = 12;
    pub const GETALL: i32 = 13;
    pub const GETNCNT: i32 = 14;
    pub const GETZCNT: i32 = 15;
    pub const SETVAL: i32 = 16;
    pub const SETALL: i32 = 17;
    pub const SEM_STAT: i32 = 18;
    pub const SEM_INFO: i32 = 19;
    pub const SEM_STAT_ANY: i32 = 20;
}

/// The time limit of a `semop` that has none.
pub const NO_LIMIT: u64 = u64::MAX;

/// One operation on one semaphore: `struct sembuf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SemaphoreOperation {
    /// Which semaphore of the set.
    pub number: u16,
    /// What is added to its value; 0 waits for the value 0.
    pub by: i16,
    flags: u16,
}

impl SemaphoreOperation {
    /// Bytes of a `struct sembuf`.
    pub const LEN: usize = 6;
    const NO_WAIT: u16 = 0o4000;
    const UNDO: u16 = 0o10000;

    /// One operation with neither flag.
    pub const fn new(number: u16, by: i16) -> SemaphoreOperation {
        SemaphoreOperation { number, by, flags: 0 }
    }

    /// This operation with `IPC_NOWAIT`.
    #[must_use]
    pub const fn without_wait(self) -> SemaphoreOperation {
        SemaphoreOperation { flags: self.flags | SemaphoreOperation::NO_WAIT, ..self }
    }

    /// This operation with `SEM_UNDO`.
    #[must_use]
    pub const fn undone(self) -> SemaphoreOperation {
        SemaphoreOperation { flags: self.flags | SemaphoreOperation::UNDO, ..self }
    }

    /// Whether it must not wait (`IPC_NOWAIT`).
    pub const fn must_not_wait(self) -> bool {
        self.flags & SemaphoreOperation::NO_WAIT != 0
    }

    /// Whether the end of its process undoes it (`SEM_UNDO`).
    pub const fn is_undone(self) -> bool {
        self.flags & SemaphoreOperation::UNDO != 0
    }

    /// Reads an array of `struct sembuf` as the program's memory holds it.
    pub fn all(bytes: &[u8]) -> impl Iterator<Item = SemaphoreOperation> {
        bytes.chunks_exact(SemaphoreOperation::LEN).map(|bytes| SemaphoreOperation {
            number: u16::from_ne_bytes([bytes[0], bytes[1]]),
            by: i16::from_ne_bytes([bytes[2], bytes[3]]),
            flags: u16::from_ne_bytes([bytes[4], bytes[5]]),
        })
    }
}

/// What `IPC_STAT` tells of a set, independent of any C library's struct; of `IPC_SET` only `uid`, `gid` and `mode` count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SemaphoreStatus {
    /// The key; 0 for a private set.
    pub key: i32,
    /// Owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// The user who made it.
    pub cuid: u32,
    /// The group of the user who made it.
    pub cgid: u32,
    /// Permissions.
    pub mode: u32,
    /// The upper part of its number.
    pub sequence: u32,
    /// When a `semop` last succeeded, seconds since 1970; 0: never.
    pub otime: i64,
    /// When it was made or last changed by `semctl`, seconds since 1970.
    pub ctime: i64,
    /// Semaphores.
    pub len: u64,
}

impl SemaphoreStatus {
    /// Bytes of an encoded status.
    pub const LEN: usize = 10 * 8;

    /// The bytes of a payload.
    pub fn to_bytes(&self) -> [u8; SemaphoreStatus::LEN] {
        let words = [
            self.key as u64,
            u64::from(self.uid),
            u64::from(self.gid),
            u64::from(self.cuid),
            u64::from(self.cgid),
            u64::from(self.mode),
            u64::from(self.sequence),
            self.otime as u64,
            self.ctime as u64,
            self.len,
        ];
        let mut out = [0; SemaphoreStatus::LEN];
        for (chunk, word) in out.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Reads a payload.
    pub fn from_bytes(bytes: &[u8; SemaphoreStatus::LEN]) -> SemaphoreStatus {
        let word = |i: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&bytes[i * 8..i * 8 + 8]);
            u64::from_le_bytes(w)
        };
        SemaphoreStatus {
            key: word(0) as i32,
            uid: word(1) as u32,
            gid: word(2) as u32,
            cuid: word(3) as u32,
            cgid: word(4) as u32,
            mode: word(5) as u32,
            sequence: word(6) as u32,
            otime: word(7) as i64,
            ctime: word(8) as i64,
            len: word(9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_trip() {
        let status =
            SemaphoreStatus { key: -7, uid: u32::MAX, mode: 0o640, otime: -1, len: 3, ..Default::default() };
        assert_eq!(SemaphoreStatus::from_bytes(&status.to_bytes()), status);
    }

    #[test]
    fn operations_are_read_as_memory_holds_them() {
        let [number, by, flags] = [3u16.to_ne_bytes(), (-2i16).to_ne_bytes(), 0o14000u16.to_ne_bytes()];
        let bytes = [number, by, flags].concat();
        let expected = SemaphoreOperation::new(3, -2).without_wait().undone();
        assert_eq!(SemaphoreOperation::all(&bytes).collect::<Vec<_>>(), [expected]);
    }
}
