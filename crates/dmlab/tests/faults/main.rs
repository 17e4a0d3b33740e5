//! Faults as a test of somebody else would use them.

mod actions;
mod boundary;
mod ends;
mod meanings;
mod random;
mod timing;
