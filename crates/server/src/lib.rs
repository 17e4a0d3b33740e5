//! Runs one machine on threads and the wall clock for many clients.
#![forbid(unsafe_code)]
