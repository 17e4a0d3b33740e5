//! Host memory for the chunks of sparse memory, taken in large pieces and kept for reuse.
//!
//! Pieces of 32 MiB are asked of the host as huge pages. A cold read of a chunk then costs the memory's latency alone; from
//! single pages found through two page tables, as in a virtual machine, the walk to the page costs as much as the copy.
//!
//! The host gives memory when it is first touched, so what was never a chunk costs nothing. Of what was one and is free
//! again some stays with the process: the next chunk takes the one freed last, which the caches may still hold. The rest, as
//! after a discard of a whole disk, goes back to the host, and only its addresses are kept.

use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};
use parking_lot::Mutex;

use super::sparse::CHUNK_SIZE;

const CHUNK: usize = CHUNK_SIZE as usize;
/// Chunks of a piece.
const CHUNKS_PER_PIECE: usize = 512;
/// How many free chunks keep their memory: 64 MiB of it.
const MAX_KEPT: usize = 1024;

/// 64 KiB, aligned to pages.
pub(super) struct ChunkMemory(&'static mut [u8]);

/// What is free: chunks that were used, those whose memory went back to the host, and those of the last piece that never were
/// used. The latter two hold zeros.
struct Free {
    used: Vec<&'static mut [u8]>,
    returned: Vec<&'static mut [u8]>,
    fresh: &'static mut [u8],
}

// A list of memory that holds nothing is not state: which chunk one gets shows nowhere.
static FREE: Mutex<Free> = Mutex::new(Free { used: Vec::new(), returned: Vec::new(), fresh: &mut [] });

impl ChunkMemory {
    /// A chunk of zeros.
    ///
    /// # Panics
    /// When the host has no memory left, as every allocation does.
    pub(super) fn zeros() -> ChunkMemory {
        let (memory, is_zero) = take();
        if !is_zero {
            memory.fill(0);
        }
        ChunkMemory(memory)
    }

    /// A chunk with these bytes, as many as it has.
    pub(super) fn copy_of(bytes: &[u8]) -> ChunkMemory {
        let (memory, _) = take();
        memory.copy_from_slice(bytes);
        ChunkMemory(memory)
    }
}

/// A chunk, and whether it holds zeros.
fn take() -> (&'static mut [u8], bool) {
    let mut free = FREE.lock();
    if let Some(memory) = free.used.pop() {
        return (memory, false);
    }
    if let Some(memory) = free.returned.pop() {
        return (memory, true);
    }
    if free.fresh.is_empty() {
        let piece = MmapMut::map_anon(CHUNKS_PER_PIECE * CHUNK).expect("the host has memory left");
        // Only faster with it: a host without huge pages gives small ones.
        let _ = piece.advise(Advice::HugePage);
        let piece: &mut MmapMut = Box::leak(Box::new(piece));
        free.fresh = piece;
    }
    let (memory, rest) = std::mem::take(&mut free.fresh).split_at_mut(CHUNK);
    free.fresh = rest;
    (memory, true)
}

impl Drop for ChunkMemory {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.0);
        let mut free = FREE.lock();
        if free.used.len() < MAX_KEPT {
            free.used.push(memory);
            return;
        }
        drop(free);
        // No thread waits for the lock while the host takes the memory.
        if return_to_host(memory) {
            FREE.lock().returned.push(memory);
        } else {
            FREE.lock().used.push(memory);
        }
    }
}

/// Gives a chunk's memory back to the host: it reads as zeros from here on. False if the host did not take it.
#[allow(unsafe_code, reason = "no safe call tells the host that memory of a leaked mapping is not needed")]
fn return_to_host(memory: &mut [u8]) -> bool {
    // SAFETY: the range is borrowed for this call alone and lies whole in a private anonymous mapping that is never unmapped;
    // its begin and length are multiples of 64 KiB, as large as pages get. Zeros, which it holds afterwards, are as valid as
    // any bytes.
    let taken = unsafe {
        rustix::mm::madvise(memory.as_mut_ptr().cast(), memory.len(), rustix::mm::Advice::LinuxDontNeed)
    };
    taken.is_ok()
}

impl Deref for ChunkMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl DerefMut for ChunkMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests;
