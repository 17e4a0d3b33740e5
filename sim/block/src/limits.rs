//! Queue limits: what a disk can take in one piece, and how the limits of a stacked device follow from those below.
//!
//! The fields are those of `struct queue_limits` of Linux 6.12 that `/sys/block/X/queue` shows or that stacking
//! needs, under the kernel's names. A length in sectors of `u32::MAX` means "no limit". Atomic writes and zones are
//! not modelled: every device here shows 0 and `none` for them, as the ram disks and device-mapper devices of the
//! reference machine do.
//!
//! [`QueueLimits::stack`] follows `blk_stack_limits` and [`QueueLimits::validate`] follows `blk_validate_limits` of
//! Linux 6.12 as kernel/dm-core.md#queue-limits describes them; the tables in the tests were recorded on 6.12.95.

use dmlab_runtime::{Personality, Quirks};
use dmlab_units::{Bytes, Errno, Sector, Sectors};

#[cfg(test)]
mod tests;

bitflags::bitflags! {
    /// What a queue can do or wants (`BLK_FEAT_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u32 {
        /// The disk has a volatile write cache: it takes flushes.
        const WRITE_CACHE = 1 << 0;
        /// A single write can be forced through the volatile cache.
        const FUA = 1 << 1;
        /// Seeks cost time.
        const ROTATIONAL = 1 << 2;
        /// IO on it feeds the kernel's entropy pool.
        const ADD_RANDOM = 1 << 3;
        /// IO is counted in `/sys/block/X/stat`.
        const IO_STAT = 1 << 4;
        /// A page must not change while it is being written.
        const STABLE_WRITES = 1 << 5;
        /// Bios that may not wait are answered with EAGAIN instead of waiting.
        const NOWAIT = 1 << 6;
        /// The disk can be mapped straight into memory.
        const DAX = 1 << 7;
        /// Completions can be polled for.
        const POLL = 1 << 8;
    }
}

impl Features {
    /// A stacked device has these as soon as one device below has them.
    const FROM_ANY: Features =
        Features::WRITE_CACHE.union(Features::FUA).union(Features::ROTATIONAL).union(Features::STABLE_WRITES);
    /// A stacked device keeps these only while every device below has them.
    const FROM_ALL: Features = Features::NOWAIT.union(Features::POLL);
}

/// "No limit" of a length in sectors.
pub const UNLIMITED_SECTORS: Sectors = Sectors(u32::MAX as u64);
/// Bytes of a page: no logical block is larger, no segment limit smaller.
pub const PAGE_SIZE: u64 = 4096;
/// Largest request that file systems send unless told otherwise (`BLK_DEF_MAX_SECTORS_CAP`, 1280 KiB).
const DEFAULT_MAX_SECTORS: Sectors = Sectors(2560);
/// What that became: 4 MiB.
const LARGE_MAX_SECTORS: Sectors = Sectors(8192);
/// Read-ahead of devices that name no best IO size: 128 KiB.
const DEFAULT_READ_AHEAD: Sectors = Sectors(256);
/// `max_hw_sectors` of a driver that names none (`BLK_SAFE_MAX_SECTORS`).
const SAFE_MAX_SECTORS: Sectors = Sectors(255);
/// `max_segments` of a driver that names none.
const SAFE_MAX_SEGMENTS: u32 = 128;
/// `max_segment_size` of a driver that names none.
const SAFE_MAX_SEGMENT_SIZE: Bytes = Bytes::kib(64);
/// `seg_boundary_mask` of a driver that names none: a segment does not cross 4 GiB of memory.
const DEFAULT_SEG_BOUNDARY_MASK: u64 = 0xffff_ffff;
/// `dma_alignment` of a driver that names none.
const DEFAULT_DMA_ALIGNMENT: u32 = 511;

