//! `round-robin`: each path in its turn.
//!
//! Per path: `[REPEAT_COUNT]`. A path that comes back is the next to be chosen.

use std::collections::VecDeque;
use std::fmt::{Result as Written, Write};

use super::{Notices, Selector};

#[derive(Clone, Default)]
pub(super) struct RoundRobin {
    repeat_counts: Vec<u32>,
    /// The next path to be chosen is the first.
    valid: VecDeque<usize>,
}

impl Selector for RoundRobin {
    fn copy(&self) -> Box<dyn Selector> {
        Box::new(self.clone())
    }

    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn add(&mut self, args: &[Vec<u8>], notices: &Notices) -> Result<(), &'static str> {
        let count = match args {
            [] => 1,
            [count] => {
                notices.repeat_count(count, self.name()).ok_or("round-robin ps: invalid repeat count")?
            }
            _ => return Err("round-robin ps: incorrect number of arguments"),
        };
        self.valid.push_back(self.repeat_counts.len());
        self.repeat_counts.push(count);
        Ok(())
    }

    fn fail(&mut self, path: usize) {
        self.valid.retain(|&valid| valid != path);
    }

    fn reinstate(&mut self, path: usize) {
        self.valid.push_front(path);
    }

    fn select(&mut self, _bytes: u64, _now: u64) -> Option<usize> {
        let path = self.valid.pop_front()?;
        self.valid.push_back(path);
        Some(path)
    }

    fn write_table(&self, path: usize, out: &mut String) -> Written {
        write!(out, "{} ", self.repeat_counts[path])
    }
}
