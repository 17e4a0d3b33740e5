//! Sequences from seeds. What is recorded is kept as text, so this may change without making recordings worthless.

use super::{Fill, Io, Sequence, Step};
use crate::dice::Dice;

/// Where a thin device's blocks lie that are only written so that the worker's second starts anew.
const SETTLE: u64 = 1 << 20;

/// What sequences of one kind are about.
struct Theme {
    block_sizes: &'static [u64],
    metadata: &'static [u64],
    data: &'static [u64],
    features: &'static [&'static str],
    /// Features that every sequence of the kind has.
    always: &'static [&'static str],
    /// Blocks written before anything else, at most.
    fill: u64,
    /// Thin blocks that are written later lie below this.
    span: u64,
    steps: u64,
    /// How often, among 100: io; snapshots; creations; deletions; reopening, suspending and new tables; growth.
    weights: [u64; 6],
    /// Whether blocks may be written merely to start the worker's second anew.
    settles: bool,
    growth: Growth,
}

/// How pools of a kind grow.
struct Growth {
    /// Blocks that the data device gets more.
    data: &'static [u64],
    /// Blocks that the metadata device gets more.
    metadata: &'static [u64],
    /// Most blocks that it may have.
    most_metadata: u64,
    /// How often, among 100, it is the data device that grows.
    data_share: u64,
}

const GROWTH: Growth = Growth {
    data: &[1, 20, 300, 16_320, 20_000],
    metadata: &[1, 30, 500],
    most_metadata: 8000,
    data_share: 60,
};

/// Over the ends of bitmaps: each covers 16 320 blocks. Steps of one to three blocks over such an end leave no room
/// for what the growth itself needs.
const GROWTH_OVER_BITMAPS: Growth = Growth {
    data: &[1, 16_319, 16_320, 65_000, 3_000_000],
    metadata: &[1, 2, 3, 19, 300, 15_800, 16_320],
    most_metadata: 33_140,
    data_share: 30,
};

const FEATURES: &[&str] = &["no_discard_passdown", "skip_block_zeroing", "error_if_no_space"];