/// The limits of one request queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// What the queue can do.
    pub features: Features,
    /// The user switched the volatile write cache off (`write through` written to `queue/write_cache`).
    pub is_write_cache_disabled: bool,
    /// Block sizes and offsets of the devices below do not line up; `alignment_offset` then reads -1.
    pub is_misaligned: bool,
    /// Smallest addressable unit: a power of two from 512 to 4096.
    pub logical_block_size: Bytes,
    /// Smallest unit written without reading first.
    pub physical_block_size: Bytes,
    /// Smallest efficient IO.
    pub io_min: Bytes,
    /// Best IO size, or 0 when there is none.
    pub io_opt: Bytes,
    /// Distance from the start of the disk to its first naturally aligned physical block.
    pub alignment_offset: Bytes,
    /// Largest request that the driver takes.
    pub max_hw_sectors: Sectors,
    /// Largest request that the device behind the driver takes; 0 = unknown.
    pub max_dev_sectors: Sectors,
    /// Largest request in use: computed by [`QueueLimits::validate`].
    pub max_sectors: Sectors,
    /// What was written to `queue/max_sectors_kb`; 0 = nothing.
    pub max_user_sectors: Sectors,
    /// No request crosses a multiple of this; 0 = none.
    pub chunk_sectors: Sectors,
    /// Most pieces of memory in one request.
    pub max_segments: u32,
    /// Most pieces of integrity data in one request.
    pub max_integrity_segments: u32,
    /// Most ranges in one discard.
    pub max_discard_segments: u32,
    /// Largest piece of memory.
    pub max_segment_size: Bytes,
    /// No piece of memory crosses a multiple of this mask plus one.
    pub seg_boundary_mask: u64,
    /// Gaps between pieces of memory are allowed only at multiples of this mask plus one; 0 = anywhere.
    pub virt_boundary_mask: u64,
    /// Memory of direct IO is aligned to this mask plus one.
    pub dma_alignment: u32,
    /// Largest discard that the driver takes; 0 = it takes none.
    pub max_hw_discard_sectors: Sectors,
    /// What was written to `queue/discard_max_bytes`.
    pub max_user_discard_sectors: Sectors,
    /// Largest discard in use: the smaller of the two above, computed by [`QueueLimits::validate`].
    pub max_discard_sectors: Sectors,
    /// Unit that a discard frees; 0 = discards are not supported.
    pub discard_granularity: Bytes,
    /// Distance from the start of the disk to its first discard unit.
    pub discard_alignment: Bytes,
    /// Largest secure erase; 0 = not supported.
    pub max_secure_erase_sectors: Sectors,
    /// Largest write of zeroes without data; 0 = not supported.
    pub max_write_zeroes_sectors: Sectors,
}

impl Default for QueueLimits {
    /// What stacking starts from: see [`QueueLimits::stacking`].
    fn default() -> Self {
        QueueLimits::stacking()
    }
}

impl QueueLimits {
    /// The limits of a stacked device with nothing below it yet: everything at its type's maximum, blocks of 512
    /// bytes (`blk_set_stacking_limits`).
    pub const fn stacking() -> QueueLimits {
        QueueLimits {
            features: Features::IO_STAT.union(Features::NOWAIT).union(Features::POLL),
            is_write_cache_disabled: false,
            is_misaligned: false,
            logical_block_size: Bytes(512),
            physical_block_size: Bytes(512),
            io_min: Bytes(512),
            io_opt: Bytes(0),
            alignment_offset: Bytes(0),
            max_hw_sectors: UNLIMITED_SECTORS,
            max_dev_sectors: UNLIMITED_SECTORS,
            max_sectors: UNLIMITED_SECTORS,
            max_user_sectors: Sectors(0),
            chunk_sectors: Sectors(0),
            max_segments: u16::MAX as u32,
            max_integrity_segments: 0,
            max_discard_segments: u16::MAX as u32,
            max_segment_size: Bytes(u32::MAX as u64),
            seg_boundary_mask: DEFAULT_SEG_BOUNDARY_MASK,
            virt_boundary_mask: 0,
            dma_alignment: DEFAULT_DMA_ALIGNMENT,
            max_hw_discard_sectors: UNLIMITED_SECTORS,
            max_user_discard_sectors: UNLIMITED_SECTORS,
            max_discard_sectors: UNLIMITED_SECTORS,
            discard_granularity: Bytes(512),
            discard_alignment: Bytes(0),
            max_secure_erase_sectors: UNLIMITED_SECTORS,
            max_write_zeroes_sectors: UNLIMITED_SECTORS,
        }
    }

