//! Sparse memory that can be forked: what a RAM disk keeps its sectors in.
//!
//! A radix tree of three levels: the root's slots cover 4 GiB each, those of an upper node 16 MiB, those of a lower
//! node (a *region*) one *chunk* of 64 KiB. What was never written has no chunk and reads as zeros.
//!
//! **Fork** makes two trees that share everything. Only the root is copied, so the cost does not depend on what was
//! written: one slot per 4 GiB of capacity. Afterwards each tree copies a node when it first writes below it, and a
//! chunk when it first writes to it.
//!
//! **Reading takes no lock on the tree**, without epochs or unsafe code, because a slot never changes its mind
//! more than once: it has a `base`, fixed when the node was made and possibly shared with forks, and an `own`, set
//! at most once and reachable through this tree alone. `own` counts if set, else `base`. A region is only ever
//! written through a path of `own`s. Each of its chunks stands behind a lock of the chunk's own, in the region itself:
//! from there to the bytes is one step.
//!
//! **A fork beside writers**: each root has a `frozen` mark, which fork sets. A writer checks it when it holds the
//! chunk's lock and starts again at the new root if it is set; a writer that passed the check is finished before the
//! fork can read the chunk, since readers take the same lock. So each write to one chunk is wholly in the fork or
//! not at all. What a stale writer may still do to a frozen tree is to set an `own` to a copy of its `base`, which
//! changes no byte.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use super::chunk_memory::ChunkMemory;

/// Bytes of a chunk: the unit of allocation and of copy on write.
pub(crate) const CHUNK_SIZE: u64 = 64 << 10;
/// Slots of an upper node, chunks of a region.
const FANOUT: usize = 256;
/// Bytes that a region covers.
const REGION_SPAN: u64 = CHUNK_SIZE * FANOUT as u64;
/// Bytes that an upper node covers.
const UPPER_SPAN: u64 = REGION_SPAN * FANOUT as u64;

/// Bytes at offsets from 0 to a fixed capacity, zero until written, forkable in next to no time.
///
/// All methods take `&self` and may be called from many threads. An operation that crosses chunks is not atomic
/// against others, as on a real disk.
pub struct SparseMemory {
    capacity: u64,
    root: ArcSwap<Root>,
    /// Held while the root is replaced, so that two forks at once follow one another.
    forking: Mutex<()>,
}

struct Root {
    slots: Box<[Slot<Upper>]>,
    is_frozen: AtomicBool,
}

struct Upper {
    slots: [Slot<Region>; FANOUT],
}

struct Region {
    chunks: [RwLock<Chunk>; FANOUT],
}

struct Slot<T> {
    base: Option<Arc<T>>,
    own: OnceLock<Arc<T>>,
}

/// 64 KiB of the disk.
enum Chunk {
    /// Never written, or given back.
    Zeros,
    /// Content that forks read too: copied before it is written.
    Shared(Arc<ChunkMemory>),
    /// Content of this tree alone.
    Own(ChunkMemory),
}

/// What can stand in a slot: it can be made empty, and copied for a fork's first write below it.
trait Fork {
    fn empty() -> Self;
    fn fork(&self) -> Self;
}

impl<T> Slot<T> {
    fn get(&self) -> Option<&Arc<T>> {
        self.own.get().or(self.base.as_ref())
    }

    /// Returns this content in a new tree: what was `own` is shared from here on.
    fn share(&self) -> Slot<T> {
        Slot { base: self.get().cloned(), own: OnceLock::new() }
    }

    fn vacant() -> Slot<T> {
        Slot { base: None, own: OnceLock::new() }
    }
}

impl<T: Fork> Slot<T> {
    fn own(&self) -> &Arc<T> {
        self.own.get_or_init(|| {
            Arc::new(match &self.base {
                Some(base) => base.fork(),
                None => T::empty(),
            })
        })
    }
}

impl Fork for Upper {
    fn empty() -> Self {
        Upper { slots: std::array::from_fn(|_| Slot::vacant()) }
    }

    fn fork(&self) -> Self {
        Upper { slots: std::array::from_fn(|i| self.slots[i].share()) }
    }
}

impl Fork for Region {
    fn empty() -> Self {
        Region { chunks: std::array::from_fn(|_| RwLock::new(Chunk::Zeros)) }
    }

    fn fork(&self) -> Self {
        Region { chunks: std::array::from_fn(|i| RwLock::new(self.chunks[i].write().share())) }
    }
}

