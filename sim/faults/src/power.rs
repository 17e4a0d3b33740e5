//! What a loss of power leaves of what disks were told.
//!
//! A [`RecordedDisk`] behaves as a disk with a volatile write cache and writes everything down: each write with its
//! bytes and its meaning, each flush, each discard. From the [`Recording`] follows which contents the disks may have
//! after a loss of power at any **boundary**, that is after so many events:
//!
//! - A write is *durable* after a flush of its disk that began after the write ended, or when it was forced (FUA). Durable
//!   writes are always there.
//! - Each other write may be there, may be lost, or may be *torn*: some run of its sectors of 512 bytes is there and the
//!   rest is as before. A sector is never half there. Each write for itself, in any combination, on all disks.
//! - Writes may have reached the medium in another order than they were given: of two that overlap, either may lie on
//!   top, unless the later one was forced.
//! - A discard and a write of zeros are writes of zeros.
//!
//! A flush makes durable what was written to its own disk and says nothing of others. What was read since, and what the
//! program that wrote believes, changes nothing.
//!
//! A state is named by its boundary and a [`Choice`], in short: `17.5` is what is left when power goes after the first 17
//! events and of the writes that are not durable the first and the third are there. [`Walk`] builds a state from its
//! name alone, and goes through all of a recording without building the beginning again.

mod choice;
mod disk;
mod left;
mod recording;
mod states;
#[cfg(test)]
mod tests;
mod walk;

pub use choice::{BadChoice, Choice, Fate, Picks, StateId, Tear};
pub use disk::RecordedDisk;
pub use left::LeftDisk;
pub use recording::{Data, Event, Meaning, Recorder, Recording, Written};
pub use states::{Limits, states_here};
pub use walk::Walk;