    /// The limits of a driver that names none of its own, after validation: 512-byte blocks, requests of 255
    /// sectors, no discard, no volatile cache.
    pub const fn plain() -> QueueLimits {
        QueueLimits {
            features: Features::IO_STAT,
            is_write_cache_disabled: false,
            is_misaligned: false,
            logical_block_size: Bytes(512),
            physical_block_size: Bytes(512),
            io_min: Bytes(512),
            io_opt: Bytes(0),
            alignment_offset: Bytes(0),
            max_hw_sectors: SAFE_MAX_SECTORS,
            max_dev_sectors: Sectors(0),
            max_sectors: SAFE_MAX_SECTORS,
            max_user_sectors: Sectors(0),
            chunk_sectors: Sectors(0),
            max_segments: SAFE_MAX_SEGMENTS,
            max_integrity_segments: 0,
            max_discard_segments: 1,
            max_segment_size: SAFE_MAX_SEGMENT_SIZE,
            seg_boundary_mask: DEFAULT_SEG_BOUNDARY_MASK,
            virt_boundary_mask: 0,
            dma_alignment: DEFAULT_DMA_ALIGNMENT,
            max_hw_discard_sectors: Sectors(0),
            max_user_discard_sectors: UNLIMITED_SECTORS,
            max_discard_sectors: Sectors(0),
            discard_granularity: Bytes(0),
            discard_alignment: Bytes(0),
            max_secure_erase_sectors: Sectors(0),
            max_write_zeroes_sectors: Sectors(0),
        }
    }

    /// The limits of `/dev/ram0` of Linux 6.12 (brd): physical blocks of a page, requests of 255 sectors (shown as 127 KiB), discards of
    /// whole pages without a useful upper limit, no volatile cache, no IO statistics.
    pub const fn brd() -> QueueLimits {
        let mut limits = QueueLimits::plain();
        limits.features = Features::NOWAIT;
        limits.physical_block_size = Bytes(PAGE_SIZE);
        limits.io_min = Bytes(PAGE_SIZE);
        limits.max_hw_discard_sectors = UNLIMITED_SECTORS;
        limits.max_discard_sectors = UNLIMITED_SECTORS;
        limits.discard_granularity = Bytes(PAGE_SIZE);
        limits
    }

    /// Whether flushes have anything to do: there is a volatile write cache and the user left it on.
    pub fn has_write_cache(&self) -> bool {
        self.features.contains(Features::WRITE_CACHE) && !self.is_write_cache_disabled
    }

    /// Whether the driver takes forced writes; without a volatile cache every write is one already.
    pub fn has_fua(&self) -> bool {
        self.has_write_cache() && self.features.contains(Features::FUA)
    }

    /// Offset of the first aligned physical block when the device is used from `start` on.
    pub fn alignment_offset_at(&self, start: Sector) -> Bytes {
        let granularity = self.physical_block_size.0.max(self.io_min.0);
        Bytes(offset_at(granularity, self.alignment_offset.0, start))
    }

    /// Offset of the first discard unit when the device is used from `start` on; 0 without discards.
    pub fn discard_alignment_at(&self, start: Sector) -> Bytes {
        if self.max_discard_sectors.is_zero() {
            return Bytes(0);
        }
        // Counted in whole sectors: what lies below 512 bytes is lost, as in the kernel.
        let sectors_only = |bytes: Bytes| bytes.0 & !511;
        Bytes(offset_at(sectors_only(self.discard_granularity), sectors_only(self.discard_alignment), start))
    }

    /// `alignment_offset` as `/sys` and BLKALIGNOFF show it, in bytes: -1 when the device is misaligned.
    pub fn shown_alignment_offset(&self) -> i64 {
        if self.is_misaligned { -1 } else { self.alignment_offset.0 as i64 }
    }

    /// `discard_alignment` as `/sys` shows it, in bytes: the alignment of blocks, not that of discards (recorded:
    /// `raw/attributes`).
    pub fn shown_discard_alignment(&self) -> i64 {
        self.shown_alignment_offset()
    }

