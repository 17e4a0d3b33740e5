//! Randomness: one seed, one stream for each purpose, so that a draw in one never shifts another.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What random numbers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// The choice of the task that runs next.
    Scheduling = 1,
    /// Which fault strikes.
    Faults = 2,
    /// What a test does.
    Workload = 3,
    /// What targets draw themselves.
    Targets = 4,
    /// What a flaky device corrupts.
    Corruption = 5,
}

/// A stream of random numbers.
#[derive(Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream of one purpose under one seed.
    pub fn new(seed: u64, stream: Stream) -> Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream as u64);
        Rng(rng)
    }

    /// A stream of its own, which the next draws from this one do not shift.
    pub fn split(&mut self) -> Rng {
        Rng(ChaCha8Rng::seed_from_u64(self.next_u64()))
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Any number of 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The high half of a 64 x 64 product: no division, a bias below 2^-64 * n.
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// Fills `buf`.
    pub fn fill(&mut self, buf: &mut [u8]) {
        self.0.fill_bytes(buf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_apart_and_repeat() {
        let draw = |seed, stream| Rng::new(seed, stream).next_u64();
        assert_eq!(draw(1, Stream::Faults), draw(1, Stream::Faults));
        assert_ne!(draw(1, Stream::Faults), draw(1, Stream::Workload));
        assert_ne!(draw(1, Stream::Faults), draw(2, Stream::Faults));
        let mut rng = Rng::new(3, Stream::Workload);
        assert!((0..1000).all(|_| rng.below(7) < 7));
    }
}
