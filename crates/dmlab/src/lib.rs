//! The library for tests: a machine on virtual time, its disks, tables, IO and faults.
#![forbid(unsafe_code)]