    /// How far sequential readers are read ahead of at least, until the user says otherwise:
    /// 128 KiB, or twice the best IO size.
    pub fn default_read_ahead(&self) -> Sectors {
        Sectors(DEFAULT_READ_AHEAD.0.max(2 * (self.io_opt.0 >> 9)))
    }

    /// Stacks the limits `below`, of a device used from `start` on, into these: each limit becomes one that both can keep.
    ///
    /// Returns whether the two line up. When they don't, the device is marked misaligned and works all the same;
    /// the caller warns about it (kernel/dm-core.md#queue-limits).
    pub fn stack(&mut self, below: &QueueLimits, start: Sector) -> Alignment {
        let mut alignment = Alignment::Consistent;
        self.stack_features(below);
        self.stack_maxima(below);

        let offset_below = below.alignment_offset_at(start);
        if self.alignment_offset != offset_below {
            let top = self.physical_block_size.0.max(self.io_min.0) + self.alignment_offset.0;
            let bottom = below.physical_block_size.0.max(below.io_min.0) + offset_below.0;
            if !top.max(bottom).is_multiple_of(top.min(bottom)) {
                alignment = Alignment::Inconsistent;
            }
        }

        self.logical_block_size = self.logical_block_size.max(below.logical_block_size);
        self.physical_block_size = self.physical_block_size.max(below.physical_block_size);
        self.io_min = self.io_min.max(below.io_min);
        self.io_opt = Bytes(lcm_of_non_zero(self.io_opt.0, below.io_opt.0));
        self.dma_alignment = self.dma_alignment.max(below.dma_alignment);
        if !below.chunk_sectors.is_zero() {
            self.chunk_sectors = Sectors(gcd(self.chunk_sectors.0, below.chunk_sectors.0));
        }
        if self.align_sizes() == Alignment::Inconsistent {
            alignment = Alignment::Inconsistent;
        }

        let granularity = self.physical_block_size.0.max(self.io_min.0);
        self.alignment_offset =
            Bytes(remainder(lcm_of_non_zero(self.alignment_offset.0, offset_below.0), granularity));
        if !is_aligned(self.alignment_offset.0, self.logical_block_size.0) {
            alignment = Alignment::Inconsistent;
        }

        for max in [&mut self.max_sectors, &mut self.max_hw_sectors, &mut self.max_dev_sectors] {
            *max = round_down_to_block(*max, self.logical_block_size);
        }
        self.stack_discard(below, start);
        self.is_misaligned |= alignment == Alignment::Inconsistent || below.is_misaligned;
        alignment
    }

    fn stack_features(&mut self, below: &QueueLimits) {
        self.features |= below.features & Features::FROM_ANY;
        self.features &= below.features | !Features::FROM_ALL;
    }

    fn stack_maxima(&mut self, below: &QueueLimits) {
        let sectors = |a: Sectors, b: Sectors| Sectors(min_of_non_zero(a.0, b.0));
        let count = |a: u32, b: u32| min_of_non_zero(u64::from(a), u64::from(b)) as u32;
        self.max_sectors = sectors(self.max_sectors, below.max_sectors);
        self.max_user_sectors = sectors(self.max_user_sectors, below.max_user_sectors);
        self.max_hw_sectors = sectors(self.max_hw_sectors, below.max_hw_sectors);
        self.max_dev_sectors = sectors(self.max_dev_sectors, below.max_dev_sectors);
        self.max_secure_erase_sectors =
            sectors(self.max_secure_erase_sectors, below.max_secure_erase_sectors);
        // Zero means "cannot" here, so that one device that cannot decides for all.
        self.max_write_zeroes_sectors = self.max_write_zeroes_sectors.min(below.max_write_zeroes_sectors);
        self.max_segments = count(self.max_segments, below.max_segments);
        self.max_integrity_segments = count(self.max_integrity_segments, below.max_integrity_segments);
        self.max_discard_segments = count(self.max_discard_segments, below.max_discard_segments);
        self.max_segment_size = Bytes(min_of_non_zero(self.max_segment_size.0, below.max_segment_size.0));
        self.seg_boundary_mask = min_of_non_zero(self.seg_boundary_mask, below.seg_boundary_mask);
        self.virt_boundary_mask = min_of_non_zero(self.virt_boundary_mask, below.virt_boundary_mask);
    }

