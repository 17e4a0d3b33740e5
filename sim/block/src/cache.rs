//! The page cache of a block device: what buffered IO goes through.
//!
//! One cache per device, made when the device is first opened as a file and emptied when its last opener of any kind
//! is gone. Two devices over the same sectors have two caches and know nothing of each other, as on Linux.
//!
//! Pages hold 4096 bytes; inside a page, *soft blocks* (4096 bytes too, unless the device's size or BLKBSZSET makes
//! them smaller) are valid and dirty one by one. What is seen from outside follows Linux 6.12:
//!
//! - A read that misses asks for all missing pages in one read-ahead bio, which may fail in silence; then for each
//!   missing block on its own, and that failure is an EIO and a line in the kernel log.
//! - A write into part of a block reads the block first, and fails with EIO without a line if it can't. Otherwise
//!   writes never fail; they dirty blocks.
//! - Write-back goes in order of sectors, one bio for each block. A failure costs the block's data its place on the
//!   disk, not in the cache; it is logged and remembered, and the next fsync of each open file reports it once.
//!
//! No lock is held while a bio is under way, so a suspended device stops only the callers that wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dmlab_runtime::{AsyncMutex, Stalled};
use dmlab_units::{Errno, SECTOR_SIZE, Sector};
use parking_lot::Mutex;

use crate::buffer_errors::{BufferErrors, Failed};
use crate::limits::PAGE_SIZE;
use crate::{Bio, BioFlags, BlockDevice, SyncIo};

mod errseq;
mod read_ahead;
#[cfg(test)]
mod tests;

pub(crate) use errseq::{ErrSeq, Seen};
pub(crate) use read_ahead::ReadAhead;

const PAGE: usize = PAGE_SIZE as usize;
const SECTORS_PER_PAGE: u64 = PAGE_SIZE / SECTOR_SIZE;
/// A writer that makes the dirty pages exceed this (16 MiB) writes them back itself.
const MAX_DIRTY_PAGES: usize = 4096;
/// Clean pages beyond this many (64 MiB) are dropped.
const MAX_PAGES: usize = 16_384;

/// Pages of one block device.
pub(crate) struct PageCache {
    state: Mutex<State>,
    /// The lock of write-back, one at a time: the second must wait for the pages that the first has under way.
    writing_back: AsyncMutex<()>,
    nr_pages: AtomicUsize,
    has_dirty: AtomicBool,
    errors: Arc<ErrSeq>,
    log: Arc<BufferErrors>,
}

struct State {
    pages: BTreeMap<u64, Page>,
    /// Pages with dirty blocks, so that an fsync does not look at all the others.
    dirty: BTreeSet<u64>,
    /// Grows whenever pages are thrown away: what was read from the device before must not be kept after.
    invalidations: u64,
    block_sectors: u64,
}

/// One page; bit n of a mask stands for its sector n.
struct Page {
    data: Box<[u8; PAGE]>,
    valid: u8,
    dirty: u8,
}

impl Page {
    fn new() -> Page {
        Page { data: Box::new([0; PAGE]), valid: 0, dirty: 0 }
    }
}

/// How a read of missing pages may go about it.
pub(crate) enum Miss<'a> {
    /// Read what is asked for, and more where the reader is likely to go next.
    ReadAhead(&'a mut ReadAhead),
    /// Read each page when it is needed, and no more.
    PageByPage,
    /// Answer EAGAIN (RWF_NOWAIT).
    Refuse,
}

impl PageCache {
    /// An empty cache for `dev`, with soft blocks as large as the device's size and logical blocks allow.
    pub(crate) fn new(dev: &BlockDevice, errors: Arc<ErrSeq>, log: Arc<BufferErrors>) -> PageCache {
        PageCache {
            state: Mutex::new(State {
                pages: BTreeMap::new(),
                dirty: BTreeSet::new(),
                invalidations: 0,
                block_sectors: initial_block_size(dev) / SECTOR_SIZE,
            }),
            writing_back: AsyncMutex::new(()),
            nr_pages: AtomicUsize::new(0),
            has_dirty: AtomicBool::new(false),
            errors,
            log,
        }
    }

    /// Soft block size in bytes (BLKBSZGET).
    pub(crate) fn block_size(&self) -> u64 {
        self.state.lock().block_sectors * SECTOR_SIZE
    }

    /// Changes the soft block size; the caller has checked it. Writes back and drops all pages if it is a change.
    pub(crate) fn set_block_size(&self, dev: &Arc<BlockDevice>, bytes: u64) {
        if self.block_size() != bytes {
            let _heard_by_fsync = self.write_back(dev, 0..u64::MAX);
            self.state.lock().block_sectors = bytes / SECTOR_SIZE;
            self.invalidate(0..u64::MAX);
        }
    }

