//! Validators: what makes a block one of its kind, and the checksum and block number that say so on disk.
//!
//! A validator fills both in when a block is written (`seal`) and compares them when it is read (`check`). Its checksum is
//! CRC-32C of all but the checksum itself, seeded with ones, not inverted at the end, xor the kind's salt.

use std::fmt;

use dmlab_units::MetaBlock;

use crate::{Block, put_u32, put_u64, u32_at, u64_at};

/// A word that a block of one kind holds at a fixed place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Magic {
    /// Where it stands.
    pub at: usize,
    /// What it is.
    pub value: u64,
}

/// One kind of metadata block: its salt, its magic, and the words with which the kernel refuses another.
///
/// Validators are compared by their salt, which no two kinds share.
pub struct Validator {
    /// The kernel's name of it.
    pub name: &'static str,
    /// What its checksums are xored with.
    pub salt: u32,
    /// Where the block keeps its own number.
    pub number_at: usize,
    /// The word that it holds, if it has one.
    pub magic: Option<Magic>,
    /// The prefix under which the kernel logs a block that fails.
    pub log_prefix: &'static str,
    /// How such a log line begins.
    pub failed: &'static str,
    /// What stands in such a line between what was found and what was wanted.
    pub wanted: &'static str,
    /// Looks at the header of a block whose checksum is right; the error is what the kernel says of it.
    pub shape: fn(&Block) -> Result<(), &'static str>,
}

impl Validator {
    /// A kind with the block number at byte 8, without a magic, and with nothing else to check.
    pub const fn new(name: &'static str, salt: u32) -> Validator {
        Validator {
            name,
            salt,
            number_at: 8,
            magic: None,
            log_prefix: "",
            failed: "",
            wanted: " != wanted",
            shape: any_shape,
        }
    }

    fn checksum(&self, block: &Block) -> u32 {
        !crc32c::crc32c(&block[4..]) ^ self.salt
    }

    /// Writes number and checksum: the block is ready to go out.
    pub fn seal(&self, number: MetaBlock, block: &mut Block) {
        put_u64(block, self.number_at, number.0);
        let sum = self.checksum(block);
        put_u32(block, 0, sum);
    }

    /// Checks a block that was read, in the kernel's order.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn check(&'static self, number: MetaBlock, block: &Block) -> Result<(), CheckError> {
        let wrong = |problem| Err(CheckError { validator: self, problem });
        let found = u64_at(block, self.number_at);
        if found != number.0 {
            return wrong(Problem::BlockNumber { found, wanted: number.0 });
        }
        if let Some(Magic { at, value }) = self.magic {
            let found = u64_at(block, at);
            if found != value {
                return wrong(Problem::Magic { found, wanted: value });
            }
        }
        let (computed, stored) = (self.checksum(block), u32_at(block, 0));
        if computed != stored {
            return wrong(Problem::Checksum { computed, stored });
        }
        (self.shape)(block).or_else(|text| wrong(Problem::Shape(text)))
    }
}

const fn any_shape(_: &Block) -> Result<(), &'static str> {
    Ok(())
}

impl PartialEq for Validator {
    fn eq(&self, other: &Validator) -> bool {
        self.salt == other.salt
    }
}

impl Eq for Validator {}

impl std::hash::Hash for Validator {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.salt.hash(state);
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "found and wanted, each time")]
pub enum Problem {
    /// The block holds another block's number.
    BlockNumber { found: u64, wanted: u64 },
    /// The block is of another format altogether.
    Magic { found: u64, wanted: u64 },
    /// The bytes are not those that were written.
    Checksum { computed: u32, stored: u32 },
    /// The header says what no block of its kind says.
    Shape(&'static str),
}

/// Why a block is not what it should be. The text is the kernel's log line without its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckError {
    /// What it should be.
    pub validator: &'static Validator,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Validator { failed, wanted: separator, .. } = self.validator;
        match self.problem {
            Problem::BlockNumber { found, wanted } => {
                write!(f, "{failed}: blocknr {found}{separator} {wanted}")
            }
            Problem::Magic { found, wanted } => write!(f, "{failed}: magic {found}{separator} {wanted}"),
            Problem::Checksum { computed, stored } => {
                write!(f, "{failed}: csum {computed}{separator} {stored}")
            }
            Problem::Shape(text) => write!(f, "{failed}: {text}"),
        }
    }
}

impl std::error::Error for CheckError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BLOCK_SIZE;
    use crate::bitmap::BITMAP;
    use crate::btree_node::NODE;
    use crate::thin::SUPERBLOCK;

    #[test]
    fn a_sealed_block_checks_and_a_touched_one_does_not() {
        let mut block = [7; BLOCK_SIZE];
        BITMAP.seal(MetaBlock(5), &mut block);
        assert_eq!(BITMAP.check(MetaBlock(5), &block), Ok(()));
        let moved = BITMAP.check(MetaBlock(6), &block).unwrap_err();
        assert_eq!(moved.problem, Problem::BlockNumber { found: 5, wanted: 6 });
        assert_eq!(moved.to_string(), "bitmap check failed: blocknr 5 != wanted 6");
        block[4095] ^= 1;
        let touched = BITMAP.check(MetaBlock(5), &block).unwrap_err();
        assert!(matches!(touched.problem, Problem::Checksum { .. }));
    }

    #[test]
    fn a_block_of_another_kind_is_refused_in_the_words_of_the_kind_wanted() {
        let mut block = [0; BLOCK_SIZE];
        NODE.seal(MetaBlock(5), &mut block);
        let refused = SUPERBLOCK.check(MetaBlock(5), &block).unwrap_err();
        assert_eq!(refused.to_string(), "sb_check failed: magic 0: wanted 27022010");
        assert_eq!(NODE.check(MetaBlock(5), &block).unwrap_err().to_string(), {
            "node_check failed: node is neither INTERNAL or LEAF"
        });
    }

    #[test]
    fn a_node_whose_size_overflows_is_too_large() {
        let mut block = [0; BLOCK_SIZE];
        block[4] = 2;
        block[20..28].fill(0xff);
        NODE.seal(MetaBlock(5), &mut block);
        let problem = NODE.check(MetaBlock(5), &block).unwrap_err().problem;
        assert_eq!(problem, Problem::Shape("max_entries too large"));
    }
}