    /// Makes sizes multiples of one another again after they were raised.
    fn align_sizes(&mut self) -> Alignment {
        let mut alignment = Alignment::Consistent;
        if !is_aligned(self.physical_block_size.0, self.logical_block_size.0) {
            self.physical_block_size = self.logical_block_size;
            alignment = Alignment::Inconsistent;
        }
        let physical = self.physical_block_size.0;
        if !is_aligned(self.io_min.0, physical) {
            self.io_min = self.physical_block_size;
            alignment = Alignment::Inconsistent;
        }
        if !is_aligned(self.io_opt.0, physical) {
            self.io_opt = Bytes(0);
            alignment = Alignment::Inconsistent;
        }
        if !is_aligned(self.chunk_sectors.0 << 9, physical) {
            self.chunk_sectors = Sectors(0);
            alignment = Alignment::Inconsistent;
        }
        alignment
    }

    fn stack_discard(&mut self, below: &QueueLimits, start: Sector) {
        // A device that takes no discards has no granularity; it does not speak for the others. Whether all must
        // agree is the target's decision.
        if below.discard_granularity.0 == 0 {
            return;
        }
        let sectors = |a: Sectors, b: Sectors| Sectors(min_of_non_zero(a.0, b.0));
        self.max_discard_sectors = sectors(self.max_discard_sectors, below.max_discard_sectors);
        self.max_hw_discard_sectors = sectors(self.max_hw_discard_sectors, below.max_hw_discard_sectors);
        self.discard_granularity = self.discard_granularity.max(below.discard_granularity);
        let offset_below = below.discard_alignment_at(start);
        let offset = lcm_of_non_zero(self.discard_alignment.0, offset_below.0);
        self.discard_alignment = Bytes(remainder(offset, self.discard_granularity.0));
    }

    /// Fills in what was left at 0, computes `max_sectors` and `max_discard_sectors`, and refuses what no queue can
    /// have. Done once when a disk is made and whenever its limits change.
    ///
    /// # Errors
    /// EINVAL: a logical block size that is no power of two from 512 to 4096, or requests, segments or segment
    /// boundaries smaller than a page, or a memory alignment above a page.
    pub fn validate(&mut self) -> Result<(), Errno> {
        self.validate_for(Personality::REFERENCE)
    }

    /// Does what [`QueueLimits::validate`] does, as a kernel of some version does it.
    ///
    /// # Errors
    /// As [`QueueLimits::validate`].
    pub fn validate_for(&mut self, personality: &Personality) -> Result<(), Errno> {
        let default = if personality.has(Quirks::LIMITS_STAY_STACKED) {
            None
        } else if personality.has(Quirks::LARGE_DEFAULT_IO) {
            Some(LARGE_MAX_SECTORS)
        } else {
            Some(DEFAULT_MAX_SECTORS)
        };
        self.validate_sizes()?;
        self.validate_requests(default)?;
        self.validate_discard(personality);
        if !self.features.contains(Features::WRITE_CACHE) {
            self.features.remove(Features::FUA);
        }
        Ok(())
    }

    fn validate_sizes(&mut self) -> Result<(), Errno> {
        if self.logical_block_size.0 == 0 {
            self.logical_block_size = Bytes(512);
        }
        if !is_valid_logical_block_size(self.logical_block_size) {
            return Err(Errno::EINVAL);
        }
        self.physical_block_size = self.physical_block_size.max(self.logical_block_size);
        self.io_min = self.io_min.max(self.physical_block_size);
        if self.alignment_offset.0 != 0 {
            // The offset lies inside one physical block; a driver that names one has thought about alignment.
            self.alignment_offset = Bytes(remainder(self.alignment_offset.0, self.physical_block_size.0));
            self.is_misaligned = false;
        }
        Ok(())
    }

