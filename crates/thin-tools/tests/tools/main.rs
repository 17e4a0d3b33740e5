//! The tools on recorded, generated and damaged metadata.
#![allow(missing_docs)]

mod damage;
mod debian;
mod images;
mod lost_superblock;
mod random_bytes;