impl Chunk {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Chunk::Zeros => None,
            Chunk::Shared(memory) => Some(memory),
            Chunk::Own(memory) => Some(memory),
        }
    }

    /// Returns this chunk for a second region. It was ours alone: now it is shared, without a copy.
    fn share(&mut self) -> Chunk {
        if let Chunk::Own(_) = self
            && let Chunk::Own(memory) = std::mem::replace(self, Chunk::Zeros)
        {
            *self = Chunk::Shared(Arc::new(memory));
        }
        match self {
            Chunk::Shared(memory) => Chunk::Shared(memory.clone()),
            Chunk::Zeros | Chunk::Own(_) => Chunk::Zeros,
        }
    }

    /// The bytes, to be written; allocated or copied first if need be.
    fn own(&mut self) -> &mut [u8] {
        match self {
            Chunk::Own(_) => {}
            Chunk::Zeros => *self = Chunk::Own(ChunkMemory::zeros()),
            Chunk::Shared(memory) => *self = Chunk::Own(ChunkMemory::copy_of(memory)),
        }
        match self {
            Chunk::Own(memory) => memory,
            Chunk::Zeros | Chunk::Shared(_) => unreachable!("made its own above"),
        }
    }

    fn read(&self, at: usize, buf: &mut [u8]) {
        match self.bytes() {
            Some(bytes) => buf.copy_from_slice(&bytes[at..at + buf.len()]),
            None => buf.fill(0),
        }
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        match self {
            // What was there is of no interest.
            Chunk::Zeros | Chunk::Shared(_) if data.len() == CHUNK_SIZE as usize => {
                *self = Chunk::Own(ChunkMemory::copy_of(data));
            }
            _ => self.own()[at..at + data.len()].copy_from_slice(data),
        }
    }

    fn zero(&mut self, at: usize, len: usize) {
        if len == CHUNK_SIZE as usize {
            *self = Chunk::Zeros;
        } else if self.bytes().is_some() {
            self.own()[at..at + len].fill(0);
        }
    }
}

impl Root {
    fn chunk(&self, at: u64) -> Option<&RwLock<Chunk>> {
        let upper = self.slots.get((at / UPPER_SPAN) as usize)?.get()?;
        let region = upper.slots[(at % UPPER_SPAN / REGION_SPAN) as usize].get()?;
        Some(&region.chunks[(at % REGION_SPAN / CHUNK_SIZE) as usize])
    }

    fn own_chunk(&self, at: u64) -> Option<&RwLock<Chunk>> {
        let upper = self.slots.get((at / UPPER_SPAN) as usize)?.own();
        let region = upper.slots[(at % UPPER_SPAN / REGION_SPAN) as usize].own();
        Some(&region.chunks[(at % REGION_SPAN / CHUNK_SIZE) as usize])
    }
}

impl SparseMemory {
    /// `capacity` bytes of zeros.
    ///
    /// Costs 32 bytes of host memory for each 4 GiB of capacity, and nothing else until something is written.
    pub fn new(capacity: u64) -> SparseMemory {
        let slots = (0..capacity.div_ceil(UPPER_SPAN)).map(|_| Slot::vacant()).collect();
        SparseMemory {
            capacity,
            root: ArcSwap::from_pointee(Root { slots, is_frozen: AtomicBool::new(false) }),
            forking: Mutex::new(()),
        }
    }

    /// Bytes that fit in.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// A second memory with the same bytes. From here on writes to one are not seen by the other.
    pub fn fork(&self) -> SparseMemory {
        let _one_at_a_time = self.forking.lock();
        let old = self.root.load_full();
        old.is_frozen.store(true, Ordering::SeqCst);
        // Pairs with the fence of `modify`: a writer that did not see the mark set its slots before we read them.
        fence(Ordering::SeqCst);
        let share = || {
            let slots = old.slots.iter().map(Slot::share).collect();
            Arc::new(Root { slots, is_frozen: AtomicBool::new(false) })
        };
        self.root.store(share());
        SparseMemory { capacity: self.capacity, root: ArcSwap::new(share()), forking: Mutex::new(()) }
    }

    /// Fills `buf` with the bytes from `offset` on. What lies past the capacity reads as zeros.
    pub fn read(&self, offset: u64, buf: &mut [u8]) {
        let root = self.root.load();
        for (at, range) in Pieces::new(offset, buf.len() as u64) {
            let into = (at % CHUNK_SIZE) as usize;
            let piece = &mut buf[range.start as usize..range.end as usize];
            match root.chunk(at) {
                Some(chunk) => chunk.read().read(into, piece),
                None => piece.fill(0),
            }
        }
    }

