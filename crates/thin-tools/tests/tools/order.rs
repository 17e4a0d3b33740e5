//! The order in which metadata is written: what a crash may leave.

use crate::damage::change;
use crate::images::{assert_clean, image};
use dmlab_formats::thin::SUPERBLOCK;
use dmlab_thin_tools::{
    Block, BytesMetadata, Metadata, MetadataMut, clear_needs_check, fix_leaks, read_superblock,
};
use dmlab_units::MetaBlock;
use std::io;

/// What was asked of metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Write(u64),
    Sync,
}

/// Metadata that notes the order of its calls.
struct Noted {
    metadata: BytesMetadata,
    calls: Vec<Call>,
}

impl Metadata for Noted {
    fn nr_blocks(&self) -> u64 {
        self.metadata.nr_blocks()
    }

    fn read(&self, block: MetaBlock, into: &mut Block) -> io::Result<()> {
        self.metadata.read(block, into)
    }
}

impl MetadataMut for Noted {
    fn write(&mut self, block: MetaBlock, bytes: &[u8]) -> io::Result<()> {
        self.calls.push(Call::Write(block.0));
        self.metadata.write(block, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.calls.push(Call::Sync);
        self.metadata.sync()
    }
}

fn noted(metadata: BytesMetadata) -> Noted {
    Noted { metadata, calls: Vec::new() }
}

/// A recorded image with needs_check set, and a data block counted that nothing maps.
fn leaking() -> BytesMetadata {
    let mut metadata = crate::images::written("grown-full-0.9");
    let mut superblock = read_superblock(&metadata, MetaBlock(0)).unwrap();
    superblock.flags |= 1;
    change(&mut metadata, MetaBlock(0), Some(&SUPERBLOCK), |bytes| superblock.encode(bytes));
    metadata
}

#[test]
fn what_is_mended_is_durable_before_the_superblock_says_so_and_that_before_the_end() {
    let mut metadata = noted(leaking());
    assert!(!fix_leaks(&mut metadata).unwrap().is_empty());
    let at =
        metadata.calls.iter().position(|call| *call == Call::Write(0)).expect("the superblock is written");
    let (before, after) = metadata.calls.split_at(at);
    assert!(before.len() > 1 && before.last() == Some(&Call::Sync), "{:?}", metadata.calls);
    assert_eq!(after, [Call::Write(0), Call::Sync]);
    assert_clean(&metadata.metadata);
}

#[test]
fn a_flag_that_is_cleared_is_durable() {
    let mut metadata = noted(leaking());
    assert!(clear_needs_check(&mut metadata).unwrap());
    assert_eq!(metadata.calls, [Call::Write(0), Call::Sync]);
}

#[test]
fn nothing_is_written_where_nothing_is_wrong() {
    let mut metadata = noted(image("05-snapshots"));
    assert_eq!(fix_leaks(&mut metadata).unwrap(), []);
    assert!(!clear_needs_check(&mut metadata).unwrap());
    assert_eq!(metadata.calls, []);
}
