//! `service-time`: the path that will be done soonest, by the bytes on their way and what the table says of its speed.
//!
//! Per path: `[REPEAT_COUNT [THROUGHPUT]]`, the throughput from 0 to 100 as compared with the other paths. A path with
//! throughput 0 is used only when all others are no better. The status shows the bytes on their way.

use std::fmt::{Result as Written, Write};

use dmlab_dm::parse_u32_wrapping;

use super::{Notices, Selector, ValidList};

/// Largest throughput; so a product of it and any bytes that can be on their way fits into 64 bits.
const MOST_THROUGHPUT: u32 = 100;

#[derive(Default)]
pub(super) struct ServiceTime {
    paths: Vec<Path>,
    valid: ValidList,
}

struct Path {
    repeat_count: u32,
    throughput: u32,
    in_flight: u64,
}

impl Path {
    /// Whether this path will be done with `more` bytes before `other`.
    fn is_better_than(&self, other: &Path, more: u64) -> bool {
        let (own, others) = (u128::from(self.throughput), u128::from(other.throughput));
        if own == others {
            return self.in_flight < other.in_flight;
        }
        if self.in_flight == other.in_flight || own == 0 || others == 0 {
            return own > others;
        }
        // bytes / throughput, compared without dividing.
        let time = u128::from(self.in_flight + more) * others;
        let others_time = u128::from(other.in_flight + more) * own;
        if time == others_time { own > others } else { time < others_time }
    }
}

impl Selector for ServiceTime {
    fn name(&self) -> &'static str {
        "service-time"
    }

    fn add(&mut self, args: &[Vec<u8>], notices: &Notices) -> Result<(), &'static str> {
        if args.len() > 2 {
            return Err("service-time ps: incorrect number of arguments");
        }
        let repeat_count = match args.first() {
            None => 1,
            Some(count) => {
                notices.repeat_count(count, self.name()).ok_or("service-time ps: invalid repeat count")?
            }
        };
        let throughput = match args.get(1) {
            None => 1,
            Some(word) => parse_u32_wrapping(word)
                .filter(|throughput| *throughput <= MOST_THROUGHPUT)
                .ok_or("service-time ps: invalid relative_throughput value")?,
        };
        self.valid.push(self.paths.len());
        self.paths.push(Path { repeat_count, throughput, in_flight: 0 });
        Ok(())
    }

    fn fail(&mut self, path: usize) {
        self.valid.remove(path);
    }

    fn reinstate(&mut self, path: usize) {
        self.valid.push(path);
    }

    fn select(&mut self, bytes: u64, _now: u64) -> Option<usize> {
        let paths = &self.paths;
        self.valid.take_best(|a, b| paths[a].is_better_than(&paths[b], bytes))
    }

    fn tracks_io(&self) -> bool {
        true
    }

    fn begin(&mut self, path: usize, bytes: u64) {
        self.paths[path].in_flight += bytes;
    }

    fn end(&mut self, path: usize, bytes: u64, _started: u64, _now: u64) {
        self.paths[path].in_flight -= bytes;
    }

    fn table_words(&self) -> u32 {
        2
    }

    fn write_table(&self, path: usize, out: &mut String) -> Written {
        let path = &self.paths[path];
        write!(out, "{} {} ", path.repeat_count, path.throughput)
    }

    fn info_words(&self) -> u32 {
        2
    }

    fn write_info(&self, path: usize, out: &mut String) -> Written {
        let path = &self.paths[path];
        write!(out, "{} {} ", path.in_flight, path.throughput)
    }
}
