//! What programs asked of a machine and what the machine did, in a file; and the same once more, in process, to see where it
//! comes out otherwise.
//!
//! A recording is a list of [`Event`]s. Some come from outside the machine: calls with all that they brought along, the
//! movements of the clock, whose turn it was, signals. The others are what the machine made of them: how calls ended, each bio
//! with a checksum of its data, the kernel log, events for user space. Callers take turns while a run is recorded
//! (see [`dmlab_driver::Witness`]), so the first kind determines the second, and a [`replay`](replay::replay) that finds
//! another second kind has found a difference between two versions of dmlab, two seeds, or whatever else was changed.
//!
//! It reads in this order: `event` (what there is), `file` (as bytes), `log` and `record` (how it is written down while
//! programs run), `replay` (how it happens again), `show` (as lines to read).
#![forbid(unsafe_code)]

pub mod event;
pub mod file;
mod log;
pub mod record;
pub mod replay;
pub mod show;

pub use dmlab_driver::Time;
pub use dmlab_kernel_calls as kernel_calls;
pub use event::{Answer, Backing, Bio, Call, Ended, Event, Extents, Header, Host};
pub use file::{FileError, Reader, Recording};
pub use record::{RecordedKernel, Recorder};
pub use replay::{Changes, Divergence, Replayed, replay};
