//! IO statistics of block devices.

use dmlab_runtime::ShardedCounters;
use dmlab_units::Sectors;

use crate::Op;

/// IO statistics of a device, as `/sys/block/X/stat` shows them: bios ended and their sectors, by kind.
#[derive(Default)]
pub struct DiskStats {
    /// Bios at even places, sectors at odd ones.
    counters: ShardedCounters<8>,
}

impl DiskStats {
    fn place(op: Op) -> usize {
        match op {
            Op::Read => 0,
            Op::Write | Op::WriteZeroes => 2,
            Op::Discard | Op::SecureErase => 4,
            Op::Flush => 6,
        }
    }

    /// Counts a bio.
    #[inline]
    pub fn count(&self, op: Op, len: Sectors) {
        let at = DiskStats::place(op);
        if op == Op::Flush {
            // It is a write besides, as Linux 6.12 shows of a loop device.
            self.counters.add_relaxed([(at, 1), (DiskStats::place(Op::Write), 1)]);
            return;
        }
        self.counters.add_relaxed([(at, 1), (at + 1, len.0 as i64)]);
    }

    /// Bios of this kind, and their sectors.
    pub fn of(&self, op: Op) -> (u64, Sectors) {
        let at = DiskStats::place(op);
        (self.counters.sum(at) as u64, Sectors(self.counters.sum(at + 1) as u64))
    }
}
