//! What bios mean: the names that a rule can aim at.

/// One meaning that some writer gives its bios ([`dmlab_block::Tag`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The name of the meaning, as rules write it.
    pub name: &'static str,
    /// What it stands for.
    pub what: &'static str,
    /// What the owner is; empty when it is always 0.
    pub owner: &'static str,
    /// What the index is; empty when it is always 0.
    pub index: &'static str,
    /// The wider meaning that this one belongs to: a rule for that one applies to this one too. Empty for most.
    pub within: &'static str,
}

const fn meaning(
    name: &'static str,
    what: &'static str,
    owner: &'static str,
    index: &'static str,
) -> Meaning {
    Meaning { name, what, owner, index, within: "" }
}

/// A node of one of a pool's trees.
const fn node(name: &'static str, what: &'static str) -> Meaning {
    Meaning { name, what, owner: "", index: BLOCK, within: TREE }
}

const TREE: &str = "btree_node";
const BLOCK: &str = "the metadata block";
const THIN: &str = "the thin device's id";

/// Every meaning that the kernel side gives its bios, for each kind of bio that has one: reads, writes and flushes.
/// Those of metadata blocks have the kernel's own names, which its log uses too; but it calls every node a `btree_node`.
pub const MEANINGS: &[Meaning] = &[
    meaning("superblock", "the superblock of a pool's metadata", "", BLOCK),
    meaning(TREE, "any node of a tree: one of the five that follow", "", BLOCK),
    node("mapping_top_node", "of the mapping tree's top level: thin devices, each with a tree of its own"),
    node(
        "mapping_tree_node",
        "of the mapping tree's bottom level: the blocks of one thin device, or of some that share",
    ),
    node("details_tree_node", "of the details tree: what is known of each thin device"),
    node("index_tree_node", "of the tree of bitmaps in the data space map"),
    node("count_tree_node", "of the tree of counts that no bitmap can hold, in either space map"),
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

/// Whether a rule for the meaning `aimed` applies to bios that carry the meaning `said`.
pub(crate) fn is_meant(said: &str, aimed: &str) -> bool {
    said == aimed || (aimed == TREE && MEANINGS.iter().any(|m| m.name == said && m.within == aimed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_meant_by_the_whole_and_not_the_other_way() {
        assert!(is_meant("mapping_tree_node", "btree_node") && is_meant("count_tree_node", "btree_node"));
        assert!(is_meant("btree_node", "btree_node") && is_meant("one's own", "one's own"));
        assert!(!is_meant("btree_node", "mapping_tree_node") && !is_meant("sm_bitmap", "btree_node"));
        assert!(!is_meant("", "btree_node") && !is_meant("details_tree_node", "mapping_tree_node"));
        let wholes: Vec<&str> = MEANINGS.iter().map(|m| m.within).filter(|whole| !whole.is_empty()).collect();
        assert!(wholes.iter().all(|whole| *whole == TREE) && MEANINGS.iter().any(|m| m.name == TREE));
    }
}
