//! `historical-service-time`: the path that was fastest of late.
//!
//! Arguments: `[BASE_WEIGHT [THRESHOLD]]`; per path: `[REPEAT_COUNT]`, which means nothing. The status shows, for each
//! path, the moving average of its service time (in nanoseconds as fixed-point numbers of 10 bits), the bios on their
//! way, and until when an average is believed of a path that is idle.
//!
//! The average forgets faster the slower a bio was: what it keeps of the old value, its **weight**, is
//! `BASE_WEIGHT ^ (n + 1)` where `n` counts steps of 2^24 ns (17 ms) of the bio's service time.

use std::fmt::{Result as Written, Write};

use dmlab_dm::scan_u32;

use super::{Notices, Selector, ValidList};

/// Bits behind the point.
const BITS: u32 = 10;
const ONE: u64 = 1 << BITS;
const HALF: u64 = ONE / 2;
const WEIGHTS: usize = 64;
/// log2 of the nanoseconds between one weight and the next.
const WEIGHT_STEP: u32 = 24;
const DEFAULT_BASE: u64 = 972;

#[derive(Clone)]
pub(super) struct Historical {
    weights: [u64; WEIGHTS],
    threshold: u64,
    paths: Vec<Path>,
    valid: ValidList,
}

#[derive(Clone)]
struct Path {
    average: u64,
    outstanding: u64,
    last_finish: u64,
    stale_after: u64,
}

impl Historical {
    /// `None` when an argument is no number, or the weight is 1 or more.
    pub(super) fn new(args: &[Vec<u8>], notices: &Notices) -> Option<Historical> {
        let personality = notices.runtime.personality();
        let number = |at: usize, default: u64| {
            args.get(at).map_or(Some(default), |word| scan_u32(word, personality).map(u64::from))
        };
        let base = number(0, DEFAULT_BASE)?;
        let threshold = number(1, 0)?;
        if base >= ONE {
            return None;
        }
        let mut weights: [u64; WEIGHTS] = std::array::from_fn(|n| power(base, n + 1));
        weights[WEIGHTS - 1] = 0;
        Some(Historical { weights, threshold, paths: Vec::new(), valid: ValidList::default() })
    }
}

/// A product of fixed-point numbers, rounded.
fn product(a: u64, b: u64) -> u64 {
    (a * b + HALF) >> BITS
}

/// `base` to the power of `n`, by squaring and multiplying: the order decides how it is rounded.
fn power(mut base: u64, mut n: usize) -> u64 {
    let mut result = ONE;
    loop {
        if n & 1 == 1 {
            result = product(result, base);
        }
        n >>= 1;
        if n == 0 {
            return result;
        }
        base = product(base, base);
    }
}

/// Whether `a` is to be preferred, when both could be.
fn is_better(a: &Path, b: &Path, threshold: u64, now: u64) -> bool {
    let fewer = a.outstanding < b.outstanding;
    let (low, high) = (a.average.min(b.average), a.average.max(b.average));
    // Near enough to each other.
    if u128::from(high) <= u128::from(low) * u128::from(threshold) {
        return fewer;
    }
    let is_stale = |path: &Path| path.stale_after < now;
    let (idle_a, idle_b) = (a.outstanding == 0, b.outstanding == 0);
    // An idle path whose average is not believed any more is tried.
    if (idle_a && is_stale(a)) || (idle_b && is_stale(b)) || (idle_a && idle_b) {
        let waited_a = if idle_b { a.stale_after } else { 0 };
        let waited_b = if idle_a { b.stale_after } else { 0 };
        return waited_a < waited_b;
    }
    let (mut cost_a, mut cost_b) = (a.average, b.average);
    if a.outstanding != b.outstanding {
        if a.outstanding.max(b.outstanding) >= ONE {
            // The products would not fit.
            (cost_a, cost_b) = (cost_a >> BITS, cost_b >> BITS);
        }
        cost_a = cost_a.wrapping_mul(a.outstanding + 1);
        cost_b = cost_b.wrapping_mul(b.outstanding + 1);
    }
    // A winner that is not believed must have fewer on their way as well.
    if (cost_a < cost_b && is_stale(a)) || (cost_b < cost_a && is_stale(b)) {
        return fewer;
    }
    cost_a < cost_b
}

