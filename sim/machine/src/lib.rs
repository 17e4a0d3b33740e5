//! A whole simulated kernel in one value.
#![forbid(unsafe_code)]
