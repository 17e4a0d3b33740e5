//! Messages between the preload library and the server.
#![forbid(unsafe_code)]
