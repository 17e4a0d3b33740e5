//! `io-affinity`: to each CPU its path.
//!
//! Per path: a mask of CPUs in hexadecimal digits. The machine has as many CPUs as the reference machine, and all IO comes
//! from the first one: there is no telling on which CPU a caller of a simulated kernel runs, and a run must repeat.

use std::fmt::{Result as Written, Write};

use super::{Notices, Selector};

/// CPUs of the machine.
const CPUS: usize = 2;
/// The one that all IO comes from.
const CURRENT: usize = 0;

#[derive(Clone, Default)]
pub(super) struct IoAffinity {
    /// The path of each CPU.
    map: [Option<usize>; CPUS],
    paths: Vec<Path>,
    misses: u64,
}

#[derive(Clone)]
struct Path {
    mask: u32,
    has_failed: bool,
}

/// Reads a mask: hexadecimal digits in groups that commas part.
fn parse_mask(word: &[u8]) -> Option<u32> {
    let digits: Vec<u8> = word.iter().copied().filter(|byte| *byte != b',').collect();
    let text = std::str::from_utf8(&digits).ok()?;
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    // A bit beyond the machine's largest CPU number is an overflow.
    let mask = is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()?;
    (mask >> CPUS == 0).then_some(mask)
}

impl Selector for IoAffinity {
    fn copy(&self) -> Box<dyn Selector> {
        Box::new(self.clone())
    }

    fn name(&self) -> &'static str {
        "io-affinity"
    }

    fn add(&mut self, args: &[Vec<u8>], notices: &Notices) -> Result<(), &'static str> {
        let [word] = args else { return Err("io-affinity ps: invalid number of arguments") };
        let mask = parse_mask(word).ok_or("io-affinity ps: invalid cpumask")?;
        let path = self.paths.len();
        let mut has_one = false;
        for cpu in (0..CPUS).filter(|cpu| mask >> cpu & 1 == 1) {
            if self.map[cpu].is_some() {
                notices.warn(self.name(), format_args!("CPU mapping for {cpu} exists. Ignoring."));
                continue;
            }
            self.map[cpu] = Some(path);
            has_one = true;
        }
        if !has_one {
            return Err("io-affinity ps: No new/valid CPU mapping found");
        }
        self.paths.push(Path { mask, has_failed: false });
        Ok(())
    }

    fn fail(&mut self, path: usize) {
        self.paths[path].has_failed = true;
    }

    fn reinstate(&mut self, path: usize) {
        self.paths[path].has_failed = false;
    }

    fn select(&mut self, _bytes: u64, _now: u64) -> Option<usize> {
        if self.map[CURRENT].is_none() {
            self.misses += 1;
        }
        // All CPUs are of one node, so the second choice is any path that works.
        let works = |path: &usize| !self.paths[*path].has_failed;
        self.map[CURRENT].filter(works).or_else(|| self.map.iter().flatten().copied().find(works))
    }

    fn write_table(&self, path: usize, out: &mut String) -> Written {
        write!(out, "{:0width$x} ", self.paths[path].mask, width = CPUS.div_ceil(4))
    }

    fn info_words(&self) -> u32 {
        1
    }

    fn write_info(&self, _path: usize, out: &mut String) -> Written {
        write!(out, "{} ", self.misses)
    }
}