    /// The errors of write-back.
    pub(crate) fn errors(&self) -> &ErrSeq {
        &self.errors
    }

    /// Copies bytes from `pos` on into `buf`; the range lies inside the device. Returns how many bytes came before
    /// the first that can't be read.
    ///
    /// # Errors
    /// EIO when that is the very first; EAGAIN when pages are missing and `miss` refuses to wait.
    pub(crate) fn read(
        &self,
        dev: &Arc<BlockDevice>,
        pos: u64,
        buf: &mut [u8],
        mut miss: Miss<'_>,
    ) -> Result<usize, Errno> {
        let end = pos + buf.len() as u64;
        let mut done = 0;
        while done < buf.len() {
            let at = pos + done as u64;
            let index = at / PAGE_SIZE;
            let inside = (at % PAGE_SIZE) as usize;
            let len = (PAGE - inside).min(buf.len() - done);
            let piece = &mut buf[done..done + len];
            if self.copy_out(index, inside, piece) {
                done += len;
                continue;
            }
            let found = match &miss {
                Miss::Refuse => Err(Errno::EAGAIN),
                Miss::ReadAhead(_) | Miss::PageByPage => {
                    let nr_pages = match &mut miss {
                        Miss::ReadAhead(ahead) => {
                            ahead.window(index, end.div_ceil(PAGE_SIZE) - index, dev.read_ahead())
                        }
                        _ => 1,
                    };
                    self.read_ahead(dev, index, nr_pages);
                    if self.copy_out(index, inside, piece) {
                        Ok(())
                    } else {
                        self.read_page(dev, index, inside, piece)
                    }
                }
            };
            match found {
                Ok(()) => done += len,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Copies from a page if all sectors asked for are valid.
    fn copy_out(&self, index: u64, inside: usize, buf: &mut [u8]) -> bool {
        let state = self.state.lock();
        let wanted = sector_mask(inside..inside + buf.len());
        match state.pages.get(&index) {
            Some(page) if page.valid & wanted == wanted => {
                buf.copy_from_slice(&page.data[inside..inside + buf.len()]);
                true
            }
            _ => false,
        }
    }

    /// Reads up to `nr_pages` missing pages from `index` on in one bio, if nothing is there yet. Failure is silent.
    fn read_ahead(&self, dev: &Arc<BlockDevice>, index: u64, nr_pages: u64) {
        let size = device_bytes(dev);
        let last = size.div_ceil(PAGE_SIZE).min(index + nr_pages);
        let (nr_pages, invalidations) = {
            let state = self.state.lock();
            let next = state.pages.range(index..last).next().map_or(last, |(&next, _)| next);
            (next - index, state.invalidations)
        };
        let start = index * PAGE_SIZE;
        let len = (nr_pages * PAGE_SIZE).min(size.saturating_sub(start)) as usize;
        if len == 0 {
            return;
        }
        let mut data = vec![0; len];
        let mut io = SyncIo::default();
        let sector = Sector(start / SECTOR_SIZE);
        if io.read(dev, sector, &mut data, |bio| bio.with_flags(BioFlags::RAHEAD)).is_err() {
            return;
        }
        let mut state = self.state.lock();
        if state.invalidations != invalidations {
            return;
        }
        for (i, bytes) in data.chunks(PAGE).enumerate() {
            state.fill(index + i as u64, 0, bytes);
        }
        self.account(&mut state);
    }

    /// Reads the invalid blocks of one page one by one, and copies what is asked for.
    fn read_page(
        &self,
        dev: &Arc<BlockDevice>,
        index: u64,
        inside: usize,
        buf: &mut [u8],
    ) -> Result<(), Errno> {
        let in_page = (device_bytes(dev) - index * PAGE_SIZE).min(PAGE_SIZE) as usize;
        let block = self.block_size() as usize;
        let mut answer = Ok(());
        for at in (0..in_page).step_by(block) {
            if let Err(errno) = self.read_block(dev, index, at..(at + block).min(in_page), true) {
                answer = Err(errno);
            }
        }
        answer?;
        // The page may have been thrown away meanwhile; what was read just now is still the device's content.
        if !self.copy_out(index, inside, buf) {
            let start = index * PAGE_SIZE;
            let mut page = vec![0; in_page];
            let read = SyncIo::default().read(dev, Sector(start / SECTOR_SIZE), &mut page, |bio| bio);
            read.map_err(|_| Errno::EIO)?;
            buf.copy_from_slice(&page[inside..inside + buf.len()]);
        }
        Ok(())
    }

    /// Makes one block of a page valid.
    fn read_block(
        &self,
        dev: &Arc<BlockDevice>,
        index: u64,
        block: Range<usize>,
        is_logged: bool,
    ) -> Result<(), Errno> {
        let wanted = sector_mask(block.clone());
        let invalidations = {
            let state = self.state.lock();
            if state.pages.get(&index).is_some_and(|page| page.valid & wanted == wanted) {
                return Ok(());
            }
            state.invalidations
        };
        let start = index * PAGE_SIZE + block.start as u64;
        let mut data = [0; PAGE];
        let data = &mut data[..block.len()];
        if SyncIo::default().read(dev, Sector(start / SECTOR_SIZE), data, |bio| bio).is_err() {
            if is_logged {
                self.log.report(dev, start / self.block_size(), Failed::Read);
            }
            return Err(Errno::EIO);
        }
        let mut state = self.state.lock();
        if state.invalidations == invalidations {
            state.fill(index, block.start, data);
            self.account(&mut state);
        }
        Ok(())
    }

    /// Stores `data` from `pos` on; the range lies inside the device. Returns how many bytes were taken before a
    /// block that had to be read first and could not be.
    ///
    /// # Errors
    /// EIO when that is the very first.
    pub(crate) fn write(&self, dev: &Arc<BlockDevice>, pos: u64, data: &[u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < data.len() {
            let at = pos + done as u64;
            let index = at / PAGE_SIZE;
            let inside = (at % PAGE_SIZE) as usize;
            let len = (PAGE - inside).min(data.len() - done);
            match self.write_into_page(dev, index, inside, &data[done..done + len]) {
                Ok(()) => done += len,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
            if self.state.lock().dirty.len() > MAX_DIRTY_PAGES {
                let _heard_by_fsync = self.write_back_as(dev, 0..u64::MAX, BioFlags::empty());
            }
        }
        Ok(done)
    }

    fn write_into_page(
        &self,
        dev: &Arc<BlockDevice>,
        index: u64,
        inside: usize,
        data: &[u8],
    ) -> Result<(), Errno> {
        let in_page = (device_bytes(dev) - index * PAGE_SIZE).min(PAGE_SIZE) as usize;
        let range = inside..inside + data.len();
        loop {
            let block = self.block_size() as usize;
            let touched = range.start / block * block..range.end.next_multiple_of(block).min(in_page);
            // At most the first and the last block are covered in part.
            for edge in [touched.start, (touched.end - 1) / block * block] {
                let edge = edge..(edge + block).min(in_page);
                if range.start > edge.start || range.end < edge.end {
                    self.read_block(dev, index, edge, false)?;
                }
            }
            let mut state = self.state.lock();
            let page = state.pages.entry(index).or_insert_with(Page::new);
            let partial = sector_mask(touched.clone()) & !whole_blocks(&range, block, in_page);
            if page.valid & partial != partial {
                // Thrown away between the read and here: once more.
                continue;
            }
            page.data[range.clone()].copy_from_slice(data);
            let mask = sector_mask(touched);
            page.valid |= mask;
            page.dirty |= mask;
            state.dirty.insert(index);
            self.account(&mut state);
            return Ok(());
        }
    }

    /// Writes the dirty blocks that lie in a range of bytes to the device, in order, for a caller that waits for that.
    /// Failures are logged and remembered in [`PageCache::errors`].
    ///
    /// # Errors
    /// EIO when a block failed (also where the device said ENOSPC, as on Linux 6.12); EDEADLK when nothing can ever
    /// end the wait.
    pub(crate) fn write_back(&self, dev: &Arc<BlockDevice>, bytes: Range<u64>) -> Result<(), Errno> {
        self.write_back_as(dev, bytes, BioFlags::SYNC)
    }

    /// Writes a range back as [`PageCache::write_back`] does, with the given flags of the bios: none for the flusher.
    pub(crate) fn write_back_as(
        &self,
        dev: &Arc<BlockDevice>,
        bytes: Range<u64>,
        flags: BioFlags,
    ) -> Result<(), Errno> {
        if !self.has_dirty.load(Ordering::Acquire) {
            return Ok(());
        }
        let lock = dev.runtime().block_on(self.writing_back.lock());
        let _one_at_a_time = lock.map_err(|Stalled| Errno::EDEADLK)?;
        let mut io = SyncIo::default();
        let mut block = [0; PAGE];
        let mut answer = Ok(());
        let last_page = bytes.end.div_ceil(PAGE_SIZE);
        let mut next = bytes.start / PAGE_SIZE;
        while let Some((index, in_page)) = self.next_dirty(next..last_page) {
            let start = index * PAGE_SIZE + in_page.start as u64;
            let data = &mut block[..in_page.len()];
            if self.take_dirty(index, in_page, data) {
                let bio = Bio::write(Sector(start / SECTOR_SIZE), data).with_flags(flags);
                if io.submit(dev, bio).is_err() {
                    self.log.report(dev, start / self.block_size(), Failed::Write);
                    self.errors.record(Errno::EIO);
                    answer = Err(Errno::EIO);
                }
            }
            next = index;
        }
        answer
    }

    /// The first dirty block in a range of pages.
    fn next_dirty(&self, pages: Range<u64>) -> Option<(u64, Range<usize>)> {
        if pages.is_empty() {
            return None;
        }
        let state = self.state.lock();
        let index = *state.dirty.range(pages).next()?;
        let page = state.pages.get(&index)?;
        let first = u64::from(page.dirty.trailing_zeros());
        let block_first = first / state.block_sectors * state.block_sectors;
        let in_block = page.dirty >> block_first;
        let sectors = u64::from((!in_block).trailing_zeros()).min(state.block_sectors);
        let bytes = |sectors: u64| (sectors * SECTOR_SIZE) as usize;
        Some((index, bytes(block_first)..bytes(block_first + sectors)))
    }

    /// Copies a dirty block out and marks it clean: from here on it is under way.
    fn take_dirty(&self, index: u64, in_page: Range<usize>, into: &mut [u8]) -> bool {
        let mut state = self.state.lock();
        let mask = sector_mask(in_page.clone());
        let Some(page) = state.pages.get_mut(&index).filter(|page| page.dirty & mask == mask) else {
            return false;
        };
        into.copy_from_slice(&page.data[in_page]);
        page.dirty &= !mask;
        if page.dirty == 0 {
            state.dirty.remove(&index);
            self.account(&mut state);
        }
        true
    }

    /// Drops all pages that touch a range of bytes, dirty or not.
    pub(crate) fn invalidate(&self, bytes: Range<u64>) {
        let mut state = self.state.lock();
        state.invalidations += 1;
        if state.pages.is_empty() {
            return;
        }
        let pages = bytes.start / PAGE_SIZE..bytes.end.div_ceil(PAGE_SIZE);
        let State { pages: all, dirty, .. } = &mut *state;
        let dropped: Vec<u64> = all.range(pages).map(|(&index, _)| index).collect();
        for index in &dropped {
            all.remove(index);
            dirty.remove(index);
        }
        self.account(&mut state);
    }

    /// Drops the pages that are clean.
    pub(crate) fn drop_clean(&self) {
        let mut state = self.state.lock();
        state.invalidations += 1;
        state.pages.retain(|_, page| page.dirty != 0);
        self.account(&mut state);
    }

    /// Whether there is no page at all: direct IO then needs no look at the cache.
    pub(crate) fn is_empty(&self) -> bool {
        self.nr_pages.load(Ordering::Acquire) == 0
    }

    /// Keeps the counters that are read without the lock, and memory within bounds.
    fn account(&self, state: &mut State) {
        if state.pages.len() > MAX_PAGES {
            state.pages.retain(|_, page| page.dirty != 0);
        }
        self.nr_pages.store(state.pages.len(), Ordering::Release);
        self.has_dirty.store(!state.dirty.is_empty(), Ordering::Release);
    }
}

impl State {
    /// Stores what was read from the device, but not over what was written meanwhile.
    fn fill(&mut self, index: u64, inside: usize, bytes: &[u8]) {
        let page = self.pages.entry(index).or_insert_with(Page::new);
        for (i, sector) in bytes.chunks(SECTOR_SIZE as usize).enumerate() {
            let at = inside + i * SECTOR_SIZE as usize;
            let bit = 1 << (at as u64 / SECTOR_SIZE);
            if page.valid & bit == 0 {
                page.data[at..at + sector.len()].copy_from_slice(sector);
                page.valid |= bit;
            }
        }
    }
}

/// The bits of the sectors that a range of bytes in a page touches.
fn sector_mask(bytes: Range<usize>) -> u8 {
    let first = bytes.start as u64 / SECTOR_SIZE;
    let last = (bytes.end as u64).div_ceil(SECTOR_SIZE).min(SECTORS_PER_PAGE);
    (((1u16 << last) - 1) & !((1u16 << first) - 1)) as u8
}

/// The bits of the blocks that lie in `range` as a whole (up to the device's end, which may cut the last).
fn whole_blocks(range: &Range<usize>, block: usize, in_page: usize) -> u8 {
    let first = range.start.next_multiple_of(block);
    let last = if range.end == in_page { in_page } else { range.end / block * block };
    if first < last { sector_mask(first..last) } else { 0 }
}

/// Soft block size in bytes that an open gives a device: the largest power of two up to a page that divides its
/// size, from the logical block size on (`set_init_blocksize`).
fn initial_block_size(dev: &BlockDevice) -> u64 {
    let logical = dev.limits().logical_block_size.0;
    let size = device_bytes(dev);
    let mut block = logical;
    while block < PAGE_SIZE && size & block == 0 {
        block <<= 1;
    }
    block
}

fn device_bytes(dev: &BlockDevice) -> u64 {
    dev.capacity().0.saturating_mul(SECTOR_SIZE)
}