impl Selector for Historical {
    fn copy(&self) -> Box<dyn Selector> {
        Box::new(self.clone())
    }

    fn name(&self) -> &'static str {
        "historical-service-time"
    }

    fn add(&mut self, args: &[Vec<u8>], notices: &Notices) -> Result<(), &'static str> {
        match args {
            [] => {}
            [count] => {
                scan_u32(count, notices.runtime.personality())
                    .ok_or("historical-service-time ps: invalid repeat count")?;
            }
            _ => return Err("historical-service-time ps: incorrect number of arguments"),
        }
        self.valid.push(self.paths.len());
        self.paths.push(Path { average: ONE, outstanding: 0, last_finish: 0, stale_after: 0 });
        Ok(())
    }

    fn fail(&mut self, path: usize) {
        self.valid.remove(path);
    }

    fn reinstate(&mut self, path: usize) {
        self.valid.push(path);
    }

    fn select(&mut self, _bytes: u64, now: u64) -> Option<usize> {
        let (paths, threshold) = (&self.paths, self.threshold);
        self.valid.take_best(|a, b| is_better(&paths[a], &paths[b], threshold, now))
    }

    fn tracks_io(&self) -> bool {
        true
    }

    fn tracks_time(&self) -> bool {
        true
    }

    fn begin(&mut self, path: usize, _bytes: u64) {
        self.paths[path].outstanding += 1;
    }

    fn end(&mut self, path: usize, _bytes: u64, started: u64, now: u64) {
        let valid = self.valid.0.len() as u64;
        let path = &mut self.paths[path];
        path.outstanding -= 1;
        // The time during which the path served this bio and no other before it.
        let took = now.saturating_sub(started.max(path.last_finish));
        let weight = self.weights[((took >> WEIGHT_STEP) as usize).min(WEIGHTS - 1)];
        let value = (u128::from(took) << BITS).min(u128::from(u64::MAX >> BITS)) as u64;
        path.average = path
            .average
            .wrapping_mul(weight)
            .wrapping_add(value.wrapping_mul(ONE - weight))
            .wrapping_add(HALF)
            >> BITS;
        path.last_finish = now;
        path.stale_after = now + valid * (path.average >> BITS);
    }

    fn write_arguments(&self, out: &mut String) -> Written {
        write!(out, "2 {} {} ", self.weights[0], self.threshold)
    }

    fn write_table(&self, _path: usize, out: &mut String) -> Written {
        out.write_str("0 ")
    }

    fn info_words(&self) -> u32 {
        3
    }

    fn write_info(&self, path: usize, out: &mut String) -> Written {
        let path = &self.paths[path];
        write!(out, "{} {} {} ", path.average, path.outstanding, path.stale_after)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dmlab_runtime::{Runtime, VirtualDriver};

    use super::super::NoticeLimit;
    use super::*;

    fn notices() -> Notices {
        Notices { runtime: Runtime::new(1, VirtualDriver::new()), limit: Arc::<NoticeLimit>::default() }
    }

    fn selector(args: &[&str], paths: usize) -> Historical {
        let args: Vec<_> = args.iter().map(|word| word.as_bytes().to_vec()).collect();
        let notices = notices();
        let mut selector = Historical::new(&args, &notices).unwrap();
        for _ in 0..paths {
            selector.add(&[], &notices).unwrap();
        }
        selector
    }

    #[test]
    fn arguments() {
        let words = |args: &[&str]| args.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        for bad in [&["1024"][..], &["x"], &["1", "x"]] {
            assert!(Historical::new(&words(bad), &notices()).is_none(), "{bad:?}");
        }
        let mut text = String::new();
        selector(&[], 0).write_arguments(&mut text).unwrap();
        selector(&["1023", "4"], 0).write_arguments(&mut text).unwrap();
        assert_eq!(text, "2 972 0 2 1023 4 ");
    }

    #[test]
    fn weights_are_powers_of_the_base() {
        let weights = selector(&[], 0).weights;
        // 972/1024 to the powers 1, 2, 3 and 63, each within the rounding of ten bits.
        assert_eq!(weights[..3], [972, 923, 876]);
        assert_eq!(weights[63], 0);
        for (n, weight) in weights[..63].iter().enumerate() {
            let exact = 1024.0 * (972.0f64 / 1024.0).powi(n as i32 + 1);
            assert!((*weight as f64 - exact).abs() < 8.0, "weight {n} is {weight}, not about {exact}");
        }
    }

    #[test]
    fn the_average_follows_the_service_times() {
        let mut selector = selector(&[], 2);
        selector.begin(0, 4096);
        selector.end(0, 4096, 1000, 3000);
        // (1024 * 972 + 2000 * 1024 * 52 + 512) >> 10
        assert_eq!((selector.paths[0].average, selector.paths[0].outstanding), (972 + 2000 * 52, 0));
        assert_eq!(selector.paths[0].stale_after, 3000 + 2 * ((972 + 2000 * 52) >> 10));
        // One that began before the last had finished is counted from there on.
        let before = selector.paths[0].average;
        selector.begin(0, 4096);
        selector.end(0, 4096, 2000, 3001);
        assert_eq!(selector.paths[0].average, (before * 972 + 1024 * 52 + 512) >> 10);
        // A second is far more than the weights reach: nothing of the old average is left.
        selector.begin(0, 4096);
        selector.end(0, 4096, 10_000, 2_000_010_000);
        assert_eq!(selector.paths[0].average, 2_000_000_000 * 1024);
    }

    #[test]
    fn the_first_bio_of_a_path_counts_from_its_beginning() {
        let mut selector = selector(&[], 1);
        selector.begin(0, 4096);
        selector.end(0, 4096, 0, 1000);
        assert_eq!(selector.paths[0].average, 972 + 1000 * 52);
    }

    #[test]
    fn paths_near_enough_to_each_other_take_turns() {
        let mut selector = selector(&["972", "1000"], 3);
        let mut order = Vec::new();
        for now in 1..7 {
            let path = selector.select(4096, now).unwrap();
            selector.begin(path, 4096);
            selector.end(path, 4096, now, now);
            order.push(path);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
        // One that has something to do comes after those that have not.
        selector.begin(0, 4096);
        assert_eq!([7, 8, 9].map(|now| selector.select(4096, now)), [1, 2, 1].map(Some));
    }

    /// Of two busy paths the one that will be done sooner, unless its average is too old: then the one with less to do.
    #[test]
    fn busy_paths_are_compared_by_what_they_have_to_do() {
        let path =
            |average, outstanding, stale_after| Path { average, outstanding, last_finish: 0, stale_after };
        let (slow, fast) = (path(4000, 1, 100), path(1000, 2, 100));
        let better = |a: &Path, b: &Path, now| is_better(a, b, 0, now);
        assert_eq!((better(&slow, &fast, 50), better(&fast, &slow, 50)), (false, true));
        assert_eq!((better(&slow, &fast, 150), better(&fast, &slow, 150)), (true, false));
        // The average of the slower one is of no matter.
        let slow = path(4000, 1, 0);
        assert_eq!((better(&slow, &fast, 50), better(&fast, &slow, 50)), (false, true));
    }

    #[test]
    fn idle_paths_are_tried_when_nothing_is_known_of_them() {
        let mut selector = selector(&[], 3);
        let mut order = Vec::new();
        for n in 0..6u64 {
            let now = 1_000_000 * (n + 1);
            let path = selector.select(4096, now).unwrap();
            selector.begin(path, 4096);
            // The middle path is slow.
            let took = if path == 1 { 500_000 } else { 1000 };
            selector.end(path, 4096, now, now + took);
            order.push(path);
        }
        assert_eq!(order[..3], [0, 1, 2]);
        assert_eq!(order.iter().filter(|path| **path == 1).count(), 2);
    }
}
