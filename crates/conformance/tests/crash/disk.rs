//! Disks that write down what they are told, and the states that a loss of power may leave them in.
//!
//! The rule (sim/faults): a write is durable after a flush of its disk that began after it ended, or if it was forced.
//! Until then a loss of power may keep it, drop it or tear it at a sector, each write for itself.

use std::sync::Arc;

use dmlab::machine::{BootOptions, Machine};
use dmlab_block::{Bio, BioFlags, BioQueue, BlkStatus, BlockDevice, DiskOps, Op, RamDisk, WriteCache};
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{DevT, SECTOR_SIZE, Sector, Sectors};
use parking_lot::Mutex;

/// What happened, in order.
pub(crate) enum Event {
    /// Bytes for a disk; zeros for a discard.
    Write { disk: usize, sector: Sector, bytes: Arc<[u8]>, is_forced: bool },
    /// All that a disk was told before is durable.
    Flush { disk: usize },
    /// The workload says where it is.
    Mark(usize),
}

pub(crate) type Log = Arc<Mutex<Vec<Event>>>;

/// A disk with a volatile cache that writes everything down.
struct Recorder {
    disk: RamDisk,
    number: usize,
    log: Log,
}

impl DiskOps for Recorder {
    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, bio: Bio<'a>, queue: &mut BioQueue<'a>) {
        let number = self.number;
        if bio.op == Op::Flush || bio.flags.contains(BioFlags::PREFLUSH) {
            self.log.lock().push(Event::Flush { disk: number });
        }
        let bytes = match bio.op {
            Op::Write => bio.bytes().filter(|bytes| !bytes.is_empty()).map(Arc::from),
            op if op.is_range() => Some(vec![0; (bio.len().0 * SECTOR_SIZE) as usize].into()),
            _ => None,
        };
        if let Some(bytes) = bytes {
            let is_forced = bio.flags.contains(BioFlags::FUA);
            self.log.lock().push(Event::Write { disk: number, sector: bio.sector, bytes, is_forced });
        }
        match bio.op {
            Op::Discard => {
                // As the states show it: gone at once.
                self.disk.memory().zero(bio.sector.0 * SECTOR_SIZE, bio.len().0 * SECTOR_SIZE);
                bio.end(BlkStatus::Ok);
            }
            _ => self.disk.submit_bio(dev, bio, queue),
        }
    }
}

/// A machine whose disks are `1:0`, `1:1`… and nothing else.
pub(crate) fn machine(disks: Vec<Arc<dyn DiskOps>>, sizes: &[Sectors]) -> Machine {
    let options = BootOptions { ram_disks: 0, ..BootOptions::default() };
    let machine = Machine::boot(options).expect("a machine without disks boots");
    let registry = machine.registry();
    let limits = RamDisk::new(Sectors(8), WriteCache::Volatile).limits();
    for (minor, ops) in disks.into_iter().enumerate() {
        let (dev, name) = (DevT::new(1, minor as u32), format!("ram{minor}"));
        let (seq, runtime) = (registry.next_disk_seq(), registry.runtime().clone());
        let device = BlockDevice::new(dev, name, seq, runtime, ops, limits);
        device.set_capacity(sizes[minor]);
        registry.add(device).expect("a free number");
    }
    machine
}

/// A machine whose disks are recorded, from zeros on.
pub(crate) fn recorded(sizes: &[Sectors]) -> (Machine, Log) {
    let log = Log::default();
    let recorder = |(number, &size): (usize, &Sectors)| -> Arc<dyn DiskOps> {
        let disk = RamDisk::new(size, WriteCache::Volatile);
        Arc::new(Recorder { disk, number, log: log.clone() })
    };
    (machine(sizes.iter().enumerate().map(recorder).collect(), sizes), log)
}

type Pending<'a> = (usize, Sector, &'a Arc<[u8]>);

/// Walks along a log, and makes the disks that a loss of power would leave.
pub(crate) struct Explorer<'a> {
    log: &'a [Event],
    at: usize,
    durable: Vec<RamDisk>,
    pending: Vec<Pending<'a>>,
    rng: Rng,
}

impl<'a> Explorer<'a> {
    pub(crate) fn new(log: &'a [Event], sizes: &[Sectors], seed: u64) -> Explorer<'a> {
        let durable = sizes.iter().map(|&size| RamDisk::new(size, WriteCache::Volatile)).collect();
        Explorer { log, at: 0, durable, pending: Vec::new(), rng: Rng::new(seed, Stream::Faults) }
    }

    /// One event further.
    pub(crate) fn step(&mut self) -> Option<&'a Event> {
        let event = self.log.get(self.at)?;
        self.at += 1;
        match event {
            Event::Write { disk, sector, bytes, is_forced: false } => {
                self.pending.push((*disk, *sector, bytes));
            }
            Event::Write { disk, sector, bytes, is_forced: true } => {
                put(&self.durable[*disk], *sector, bytes);
            }
            Event::Flush { disk } => {
                let (now, later) = std::mem::take(&mut self.pending).into_iter().partition(|w| w.0 == *disk);
                self.pending = later;
                let now: Vec<Pending<'_>> = now;
                now.into_iter().for_each(|(disk, sector, bytes)| put(&self.durable[disk], sector, bytes));
            }
            Event::Mark(_) => {}
        }
        Some(event)
    }

    /// The disks with everything that was written, or a random part of what is not durable.
    pub(crate) fn state(&mut self, choice: Choice) -> Vec<RamDisk> {
        let disks: Vec<RamDisk> = self.durable.iter().map(RamDisk::fork).collect();
        // Every write has the same chance in one state, and another in the next.
        let chance = self.rng.below(101);
        for &(disk, sector, bytes) in &self.pending {
            let roll = self.rng.below(100);
            match choice {
                Choice::Nothing => {}
                Choice::Everything => put(&disks[disk], sector, bytes),
                Choice::Some if roll < chance => put(&disks[disk], sector, bytes),
                Choice::Some if roll.is_multiple_of(5) => tear(&mut self.rng, &disks[disk], sector, bytes),
                Choice::Some => {}
            }
        }
        disks
    }

    /// Whether there is anything to choose from.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// Which of the writes that are not durable a state has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Nothing,
    Everything,
    Some,
}

fn put(disk: &RamDisk, sector: Sector, bytes: &[u8]) {
    disk.memory().write(sector.0 * SECTOR_SIZE, bytes);
}

/// Writes some sectors of a write.
fn tear(rng: &mut Rng, disk: &RamDisk, sector: Sector, bytes: &[u8]) {
    let sectors = bytes.len() as u64 / SECTOR_SIZE;
    let first = rng.below(sectors);
    let count = 1 + rng.below(sectors - first);
    let (from, to) = (first * SECTOR_SIZE, (first + count) * SECTOR_SIZE);
    put(disk, Sector(sector.0 + first), &bytes[from as usize..to as usize]);
}
