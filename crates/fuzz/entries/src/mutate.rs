//! Bytes that are almost right: samples with random damage.

/// A stream of damaged samples, the same for the same seed.
pub struct Mutator {
    state: u64,
    samples: Vec<Vec<u8>>,
    len_max: usize,
}

/// Numbers at the edges of what a length, count or offset may be.
const EDGES: &[u64] = &[
    0,
    1,
    7,
    8,
    39,
    40,
    304,
    305,
    311,
    312,
    313,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    u64::MAX,
    1 << 54,
    1 << 30,
];

impl Mutator {
    /// Damage done to `samples`, at most `len_max` bytes each.
    pub fn new(seed: u64, samples: Vec<Vec<u8>>, len_max: usize) -> Mutator {
        Mutator { state: seed, samples, len_max }
    }

    /// A random number (splitmix64, by Sebastiano Vigna, public domain).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.random() % n as u64) as usize }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let at = self.below(self.samples.len());
        let mut bytes = self.samples.get(at).cloned().unwrap_or_default();
        for _ in 0..=self.below(5) {
            self.damage(&mut bytes);
        }
        bytes.truncate(self.len_max);
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let more = self.below(64);
                let fill = self.random() as u8;
                bytes.resize(bytes.len() + more, fill);
            }
            2 | 3 => {
                // Fields lie at multiples of four.
                let at = at & !3;
                let edge = EDGES[self.below(EDGES.len())];
                let width = if self.below(2) == 0 { 4 } else { 8 };
                if let Some(field) = bytes.get_mut(at..at + width) {
                    field.copy_from_slice(&edge.to_le_bytes()[..width]);
                }
            }
            4 => {
                let (from, len) = (self.below(bytes.len()), self.below(64));
                let piece: Vec<u8> = bytes.iter().skip(from).take(len).copied().collect();
                bytes.splice(at..at, piece);
            }
            5 => {
                let end = (at + self.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let value = self.random() as u8;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
        }
    }
}
