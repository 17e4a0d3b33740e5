//! `service-time`: the path that will be done soonest, by the bytes on their way and what the table says of its speed.
//!
//! Per path: `[REPEAT_COUNT [THROUGHPUT]]`, the throughput from 0 to 100 as compared with the other paths. A path with
//! throughput 0 is used only when all others are no better. The status shows the bytes on their way.
//!
//! The bytes on their way are counted in 32 bits with a sign, and two paths are told apart by the low 32 bits of a
//! difference, as in Linux (recorded: `multipath/service-time-in-flight`): with 2 GiB on their way, which discards
//! reach soon, the count is negative and the choice strange. It is no worse than another: every path works.

use std::cmp::Ordering;
use std::fmt::{Result as Written, Write};

use dmlab_dm::scan_u32;

use super::{Notices, Selector, ValidList};

/// Largest throughput.
const MOST_THROUGHPUT: u32 = 100;
/// What is more than this is divided before it is multiplied with a throughput: [`THROUGHPUT_BITS`] more bits are left.
const MOST_BYTES: u64 = u64::MAX >> THROUGHPUT_BITS;
/// Bits of the largest throughput.
const THROUGHPUT_BITS: u32 = u32::BITS - MOST_THROUGHPUT.leading_zeros();

#[derive(Clone, Default)]
pub(super) struct ServiceTime {
    paths: Vec<Path>,
    valid: ValidList,
}

#[derive(Clone)]
struct Path {
    repeat_count: u32,
    throughput: u32,
    /// Bytes on their way, modulo 2^32.
    in_flight: i32,
}

impl Path {
    /// Whether this path will be done with `more` bytes before `other`.
    fn is_better_than(&self, other: &Path, more: u64) -> bool {
        self.compare(other, more) == Ordering::Less
    }

    /// `Less` when this path will be done before `other`.
    fn compare(&self, other: &Path, more: u64) -> Ordering {
        let by_throughput = other.throughput.cmp(&self.throughput);
        if by_throughput == Ordering::Equal {
            return difference(self.bytes(), other.bytes());
        }
        if self.in_flight == other.in_flight || self.throughput == 0 || other.throughput == 0 {
            return by_throughput;
        }
        let (mut own, mut others) = (self.bytes().wrapping_add(more), other.bytes().wrapping_add(more));
        if own >= MOST_BYTES || others >= MOST_BYTES {
            own >>= THROUGHPUT_BITS;
            others >>= THROUGHPUT_BITS;
        }
        // bytes / throughput, compared without dividing.
        let (time, others_time) = (own * u64::from(other.throughput), others * u64::from(self.throughput));
        if time == others_time { by_throughput } else { difference(time, others_time) }
    }

    /// The bytes on their way as a number of 64 bits, the sign in all upper ones.
    fn bytes(&self) -> u64 {
        i64::from(self.in_flight) as u64
    }
}

/// Which of two is less, by the sign of the low 32 bits of their difference.
fn difference(a: u64, b: u64) -> Ordering {
    (a.wrapping_sub(b) as i32).cmp(&0)
}

impl Selector for ServiceTime {
    fn copy(&self) -> Box<dyn Selector> {
        Box::new(self.clone())
    }

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
            Some(word) => scan_u32(word, notices.runtime.personality())
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
        let in_flight = &mut self.paths[path].in_flight;
        *in_flight = in_flight.wrapping_add(bytes as i32);
    }

    fn end(&mut self, path: usize, bytes: u64, _started: u64, _now: u64) {
        let in_flight = &mut self.paths[path].in_flight;
        *in_flight = in_flight.wrapping_sub(bytes as i32);
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

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// Sends bios of these sizes one after the other while none ends, and gives what the status of a real Linux showed
    /// after each: the bytes on their way on both paths.
    fn send(throughputs: [u32; 2], sizes: &[u64]) -> Vec<[i32; 2]> {
        let mut selector = ServiceTime::default();
        for (number, throughput) in throughputs.into_iter().enumerate() {
            selector.valid.push(number);
            selector.paths.push(Path { repeat_count: 1, throughput, in_flight: 0 });
        }
        let mut sent = Vec::new();
        let mut seen = Vec::new();
        for &bytes in sizes {
            let path = selector.select(bytes, 0).unwrap();
            selector.begin(path, bytes);
            sent.push((path, bytes));
            seen.push([0, 1].map(|path| selector.paths[path].in_flight));
        }
        for (path, bytes) in sent {
            selector.end(path, bytes, 0, 0);
        }
        assert!(selector.paths.iter().all(|path| path.in_flight == 0));
        seen
    }

    #[test]
    fn more_than_two_gib_on_their_way_as_recorded() {
        let two = 2 * GIB;
        let min = i32::MIN;
        assert_eq!(
            send([1, 1], &[two; 6]),
            [[min, 0], [0, 0], [0, min], [0, 0], [min, 0], [0, 0]],
            "equal throughputs"
        );
        assert_eq!(
            send([1, 1], &[two, 4096, 8192, two - 4096, 4096, GIB, GIB, 4096]),
            [
                [min, 0],
                [-2147479552, 0],
                [-2147471360, 0],
                [8192, 0],
                [8192, 4096],
                [8192, 1073745920],
                [1073750016, 1073745920],
                [1073750016, 1073750016],
            ]
        );
        assert_eq!(
            send([1, 2], &[two; 6]),
            [[0, min], [min, min], [min, 0], [min, min], [min, 0], [min, min]],
            "one twice as fast"
        );
        assert_eq!(
            send([1, 2], &[GIB; 7]),
            [[0, 1 << 30], [0, min], [0, -1 << 30], [0, 0], [0, 1 << 30], [0, min], [0, -1 << 30]]
        );
        assert_eq!(
            send([1, 100], &[two - 4096, 8192, GIB, 4096, two, 4096, 8192]),
            [
                [0, 2147479552],
                [8192, 2147479552],
                [8192, -1073745920],
                [8192, -1073741824],
                [-2147475456, -1073741824],
                [-2147471360, -1073741824],
                [-2147463168, -1073741824],
            ],
            "one much faster"
        );
        assert_eq!(
            send([3, 100], &[two - 4096, two - 4096, 8192, 8192, 4096, two, 4096, 8192]),
            [
                [0, 2147479552],
                [2147479552, 2147479552],
                [2147479552, -2147479552],
                [2147479552, -2147471360],
                [2147479552, -2147467264],
                [-4096, -2147467264],
                [-4096, -2147463168],
                [-4096, -2147454976],
            ]
        );
        assert_eq!(send([0, 1], &[two, 4096, two]), [[0, min], [0, -2147479552], [0, 4096]]);
    }
}
