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

/// Every meaning that the kernel side gives its bios.
pub const MEANINGS: &[Meaning] =
    &[Meaning { name: "superblock", what: "the superblock of a thin pool's metadata", owner: "", index: "" }];
