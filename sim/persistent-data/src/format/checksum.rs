//! Checksums and block numbers: filled in when a block is written, looked at when it is read.

use dmlab_units::{Errno, MetaBlock};

use super::{BLOCK_SIZE, Block, Node, SUPERBLOCK_MAGIC, put_u32, put_u64, u32_at, u64_at};

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The superblock, or its copy in a metadata snapshot.
    Superblock,
    /// A node of a B-tree.
    Node,
    /// The index of the metadata space map.
    Index,
    /// A bitmap of a space map.
    Bitmap,
}

impl Kind {
    fn salt(self) -> u32 {
        match self {
            Kind::Superblock => 160_774,
            Kind::Node => 121_107,
            Kind::Index => 160_478,
            Kind::Bitmap => 240_779,
        }
    }

    /// The kernel's name of the validator.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Superblock => "superblock",
            Kind::Node => "btree_node",
            Kind::Index => "index",
            Kind::Bitmap => "sm_bitmap",
        }
    }
}

/// Why a block is not what it should be. The text is the kernel's log line without its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "found and wanted, each time")]
pub enum CheckError {
    /// It holds another block's number.
    BlockNumber { kind: Kind, found: u64, wanted: u64 },
    /// It is no thin superblock at all.
    Magic { found: u64 },
    /// Its bytes are not those that were written.
    Checksum { kind: Kind, computed: u32, stored: u32 },
    /// A node with more room than a block has.
    NodeTooLarge,
    /// A node with more entries than room.
    TooManyEntries,
    /// A node that is neither internal nor a leaf.
    NoNodeKind,
}

impl CheckError {
    /// ENOTBLK for a wrong number, EILSEQ for all else.
    pub fn errno(self) -> Errno {
        match self {
            CheckError::BlockNumber { .. } => Errno::ENOTBLK,
            _ => Errno::EILSEQ,
        }
    }

    /// The prefix under which the kernel logs it.
    pub fn log_prefix(self) -> &'static str {
        match self {
            CheckError::BlockNumber { kind, .. } | CheckError::Checksum { kind, .. } => match kind {
                Kind::Superblock => "thin metadata",
                Kind::Node => "btree spine",
                Kind::Index | Kind::Bitmap => "space map common",
            },
            CheckError::Magic { .. } => "thin metadata",
            CheckError::NodeTooLarge | CheckError::TooManyEntries | CheckError::NoNodeKind => "btree spine",
        }
    }
}

impl std::fmt::Display for CheckError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            CheckError::BlockNumber { kind, found, wanted } => match kind {
                Kind::Superblock => write!(f, "sb_check failed: blocknr {found}: wanted {wanted}"),
                Kind::Node => write!(f, "node_check failed: blocknr {found} != wanted {wanted}"),
                Kind::Index => write!(f, "index_check failed: blocknr {found} != wanted {wanted}"),
                Kind::Bitmap => write!(f, "bitmap check failed: blocknr {found} != wanted {wanted}"),
            },
            CheckError::Magic { found } => {
                write!(f, "sb_check failed: magic {found}: wanted {SUPERBLOCK_MAGIC}")
            }
            CheckError::Checksum { kind, computed, stored } => match kind {
                Kind::Superblock => write!(f, "sb_check failed: csum {computed}: wanted {stored}"),
                Kind::Node => write!(f, "node_check failed: csum {computed} != wanted {stored}"),
                Kind::Index => write!(f, "index_check failed: csum {computed} != wanted {stored}"),
                Kind::Bitmap => write!(f, "bitmap check failed: csum {computed} != wanted {stored}"),
            },
            CheckError::NodeTooLarge => write!(f, "node_check failed: max_entries too large"),
            CheckError::TooManyEntries => write!(f, "node_check failed: too many entries"),
            CheckError::NoNodeKind => write!(f, "node_check failed: node is neither INTERNAL or LEAF"),
        }
    }
}

impl std::error::Error for CheckError {}

/// CRC-32C of all but the checksum itself, seeded with ones, not inverted at the end, salted by kind.
fn checksum(kind: Kind, block: &Block) -> u32 {
    !crc32c::crc32c(&block[4..]) ^ kind.salt()
}

/// Writes number and checksum: a block is ready to go out.
pub fn seal(kind: Kind, number: MetaBlock, block: &mut Block) {
    put_u64(block, 8, number.0);
    let sum = checksum(kind, block);
    put_u32(block, 0, sum);
}

/// Checks a block that was read, in the kernel's order.
///
/// # Errors
/// The first thing wrong.
pub fn check(kind: Kind, number: MetaBlock, block: &Block) -> Result<(), CheckError> {
    let found = u64_at(block, 8);
    if found != number.0 {
        return Err(CheckError::BlockNumber { kind, found, wanted: number.0 });
    }
    if kind == Kind::Superblock {
        let found = u64_at(block, 32);
        if found != SUPERBLOCK_MAGIC {
            return Err(CheckError::Magic { found });
        }
    }
    let (computed, stored) = (checksum(kind, block), u32_at(block, 0));
    if computed != stored {
        return Err(CheckError::Checksum { kind, computed, stored });
    }
    if kind == Kind::Node { check_node(Node::new(block)) } else { Ok(()) }
}

fn check_node(node: Node<'_>) -> Result<(), CheckError> {
    let entry = 8 + node.value_size() as u64;
    // Both come from the disk: their product may be larger than 64 bits.
    let size = entry.saturating_mul(node.max_entries() as u64).saturating_add(32);
    if size > BLOCK_SIZE as u64 {
        Err(CheckError::NodeTooLarge)
    } else if node.len() > node.max_entries() {
        Err(CheckError::TooManyEntries)
    } else if !node.is_internal() && !node.is_leaf() {
        Err(CheckError::NoNodeKind)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_block_checks_and_a_touched_one_does_not() {
        let mut block = [7; BLOCK_SIZE];
        seal(Kind::Bitmap, MetaBlock(5), &mut block);
        assert_eq!(check(Kind::Bitmap, MetaBlock(5), &block), Ok(()));
        let moved = check(Kind::Bitmap, MetaBlock(6), &block).unwrap_err();
        assert_eq!(moved.errno(), Errno::ENOTBLK);
        assert_eq!(moved.to_string(), "bitmap check failed: blocknr 5 != wanted 6");
        block[4095] ^= 1;
        assert_eq!(check(Kind::Bitmap, MetaBlock(5), &block).unwrap_err().errno(), Errno::EILSEQ);
    }

    #[test]
    fn a_node_whose_size_overflows_is_too_large() {
        let mut block = [0; BLOCK_SIZE];
        block[4] = 2;
        block[20..28].fill(0xff);
        seal(Kind::Node, MetaBlock(5), &mut block);
        assert_eq!(check(Kind::Node, MetaBlock(5), &block), Err(CheckError::NodeTooLarge));
    }
}
