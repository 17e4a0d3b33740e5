//! A counter that two cores do not fight for.

use std::sync::atomic::{AtomicI64, Ordering};

use crossbeam::utils::CachePadded;

const SHARDS: usize = 8;

/// `N` sums kept in pieces, all those of one piece on a cache line of its own. Adding touches one piece; a sum is taken
/// rarely.
pub struct ShardedCounters<const N: usize> {
    shards: [CachePadded<[AtomicI64; N]>; SHARDS],
}

impl<const N: usize> Default for ShardedCounters<N> {
    fn default() -> Self {
        let shard = |_| CachePadded::new(std::array::from_fn(|_| AtomicI64::new(0)));
        ShardedCounters { shards: std::array::from_fn(shard) }
    }
}

impl<const N: usize> ShardedCounters<N> {
    /// Adds to each of the sums `at` without ordering anything: for statistics.
    #[inline]
    pub fn add_relaxed<const K: usize>(&self, at: [(usize, i64); K]) {
        let shard = &self.shards[shard()];
        for (at, n) in at {
            shard[at].fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Sum `at`. It is exact once no thread adds any more.
    pub fn sum(&self, at: usize) -> i64 {
        self.shards.iter().map(|shard| shard[at].load(Ordering::SeqCst)).sum()
    }
}

/// A sum kept in pieces, each on a cache line of its own.
#[derive(Default)]
pub struct ShardedCounter(ShardedCounters<1>);

impl ShardedCounter {
    /// Adds `n`, which may be negative. Sequentially consistent, so that it can order itself against a flag.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.shards[shard()][0].fetch_add(n, Ordering::SeqCst);
    }

    /// The sum. It is exact once no thread adds any more.
    pub fn sum(&self) -> i64 {
        self.0.sum(0)
    }
}

/// A piece for the calling thread. Threads have stacks of their own, so the place of a local variable tells them
/// apart without asking for their identity; which piece is taken never changes the sum.
#[inline]
fn shard() -> usize {
    let here = 0u8;
    let address = std::ptr::from_ref::<u8>(std::hint::black_box(&here)) as usize;
    (address >> 20) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_add_up() {
        let (counter, pair) = (ShardedCounter::default(), ShardedCounters::<2>::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.add(3);
                        counter.add(-1);
                        pair.add_relaxed([(0, 1), (1, 8)]);
                    }
                });
            }
        });
        assert_eq!(counter.sum(), 8000);
        assert_eq!((pair.sum(0), pair.sum(1)), (4000, 32000));
    }
}
