//! Blocks of arrays: the values of consecutive indices, in blocks that a B-tree of block numbers leads to.
//!
//! ```text
//!  0 csum u32   4 max_entries u32   8 nr_entries u32   12 value_size u32   16 blocknr u64
//! 24 values, value_size bytes each
//! ```
//! Block `k` of an array holds the indices from `k * max_entries` on; it is the value of key `k` in the array's tree. All
//! blocks but the last are full. A bitset is an array of 64-bit words: bit `i` is bit `i % 64` of word `i / 64`.

use crate::btree_node::Value;
use crate::{BLOCK_SIZE, Block, Validator, put_u32, u32_at};

const HEADER: usize = 24;
/// Bits of a bitset's word.
pub const BITS_PER_WORD: u64 = 64;

/// The validator of array blocks.
pub static ARRAY_BLOCK: Validator = Validator {
    number_at: 16,
    log_prefix: "array",
    failed: "array_block_check failed",
    ..Validator::new("array", 595_846_735)
};

/// Entries that a block with values of `value_size` bytes has room for.
pub const fn max_entries(value_size: usize) -> usize {
    (BLOCK_SIZE - HEADER) / value_size
}

/// An array block to read.
#[derive(Clone, Copy)]
pub struct ArrayBlock<'a>(&'a Block);

impl<'a> ArrayBlock<'a> {
    /// Reads `block` as an array block.
    pub fn new(block: &'a Block) -> ArrayBlock<'a> {
        ArrayBlock(block)
    }

    /// Entries it has.
    pub fn len(&self) -> usize {
        u32_at(self.0, 8) as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries it has room for.
    pub fn max_entries(&self) -> usize {
        u32_at(self.0, 4) as usize
    }

    /// Bytes of a value.
    pub fn value_size(&self) -> usize {
        u32_at(self.0, 12) as usize
    }

    /// Whether it is a block for values of type `V`, with no more entries than room: only then may its values be looked at.
    pub fn holds<V: Value>(&self) -> bool {
        self.value_size() == V::SIZE
            && self.max_entries() == max_entries(V::SIZE)
            && self.len() <= self.max_entries()
    }

    /// Value `i`, which lies inside.
    pub fn value<V: Value>(&self, i: usize) -> V {
        let at = HEADER + i * V::SIZE;
        V::decode(&self.0[at..at + V::SIZE])
    }
}

/// An array block to change.
pub struct ArrayBlockMut<'a>(&'a mut Block);

impl<'a> ArrayBlockMut<'a> {
    /// Changes `block` as an array block.
    pub fn new(block: &'a mut Block) -> ArrayBlockMut<'a> {
        ArrayBlockMut(block)
    }

    /// Makes it an empty block for values of `value_size` bytes; what stands where values go stays.
    pub fn format(&mut self, value_size: usize) {
        put_u32(self.0, 4, max_entries(value_size) as u32);
        put_u32(self.0, 8, 0);
        put_u32(self.0, 12, value_size as u32);
    }

    /// Sets how many entries it has; those beyond stay where they are.
    pub fn set_len(&mut self, len: usize) {
        put_u32(self.0, 8, len as u32);
    }

    /// Sets value `i`, which lies inside.
    pub fn set_value<V: Value>(&mut self, i: usize, value: V) {
        let at = HEADER + i * V::SIZE;
        value.encode(&mut self.0[at..at + V::SIZE]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_values() {
        assert_eq!([4, 8, 12].map(max_entries), [1018, 509, 339]);
        let mut bytes = [0; BLOCK_SIZE];
        let mut block = ArrayBlockMut::new(&mut bytes);
        block.format(4);
        block.set_value(1017, 7u32);
        block.set_len(1018);
        assert_eq!(bytes[..24], *b"\0\0\0\0\xfa\x03\0\0\xfa\x03\0\0\x04\0\0\0\0\0\0\0\0\0\0\0");
        let block = ArrayBlock::new(&bytes);
        assert!(block.holds::<u32>() && !block.holds::<u64>());
        assert_eq!((block.len(), block.value::<u32>(1017), bytes[4092]), (1018, 7, 7));
    }
}
