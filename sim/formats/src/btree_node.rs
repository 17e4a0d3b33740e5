//! Nodes of B-trees (kernel/thin-metadata.md#nodes).
//!
//! ```text
//!  0 csum u32   4 flags u32: 1 internal, 2 leaf   8 blocknr u64
//! 16 nr_entries u32   20 max_entries u32   24 value_size u32   28 padding
//! 32 keys, u64 each, room for max_entries; then values, value_size bytes each
//! ```
//! Entries past `nr_entries` are whatever stood there before: nothing is ever cleared, and what is left behind is part
//! of what must come out byte for byte.

use dmlab_units::MetaBlock;

use crate::index::IndexEntry;
use crate::{BLOCK_SIZE, Block, Validator, put_u32, put_u64, u32_at, u64_at};

/// The validator of nodes.
pub static NODE: Validator = Validator {
    log_prefix: "btree spine",
    failed: "node_check failed",
    shape: check_shape,
    ..Validator::new("btree_node", 121_107)
};

fn check_shape(block: &Block) -> Result<(), &'static str> {
    let node = Node::new(block);
    let entry = 8 + node.value_size() as u64;
    // Both come from the disk: their product may be larger than 64 bits.
    let size = entry.saturating_mul(node.max_entries() as u64).saturating_add(HEADER as u64);
    if size > BLOCK_SIZE as u64 {
        Err("max_entries too large")
    } else if node.len() > node.max_entries() {
        Err("too many entries")
    } else if !node.is_internal() && !node.is_leaf() {
        Err("node is neither INTERNAL or LEAF")
    } else {
        Ok(())
    }
}

const HEADER: usize = 32;
const INTERNAL: u32 = 1;
const LEAF: u32 = 2;
/// Bytes of a value in an internal node: a child's block number.
pub const INTERNAL_VALUE_SIZE: usize = 8;

/// Entries that a node with values of `value_size` bytes has room for: a multiple of three.
pub const fn max_entries(value_size: usize) -> usize {
    (BLOCK_SIZE - HEADER) / (8 + value_size) / 3 * 3
}

/// What stands beside a key in a leaf.
pub trait Value: Copy {
    /// Bytes it takes.
    const SIZE: usize;
    /// From its bytes.
    fn decode(bytes: &[u8]) -> Self;
    /// Into its bytes.
    fn encode(&self, bytes: &mut [u8]);
}

impl Value for u64 {
    const SIZE: usize = 8;
    fn decode(bytes: &[u8]) -> u64 {
        u64_at(bytes, 0)
    }
    fn encode(&self, bytes: &mut [u8]) {
        put_u64(bytes, 0, *self);
    }
}

impl Value for u32 {
    const SIZE: usize = 4;
    fn decode(bytes: &[u8]) -> u32 {
        u32_at(bytes, 0)
    }
    fn encode(&self, bytes: &mut [u8]) {
        put_u32(bytes, 0, *self);
    }
}

impl Value for MetaBlock {
    const SIZE: usize = 8;
    fn decode(bytes: &[u8]) -> MetaBlock {
        MetaBlock(u64_at(bytes, 0))
    }
    fn encode(&self, bytes: &mut [u8]) {
        put_u64(bytes, 0, self.0);
    }
}

impl Value for IndexEntry {
    const SIZE: usize = 16;
    fn decode(bytes: &[u8]) -> IndexEntry {
        IndexEntry::decode(bytes)
    }
    fn encode(&self, bytes: &mut [u8]) {
        IndexEntry::encode(self, bytes);
    }
}

