//! The targets of the simulated device mapper, one module each.
#![forbid(unsafe_code)]
