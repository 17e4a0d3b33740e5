//! Mapped devices, tables, the Target trait, the ioctl handlers and the life of a bio.
#![forbid(unsafe_code)]
