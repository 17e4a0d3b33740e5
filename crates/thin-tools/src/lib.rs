//! Tools for the metadata of thin pools: check, dump, restore, repair, list, compare, draw.
//!
//! They read a metadata device through [`Metadata`] and stand on the codecs of `dmlab-persistent-data`; they know
//! nothing of transactions, since what they read stands still. [`Survey`] walks everything once, in parallel; the tools
//! ask it. Damaged metadata is expected: nothing here panics, recurses without bound or loops, whatever the bytes are,
//! and what is lost is named by block, path, device and range.
//!
//! The format is `docs/src/thin-tools.md`'s; what the tools print is what Debian's thin-provisioning-tools 0.9 print
//! where those have the same tool (observed by running them).
#![forbid(unsafe_code)]

mod build;
mod check;
mod counts;
mod delta;
mod dump;
mod entries;
mod lost;
mod ls;
mod map;
mod mend;
mod metadata;
mod problem;
mod repair;
mod restore;
mod rmap;
mod scan;
mod space_map;
mod stat;
mod stream;
mod survey;
mod tree;
mod walk;
mod xml;

pub use build::BuildError;
pub use check::{CheckOptions, Report, check, clear_needs_check};
pub use counts::{DataCounts, MetaCounts};
pub use delta::{Delta, Difference, delta};
pub use dmlab_formats::thin::Superblock;
pub use dmlab_formats::thin::metadata_reserve;
pub use dmlab_formats::{BLOCK_SIZE, Block};
pub use dump::{DumpError, DumpOptions, dump};
pub use entries::for_each_mapping;
pub use lost::{Lost, ReadError};
pub use ls::{Column, ls, ls_table};
pub use map::{MapRun, State, map, picture};
pub use mend::{MendError, fix_leaks};
pub use metadata::{
    BlockError, BytesMetadata, FileMetadata, Metadata, MetadataMut, NR_BLOCKS_MAX, read_checked,
};
pub use problem::{Problem, SpaceMapKind};
pub use repair::{Overrides, RepairError, Salvage, repair, salvage};
pub use restore::restore;
pub use rmap::{RmapRun, rmap};
pub use space_map::SpaceMap;
pub use stat::{Statistics, TreeStatistics, statistics};
pub use stream::{Device, Pool, Run, Runs, Sink, SinkError};
pub use survey::{OpenError, Scope, Survey, View, Which, read_superblock};
pub use tree::{draw_svg, draw_text};
pub use walk::{EdgeError, Forest, Loss, NodeError, Shape, Tree};
pub use xml::{XmlError, XmlSink, read_xml};
