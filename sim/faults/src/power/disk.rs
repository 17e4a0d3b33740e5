//! A disk with a volatile write cache that writes down what it is told.

use std::sync::Arc;

use dmlab_block::{
    Bio, BioFlags, BioQueue, BlkStatus, BlockDevice, DiskOps, Op, QueueLimits, RamDisk, SparseMemory,
    WriteCache,
};
use dmlab_units::{SECTOR_SIZE, Sectors};

use super::recording::{Data, Event, Meaning, Recorder, Written};

/// A disk with a volatile write cache that writes down what it is told.
///
/// It takes a write at once, so writes end in the order in which they came, and a discarded sector reads as zeros.
pub struct RecordedDisk {
    disk: RamDisk,
    number: usize,
    recorder: Recorder,
}

impl RecordedDisk {
    /// The next disk of a recording: `size` zeros.
    pub fn new(size: Sectors, recorder: &Recorder) -> RecordedDisk {
        let mut recording = recorder.lock();
        let number = recording.sizes.len();
        recording.sizes.push(size);
        drop(recording);
        RecordedDisk { disk: RamDisk::new(size, WriteCache::Volatile), number, recorder: recorder.clone() }
    }

    /// What it can take: what a RAM disk with a volatile write cache can.
    pub fn limits(&self) -> QueueLimits {
        self.disk.limits()
    }

    /// How large it is.
    pub fn capacity(&self) -> Sectors {
        self.disk.capacity()
    }

    fn written(&self, bio: &Bio<'_>, data: Data) -> Event {
        Event::Write(Written {
            disk: self.number,
            op: bio.op,
            sector: bio.sector,
            data,
            meaning: Meaning::from(bio.tag),
            is_forced: bio.flags.contains(BioFlags::FUA),
        })
    }

    /// Takes what is to be kept of a bio: log and medium change together, whatever other threads do.
    fn keep(&self, bio: &Bio<'_>) -> BlkStatus {
        let at = bio.sector.0.saturating_mul(SECTOR_SIZE);
        let mut recording = self.recorder.lock();
        if bio.op == Op::Flush || bio.flags.contains(BioFlags::PREFLUSH) {
            recording.events.push(Event::Flush(self.number));
        }
        match bio.op {
            Op::Write if bio.is_empty() => {}
            Op::Write => {
                let Some(bytes) = bio.bytes() else { return BlkStatus::IoErr };
                self.disk.memory().write(at, bytes);
                recording.events.push(self.written(bio, Data::Bytes(bytes.into())));
            }
            Op::Discard | Op::WriteZeroes => {
                self.disk.memory().zero(at, bio.len().0.saturating_mul(SECTOR_SIZE));
                recording.events.push(self.written(bio, Data::Zeros(bio.len())));
            }
            Op::Flush | Op::Read | Op::SecureErase => {}
        }
        BlkStatus::Ok
    }
}

impl DiskOps for RecordedDisk {
    fn submit_bio<'a>(&self, dev: &Arc<BlockDevice>, bio: Bio<'a>, queue: &mut BioQueue<'a>) {
        match bio.op {
            Op::Read | Op::SecureErase => self.disk.submit_bio(dev, bio, queue),
            Op::Write | Op::Flush | Op::Discard | Op::WriteZeroes => {
                let status = self.keep(&bio);
                bio.end(status);
            }
        }
    }

    fn fork(&self) -> Option<Arc<dyn DiskOps>> {
        // Of a forked machine nothing is recorded.
        Some(Arc::new(self.disk.fork()))
    }

    fn memory(&self) -> Option<&SparseMemory> {
        Some(self.disk.memory())
    }

    fn takes_requests(&self) -> bool {
        self.disk.takes_requests()
    }

    fn may_have_partitions(&self) -> bool {
        self.disk.may_have_partitions()
    }
}
