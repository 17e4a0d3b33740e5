//! Faults as a test outside this repository would use them.

mod actions;
mod boundary;
mod ends;
mod meanings;
mod random;
mod timing;
