//! The disk that a loss of power leaves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dmlab_block::{Bio, BioQueue, BlkStatus, BlockDevice, DiskOps, Op, QueueLimits, RamDisk};
use dmlab_units::{SECTOR_SIZE, Sectors};
use parking_lot::RwLock;

const PAGE: usize = 4096;

/// The disk that a loss of power leaves: what was durable, shared by many states, and over it the pages in which this
/// one differs. To make one costs what differs, however large the disk is.
pub struct LeftDisk {
    durable: Arc<RamDisk>,
    pages: RwLock<BTreeMap<u64, Box<[u8; PAGE]>>>,
}

impl LeftDisk {
    pub(super) fn new(durable: Arc<RamDisk>) -> LeftDisk {
        LeftDisk { durable, pages: RwLock::default() }
    }

    /// How large it is.
    pub fn capacity(&self) -> Sectors {
        self.durable.capacity()
    }

    /// What it can take: what a RAM disk with a volatile write cache can.
    pub fn limits(&self) -> QueueLimits {
        self.durable.limits()
    }

    /// Fills `into` with the bytes from byte `offset` on; zeros behind the end.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        let pages = self.pages.read();
        if pages.is_empty() {
            return self.durable.memory().read(offset, into);
        }
        for (page, inside, range) in pieces(offset, into.len()) {
            let piece = &mut into[range];
            match pages.get(&page) {
                Some(bytes) => piece.copy_from_slice(&bytes[inside..inside + piece.len()]),
                None => self.durable.memory().read(page * PAGE as u64 + inside as u64, piece),
            }
        }
    }

    /// Writes bytes to the disk from byte `offset` on; what would lie behind the end is dropped.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.change(offset, bytes.len() as u64, |piece, range| piece.copy_from_slice(&bytes[range]));
    }

    /// Writes zeros to the disk.
    pub fn zero(&self, offset: u64, len: u64) {
        self.change(offset, len, |piece, _| piece.fill(0));
    }

    fn change(&self, offset: u64, len: u64, put: impl Fn(&mut [u8], std::ops::Range<usize>)) {
        let left = (self.capacity().0 * SECTOR_SIZE).saturating_sub(offset);
        let mut pages = self.pages.write();
        for (page, inside, range) in pieces(offset, len.min(left) as usize) {
            let bytes = pages.entry(page).or_insert_with(|| {
                let mut bytes = Box::new([0; PAGE]);
                if range.len() < PAGE {
                    self.durable.memory().read(page * PAGE as u64, &mut *bytes);
                }
                bytes
            });
            put(&mut bytes[inside..inside + range.len()], range);
        }
    }

    fn perform(&self, bio: &mut Bio<'_>) -> BlkStatus {
        let at = bio.sector.0.saturating_mul(SECTOR_SIZE);
        match bio.op {
            Op::Read => match bio.bytes_mut() {
                Some(into) => self.read(at, into),
                None => return BlkStatus::IoErr,
            },
            Op::Write if bio.is_empty() => {}
            Op::Write => match bio.bytes() {
                Some(bytes) => self.write(at, bytes),
                None => return BlkStatus::IoErr,
            },
            Op::Discard | Op::WriteZeroes => self.zero(at, bio.len().0.saturating_mul(SECTOR_SIZE)),
            Op::Flush => {}
            Op::SecureErase => return BlkStatus::NotSupp,
        }
        BlkStatus::Ok
    }
}

/// A range of bytes in pieces of one page each: the page, where in it, and which of the bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = (at % PAGE as u64) as usize;
        let end = len.min(done + PAGE - inside);
        let range = done..end;
        done = end;
        (!range.is_empty()).then_some((at / PAGE as u64, inside, range))
    })
}

impl fmt::Debug for LeftDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeftDisk({} sectors, {} pages of its own)", self.capacity(), self.pages.read().len())
    }
}

impl DiskOps for LeftDisk {
    fn submit_bio<'a>(&self, _dev: &Arc<BlockDevice>, mut bio: Bio<'a>, _queue: &mut BioQueue<'a>) {
        let status = self.perform(&mut bio);
        bio.end(status);
    }

    fn fork(&self) -> Option<Arc<dyn DiskOps>> {
        let pages = RwLock::new(self.pages.read().clone());
        Some(Arc::new(LeftDisk { durable: self.durable.clone(), pages }))
    }

    fn takes_requests(&self) -> bool {
        self.durable.takes_requests()
    }

    fn may_have_partitions(&self) -> bool {
        self.durable.may_have_partitions()
    }
}
