//! From a recording to the disks that a loss of power leaves.

use std::sync::Arc;

use dmlab_block::{RamDisk, SparseMemory, WriteCache};
use dmlab_units::{SECTOR_SIZE, Sector};

use super::choice::{Choice, Fate, Picks, Tear};
use super::left::LeftDisk;
use super::recording::{Data, Event, Recording, Written};

/// A walk along a recording, which knows at each point what is durable and which writes are not.
pub struct Walk<'a> {
    recording: &'a Recording,
    boundary: usize,
    durable: Vec<Arc<RamDisk>>,
    /// Writes that are not durable, and forced ones that lie on such.
    pending: Vec<&'a Written>,
}

impl<'a> Walk<'a> {
    /// Before the first event: disks of zeros.
    pub fn new(recording: &'a Recording) -> Walk<'a> {
        let durable =
            recording.sizes.iter().map(|&size| Arc::new(RamDisk::new(size, WriteCache::Volatile))).collect();
        Walk { recording, boundary: 0, durable, pending: Vec::new() }
    }

    /// A second walk from this place on. It copies no bytes.
    pub fn fork(&self) -> Walk<'a> {
        Walk {
            recording: self.recording,
            boundary: self.boundary,
            durable: self.durable.iter().map(|disk| Arc::new(disk.fork())).collect(),
            pending: self.pending.clone(),
        }
    }

    /// How many events lie behind.
    pub fn boundary(&self) -> usize {
        self.boundary
    }

    /// The event just behind.
    pub fn last(&self) -> Option<&'a Event> {
        self.recording.events.get(self.boundary.checked_sub(1)?)
    }

    /// The writes that are not durable here, the oldest first.
    pub fn pending(&self) -> &[&'a Written] {
        &self.pending
    }

    /// One event further; `None` at the end.
    pub fn step(&mut self) -> Option<&'a Event> {
        let event = self.recording.events.get(self.boundary)?;
        self.boundary += 1;
        match event {
            Event::Write(written) => {
                if written.is_forced && !self.pending.iter().any(|earlier| earlier.overlaps(written)) {
                    self.make_durable(written);
                } else {
                    self.pending.push(written);
                }
            }
            Event::Flush(disk) => {
                let (now, later) = self.pending.iter().partition(|written| written.disk == *disk);
                self.pending = later;
                let now: Vec<&Written> = now;
                now.into_iter().for_each(|written| self.make_durable(written));
            }
            Event::Mark(_) => {}
        }
        Some(event)
    }

    fn make_durable(&mut self, written: &Written) {
        let disk = &mut self.durable[written.disk];
        // A state that is still in use stays as it is.
        if Arc::strong_count(disk) > 1 {
            *disk = Arc::new(disk.fork());
        }
        put(disk.memory(), written, Fate::Kept);
    }

    /// Goes on until so many events lie behind. Returns whether there are as many.
    pub fn go_to(&mut self, boundary: usize) -> bool {
        while self.boundary < boundary && self.step().is_some() {}
        self.boundary == boundary
    }

    /// The disks that a loss of power leaves here.
    pub fn disks(&self, choice: &Choice) -> Vec<LeftDisk> {
        self.disks_with(&choice.picks(self.boundary, &self.pending))
    }

    /// The disks that are left when each write has the fate that `picks` gives it.
    pub fn disks_with(&self, picks: &Picks) -> Vec<LeftDisk> {
        let disks: Vec<LeftDisk> = self.durable.iter().cloned().map(LeftDisk::new).collect();
        for write in self.order(picks) {
            let written = self.pending[write];
            let fate = if written.is_forced { Fate::Kept } else { picks.fate(write) };
            put(&disks[written.disk], written, fate);
        }
        disks
    }

    /// The order in which writes reach the medium: those that are early before all others, but after forced ones that
    /// were there before them.
    fn order(&self, picks: &Picks) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::with_capacity(self.pending.len());
        let mut after_forced = 0;
        for (write, written) in self.pending.iter().enumerate() {
            if written.is_forced {
                order.push(write);
                after_forced = order.len();
            } else if picks.early.contains(&write) {
                order.insert(after_forced, write);
                after_forced += 1;
            } else {
                order.push(write);
            }
        }
        order
    }
}

/// Where bytes go.
trait Medium {
    fn write(&self, offset: u64, bytes: &[u8]);
    fn zero(&self, offset: u64, len: u64);
}

impl Medium for SparseMemory {
    fn write(&self, offset: u64, bytes: &[u8]) {
        SparseMemory::write(self, offset, bytes);
    }

    fn zero(&self, offset: u64, len: u64) {
        SparseMemory::zero(self, offset, len);
    }
}

impl Medium for LeftDisk {
    fn write(&self, offset: u64, bytes: &[u8]) {
        LeftDisk::write(self, offset, bytes);
    }

    fn zero(&self, offset: u64, len: u64) {
        LeftDisk::zero(self, offset, len);
    }
}

/// Brings a write, or what is left of it, onto a disk.
fn put(disk: &impl Medium, written: &Written, fate: Fate) {
    let whole = written.data.len().0;
    let (first, count) = match fate {
        Fate::Lost => return,
        Fate::Kept => (0, whole),
        Fate::Torn(Tear { first, count }) => {
            let first = first.min(whole);
            (first, count.min(whole - first))
        }
    };
    let at = Sector(written.sector.0.saturating_add(first)).0.saturating_mul(SECTOR_SIZE);
    match &written.data {
        Data::Bytes(bytes) => {
            let (from, to) = ((first * SECTOR_SIZE) as usize, ((first + count) * SECTOR_SIZE) as usize);
            disk.write(at, &bytes[from..to]);
        }
        Data::Zeros(_) => disk.zero(at, count * SECTOR_SIZE),
    }
}
