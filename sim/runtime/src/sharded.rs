//! A counter that two cores do not fight for.

use std::sync::atomic::{AtomicI64, Ordering};

use crossbeam::utils::CachePadded;

const SHARDS: usize = 16;

/// A sum kept in pieces, each on a cache line of its own. Adding touches one piece; the sum is taken rarely.
#[derive(Default)]
pub struct ShardedCounter {
    shards: [CachePadded<AtomicI64>; SHARDS],
}

impl ShardedCounter {
    /// Adds `n`, which may be negative. Sequentially consistent, so that it can order itself against a flag.
    #[inline]
    pub fn add(&self, n: i64) {
        self.shards[shard()].fetch_add(n, Ordering::SeqCst);
    }

    /// Adds `n` without ordering anything: for statistics.
    #[inline]
    pub fn add_relaxed(&self, n: i64) {
        self.shards[shard()].fetch_add(n, Ordering::Relaxed);
    }

    /// The sum. Exact once nobody adds any more.
    pub fn sum(&self) -> i64 {
        self.shards.iter().map(|shard| shard.load(Ordering::SeqCst)).sum()
    }
}

/// A piece for the calling thread. Threads have stacks of their own, so the place of a local variable tells them
/// apart without asking who they are; which piece is taken never changes the sum.
#[inline]
fn shard() -> usize {
    let here = 0u8;
    let address = std::hint::black_box(&here) as *const u8 as usize;
    (address >> 20) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_add_up() {
        let counter = ShardedCounter::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.add(3);
                        counter.add_relaxed(-1);
                    }
                });
            }
        });
        assert_eq!(counter.sum(), 8000);
    }
}