    fn validate_requests(&mut self, default: Option<Sectors>) -> Result<(), Errno> {
        if self.max_hw_sectors.is_zero() {
            self.max_hw_sectors = SAFE_MAX_SECTORS;
        }
        if self.max_hw_sectors.0 < PAGE_SIZE / 512 {
            return Err(Errno::EINVAL);
        }
        self.max_hw_sectors = round_down_to_block(self.max_hw_sectors, self.logical_block_size);
        let hardware = Sectors(min_of_non_zero(self.max_hw_sectors.0, self.max_dev_sectors.0));
        let wanted = if self.max_user_sectors.is_zero() {
            default.map_or(self.max_sectors, |default| Sectors(default.0.max(self.io_opt.0 >> 9)))
        } else {
            if self.max_user_sectors.0 < PAGE_SIZE / 512 {
                return Err(Errno::EINVAL);
            }
            self.max_user_sectors
        };
        self.max_sectors = round_down_to_block(hardware.min(wanted), self.logical_block_size);

        if self.max_segments == 0 {
            self.max_segments = SAFE_MAX_SEGMENTS;
        }
        self.max_discard_segments = self.max_discard_segments.max(1);
        if self.seg_boundary_mask == 0 {
            self.seg_boundary_mask = DEFAULT_SEG_BOUNDARY_MASK;
        }
        if self.virt_boundary_mask != 0 {
            self.max_segment_size = Bytes(u64::from(u32::MAX));
        } else if self.max_segment_size.0 == 0 {
            self.max_segment_size = SAFE_MAX_SEGMENT_SIZE;
        }
        if self.dma_alignment == 0 {
            self.dma_alignment = DEFAULT_DMA_ALIGNMENT;
        }
        if self.seg_boundary_mask < PAGE_SIZE - 1
            || self.max_segment_size.0 < PAGE_SIZE
            || u64::from(self.dma_alignment) > PAGE_SIZE
        {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    fn validate_discard(&mut self, personality: &Personality) {
        if !personality.has(Quirks::LIMITS_STAY_STACKED) {
            self.max_discard_sectors = self.max_hw_discard_sectors.min(self.max_user_discard_sectors);
        }
        self.discard_granularity = if self.max_discard_sectors.is_zero() {
            Bytes(0)
        } else if personality.has(Quirks::LIMITS_STAY_STACKED) {
            self.discard_granularity
        } else {
            self.discard_granularity.max(self.physical_block_size)
        };
    }
}

/// Whether devices put under one another line up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Alignment {
    /// Every block of the upper device is made of whole blocks of the lower one.
    Consistent,
    /// Some IO to the upper device straddles blocks of the lower one: slow, but allowed.
    Inconsistent,
}

/// Whether `size` is a power of two from one sector to one page.
pub fn is_valid_logical_block_size(size: Bytes) -> bool {
    (512..=PAGE_SIZE).contains(&size.0) && size.0.is_power_of_two()
}

/// Distance from `start` to the next place that lies `offset` behind a multiple of `granularity` bytes.
fn offset_at(granularity: u64, offset: u64, start: Sector) -> u64 {
    let granularity_sectors = granularity >> 9;
    if granularity_sectors == 0 {
        return 0;
    }
    let into = (start.0 % granularity_sectors) << 9;
    // An offset may not exceed its granularity, but both are set by drivers one by one.
    (granularity + offset % granularity - into) % granularity
}

fn round_down_to_block(length: Sectors, logical_block_size: Bytes) -> Sectors {
    let block_sectors = (logical_block_size.0 >> 9).max(1);
    let rounded = length.0 - length.0 % block_sectors;
    // A request holds at least one page, whatever the limits below came to.
    Sectors(rounded.max(PAGE_SIZE / 512))
}

/// Whether `value` is a multiple of `unit`. Alignments are powers of two in all real disks, but not in all input.
fn is_aligned(value: u64, unit: u64) -> bool {
    remainder(value, unit) == 0
}

fn remainder(value: u64, unit: u64) -> u64 {
    value.checked_rem(unit).unwrap_or(0)
}

fn min_of_non_zero(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Least common multiple, where 0 stands for "no wish"; an absurd result that no 32-bit field could hold is no wish.
fn lcm_of_non_zero(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => (a / gcd(a, b)).checked_mul(b).filter(|&lcm| u32::try_from(lcm).is_ok()).unwrap_or(0),
    }
}
