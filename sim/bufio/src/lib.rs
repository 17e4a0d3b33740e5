//! Blocks of a device in memory, as Linux's `dm-bufio` keeps them: read once, changed there, written when asked.
//!
//! ```text
//!   read(block) ───> in memory: that, else from the device ──┐
//!   new_buffer(block) ─> a buffer of zeros, nothing is read ─┴─> a Buffer; mark_buffer_dirty once it is changed
//!
//!   write_dirty_buffers ─> every changed buffer, then a flush
//!   forget_buffers ──────> out of memory, unwritten: the device was written past the client
//! ```
//!
//! A [`Client`] is one user of one device. Its user holds it mutably while it works on a buffer, so that a buffer needs no count of
//! holders: what is a `release` on Linux is the end of a borrow here. Clean buffers that were not used for a while make room
//! when there are too many; dirty ones stay until they are written.
#![forbid(unsafe_code)]

mod buffers;

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use dmlab_block::{Bio, BlkStatus, BlockDevice, Tag, read_bio_async, run_async};
use dmlab_units::{Bytes, SECTOR_SIZE, Sector, Sectors};

pub use buffers::Buffer;
use buffers::Buffers;

/// Clean buffers kept before some are let go.
const CLEAN_LIMIT: Bytes = Bytes(256 << 20);

/// One user's blocks of one device (`struct dm_bufio_client`). `A` is what the user keeps beside each buffer (`aux_size`).
pub struct Client<A = ()> {
    device: Arc<BlockDevice>,
    block_size: Sectors,
    buffers: Buffers<A>,
    clean_limit: usize,
}

impl<A: Default> Client<A> {
    /// A client of `device` with nothing in memory, whose blocks have `block_size` sectors (`dm_bufio_client_create`).
    ///
    /// # Panics
    /// When a block has no sectors.
    pub fn new(device: Arc<BlockDevice>, block_size: Sectors) -> Client<A> {
        assert!(!block_size.is_zero(), "a block has sectors");
        let clean_limit = (CLEAN_LIMIT.0 / (block_size.0 * SECTOR_SIZE)).max(1) as usize;
        Client { device, block_size, buffers: Buffers::default(), clean_limit }
    }

    /// Keeps at most this many clean buffers, instead of 256 MiB of them.
    pub fn set_clean_limit(&mut self, buffers: usize) {
        self.clean_limit = buffers;
    }

    /// The device.
    pub fn device(&self) -> &Arc<BlockDevice> {
        &self.device
    }

    /// Whole blocks that the device has (`dm_bufio_get_device_size`).
    pub fn device_size(&self) -> u64 {
        self.device.capacity().0 / self.block_size.0
    }

    /// How many buffers are in memory.
    pub fn nr_buffers(&self) -> usize {
        self.buffers.len()
    }

    /// How many buffers are in memory as the device has them.
    pub fn nr_clean(&self) -> usize {
        self.buffers.nr_clean()
    }

    fn start(&self, block: u64) -> Sector {
        Sector(block.saturating_mul(self.block_size.0))
    }

    /// A block if it is in memory (`dm_bufio_get`).
    pub fn get(&self, block: u64) -> Option<&Buffer<A>> {
        self.buffers.get(block)
    }

    /// A block if it is in memory, which counts as used. A caller that changes its data marks it dirty.
    pub fn get_mut(&mut self, block: u64) -> Option<&mut Buffer<A>> {
        self.buffers.use_mut(block)
    }

    /// A block, read from the device if it is not in memory (`dm_bufio_read`). The bio that reads it carries `tag`.
    ///
    /// # Errors
    /// The status of the read; nothing is kept of it.
    pub async fn read(&mut self, block: u64, tag: Tag) -> Result<&mut Buffer<A>, BlkStatus> {
        if self.buffers.get(block).is_none() {
            let data = self.read_past(block, tag).await?;
            self.make_room();
            self.buffers.put(block, data[..].into());
        }
        Ok(self.buffers.use_mut(block).expect("found or put there just now"))
    }

