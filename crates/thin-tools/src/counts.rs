//! How often blocks are used, counted by many threads at once.

use dmlab_formats::bitmap::BITMAP_ENTRIES;
use dmlab_units::{DataBlock, MetaBlock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Parents of metadata blocks.
#[derive(Debug)]
pub struct MetaCounts(Vec<AtomicU32>);

impl MetaCounts {
    pub(crate) fn new(nr_blocks: u64) -> MetaCounts {
        MetaCounts((0..nr_blocks).map(|_| AtomicU32::new(0)).collect())
    }

    /// One parent more. Blocks that don't exist have no count: whoever points there is reported for it.
    pub(crate) fn add(&self, block: MetaBlock) {
        if let Some(count) = self.0.get(block.0 as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Parents of `block`.
    pub fn get(&self, block: MetaBlock) -> u64 {
        self.0.get(block.0 as usize).map_or(0, |count| u64::from(count.load(Ordering::Relaxed)))
    }

    /// Blocks in use.
    pub fn nr_used(&self) -> u64 {
        self.0.iter().filter(|count| count.load(Ordering::Relaxed) > 0).count() as u64
    }
}

/// Mappings of data blocks.
///
/// A byte for each block, made when the first block of a bitmap's worth is mapped: a pool of 16 TiB has 268 million
/// blocks, most of them used once or never. Counts beyond a byte are kept apart.
#[derive(Debug)]
pub struct DataCounts {
    nr_blocks: u64,
    chunks: Vec<OnceLock<Box<[AtomicU8]>>>,
    beyond_a_byte: Mutex<HashMap<u64, u64>>,
}

impl DataCounts {
    pub(crate) fn new(nr_blocks: u64) -> DataCounts {
        let chunks = (0..nr_blocks.div_ceil(BITMAP_ENTRIES)).map(|_| OnceLock::new()).collect();
        DataCounts { nr_blocks, chunks, beyond_a_byte: Mutex::default() }
    }

    /// Blocks that are counted.
    pub fn nr_blocks(&self) -> u64 {
        self.nr_blocks
    }

    /// One mapping more; false when there is no such block.
    pub(crate) fn add(&self, block: DataBlock) -> bool {
        if block.0 >= self.nr_blocks {
            return false;
        }
        let chunk = self.chunks[(block.0 / BITMAP_ENTRIES) as usize]
            .get_or_init(|| (0..BITMAP_ENTRIES).map(|_| AtomicU8::new(0)).collect());
        let count = &chunk[(block.0 % BITMAP_ENTRIES) as usize];
        let counted = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1));
        if counted.is_err() {
            let mut beyond = self.beyond_a_byte.lock().unwrap_or_else(PoisonError::into_inner);
            *beyond.entry(block.0).or_default() += 1;
        }
        true
    }

    /// Mappings of `block`.
    pub fn get(&self, block: DataBlock) -> u64 {
        let chunk = self.chunks.get((block.0 / BITMAP_ENTRIES) as usize).and_then(OnceLock::get);
        let Some(chunk) = chunk else { return 0 };
        let count = chunk[(block.0 % BITMAP_ENTRIES) as usize].load(Ordering::Relaxed);
        if count < u8::MAX { u64::from(count) } else { u64::from(count) + self.rest(block) }
    }

    fn rest(&self, block: DataBlock) -> u64 {
        let beyond = self.beyond_a_byte.lock().unwrap_or_else(PoisonError::into_inner);
        beyond.get(&block.0).copied().unwrap_or(0)
    }

    /// Whether no block that bitmap `index` counts is mapped.
    pub(crate) fn is_clear(&self, index: u64) -> bool {
        self.chunks.get(index as usize).is_none_or(|chunk| chunk.get().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_beyond_a_byte() {
        let counts = DataCounts::new(100_000);
        for _ in 0..300 {
            assert!(counts.add(DataBlock(70_000)));
        }
        assert_eq!(counts.get(DataBlock(70_000)), 300);
        assert_eq!((counts.is_clear(0), counts.is_clear(4)), (true, false));
        assert!(!counts.add(DataBlock(100_000)));
        assert_eq!(counts.get(DataBlock(u64::MAX)), 0);
    }
}
