//! What bios mean: the names that a rule can aim at.

/// One meaning that some writer gives its bios ([`dmlab_block::Tag`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Its name.
    pub name: &'static str,
    /// What it stands for.
    pub what: &'static str,
    /// What the owner is; empty when it is always 0.
    pub owner: &'static str,
    /// What the index is; empty when it is always 0.
    pub index: &'static str,
}

const fn meaning(
    name: &'static str,
    what: &'static str,
    owner: &'static str,
    index: &'static str,
) -> Meaning {
    Meaning { name, what, owner, index }
}

const BLOCK: &str = "the metadata block";
const THIN: &str = "the thin device's id";

/// Every meaning that the kernel side gives its bios, for each kind of bio that has one: reads, writes and flushes.
/// Those of metadata blocks have the kernel's own names, which its log uses too.
pub const MEANINGS: &[Meaning] = &[
    meaning("superblock", "the superblock of a pool's metadata", "", BLOCK),
    meaning("btree_node", "a node of a tree: mappings, device details, counts", "", BLOCK),
    meaning("index", "the index of the metadata space map", "", BLOCK),
    meaning("sm_bitmap", "a bitmap of a space map", "", BLOCK),
    meaning("metadata-flush", "the flush of a pool's metadata device in a commit", "", ""),
    meaning("data", "what a thin device's user reads and writes, on the data device", THIN, "the thin block"),
    meaning("data-zero", "zeros into a block that was never written", THIN, "the thin block"),
    meaning("data-copy", "the copy of a shared block, or of an external origin's", THIN, "the thin block"),
    meaning("data-discard", "a discard that a pool passes down", "", "the first data block"),
    meaning("data-flush", "the flush of a pool's data device before a commit", "", ""),
    meaning("exception-header", "the header of a snapshot's store", "", ""),
    meaning("exception-area", "a chunk of a snapshot's store that lists exceptions", "", "the area"),
    meaning(
        "exception",
        "a chunk on its way from an origin to a snapshot's store, or a user's IO to one there",
        "",
        "the origin's chunk",
    ),
    meaning(
        "merge",
        "chunks on their way from a snapshot's store back to the origin",
        "",
        "the first chunk of the origin",
    ),
    meaning("mirror-log", "the log device of a mirror: header, bitmap, its flush", "", ""),
    meaning("mirror-recovery", "a region that a mirror copies to legs that lack it", "", "the region"),
    meaning("log-super", "the superblock of a log-writes log", "", "entries before it"),
    meaning("log-entry", "an entry of a log-writes log", "", "the entry"),
    meaning("log-data", "the data of an entry of a log-writes log", "", "the entry"),
];
