//! The device mapper from the outside: typed tables and status lines to ioctls and back, over any transport.
//!
//! [`Dm`] has one method for each command of `/dev/mapper/control`. It turns its arguments into the bytes of
//! `struct dm_ioctl`, sends them over a [`Transport`] — a machine in this process, one behind a socket, or a real
//! Linux ([`RealControl`]) — and decodes the answer. The byte layouts are `dmlab-abi`'s.
//!
//! ```
//! use dmlab_control::{Linear, Striped, Table};
//! use dmlab_units::{Sector, Sectors};
//!
//! let table = Table::new()
//!     .then(Sectors(1024), Linear::new("/dev/ram0", Sector(8)))
//!     .then(Sectors(2048), Striped::new(Sectors(64), [("/dev/ram1", Sector(0)), ("/dev/ram2", Sector(0))]));
//! assert_eq!(table.to_string(), "0 1024 linear /dev/ram0 8\n1024 2048 striped 2 64 /dev/ram1 0 /dev/ram2 0\n");
//! assert_eq!(table.to_string().parse::<Table>().unwrap(), table);
//! ```
// `forbid` would not let the one module that makes the ioctl system call have its exception.
#![deny(unsafe_code)]

mod device;
mod dm;
mod error;
mod explain;
mod form;
mod real;
mod request;
mod stack;
mod status;
mod table;
mod targets;
mod transport;

pub use device::{DeviceId, Info, ListedDevice};
pub use dm::{
    CreateOptions, Dm, LoadOptions, MessageReply, Query, Report, SuspendOptions, UDEV_PRIMARY_SOURCE,
};
pub use error::{Error, Refusal};
pub use explain::{Explanation, Surroundings, explain};
pub use form::{About, Argument, Bounds, Feature, Form, Item, Kind, Message, Step, TargetError};
pub use real::RealControl;
pub use request::{Reply, Request};
pub use stack::Stack;
pub use status::{StatusLine, TargetStatus};
pub use table::{Params, Table, TableError, TableErrorKind, TableLine};
pub use targets::*;
pub use transport::{Transport, TransportError};

/// A decimal number without sign that fits 64 bits.
fn decimal(word: &str) -> Option<u64> {
    // `parse` alone would take a `+` in front.
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}
