//! A cache of a thin device's mappings that is read without any lock.
//!
//! It holds only what may be used without further thought: blocks that are mapped and not shared. The holder of the
//! metadata's lock fills it, and empties an entry before the mapping changes. A bio first counts itself as in flight
//! and then looks here; after emptying an entry the holder of the lock waits for the bios in flight
//! ([`super::pool::Pool::quiesce`]). Whatever the order, the bio misses or is waited for.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use dmlab_units::{DataBlock, ThinBlock};

/// log2 of the number of places: 64 KiB for each thin device in use, for there can be thousands.
const PLACES_LOG: u32 = 13;
const PLACES: usize = 1 << PLACES_LOG;
/// Bits of a data block's number, and so of what is left for the rest of the thin block's.
const DATA_BITS: u32 = 40;
const TAG_BITS: u32 = 64 - DATA_BITS;

/// One word for each place: the thin block's upper bits, and the data block plus one; 0 is empty.
#[derive(Default)]
pub(super) struct MappingCache {
    places: OnceLock<Box<[AtomicU64]>>,
}

/// Where a block's word is, and its upper bits; `None` for one too far out to be cached.
fn place(block: ThinBlock) -> Option<(usize, u64)> {
    let tag = block.0 >> PLACES_LOG;
    (tag >> TAG_BITS == 0).then_some((block.0 as usize % PLACES, tag))
}

impl MappingCache {
    /// The data block of a thin block that is mapped and not shared, if it is known here.
    #[inline]
    pub(super) fn get(&self, block: ThinBlock) -> Option<DataBlock> {
        let (at, tag) = place(block)?;
        let word = self.places.get()?[at].load(Ordering::SeqCst);
        let data = word & ((1 << DATA_BITS) - 1);
        (data != 0 && word >> DATA_BITS == tag).then(|| DataBlock(data - 1))
    }

    /// Remembers a mapping. The caller holds the metadata.
    pub(super) fn put(&self, block: ThinBlock, data: DataBlock) {
        let Some((at, tag)) = place(block) else { return };
        if data.0 + 1 >= 1 << DATA_BITS {
            return;
        }
        let places = self.places.get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        places[at].store(tag << DATA_BITS | (data.0 + 1), Ordering::SeqCst);
    }

    /// Forgets a range of blocks. The caller holds the metadata.
    pub(super) fn forget(&self, blocks: Range<ThinBlock>) {
        let (begin, end) = (blocks.start.0, blocks.end.0);
        let Some(places) = self.places.get() else { return };
        if end - begin >= PLACES as u64 {
            places.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        } else {
            for block in begin..end {
                places[block as usize % PLACES].store(0, Ordering::Relaxed);
            }
        }
        // Before the caller looks at the bios in flight.
        fence(Ordering::SeqCst);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.forget(ThinBlock(0)..ThinBlock(PLACES as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_share_a_place_are_told_apart() {
        let cache = MappingCache::default();
        let (near, far) = (ThinBlock(5), ThinBlock(5 + PLACES as u64));
        assert_eq!(cache.get(near), None);
        cache.put(near, DataBlock(0));
        assert_eq!((cache.get(near), cache.get(far)), (Some(DataBlock(0)), None));
        cache.put(far, DataBlock(7));
        assert_eq!((cache.get(near), cache.get(far)), (None, Some(DataBlock(7))));
        cache.forget(ThinBlock(5)..ThinBlock(6));
        assert_eq!(cache.get(far), None);
        // Too far out to be told apart: never cached.
        cache.put(ThinBlock(1 << 37), DataBlock(1));
        assert_eq!(cache.get(ThinBlock(1 << 37)), None);
    }
}