const THEMES: [Theme; 12] = [
    // Small and mixed.
    Theme {
        block_sizes: &[128],
        metadata: &[512],
        data: &[2048],
        features: FEATURES,
        always: &[],
        fill: 20,
        span: 40,
        steps: 24,
        weights: [45, 17, 12, 10, 10, 0],
        settles: true,
        growth: GROWTH,
    },
    // Many snapshots of a well-filled device: shared leaves, counts that overflow.
    Theme {
        block_sizes: &[128],
        metadata: &[512, 1024],
        data: &[4096],
        features: FEATURES,
        always: &[],
        fill: 300,
        span: 400,
        steps: 22,
        weights: [50, 30, 2, 10, 4, 0],
        settles: true,
        growth: GROWTH,
    },
    // Discards in and out of shared trees.
    Theme {
        block_sizes: &[128],
        metadata: &[1024],
        data: &[4096],
        features: FEATURES,
        always: &[],
        fill: 700,
        span: 900,
        steps: 20,
        weights: [70, 12, 2, 6, 5, 0],
        settles: true,
        growth: GROWTH,
    },
    // Deep trees.
    Theme {
        block_sizes: &[128],
        metadata: &[1024],
        data: &[8192],
        features: &["no_discard_passdown", "skip_block_zeroing"],
        always: &[],
        fill: 1600,
        span: 4000,
        steps: 12,
        weights: [75, 12, 2, 6, 5, 0],
        settles: true,
        growth: GROWTH,
    },
    // Many devices.
    Theme {
        block_sizes: &[128],
        metadata: &[1024],
        data: &[2048],
        features: FEATURES,
        always: &[],
        fill: 10,
        span: 30,
        steps: 110,
        weights: [6, 30, 40, 20, 4, 0],
        settles: true,
        growth: GROWTH,
    },
    // A small data device that runs full.
    Theme {
        block_sizes: &[128],
        metadata: &[512],
        data: &[8, 16, 40, 60],
        features: &["skip_block_zeroing"],
        always: &["no_discard_passdown", "error_if_no_space"],
        fill: 30,
        span: 80,
        steps: 28,
        weights: [58, 16, 4, 10, 8, 2],
        settles: false,
        growth: GROWTH,
    },
    // A small metadata device.
    Theme {
        block_sizes: &[128],
        metadata: &[20, 24, 26, 28, 32, 40],
        data: &[2048],
        features: &["skip_block_zeroing"],
        always: &["no_discard_passdown", "error_if_no_space"],
        fill: 10,
        span: 2000,
        steps: 26,
        weights: [45, 16, 26, 6, 5, 0],
        settles: false,
        growth: GROWTH,
    },
    // Block sizes.
    Theme {
        block_sizes: &[384, 256, 640, 1024, 1152, 2048],
        metadata: &[512],
        data: &[700, 3000],
        features: FEATURES,
        always: &[],
        fill: 60,
        span: 100,
        steps: 22,
        weights: [60, 17, 6, 7, 8, 2],
        settles: true,
        growth: GROWTH,
    },
    // Growth.
    Theme {
        block_sizes: &[128, 384],
        metadata: &[128, 512, 900],
        data: &[100, 2048, 16300, 16320],
        features: FEATURES,
        always: &[],
        fill: 80,
        span: 120,
        steps: 22,
        weights: [40, 12, 8, 6, 14, 20],
        settles: true,
        growth: GROWTH,
    },
    // Long.
    Theme {
        block_sizes: &[128],
        metadata: &[2048],
        data: &[20000, 40000],
        features: FEATURES,
        always: &[],
        fill: 400,
        span: 1200,
        steps: 60,
        weights: [55, 16, 6, 10, 9, 2],
        settles: true,
        growth: GROWTH,
    },
    // Growth over the ends of bitmaps, with snapshots and a held metadata snapshot.
    Theme {
        block_sizes: &[128],
        metadata: &[512, 16_300, 16_319, 16_320],
        data: &[100, 16_320],
        features: FEATURES,
        always: &[],
        fill: 60,
        span: 120,
        steps: 26,
        weights: [30, 14, 8, 6, 12, 28],
        settles: true,
        growth: GROWTH_OVER_BITMAPS,
    },
    // The same from small and nearly full metadata.
    Theme {
        block_sizes: &[128],
        metadata: &[32, 40, 60],
        data: &[2048],
        features: &["skip_block_zeroing"],
        always: &["no_discard_passdown", "error_if_no_space"],
        fill: 300,
        span: 2000,
        steps: 26,
        weights: [40, 16, 8, 6, 8, 20],
        settles: false,
        growth: GROWTH_OVER_BITMAPS,
    },
];

struct Maker {
    dice: Dice,
    theme: &'static Theme,
    sequence: Sequence,
    /// Devices that exist.
    existing: Vec<u64>,
    active: Vec<u64>,
    data_blocks: u64,
    metadata_blocks: u64,
    trans_id: u64,
    settled: u64,
}

/// The sequence of a seed.
pub fn generate(seed: u64) -> Sequence {
    let theme = &THEMES[(seed % THEMES.len() as u64) as usize];
    let mut dice = Dice::new(seed);
    let (block_size, metadata_blocks) = (dice.one_of(theme.block_sizes), dice.one_of(theme.metadata));
    let data_blocks = dice.one_of(theme.data);
    let features = features(&mut dice, theme);
    let name = seed.to_string();
    let sequence = Sequence { name, block_size, metadata_blocks, data_blocks, features, steps: Vec::new() };
    let mut maker = Maker {
        dice,
        theme,
        sequence,
        existing: Vec::new(),
        active: Vec::new(),
        data_blocks,
        metadata_blocks,
        trans_id: 0,
        settled: 0,
    };
    maker.make();
    maker.sequence
}

fn features(dice: &mut Dice, theme: &Theme) -> Vec<String> {
    let mut chosen: Vec<String> = theme.always.iter().map(|&f| f.to_owned()).collect();
    for feature in theme.features {
        if dice.chance(35) {
            chosen.push((*feature).to_owned());
        }
    }
    chosen
}

