//! The small targets of the device mapper, one module each. A module reads from top to
//! bottom: what the target is, its table line, its arguments, its way of a bio, its status, its tests. Start with [`linear`].
//!
//! A target that has a format, an algorithm or a life of its own is a crate beside this one.
#![forbid(unsafe_code)]

pub mod delay;
pub mod dust;
pub mod ebs;
pub mod error;
pub mod flakey;
pub mod linear;
pub mod log_writes;
pub mod striped;
pub mod switch;
pub mod unstriped;
pub mod zero;
