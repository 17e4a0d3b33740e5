//! A disk that fails where it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dmlab_block::{
    Bio, BioFlags, BioQueue, BlkStatus, BlockDevice, DiskOps, Op, RamDisk, WriteCache, submit,
};
use dmlab_units::{DevT, Sectors};
use parking_lot::Mutex;

use super::Kit;

/// What fails at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    Reads,
    Writes,
    All,
}

/// A RAM disk with bad sectors.
pub(crate) struct FaultDisk {
    ram: RamDisk,
    bad: Mutex<BTreeMap<u64, Fails>>,
    fails_flushes: AtomicBool,
    holds: AtomicBool,
    held: Mutex<Vec<(Arc<BlockDevice>, Bio<'static>)>>,
    noted: Mutex<Vec<Noted>>,
}

/// A bio that came: what, from which sector on, of how many, and whether it asks for durability before or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) op: Op,
    pub(crate) sector: u64,
    pub(crate) len: u64,
    pub(crate) flags: BioFlags,
}

impl FaultDisk {
    /// Adds such a disk to a machine, as `7:MINOR`.
    pub(crate) fn add(kit: &Kit, minor: u32, size: Sectors) -> (DevT, Arc<FaultDisk>) {
        FaultDisk::add_with(kit, minor, size, WriteCache::WriteThrough)
    }

    /// Adds a disk as [`FaultDisk::add`] does, with or without a volatile write cache.
    pub(crate) fn add_with(
        kit: &Kit,
        minor: u32,
        size: Sectors,
        cache: WriteCache,
    ) -> (DevT, Arc<FaultDisk>) {
        let registry = kit.machine.registry();
        let ram = RamDisk::new(size, cache);
        let limits = ram.limits();
        let disk = Arc::new(FaultDisk {
            ram,
            bad: Mutex::default(),
            fails_flushes: AtomicBool::new(false),
            holds: AtomicBool::new(false),
            held: Mutex::default(),
            noted: Mutex::default(),
        });
        let dev = DevT::new(7, minor);
        let (seq, runtime) = (registry.next_disk_seq(), registry.runtime().clone());
        let block = BlockDevice::new(dev, format!("faulty{minor}"), seq, runtime, disk.clone(), limits);
        block.set_capacity(size);
        registry.add(block).unwrap();
        (dev, disk)
    }

    /// From here on, what touches one of these sectors fails.
    pub(crate) fn fail(&self, sectors: std::ops::Range<u64>, what: Fails) {
        self.bad.lock().extend(sectors.map(|sector| (sector, what)));
    }

    /// From here on, flushes fail.
    pub(crate) fn fail_flushes(&self) {
        self.fails_flushes.store(true, Ordering::Relaxed);
    }

    /// From here on, bios are kept until they are let go, or are no more.
    pub(crate) fn hold(&self, holds: bool) {
        self.holds.store(holds, Ordering::Relaxed);
    }

    /// What came since this was asked last, in the order in which it came.
    pub(crate) fn noted(&self) -> Vec<Noted> {
        std::mem::take(&mut *self.noted.lock())
    }

    /// How many are kept.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().len()
    }

    /// Lets one of those go that are kept.
    pub(crate) fn let_go(&self, index: usize) {
        let (dev, mut bio) = self.held.lock().remove(index);
        bio.set_dev(&dev);
        let holds = self.holds.swap(false, Ordering::Relaxed);
        submit(bio);
        self.holds.store(holds, Ordering::Relaxed);
    }

    /// All of it is good again.
    pub(crate) fn heal(&self) {
        self.bad.lock().clear();
    }

    /// The first byte of a sector, as it lies there.
    pub(crate) fn byte(&self, sector: u64) -> u8 {
        let mut byte = [0];
        self.ram.memory().read(sector * 512, &mut byte);
        byte[0]
    }
}

impl DiskOps for FaultDisk {
    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, mut bio: Bio<'a>, queue: &mut BioQueue<'a>) {
        let (sector, len) = (bio.sector.0, bio.len().0);
        self.noted.lock().push(Noted { op: bio.op, sector, len, flags: bio.flags });
        if self.holds.load(Ordering::Relaxed) {
            self.held.lock().push((dev.clone(), bio.take_owned()));
            return;
        }
        let is_bad = |what: &Fails| match what {
            Fails::All => true,
            Fails::Reads => bio.op == Op::Read,
            Fails::Writes => bio.op != Op::Read,
        };
        let fails = self.bad.lock().range(bio.sector.0..bio.end_sector().0).any(|(_, what)| is_bad(what));
        let fails_flush = bio.op == Op::Flush && self.fails_flushes.load(Ordering::Relaxed);
        if fails || fails_flush {
            bio.end(BlkStatus::IoErr);
        } else {
            self.ram.submit_bio(dev, bio, queue);
        }
    }
}