    /// Reads a block from the device without keeping it, and whether or not it is in memory.
    ///
    /// # Errors
    /// The status of the read.
    pub async fn read_past(&self, block: u64, tag: Tag) -> Result<Arc<[u8]>, BlkStatus> {
        let bio = Bio::read_owned(self.start(block), self.block_size).with_tag(tag);
        read_bio_async(bio.to(&self.device)).await
    }

    /// A block that will be written whole, so that it need not be read (`dm_bufio_new`): zeros, if it is not in memory. Nothing is let
    /// go for it; see [`Client::make_room`].
    pub fn new_buffer(&mut self, block: u64) -> &mut Buffer<A> {
        if self.buffers.get(block).is_none() {
            self.buffers.put(block, vec![0; (self.block_size.0 * SECTOR_SIZE) as usize].into());
        }
        self.buffers.use_mut(block).expect("found or put there just now")
    }

    /// Notes that a block in memory was changed and must be written (`dm_bufio_mark_buffer_dirty`). Of a block that is not in memory
    /// there is nothing to note.
    pub fn mark_buffer_dirty(&mut self, block: u64) {
        self.buffers.mark_dirty(block);
    }

    /// The numbers of the dirty buffers, in order.
    pub fn dirty_blocks(&self) -> Vec<u64> {
        self.buffers.dirty_blocks()
    }

    /// Writes one dirty buffer, by a bio that carries `tag`.
    ///
    /// # Errors
    /// The status of the write; the buffer is dirty still.
    pub async fn write_buffer(&mut self, block: u64, tag: Tag) -> Result<(), BlkStatus> {
        let Some(write) = self.write(block, tag) else { return Ok(()) };
        run_async(write).await?;
        self.buffers.mark_clean(block);
        Ok(())
    }

    fn write(&self, block: u64, tag: Tag) -> Option<Bio<'static>> {
        let buffer = self.buffers.get(block).filter(|buffer| buffer.is_dirty())?;
        let bio = Bio::write_owned(self.start(block), Arc::from(buffer.data()));
        Some(bio.with_tag(tag).to(&self.device))
    }

    /// Writes all dirty buffers, side by side, and flushes the device (`dm_bufio_write_dirty_buffers`).
    ///
    /// # Errors
    /// The status of a write that failed, the last by number, else that of the flush. What was not written is dirty still.
    pub async fn write_dirty_buffers(&mut self, tag: Tag) -> Result<(), BlkStatus> {
        let blocks = self.dirty_blocks();
        let writes = blocks.iter().filter_map(|block| self.write(*block, tag)).map(run_async).collect();
        let mut written = Ok(());
        for (block, ended) in blocks.into_iter().zip(all(writes).await) {
            match ended {
                Ok(()) => self.buffers.mark_clean(block),
                Err(status) => written = Err(status),
            }
        }
        let flushed = self.issue_flush(tag).await;
        self.make_room();
        written.and(flushed)
    }

    /// Flushes the device (`dm_bufio_issue_flush`).
    ///
    /// # Errors
    /// The status of the flush.
    pub async fn issue_flush(&self, tag: Tag) -> Result<(), BlkStatus> {
        run_async(Bio::flush().with_tag(tag).to(&self.device)).await
    }

    /// Drops what is in memory of a range of blocks, written or not (`dm_bufio_forget_buffers`).
    pub fn forget_buffers(&mut self, blocks: Range<u64>) {
        self.buffers.forget(blocks);
    }

    /// Drops everything in memory, written or not.
    pub fn forget_all(&mut self) {
        self.buffers = Buffers::default();
    }

    /// Lets clean buffers go that were not used for a while, if there are too many. [`Client::read`] does so by itself.
    pub fn make_room(&mut self) {
        if self.buffers.nr_clean() >= self.clean_limit {
            self.buffers.evict(self.clean_limit - self.clean_limit / 16);
        }
    }
}

/// Runs futures side by side; their results in order.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut ended: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (future, ended) in running.iter_mut().zip(&mut ended) {
            if ended.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *ended = Some(output),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    ended.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
