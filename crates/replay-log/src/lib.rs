//! Logs of the `log-writes` target: walked entry by entry, and replayed onto a disk up to a point.
//!
//! ```
//! use dmlab_replay_log::{Log, Stop, replay};
//! # fn log() -> Vec<u8> {
//! #     use dmlab_formats::log_writes::{Entry, EntryFlags, Superblock};
//! #     let mut log = Superblock { nr_entries: 2, block_size: 512 }.encode();
//! #     let write = Entry { sector: 3, nr_sectors: 1, flags: EntryFlags::FUA, text: vec![] };
//! #     log.extend(write.encode(512));
//! #     log.extend([7; 512]);
//! #     log.extend(Entry::mark(b"here", 512).encode(512));
//! #     log
//! # }
//!
//! let mut log = Log::open(log())?;
//! let mut disk = vec![0; 4096];
//! // Up to the mark, without it.
//! let replayed = replay(&mut log, &mut disk, &Stop::at_mark("here"))?;
//! assert_eq!((replayed.nr_entries, replayed.is_found), (1, true));
//! assert_eq!(disk[3 * 512], 7);
//! # Ok::<(), dmlab_replay_log::LogError>(())
//! ```
//!
//! A log is bytes of an unknown writer: whatever they are, reading them ends with an entry or an error.
#![forbid(unsafe_code)]

mod log;
mod media;
mod replay;

pub use dmlab_formats::log_writes::{EntryFlags, FormatError};
pub use log::{Log, LogError, Logged};
pub use media::{Disk, Source};
pub use replay::{Replayed, Stop, find, replay, replay_entry};
