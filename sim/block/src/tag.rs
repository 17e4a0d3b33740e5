//! What bios mean to those that send them: for traces, and for faults that are aimed by meaning.

/// What the bytes of a write mean to their writer: for traces and for faults that are aimed by meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The kind: `data`, `superblock`, `mapping-node`; empty when the writer did not say.
    pub what: &'static str,
    /// The owner: a thin device's id, a tree's root; 0 when it has no owner.
    pub owner: u64,
    /// Which: a block number, a transaction.
    pub index: u64,
}

impl Tag {
    /// The tag of what has an owner and a number.
    pub const fn new(what: &'static str, owner: u64, index: u64) -> Tag {
        Tag { what, owner, index }
    }
}

/// One kind of [`Tag`] that some writer gives its bios, as rules of faults and traces name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The name: [`Tag::what`].
    pub name: &'static str,
    /// What it stands for, in words.
    pub what: &'static str,
    /// What the owner is; empty when it is always 0.
    pub owner: &'static str,
    /// What the index is; empty when it is always 0.
    pub index: &'static str,
    /// The meaning that it is a part of: a rule that aims at that strikes this too. Empty for most.
    pub within: &'static str,
}

impl Meaning {
    /// A meaning that is no part of another.
    pub const fn new(
        name: &'static str,
        what: &'static str,
        owner: &'static str,
        index: &'static str,
    ) -> Meaning {
        Meaning { name, what, owner, index, within: "" }
    }
}
