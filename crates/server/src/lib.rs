//! Runs one machine on threads and the wall clock for many clients.
//!
//! - [`view`]: what `/dev`, `/sys` and `/proc` look like on that machine; every front asks it;
//! - [`Server`]: the preload front: a socket, channels in shared memory, the table of open files;
//! - [`client`]: the other end, for dmlab's own commands.
// Two exceptions, with their reasons: the memory that clients share, in `shared`, and signals with a value, in `signals`.
#![deny(unsafe_code)]

pub mod client;
mod front;
pub mod rundir;
mod semaphores;
mod shared;
mod signals;

pub use dmlab_driver as driver;
pub use dmlab_kernel_calls as kernel_calls;
pub use dmlab_view as view;
pub use front::{OnRefusedLoad, Options, Server};
