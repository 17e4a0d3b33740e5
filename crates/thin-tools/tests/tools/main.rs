//! The tools on recorded, generated and damaged metadata.
#![allow(missing_docs)]

mod damage;
mod debian;
mod drawings;
mod fields;
mod images;
mod lost_superblock;
mod order;
mod random_bytes;
mod readers;
mod writers;
