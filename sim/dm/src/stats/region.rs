//! One region: its areas and their counters.

use std::collections::BTreeMap;
use std::fmt::Write;

use dmlab_runtime::{Instant, TICK, TICK_MS};
use dmlab_units::{Sector, Sectors};

use super::Piece;

#[derive(Clone)]
pub(super) struct Region {
    pub(super) start: Sector,
    pub(super) end: Sector,
    pub(super) step: Sectors,
    pub(super) program: Vec<u8>,
    pub(super) aux: Vec<u8>,
    pub(super) is_precise: bool,
    /// Upper bounds of all histogram buckets but the last, in milliseconds or nanoseconds.
    pub(super) bounds: Vec<u64>,
    /// Counters of the areas that IO has touched.
    areas: BTreeMap<u64, Area>,
}

/// Counters of one area; pairs are (reads, writes). Times are in ticks or nanoseconds.
#[derive(Clone, Default)]
struct Area {
    ios: [u64; 2],
    merges: [u64; 2],
    sectors: [u64; 2],
    time: [u64; 2],
    in_flight: [u64; 2],
    busy: u64,
    busy_in: [u64; 2],
    weighted: u64,
    stamp: u64,
    histogram: Vec<u64>,
}

impl Area {
    /// Brings the times that run while IO is in flight up to `now`.
    fn advance(&mut self, now: u64) {
        let span = now.saturating_sub(self.stamp);
        self.stamp = now;
        let in_flight = self.in_flight[0] + self.in_flight[1];
        for dir in 0..2 {
            if self.in_flight[dir] > 0 {
                self.busy_in[dir] += span;
            }
        }
        if in_flight > 0 {
            self.busy += span;
            self.weighted += span * in_flight;
        }
    }
}

impl Region {
    pub(super) fn new(
        start: Sector,
        end: Sector,
        step: Sectors,
        program: Vec<u8>,
        aux: Vec<u8>,
        is_precise: bool,
        bounds: Vec<u64>,
    ) -> Region {
        Region { start, end, step, program, aux, is_precise, bounds, areas: BTreeMap::new() }
    }

    pub(super) fn nr_areas(&self) -> u64 {
        (self.end - self.start).0.div_ceil(self.step.0)
    }

    fn clock(&self, now: Instant) -> u64 {
        if self.is_precise { now.as_nanos() } else { now.as_nanos() / TICK.as_nanos() as u64 }
    }

    /// A time as it is shown: nanoseconds, or milliseconds of ticks.
    fn shown(&self, time: u64) -> u64 {
        if self.is_precise { time } else { time * TICK_MS }
    }

    /// Calls `visit` for each area that `piece` touches, with the sectors that lie there.
    fn each_area(&mut self, piece: &Piece, mut visit: impl FnMut(&mut Area, Sectors, &[u64])) {
        let from = piece.start.max(self.start);
        let to = piece.end.min(self.end);
        if from >= to {
            return;
        }
        let first = (from - self.start).0 / self.step.0;
        let last = ((to - self.start).0 - 1) / self.step.0;
        for index in first..=last {
            let begin = self.start + Sectors(index * self.step.0);
            let end = self.end.min(begin + self.step);
            let buckets = if self.bounds.is_empty() { 0 } else { self.bounds.len() + 1 };
            let area = self
                .areas
                .entry(index)
                .or_insert_with(|| Area { histogram: vec![0; buckets], ..Area::default() });
            visit(area, piece.overlap(begin, end), &self.bounds);
        }
    }

    pub(super) fn start(&mut self, piece: &Piece, now: Instant) {
        let now = self.clock(now);
        self.each_area(piece, |area, _, _| {
            area.advance(now);
            area.in_flight[usize::from(piece.is_write)] += 1;
        });
    }

    pub(super) fn end(&mut self, piece: &Piece, began: Instant, now: Instant, is_merged: bool) {
        let (began, now) = (self.clock(began), self.clock(now));
        let took = now.saturating_sub(began);
        let dir = usize::from(piece.is_write);
        let latency = self.shown(took);
        self.each_area(piece, |area, sectors, bounds| {
            area.advance(now);
            area.in_flight[dir] = area.in_flight[dir].saturating_sub(1);
            area.ios[dir] += 1;
            area.merges[dir] += u64::from(is_merged);
            area.sectors[dir] += sectors.0;
            area.time[dir] += took;
            if !bounds.is_empty() {
                area.histogram[bounds.partition_point(|bound| *bound <= latency)] += 1;
            }
        });
    }

    pub(super) fn forget(&mut self, piece: &Piece) {
        self.each_area(piece, |area, _, _| {
            let in_flight = &mut area.in_flight[usize::from(piece.is_write)];
            *in_flight = in_flight.saturating_sub(1);
        });
    }

    /// Sets everything to zero but what is in flight.
    pub(super) fn clear(&mut self, first: u64, count: u64) {
        for (_, area) in self.areas.range_mut(first..first.saturating_add(count)) {
            *area = Area {
                in_flight: area.in_flight,
                stamp: area.stamp,
                histogram: vec![0; area.histogram.len()],
                ..Area::default()
            };
        }
    }

    /// One line for each of `count` areas from `first` on; `None` when they need `room` bytes or more.
    pub(super) fn print(&mut self, first: u64, count: u64, now: Instant, room: usize) -> Option<String> {
        let now = self.clock(now);
        let mut out = String::new();
        for index in first..first.saturating_add(count).min(self.nr_areas()) {
            let fresh = Area { histogram: vec![0; self.bounds.len() + 1], ..Area::default() };
            let area = match self.areas.get_mut(&index) {
                Some(area) => {
                    area.advance(now);
                    area.clone()
                }
                None => fresh,
            };
            let begin = self.start + Sectors(index * self.step.0);
            let time = |t| self.shown(t);
            let [reads, writes] = [0, 1].map(|dir| {
                let (ios, merges, sectors) = (area.ios[dir], area.merges[dir], area.sectors[dir]);
                format!("{ios} {merges} {sectors} {}", time(area.time[dir]))
            });
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "{begin}+{} {reads} {writes} {} {} {} {} {}",
                self.step,
                area.in_flight[0] + area.in_flight[1],
                time(area.busy),
                time(area.weighted),
                time(area.busy_in[0]),
                time(area.busy_in[1]),
            );
            if !self.bounds.is_empty() {
                let buckets: Vec<String> = area.histogram.iter().map(u64::to_string).collect();
                let _ = write!(out, " {}", buckets.join(":"));
            }
            out.push('\n');
            if out.len() >= room {
                return None;
            }
        }
        Some(out)
    }
}