    /// Stores `data` from `offset` on. What lies past the capacity is dropped.
    pub fn write(&self, offset: u64, data: &[u8]) {
        let len = (data.len() as u64).min(self.capacity.saturating_sub(offset));
        for (at, range) in Pieces::new(offset, len) {
            let into = (at % CHUNK_SIZE) as usize;
            let piece = &data[range.start as usize..range.end as usize];
            self.modify(at, |chunk| chunk.write(into, piece));
        }
    }

    /// Makes `len` bytes from `offset` on zero; whole chunks give their memory back.
    pub fn zero(&self, offset: u64, len: u64) {
        let len = len.min(self.capacity.saturating_sub(offset));
        let mut at = offset;
        let end = offset + len;
        while at < end {
            let next = end.min((at / CHUNK_SIZE + 1) * CHUNK_SIZE);
            // What was never written is zero already; a huge discard of a sparse disk skips over the holes.
            let Some(hole_end) = self.hole_end(at) else {
                self.modify(at, |chunk| chunk.zero((at % CHUNK_SIZE) as usize, (next - at) as usize));
                at = next;
                continue;
            };
            at = hole_end;
        }
    }

    /// Where the part that was never written ends, or `None` when there is a chunk at `at`.
    fn hole_end(&self, at: u64) -> Option<u64> {
        let after = |span: u64| Some((at / span + 1).saturating_mul(span));
        let root = self.root.load();
        let Some(upper) = root.slots.get((at / UPPER_SPAN) as usize).and_then(Slot::get) else {
            return after(UPPER_SPAN);
        };
        let Some(region) = upper.slots[(at % UPPER_SPAN / REGION_SPAN) as usize].get() else {
            return after(REGION_SPAN);
        };
        match &*region.chunks[(at % REGION_SPAN / CHUNK_SIZE) as usize].read() {
            Chunk::Zeros => after(CHUNK_SIZE),
            Chunk::Shared(_) | Chunk::Own(_) => None,
        }
    }

    /// Bytes of host memory in chunks that this memory reads from, shared ones included.
    pub fn allocated(&self) -> u64 {
        let root = self.root.load();
        let uppers = root.slots.iter().filter_map(Slot::get);
        let regions = uppers.flat_map(|upper| upper.slots.iter().filter_map(Slot::get));
        let chunks = regions.flat_map(|region| &region.chunks);
        chunks.filter(|chunk| chunk.read().bytes().is_some()).count() as u64 * CHUNK_SIZE
    }

    /// Shows each chunk that holds anything to `visit`: its offset and its bytes, 64 KiB or up to the capacity, in order.
    /// What is not shown is zeros; what is shown may be.
    pub fn each_chunk(&self, mut visit: impl FnMut(u64, &[u8])) {
        let root = self.root.load();
        for (i, upper) in root.slots.iter().enumerate().filter_map(|(i, slot)| Some((i as u64, slot.get()?)))
        {
            for (j, region) in
                upper.slots.iter().enumerate().filter_map(|(j, slot)| Some((j as u64, slot.get()?)))
            {
                for (k, chunk) in (0u64..).zip(&region.chunks) {
                    let at = i * UPPER_SPAN + j * REGION_SPAN + k * CHUNK_SIZE;
                    if let Some(bytes) = chunk.read().bytes() {
                        let len = CHUNK_SIZE.min(self.capacity.saturating_sub(at)) as usize;
                        visit(at, &bytes[..len]);
                    }
                }
            }
        }
    }

    /// Changes the chunk at `at` under its lock, in a tree that no fork shares.
    fn modify(&self, at: u64, change: impl FnOnce(&mut Chunk)) {
        loop {
            let root = self.root.load();
            let Some(chunk) = root.own_chunk(at) else { return };
            let mut chunk = chunk.write();
            // Pairs with the fence of `fork`: if we don't see its mark, it sees the slots that led us here.
            fence(Ordering::SeqCst);
            if !root.is_frozen.load(Ordering::SeqCst) {
                return change(&mut chunk);
            }
            // A fork is replacing the root right now: it is there once the fork is done.
            drop(chunk);
            drop(root);
            drop(self.forking.lock());
        }
    }
}

