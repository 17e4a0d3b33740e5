//! Walking a log.

use std::io;

use dmlab_formats::log_writes::{Entry, EntryFlags, FormatError, Superblock};

use crate::Source;

/// Why a log can't be read or replayed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The superblock is none.
    #[error(transparent)]
    Superblock(FormatError),
    /// An entry is none.
    #[error("entry {number} at block {block}: {error}")]
    Entry {
        /// Its number, from 0.
        number: u64,
        /// The log block that it begins in.
        block: u64,
        /// What is wrong.
        error: FormatError,
    },
    /// The log can't be read, or ends before its superblock says.
    #[error("reading the log at byte {at}: {error}")]
    Read {
        /// Where, in bytes.
        at: u64,
        /// What the system says.
        error: io::Error,
    },
    /// What it is replayed onto can't be written.
    #[error("entry {number}: writing {len} bytes at byte {at}: {error}")]
    Write {
        /// The entry.
        number: u64,
        /// Where, in bytes.
        at: u64,
        /// How many bytes.
        len: u64,
        /// What the system says.
        error: io::Error,
    },
    /// There is no such entry.
    #[error("there is no entry {wanted}: the log has {there}")]
    NoEntry {
        /// The number that was asked for.
        wanted: u64,
        /// How many entries there are.
        there: u64,
    },
}

/// An entry and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its number, from 0.
    pub number: u64,
    /// The log block that it begins in.
    pub block: u64,
    /// What it records; sectors and lengths are in log blocks.
    pub entry: Entry,
}

impl Logged {
    /// Whether it is the mark `text`.
    pub fn is_mark(&self, text: &[u8]) -> bool {
        self.entry.flags.contains(EntryFlags::MARK) && self.entry.text == text
    }
}

/// A log, read from its front to its end.
pub struct Log<S> {
    source: S,
    superblock: Superblock,
    /// Number of the next entry.
    next: u64,
    /// The log block that it begins in.
    block: u64,
}

impl<S: Source> Log<S> {
    /// Reads the superblock.
    ///
    /// # Errors
    /// [`LogError::Read`], [`LogError::Superblock`].
    pub fn open(mut source: S) -> Result<Log<S>, LogError> {
        let mut bytes = [0; 28];
        source.read(0, &mut bytes).map_err(|error| LogError::Read { at: 0, error })?;
        let superblock = Superblock::decode(&bytes).map_err(LogError::Superblock)?;
        Ok(Log { source, superblock, next: 0, block: 1 })
    }

    /// How many entries the superblock says there are. Those logged after the last forced write or mark are not
    /// counted.
    pub fn nr_entries(&self) -> u64 {
        self.superblock.nr_entries
    }

    /// Bytes of a log block, in which sectors and lengths count.
    pub fn block_size(&self) -> u64 {
        u64::from(self.superblock.block_size)
    }

    /// Number of the entry that [`Log::next_entry`] gives.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Goes back to the front.
    pub fn rewind(&mut self) {
        (self.next, self.block) = (0, 1);
    }

    /// Goes to an entry, by way of all before it.
    ///
    /// # Errors
    /// [`LogError::NoEntry`], and as [`Log::next_entry`].
    pub fn seek(&mut self, number: u64) -> Result<(), LogError> {
        if number > self.nr_entries() {
            return Err(LogError::NoEntry { wanted: number, there: self.nr_entries() });
        }
        if number < self.next {
            self.rewind();
        }
        while self.next < number {
            self.next_entry()?;
        }
        Ok(())
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// [`LogError::Read`], [`LogError::Entry`].
    pub fn next_entry(&mut self) -> Result<Option<Logged>, LogError> {
        if self.next >= self.nr_entries() {
            return Ok(None);
        }
        let (number, block) = (self.next, self.block);
        let mut bytes = vec![0; self.superblock.block_size as usize];
        let at = self.byte(block, number)?;
        self.source.read(at, &mut bytes).map_err(|error| LogError::Read { at, error })?;
        let broken = |error| LogError::Entry { number, block, error };
        let entry = Entry::decode(&bytes).map_err(broken)?;
        let after = entry.nr_data_blocks().checked_add(block).and_then(|end| end.checked_add(1));
        self.block = after.ok_or(broken(FormatError::Short))?;
        self.next += 1;
        Ok(Some(Logged { number, block, entry }))
    }

    /// Reads `buf.len()` bytes of an entry's data, from byte `from` of it on.
    ///
    /// # Errors
    /// [`LogError::Read`].
    pub fn read_data(&mut self, logged: &Logged, from: u64, buf: &mut [u8]) -> Result<(), LogError> {
        let at = self.byte(logged.block.saturating_add(1), logged.number)?.saturating_add(from);
        self.source.read(at, buf).map_err(|error| LogError::Read { at, error })
    }

    fn byte(&self, block: u64, number: u64) -> Result<u64, LogError> {
        let at = block.checked_mul(self.block_size());
        at.ok_or(LogError::Entry { number, block, error: FormatError::Short })
    }
}
