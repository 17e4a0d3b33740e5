//! Random stacks of linear, striped, zero and error against a plain model of sectors.

use crate::kit;

use dmlab_block::{Bio, Op, SyncIo};
use dmlab_units::{Sector, Sectors};
use kit::Kit;
use proptest::prelude::*;

const SECTOR: usize = 512;

/// A table line of the model: how many sectors, and where each goes.
#[derive(Clone, Debug)]
enum Line {
    Linear { len: u64, disk: u32, offset: u64 },
    Striped { rows: u64, chunk: u64, offsets: Vec<u64> },
    Zero { len: u64 },
    Error { len: u64 },
}

impl Line {
    fn len(&self) -> u64 {
        match self {
            Line::Linear { len, .. } | Line::Zero { len } | Line::Error { len } => *len,
            Line::Striped { rows, chunk, offsets } => rows * chunk * offsets.len() as u64,
        }
    }

    fn text(&self) -> String {
        match self {
            Line::Linear { disk, offset, .. } => format!("linear 1:{disk} {offset}"),
            Line::Zero { .. } => "zero".into(),
            Line::Error { .. } => "error".into(),
            Line::Striped { chunk, offsets, .. } => {
                let mut text = format!("striped {} {chunk}", offsets.len());
                for (disk, offset) in offsets.iter().enumerate() {
                    text += &format!(" 1:{disk} {offset}");
                }
                text
            }
        }
    }

    /// Where sector `s` of the line lies: `Ok(disk and sector)`, `Ok(None)` nowhere, `Err` on no disk at all.
    fn place(&self, s: u64) -> Result<Option<(u32, u64)>, ()> {
        match self {
            Line::Linear { disk, offset, .. } => Ok(Some((*disk, offset + s))),
            Line::Zero { .. } => Ok(None),
            Line::Error { .. } => Err(()),
            Line::Striped { chunk, offsets, .. } => {
                let n = offsets.len() as u64;
                let (c, rest) = (s / chunk, s % chunk);
                let disk = (c % n) as u32;
                Ok(Some((disk, offsets[disk as usize] + c / n * chunk + rest)))
            }
        }
    }
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        (1..40u64, 0..4u32, 0..200u64).prop_map(|(len, disk, offset)| Line::Linear { len, disk, offset }),
        (1..5u64, 1..9u64, prop::collection::vec(0..200u64, 1..4))
            .prop_map(|(rows, chunk, offsets)| Line::Striped { rows, chunk, offsets }),
        (1..10u64).prop_map(|len| Line::Zero { len }),
        (1..10u64).prop_map(|len| Line::Error { len }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Read { at: u64, len: u64 },
    Write { at: u64, len: u64, byte: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<u64>(), 1..80u64).prop_map(|(at, len)| Step::Read { at, len }),
        (any::<u64>(), 1..80u64, any::<u8>()).prop_map(|(at, len, byte)| Step::Write { at, len, byte }),
    ]
}

struct Model {
    disks: Vec<Vec<u8>>,
    lines: Vec<Line>,
}

impl Model {
    fn place(&self, mut s: u64) -> Result<Option<(u32, u64)>, ()> {
        for line in &self.lines {
            if s < line.len() {
                return line.place(s);
            }
            s -= line.len();
        }
        Err(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The top device is linear over the device under test, so every bio passes two layers and all splits.
    #[test]
    fn reads_and_writes_land_where_the_table_says(
        lines in prop::collection::vec(line(), 1..6),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let kit = Kit::new();
        let size: u64 = lines.iter().map(Line::len).sum();
        let mut start = 0;
        let mut table = Vec::new();
        for line in &lines {
            table.push(format!("{start} {} {}", line.len(), line.text()));
            start += line.len();
        }
        let low = kit.create("low", &table.join("\n"));
        let top = kit.create("top", &format!("0 {size} linear {low} 0"));
        let dev = kit.machine.registry().get(top).unwrap();
        let mut model = Model { disks: vec![vec![0; 1000 * SECTOR]; 4], lines };
        let mut io = SyncIo::default();
        for step in steps {
            match step {
                Step::Read { at, len } => {
                    let at = at % size;
                    let len = len.min(size - at);
                    let mut buf = vec![0xee; len as usize * SECTOR];
                    let read = io.read(&dev, Sector(at), &mut buf, |bio| bio);
                    let places: Vec<_> = (at..at + len).map(|s| model.place(s)).collect();
                    prop_assert_eq!(read.is_err(), places.iter().any(Result::is_err));
                    if read.is_ok() {
                        for (place, got) in places.iter().zip(buf.chunks(SECTOR)) {
                            match place {
                                Ok(Some((disk, s))) => {
                                    let s = *s as usize * SECTOR;
                                    prop_assert_eq!(got, &model.disks[*disk as usize][s..s + SECTOR]);
                                }
                                _ => prop_assert!(got.iter().all(|b| *b == 0)),
                            }
                        }
                    }
                }
                Step::Write { at, len, byte } => {
                    let at = at % size;
                    let len = len.min(size - at);
                    let data = vec![byte; len as usize * SECTOR];
                    let wrote = io.submit(&dev, Bio::write(Sector(at), &data));
                    let places: Vec<_> = (at..at + len).map(|s| model.place(s)).collect();
                    prop_assert_eq!(wrote.is_err(), places.iter().any(Result::is_err));
                    // What lies on good sectors is written even when others of the same bio fail.
                    for (disk, s) in places.into_iter().flatten().flatten() {
                        let s = s as usize * SECTOR;
                        model.disks[disk as usize][s..s + SECTOR].fill(byte);
                    }
                }
            }
        }
    }

    /// Every stripe gets exactly its share of a discard: page-sized chunks that lie wholly inside read as zeros.
    #[test]
    fn a_discard_reaches_every_stripe(chunks in 1..40u64, first in 0..20u64, count in 1..20u64, stripes in 1..5u32) {
        let kit = Kit::new();
        let rows = chunks.div_ceil(u64::from(stripes)) + 20;
        let size = rows * u64::from(stripes) * 8;
        let legs: String = (0..stripes).map(|i| format!(" 1:{i} 0")).collect();
        let dev = kit.create("s", &format!("0 {size} striped {stripes} 8{legs}"));
        let dev = kit.machine.registry().get(dev).unwrap();
        let mut io = SyncIo::default();
        io.submit(&dev, Bio::write(Sector(0), &vec![7; size as usize * SECTOR])).unwrap();
        let end = (first + count).min(size / 8);
        let range = Bio::range(Op::Discard, Sector(first * 8), Sectors((end - first.min(end)) * 8));
        if !range.is_empty() {
            io.submit(&dev, range).unwrap();
        }
        let mut buf = vec![1; size as usize * SECTOR];
        io.read(&dev, Sector(0), &mut buf, |bio| bio).unwrap();
        for (i, chunk) in buf.chunks(8 * SECTOR).enumerate() {
            let want = if (first..end).contains(&(i as u64)) { 0 } else { 7 };
            prop_assert!(chunk.iter().all(|b| *b == want), "chunk {} holds {}", i, chunk[0]);
        }
    }
}
