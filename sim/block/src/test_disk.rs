//! A machine with one disk that notes its bios and fails where it is told to.

use std::collections::BTreeSet;
use std::sync::Arc;

use dmlab_runtime::{Runtime, VirtualDriver};
use dmlab_units::{DevT, Sectors};
use parking_lot::Mutex;

use crate::{
    Bio, BioQueue, BlkStatus, BlockDevice, BlockFile, DiskOps, Op, OpenMode, QueueLimits, RamDisk, Registry,
    WriteCache,
};

pub(crate) struct TestDisk {
    pub(crate) ram: RamDisk,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bad_sectors: BTreeSet<u64>,
    status: Option<BlkStatus>,
    bios: Vec<String>,
}

pub(crate) struct TestMachine {
    pub(crate) registry: Registry,
    pub(crate) device: Arc<BlockDevice>,
    pub(crate) disk: Arc<TestDisk>,
}

pub(crate) const DEV: DevT = DevT::new(1, 0);

impl TestMachine {
    /// `ram0` with brd's limits, changed by `change`.
    pub(crate) fn new(size: Sectors, change: impl FnOnce(&mut QueueLimits)) -> TestMachine {
        let runtime = Runtime::new(0, VirtualDriver::new());
        let registry = Registry::new(runtime.clone());
        let ram = RamDisk::new(size, WriteCache::WriteThrough);
        let mut limits = ram.limits();
        change(&mut limits);
        limits.validate().unwrap();
        let disk = Arc::new(TestDisk { ram, state: Mutex::default() });
        let device = BlockDevice::new(DEV, "ram0", registry.next_disk_seq(), runtime, disk.clone(), limits);
        device.set_capacity(size);
        registry.add(device.clone()).unwrap();
        TestMachine { registry, device, disk }
    }

    pub(crate) fn open(&self, mode: OpenMode) -> BlockFile {
        self.registry.open(DEV, mode).unwrap()
    }

    pub(crate) fn read_write(&self) -> BlockFile {
        self.open(OpenMode::READ | OpenMode::WRITE)
    }

    pub(crate) fn direct(&self) -> BlockFile {
        self.open(OpenMode::READ | OpenMode::WRITE | OpenMode::DIRECT)
    }

    /// The kernel log, level and text.
    pub(crate) fn log(&self) -> Vec<String> {
        let lines = self.registry.runtime().klog().since(0);
        lines.iter().map(|line| format!("<{}>{}", line.level as u8, line.text)).collect()
    }
}

impl TestDisk {
    /// Bios that touch one of these sectors fail from here on.
    pub(crate) fn fail(&self, sectors: impl IntoIterator<Item = u64>) {
        self.state.lock().bad_sectors.extend(sectors);
    }

    /// With this status instead of an IO error.
    pub(crate) fn fail_with(&self, status: BlkStatus) {
        self.state.lock().status = Some(status);
    }

    pub(crate) fn heal(&self) {
        self.state.lock().bad_sectors.clear();
    }

    /// The bios since the last call, as `W 8+8`.
    pub(crate) fn bios(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().bios)
    }
}

impl DiskOps for TestDisk {
    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, bio: Bio<'a>, queue: &mut BioQueue<'a>) {
        let failed = {
            let mut state = self.state.lock();
            let letters = if bio.op == Op::Read && bio.flags.contains(crate::BioFlags::RAHEAD) {
                "RA"
            } else {
                bio.op.letters()
            };
            state.bios.push(format!("{letters} {}+{}", bio.sector, bio.len()));
            let is_bad = state.bad_sectors.range(bio.sector.0..bio.end_sector().0).next().is_some();
            is_bad.then(|| state.status.unwrap_or(BlkStatus::IoErr))
        };
        match failed {
            Some(status) => bio.end(status),
            None => self.ram.submit_bio(dev, bio, queue),
        }
    }
}
