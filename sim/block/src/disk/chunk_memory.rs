//! Host memory for the chunks of sparse memory, taken in large pieces and kept for reuse.
//!
//! Pieces of 32 MiB are asked of the host as huge pages. A cold read of a chunk then costs the memory's latency alone; from
//! single pages found through two page tables, as in a virtual machine, the walk to the page costs as much as the copy.
//!
//! The host gives memory when it is first touched, so what was never a chunk costs nothing. What was one and is free
//! again stays with the process: the next chunk takes the one freed last, which the caches may still hold.

use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};
use parking_lot::Mutex;

use super::sparse::CHUNK_SIZE;

const CHUNK: usize = CHUNK_SIZE as usize;
/// Chunks of a piece.
const CHUNKS_PER_PIECE: usize = 512;

/// 64 KiB, aligned to pages.
pub(super) struct ChunkMemory(&'static mut [u8]);

/// What is free: chunks that were used, and those of the last piece that never were and hold zeros.
struct Free {
    used: Vec<&'static mut [u8]>,
    fresh: &'static mut [u8],
}

// A list of memory that holds nothing is not state: which chunk one gets shows nowhere.
static FREE: Mutex<Free> = Mutex::new(Free { used: Vec::new(), fresh: &mut [] });

impl ChunkMemory {
    /// A chunk of zeros.
    ///
    /// # Panics
    /// When the host has no memory left, as every allocation does.
    pub(super) fn zeros() -> ChunkMemory {
        let (memory, is_fresh) = take();
        if !is_fresh {
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

/// A chunk, and whether it was never used before.
fn take() -> (&'static mut [u8], bool) {
    let mut free = FREE.lock();
    if let Some(memory) = free.used.pop() {
        return (memory, false);
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
        FREE.lock().used.push(std::mem::take(&mut self.0));
    }
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
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_zeros_whatever_it_was() {
        for round in 1..=3 {
            let mut many: Vec<ChunkMemory> =
                (0..CHUNKS_PER_PIECE + 3).map(|_| ChunkMemory::zeros()).collect();
            assert!(many.iter().all(|chunk| chunk.len() == CHUNK && chunk.iter().all(|&b| b == 0)));
            assert!(many.iter().all(|chunk| (chunk.as_ptr() as usize).is_multiple_of(4096)));
            many.iter_mut().for_each(|chunk| chunk.fill(round));
            assert!(*ChunkMemory::copy_of(&many[7]) == *many[7]);
        }
    }
}
