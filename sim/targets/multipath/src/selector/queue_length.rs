//! `queue-length`: the path with the fewest bios on their way.
//!
//! Per path: `[REPEAT_COUNT]`. The status shows how many are on their way.

use std::fmt::{Result as Written, Write};

use super::{Notices, Selector, ValidList};

#[derive(Clone, Default)]
pub(super) struct QueueLength {
    paths: Vec<Path>,
    valid: ValidList,
}

#[derive(Clone)]
struct Path {
    repeat_count: u32,
    in_flight: u32,
}

impl Selector for QueueLength {
    fn copy(&self) -> Box<dyn Selector> {
        Box::new(self.clone())
    }

    fn name(&self) -> &'static str {
        "queue-length"
    }

    fn add(&mut self, args: &[Vec<u8>], notices: &Notices) -> Result<(), &'static str> {
        let repeat_count = match args {
            [] => 1,
            [count] => {
                notices.repeat_count(count, self.name()).ok_or("queue-length ps: invalid repeat count")?
            }
            _ => return Err("queue-length ps: incorrect number of arguments"),
        };
        self.valid.push(self.paths.len());
        self.paths.push(Path { repeat_count, in_flight: 0 });
        Ok(())
    }

    fn fail(&mut self, path: usize) {
        self.valid.remove(path);
    }

    fn reinstate(&mut self, path: usize) {
        self.valid.push(path);
    }

    fn select(&mut self, _bytes: u64, _now: u64) -> Option<usize> {
        let paths = &self.paths;
        self.valid.take_best(|a, b| paths[a].in_flight < paths[b].in_flight)
    }

    fn tracks_io(&self) -> bool {
        true
    }

    fn begin(&mut self, path: usize, _bytes: u64) {
        self.paths[path].in_flight += 1;
    }

    fn end(&mut self, path: usize, _bytes: u64, _started: u64, _now: u64) {
        self.paths[path].in_flight -= 1;
    }

    fn write_table(&self, path: usize, out: &mut String) -> Written {
        write!(out, "{} ", self.paths[path].repeat_count)
    }

    fn info_words(&self) -> u32 {
        1
    }

    fn write_info(&self, path: usize, out: &mut String) -> Written {
        write!(out, "{} ", self.paths[path].in_flight)
    }
}
