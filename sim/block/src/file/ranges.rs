//! Discards and zeroing of whole ranges, cut as the block layer cuts them.

use std::ops::Range;
use std::sync::Arc;

use dmlab_units::{Errno, Sector, Sectors};

use super::{BlockFile, sectors};
use crate::limits::PAGE_SIZE;
use crate::{Bio, BlockDevice, IoFailed, Op, SyncIo};

/// Most bytes that one bio can count.
const MAX_BIO_BYTES: u64 = u32::MAX as u64;
/// Bytes of one bio of zeros (256 pages), as recorded for BLKZEROOUT on Linux 6.12.
const ZERO_BIO_SECTORS: u64 = 2048;

/// What may stand in for a "write zeroes" that the device does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// Writing zeros.
    Write,
    /// Nothing: EOPNOTSUPP.
    Refuse,
}

impl BlockFile {
    /// Drops the cached pages of a range that is about to change underneath. What is dirty beside the range, in pages
    /// that it shares, is written back first.
    pub(super) fn forget(&self, range: &Range<u64>) {
        for edge in [range.start, range.end] {
            if !edge.is_multiple_of(PAGE_SIZE) {
                let _heard_by_fsync = self.cache.write_back(self.device(), edge..edge + 1);
            }
        }
        self.cache.invalidate(range.clone());
    }

    /// Discards a range (`blkdev_issue_discard`): a piece up to the first discard unit, then as much as a bio holds. A
    /// device that knows discards and yet refuses this one, as a mirror whose leg has failed, has done no harm: that is
    /// no error (recorded: `mirror/random-steps`).
    pub(super) fn discard(&self, range: &Range<u64>) -> Result<(), Errno> {
        let unit = (self.device().limits().discard_granularity.0 / 512).max(1);
        let sent = self.range_bios(Op::Discard, range, |at| match round_up(at.0, unit) - at.0 {
            0 => Sectors((MAX_BIO_BYTES & !(unit * 512 - 1)) / 512),
            piece => Sectors(piece),
        });
        match sent {
            Err(Errno::EOPNOTSUPP) => Ok(()),
            answer => answer,
        }
    }

    pub(super) fn secure_erase(&self, range: &Range<u64>) -> Result<(), Errno> {
        let max = self.device().limits().max_secure_erase_sectors;
        self.range_bios(Op::SecureErase, range, |_| Sectors(max.0.min(MAX_BIO_BYTES / 512)))
    }

    /// Makes a range zero (`blkdev_issue_zeroout`): without data where the device can, else as `fallback` says.
    pub(super) fn zero_out(&self, range: &Range<u64>, fallback: Fallback) -> Result<(), Errno> {
        let max = self.device().limits().max_write_zeroes_sectors;
        if !max.is_zero() {
            let piece = Sectors(max.0.min(MAX_BIO_BYTES / 512));
            match self.range_bios(Op::WriteZeroes, range, |_| piece) {
                Err(Errno::EOPNOTSUPP) => {}
                answer => return answer,
            }
        }
        match fallback {
            Fallback::Write => self.write_zeros(range),
            Fallback::Refuse => Err(Errno::EOPNOTSUPP),
        }
    }

    fn range_bios(
        &self,
        op: Op,
        range: &Range<u64>,
        piece_at: impl Fn(Sector) -> Sectors,
    ) -> Result<(), Errno> {
        in_pieces(range, piece_at, |io, at, len| io.submit(self.device(), Bio::range(op, at, len)))
    }

    fn write_zeros(&self, range: &Range<u64>) -> Result<(), Errno> {
        let zeros: Arc<[u8]> = vec![0; (ZERO_BIO_SECTORS * 512) as usize].into();
        let device: &Arc<BlockDevice> = self.device();
        in_pieces(
            range,
            |_| Sectors(ZERO_BIO_SECTORS),
            |io, at, len| io.submit(device, Bio::write(at, &zeros[..(len.0 * 512) as usize])),
        )
    }
}

/// Linux's rounding, made for powers of two. Of another unit the result is no multiple, and Linux cuts there all the
/// same: a discard of a thin device with 192 KiB blocks that begins on a block may lose that block (recorded:
/// `thin/discard-odd-blocks`).
fn round_up(at: u64, unit: u64) -> u64 {
    if at == 0 { 0 } else { ((at - 1) | (unit - 1)).saturating_add(1) }
}

/// Sends all pieces even when one fails; the first error is the answer.
fn in_pieces(
    range: &Range<u64>,
    piece_at: impl Fn(Sector) -> Sectors,
    mut send: impl FnMut(&mut SyncIo, Sector, Sectors) -> Result<(), IoFailed>,
) -> Result<(), Errno> {
    let (mut at, mut left) = sectors(range);
    let mut io = SyncIo::default();
    let mut answer = Ok(());
    while !left.is_zero() {
        let len = piece_at(at).min(left).0.max(1);
        let sent = send(&mut io, at, Sectors(len)).map_err(IoFailed::errno);
        answer = answer.and(sent);
        at += Sectors(len);
        left -= Sectors(len);
    }
    answer
}