macro_rules! reading {
    () => {
        /// Entries it has.
        pub fn len(&self) -> usize {
            u32_at(&self.0[..], 16) as usize
        }

        /// Whether it has none.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// Entries it has room for.
        pub fn max_entries(&self) -> usize {
            u32_at(&self.0[..], 20) as usize
        }

        /// Bytes of a value.
        pub fn value_size(&self) -> usize {
            u32_at(&self.0[..], 24) as usize
        }

        /// Whether its values are children.
        pub fn is_internal(&self) -> bool {
            u32_at(&self.0[..], 4) & INTERNAL != 0
        }

        /// Whether its values are the tree's.
        pub fn is_leaf(&self) -> bool {
            u32_at(&self.0[..], 4) & LEAF != 0
        }

        /// Key `i`.
        pub fn key(&self, i: usize) -> u64 {
            u64_at(&self.0[..], HEADER + 8 * i)
        }

        fn value_at(&self, i: usize) -> usize {
            HEADER + 8 * self.max_entries() + i * self.value_size()
        }

        /// Bytes of value `i`.
        pub fn value_bytes(&self, i: usize) -> &[u8] {
            let at = self.value_at(i);
            &self.0[at..at + self.value_size()]
        }

        /// Value `i`.
        pub fn value<V: Value>(&self, i: usize) -> V {
            V::decode(self.value_bytes(i))
        }

        /// Index of the last key that is not above `key`; `None` when all are.
        pub fn lower(&self, key: u64) -> Option<usize> {
            // Keys ascend, so this is where `key` is or would follow.
            let (mut low, mut high) = (0, self.len());
            while low < high {
                let middle = low + (high - low) / 2;
                if self.key(middle) <= key {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            low.checked_sub(1)
        }

        /// Index of `key`, if it is there.
        pub fn find(&self, key: u64) -> Option<usize> {
            self.lower(key).filter(|&i| self.key(i) == key)
        }
    };
}

/// A node to read. Indices must lie inside; a block that passed its check has room for `max_entries`.
#[derive(Clone, Copy)]
pub struct Node<'a>(&'a Block);

impl<'a> Node<'a> {
    /// Reads `block` as a node.
    pub fn new(block: &'a Block) -> Node<'a> {
        Node(block)
    }

    reading!();
}

/// A node to change.
pub struct NodeMut<'a>(&'a mut Block);

impl<'a> NodeMut<'a> {
    /// Changes `block` as a node.
    pub fn new(block: &'a mut Block) -> NodeMut<'a> {
        NodeMut(block)
    }

    reading!();

    /// Makes it an empty node of one kind; keys and values stay as they are.
    pub fn format(&mut self, is_leaf: bool, value_size: usize) {
        self.set_header(if is_leaf { LEAF } else { INTERNAL }, 0, max_entries(value_size), value_size);
    }

    fn set_header(&mut self, flags: u32, len: usize, max_entries: usize, value_size: usize) {
        put_u32(&mut self.0[..], 4, flags);
        put_u32(&mut self.0[..], 16, len as u32);
        put_u32(&mut self.0[..], 20, max_entries as u32);
        put_u32(&mut self.0[..], 24, value_size as u32);
    }

    /// Gives it kind, room and value size of another, and no entries.
    pub fn format_like(&mut self, other: Node<'_>) {
        let flags = u32_at(&other.0[..], 4);
        self.set_header(flags, 0, other.max_entries(), other.value_size());
    }

    /// Sets how many entries it has; those beyond stay where they are.
    pub fn set_len(&mut self, len: usize) {
        put_u32(&mut self.0[..], 16, len as u32);
    }

    /// Sets key `i`.
    pub fn set_key(&mut self, i: usize, key: u64) {
        put_u64(&mut self.0[..], HEADER + 8 * i, key);
    }

    /// Sets the bytes of value `i`.
    pub fn set_value_bytes(&mut self, i: usize, value: &[u8]) {
        let at = self.value_at(i);
        self.0[at..at + value.len()].copy_from_slice(value);
    }

    /// Sets value `i`.
    pub fn set_value<V: Value>(&mut self, i: usize, value: V) {
        let at = self.value_at(i);
        value.encode(&mut self.0[at..at + V::SIZE]);
    }

    /// Moves `count` entries within the node, from index `from` to index `to`. The number of entries stays.
    pub fn move_within(&mut self, from: usize, to: usize, count: usize) {
        let (max, size) = (self.max_entries(), self.value_size());
        let keys = HEADER + 8 * from;
        self.0.copy_within(keys..keys + 8 * count, HEADER + 8 * to);
        let values = HEADER + 8 * max;
        self.0.copy_within(values + size * from..values + size * (from + count), values + size * to);
    }

    /// Copies `count` entries of another node, from its index `from` to index `to` here. Lengths stay.
    pub fn copy_from(&mut self, other: Node<'_>, from: usize, to: usize, count: usize) {
        let size = self.value_size();
        let (source, target) = (HEADER + 8 * from, HEADER + 8 * to);
        self.0[target..target + 8 * count].copy_from_slice(&other.0[source..source + 8 * count]);
        let source = other.value_at(from);
        let target = self.value_at(to);
        self.0[target..target + size * count].copy_from_slice(&other.0[source..source + size * count]);
    }

    /// Puts an entry in at index `i`, moving those from there on up.
    pub fn insert_at<V: Value>(&mut self, i: usize, key: u64, value: V) {
        let len = self.len();
        self.move_within(i, i + 1, len - i);
        self.set_len(len + 1);
        self.set_key(i, key);
        self.set_value(i, value);
    }

    /// Takes entry `i` out, moving those behind it down; the last one stays behind, twice.
    pub fn delete_at(&mut self, i: usize) {
        let len = self.len();
        self.move_within(i + 1, i, len - i - 1);
        self.set_len(len - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_as_the_format_says() {
        assert_eq!([8, 24, 16, 4].map(max_entries), [252, 126, 168, 336]);
    }

    #[test]
    fn entries_go_in_and_out() {
        let mut block = [0; BLOCK_SIZE];
        let mut node = NodeMut::new(&mut block);
        node.format(true, 8);
        for (i, key) in [10u64, 20, 30].into_iter().enumerate() {
            node.insert_at(i, key, key * 2);
        }
        node.insert_at(1, 15, 7u64);
        assert_eq!((0..4).map(|i| node.key(i)).collect::<Vec<_>>(), [10, 15, 20, 30]);
        assert_eq!(
            (node.lower(9), node.lower(15), node.lower(29), node.find(21)),
            (None, Some(1), Some(2), None)
        );
        node.delete_at(1);
        assert_eq!((node.len(), node.key(1), node.value::<u64>(2)), (3, 20, 60));
        // The stale last entry stays.
        assert_eq!(node.key(3), 30);
    }
}