impl Maker {
    fn make(&mut self) {
        self.create();
        self.activate();
        if self.theme.fill > 0 {
            let fill = self.fill(self.theme.fill);
            let id = self.active[0];
            self.push(Step::Io(vec![(id, fill)]));
        }
        let steps = self.dice.from(self.theme.steps / 2, self.theme.steps * 3 / 2);
        for _ in 0..steps {
            self.step();
        }
    }

    fn push(&mut self, step: Step) {
        self.sequence.steps.push(step);
    }

    fn step(&mut self) {
        let mut roll = self.dice.from(0, 99);
        for (kind, &weight) in self.theme.weights.iter().enumerate() {
            if roll < weight {
                return match kind {
                    0 => self.io(),
                    1 => self.snap(),
                    2 => self.create(),
                    3 => self.delete(),
                    4 => self.disturb(),
                    _ => self.grow(),
                };
            }
            roll -= weight;
        }
        self.activate();
    }

    fn new_id(&mut self) -> u64 {
        // Now and then one that exists, and is refused; now and then a large one.
        if self.dice.chance(4) && !self.existing.is_empty() {
            return self.dice.one_of(&self.existing);
        }
        let high = if self.dice.chance(15) { 16_777_215 } else { 300 };
        self.dice.from(0, high)
    }

    fn create(&mut self) {
        let id = self.new_id();
        self.push(Step::Create(id));
        self.add(id);
    }

    fn add(&mut self, id: u64) {
        if !self.existing.contains(&id) {
            self.existing.push(id);
        }
        if self.active.len() < 2 || self.dice.chance(25) {
            self.turn_on(id);
        }
    }

    fn turn_on(&mut self, id: u64) {
        if self.active.len() < 6 && !self.active.contains(&id) {
            self.push(Step::On(id));
            self.active.push(id);
        }
    }

    fn activate(&mut self) {
        if self.existing.is_empty() {
            return self.create();
        }
        let id = self.dice.one_of(&self.existing);
        match self.active.iter().position(|&active| active == id) {
            Some(at) if self.active.len() > 1 => {
                self.active.remove(at);
                self.push(Step::Off(id));
            }
            Some(_) => {}
            None => self.turn_on(id),
        }
    }

    fn snap(&mut self) {
        if self.existing.is_empty() {
            return self.create();
        }
        let origin = if self.dice.chance(3) { 299_999 } else { self.dice.one_of(&self.existing) };
        let id = self.new_id();
        self.push(Step::Snap(id, origin));
        if origin != 299_999 {
            self.add(id);
        }
    }

    fn delete(&mut self) {
        if self.existing.len() < 2 {
            return self.create();
        }
        let id = self.dice.one_of(&self.existing);
        if let Some(at) = self.active.iter().position(|&active| active == id) {
            if self.dice.chance(20) {
                return self.push(Step::Delete(id));
            }
            self.active.remove(at);
            self.push(Step::Off(id));
        }
        self.push(Step::Delete(id));
        self.existing.retain(|&known| known != id);
        if self.active.is_empty() {
            let id = self.existing[0];
            self.turn_on(id);
        }
    }

    fn fill(&mut self, most: u64) -> Io {
        let count = self.dice.from(most / 3 + 1, most);
        let scattered = self.dice.chance(70);
        // Any odd stride visits every number below a power of two once.
        let modulus = (count * self.dice.one_of(&[1, 1, 3])).next_power_of_two();
        let down = modulus - 1;
        let stride = if scattered { self.dice.from(1, modulus) | 1 } else { self.dice.one_of(&[1, down]) };
        let first = self.dice.from(0, 20);
        Io::Fill(Fill { first, count, stride, modulus, is_grouped: false })
    }

    fn settle(&mut self, id: u64, list: &mut Vec<(u64, Io)>) {
        if self.theme.settles {
            list.push((id, Io::Write(SETTLE + self.settled, 1)));
            self.settled += 1;
        }
    }

