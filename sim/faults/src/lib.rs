//! The fault model: what a loss of power may leave of what a disk was told.
//!
//! A write is durable after a flush of its disk that began after the write ended, or if it was forced (FUA). Until then a
//! loss of power may keep it, drop it or tear it at a sector, each write for itself and in any combination.
#![forbid(unsafe_code)]

pub mod power;
