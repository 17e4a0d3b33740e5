//! The multipath target. What is compared here was seen on Linux 6.12.95, unless a test says otherwise.

use crate::kit;

mod choice;
mod failing;
mod messages;
mod random;
mod table;
mod waiting;

use std::sync::{Arc, Mutex};

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, BlkStatus, SyncIo, submit};
use dmlab_machine::{BootOptions, Disk, DiskKind};
use dmlab_units::{Bytes, DevT, Errno, Sector};
use kit::Kit;

pub(crate) const SECTOR: usize = 512;
pub(crate) const TABLE: DmFlags = DmFlags::STATUS_TABLE;
pub(crate) const INFO: DmFlags = DmFlags::empty();

/// A machine with two disks that have request queues, 253:0 and 253:16.
pub(crate) fn kit() -> Kit {
    let disk = || Disk { kind: DiskKind::VolatileRam(Bytes::mib(16)), read_only: false };
    Kit::with(BootOptions { disks: vec![disk(), disk()], ..BootOptions::default() })
}

pub(crate) fn write(kit: &Kit, dev: DevT, sector: u64, bytes: &[u8]) -> BlkStatus {
    let dev = kit.machine.registry().get(dev).unwrap();
    let result = SyncIo::default().submit(&dev, Bio::write(Sector(sector), bytes));
    result.map_or_else(|failed| BlkStatus::from(failed.errno()), |()| BlkStatus::Ok)
}

pub(crate) fn read(kit: &Kit, dev: DevT, sector: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let dev = kit.machine.registry().get(dev).unwrap();
    let mut buf = vec![0xee; len * SECTOR];
    SyncIo::default()
        .read(&dev, Sector(sector), &mut buf, |bio| bio)
        .map(|()| buf)
        .map_err(dmlab_block::IoFailed::errno)
}

/// A bio on its way.
#[derive(Clone, Default)]
pub(crate) struct Pending(Arc<Mutex<Vec<BlkStatus>>>);

impl Pending {
    pub(crate) fn start(kit: &Kit, dev: DevT, bio: Bio<'static>) -> Pending {
        let pending = Pending::default();
        let ends = pending.0.clone();
        let dev = kit.machine.registry().get(dev).unwrap();
        submit(bio.to(&dev).on_end(move |status, _| ends.lock().unwrap().push(status)));
        kit.machine.runtime().run_until_idle();
        pending
    }

    pub(crate) fn write(kit: &Kit, dev: DevT, sector: u64, bytes: &[u8]) -> Pending {
        Pending::start(kit, dev, Bio::write_owned(Sector(sector), bytes.into()))
    }

    /// How it ended.
    pub(crate) fn end(&self) -> Option<BlkStatus> {
        let ends = self.0.lock().unwrap();
        assert!(ends.len() <= 1, "a bio has ended twice");
        ends.first().copied()
    }
}

pub(crate) fn suspend(kit: &Kit, name: &str, flags: DmFlags) {
    kit.ask(Command::DevSuspend, name, DmFlags::SUSPEND | flags).unwrap();
}

pub(crate) fn events(kit: &Kit, name: &str) -> u32 {
    kit.machine.runtime().run_until_idle();
    kit.ask(Command::DevStatus, name, INFO).unwrap().event_nr()
}

/// A bio-based table of two paths.
pub(crate) const BIOS: &str = "0 2048 multipath 2 queue_mode bio 0 1 1 round-robin 0 2 1 1:0 1 1:1 1";