    fn io(&mut self) {
        if self.active.is_empty() {
            return self.create();
        }
        let mut list = Vec::new();
        for _ in 0..self.dice.from(1, 5) {
            if matches!(list.last(), Some((_, Io::Trim(..)))) {
                break;
            }
            let id = self.dice.one_of(&self.active);
            let block = self.dice.from(0, self.theme.span);
            match self.dice.from(0, 99) {
                0..=34 => list.push((id, Io::Write(block, 1))),
                35..=59 => list.push((id, Io::Part(block))),
                60..=69 if self.theme.settles => self.burst(id, block, &mut list),
                70..=77 if self.theme.fill > 20 => {
                    let fill = self.fill(self.theme.fill / 8);
                    list.push((id, fill));
                }
                _ => self.trim(id, block, &mut list),
            }
        }
        let ends_in_trim = matches!(list.last(), Some((_, Io::Trim(..))));
        self.push(Step::Io(list));
        if ends_in_trim {
            self.push(Step::Status);
        }
    }

    /// Several blocks with one flush at the end.
    fn burst(&mut self, id: u64, block: u64, list: &mut Vec<(u64, Io)>) {
        self.settle(id, list);
        let most = 2048 / self.sequence.block_size;
        if self.dice.chance(50) && most > 1 {
            let count = self.dice.from(2, most.min(7));
            return list.push((id, Io::Write(block, count)));
        }
        for _ in 0..self.dice.from(2, 5) {
            let block = self.dice.from(0, self.theme.span);
            list.push((id, Io::Unsynced(block)));
        }
        list.push((id, Io::Sync));
    }

    fn trim(&mut self, id: u64, block: u64, list: &mut Vec<(u64, Io)>) {
        self.settle(id, list);
        let most = if self.dice.chance(20) { self.theme.span.min(1000) } else { 12 };
        let count = self.dice.from(1, most);
        // One discard never reaches over a multiple of 1024 blocks, where it would be two.
        let count = count.min(1024 - block % 1024);
        list.push((id, Io::Trim(block, count)));
        if self.theme.settles {
            list.push((id, Io::Sync));
        }
        // A flush would be refused by a pool that is out of space, and commit nothing: then the status does.
    }

    /// What happens to a pool besides IO and devices.
    fn disturb(&mut self) {
        match self.dice.from(0, 9) {
            0 | 1 => self.push(Step::Hold),
            2 | 3 => self.push(Step::Release),
            4 => {
                let (old, new) = (self.trans_id, self.dice.from(1, 1_000_000));
                let old = if self.dice.chance(20) { old + 1 } else { old };
                self.push(Step::TransId(old, new));
                if old == self.trans_id {
                    self.trans_id = new;
                }
            }
            5 => {
                self.push(Step::Suspend);
                for _ in 0..self.dice.from(0, 3) {
                    let id = self.dice.from(0, 300);
                    if self.dice.chance(50) {
                        self.push(Step::Create(id));
                    } else {
                        let origin = self.dice.one_of(&self.existing);
                        self.push(Step::Snap(id, origin));
                    }
                    if !self.existing.contains(&id) {
                        self.existing.push(id);
                    }
                }
                self.push(Step::Resume);
            }
            6 => {
                let features = features(&mut self.dice, self.theme);
                self.push(Step::Reload(features));
            }
            7 => self.push(Step::Status),
            _ => {
                self.push(Step::Reopen);
                self.active.clear();
                let id = self.dice.one_of(&self.existing);
                self.turn_on(id);
            }
        }
    }

    fn grow(&mut self) {
        let growth = &self.theme.growth;
        if self.dice.chance(growth.data_share) {
            self.data_blocks += self.dice.one_of(growth.data);
            self.push(Step::GrowData(self.data_blocks));
        } else {
            let more = self.dice.one_of(growth.metadata);
            self.metadata_blocks = (self.metadata_blocks + more).min(growth.most_metadata);
            self.push(Step::GrowMetadata(self.metadata_blocks));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        assert_eq!(generate(12), generate(12));
        assert_ne!(generate(12), generate(22));
        let fill = Fill { first: 3, count: 8, stride: 5, modulus: 8, is_grouped: false };
        let mut blocks: Vec<u64> = fill.blocks().map(|(block, _)| block).collect();
        blocks.sort_unstable();
        assert_eq!(blocks, (3..11).collect::<Vec<_>>());
    }
}