impl std::fmt::Debug for SparseMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SparseMemory({})", dmlab_units::Bytes(self.capacity))
    }
}

/// Cuts a range of bytes at chunk boundaries: for each piece its offset and its place in the caller's buffer.
struct Pieces {
    offset: u64,
    done: u64,
    len: u64,
}

impl Pieces {
    fn new(offset: u64, len: u64) -> Pieces {
        Pieces { offset, done: 0, len }
    }
}

impl Iterator for Pieces {
    type Item = (u64, std::ops::Range<u64>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.done == self.len {
            return None;
        }
        let at = self.offset.checked_add(self.done)?;
        let len = (CHUNK_SIZE - at % CHUNK_SIZE).min(self.len - self.done);
        let range = self.done..self.done + len;
        self.done += len;
        Some((at, range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwritten_reads_zero_and_the_end_is_the_end() {
        let memory = SparseMemory::new(CHUNK_SIZE + 512);
        let mut buf = [7; 32];
        memory.read(CHUNK_SIZE - 16, &mut buf);
        assert_eq!(buf, [0; 32]);
        memory.write(CHUNK_SIZE + 500, &[9; 32]);
        memory.read(CHUNK_SIZE + 496, &mut buf);
        assert_eq!(buf[..16], [0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(buf[16..], [0; 16]);
        memory.read(u64::MAX - 3, &mut buf[..8]);
    }

    #[test]
    fn forks_go_their_own_ways() {
        let a = SparseMemory::new(1 << 30);
        a.write(0, b"before");
        let b = a.fork();
        let c = b.fork();
        a.write(0, b"AAA");
        b.write(2, b"BBB");
        b.write(1 << 29, b"b only");
        let read = |memory: &SparseMemory, at: u64| {
            let mut buf = [0; 6];
            memory.read(at, &mut buf);
            buf
        };
        assert_eq!(&read(&a, 0), b"AAAore");
        assert_eq!(&read(&b, 0), b"beBBBe");
        assert_eq!(&read(&c, 0), b"before");
        assert_eq!(read(&a, 1 << 29), [0; 6]);
        assert_eq!(read(&c, 1 << 29), [0; 6]);
    }

    #[test]
    fn zeroing_whole_chunks_gives_memory_back() {
        let memory = SparseMemory::new(16 << 40);
        memory.write(15 << 40, &[1; 3 * CHUNK_SIZE as usize]);
        assert_eq!(memory.allocated(), 3 * CHUNK_SIZE);
        memory.zero(0, (15 << 40) + CHUNK_SIZE + 1);
        assert_eq!(memory.allocated(), 2 * CHUNK_SIZE);
        let mut buf = [5; 2];
        memory.read((15 << 40) + CHUNK_SIZE, &mut buf);
        assert_eq!(buf, [0, 1]);
    }

    #[test]
    fn what_was_written_is_shown_in_order() {
        let memory = SparseMemory::new((5 << 30) + 512);
        memory.write(5 << 30, &[3; 512]);
        memory.write(CHUNK_SIZE + 7, b"x");
        let mut seen = Vec::new();
        memory.each_chunk(|at, bytes| seen.push((at, bytes.len(), bytes[7 % bytes.len()])));
        assert_eq!(seen, [(CHUNK_SIZE, CHUNK_SIZE as usize, b'x'), (5 << 30, 512, 3)]);
    }

    #[test]
    fn a_fork_beside_writers_sees_each_small_write_whole_or_not() {
        let memory = SparseMemory::new(1 << 20);
        std::thread::scope(|scope| {
            for lane in 0..2u64 {
                let memory = &memory;
                scope.spawn(move || {
                    for value in 1..=200u8 {
                        for chunk in 0..8 {
                            memory.write(chunk * CHUNK_SIZE + lane * 4096, &[value; 64]);
                        }
                    }
                });
            }
            for _ in 0..100 {
                let fork = memory.fork();
                let snapshot = |memory: &SparseMemory| {
                    let mut all = vec![0; 1 << 20];
                    memory.read(0, &mut all);
                    all
                };
                let first = snapshot(&fork);
                for at in (0..8).flat_map(|c| [c * CHUNK_SIZE as usize, c * CHUNK_SIZE as usize + 4096]) {
                    assert!(first[at..at + 64].iter().all(|&b| b == first[at]), "torn at {at}");
                }
                assert!(snapshot(&fork) == first, "the fork changed under its reader");
            }
        });
    }
}
