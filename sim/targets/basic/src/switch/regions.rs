//! The map of regions: a path number for each, in as few bits as the number of paths allows.

use std::sync::atomic::{AtomicU64, Ordering};

/// Largest map, in words of 64 bits: 64 MiB. Linux has as much as it has memory.
const MAX_WORDS: u64 = 1 << 23;

/// Which path each region takes. Read by every bio while a message changes it: each entry lies within one word.
pub(super) struct Regions {
    words: Vec<AtomicU64>,
    count: u64,
    /// Bits of an entry.
    bits: u32,
    /// Entries of a word.
    per_word: u64,
}

impl Regions {
    /// `count` regions, the paths in turn. `None`: that is more than memory holds.
    pub(super) fn new(count: u64, nr_paths: u32) -> Option<Regions> {
        let bits = (1..32).find(|bits| 1_u32 << bits >= nr_paths).unwrap_or(32);
        let per_word = u64::from(64 / bits);
        let nr_words = count.div_ceil(per_word);
        if nr_words > MAX_WORDS {
            return None;
        }
        let mut path = 0;
        let mut word = || {
            (0..per_word).fold(0, |word, entry| {
                let placed = u64::from(path) << (entry * u64::from(bits));
                path = (path + 1) % nr_paths;
                word | placed
            })
        };
        let words = (0..nr_words).map(|_| AtomicU64::new(word())).collect();
        Some(Regions { words, count, bits, per_word })
    }

    /// All of the map.
    pub(super) fn to_words(&self) -> Vec<u64> {
        self.words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    /// Restores a map of as many regions and paths.
    pub(super) fn set_words(&self, words: &[u64]) {
        for (word, value) in self.words.iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    fn place(&self, region: u64) -> (&AtomicU64, u32) {
        let shift = (region % self.per_word) as u32 * self.bits;
        (&self.words[(region / self.per_word) as usize], shift)
    }

    fn mask(&self) -> u64 {
        (1 << self.bits) - 1
    }

    /// The path of a region.
    #[inline]
    pub(super) fn get(&self, region: u64) -> u32 {
        let (word, shift) = self.place(region);
        (word.load(Ordering::Relaxed) >> shift & self.mask()) as u32
    }

    /// Sets the path of a region. Messages come one at a time.
    pub(super) fn set(&self, region: u64, path: u32) {
        let (word, shift) = self.place(region);
        let others = word.load(Ordering::Relaxed) & !(self.mask() << shift);
        word.store(others | u64::from(path) << shift, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_as_a_plain_list_is() {
        for nr_paths in [1, 2, 3, 4, 5, 16, 17, 256, 257, 262_141] {
            let regions = Regions::new(1000, nr_paths).unwrap();
            let mut plain: Vec<u32> = (0..1000).map(|i| i % nr_paths).collect();
            for step in 0..3000_u64 {
                let (region, path) = (step * 7919 % 1000, (step * 104_729 % u64::from(nr_paths)) as u32);
                assert_eq!(regions.get(region), plain[region as usize]);
                regions.set(region, path);
                plain[region as usize] = path;
            }
            assert!((0..1000).all(|region| regions.get(region) == plain[region as usize]));
        }
    }

    #[test]
    fn more_than_memory_is_refused() {
        assert!(Regions::new(MAX_WORDS * 64 + 1, 2).is_none());
        assert!(Regions::new(u64::MAX, 262_141).is_none());
    }
}
