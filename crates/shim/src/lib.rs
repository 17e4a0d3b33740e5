//! The preload library: carries a program's calls on simulated devices to the server.
#![forbid(unsafe_code)]
