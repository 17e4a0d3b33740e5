//! Which blocks are in memory, and which of them go first.

use std::collections::BTreeMap;
use std::ops::Range;

/// Buffers that stand side by side in the directory.
const PAGE: u64 = 512;

/// A block in memory (`struct dm_buffer`).
pub struct Buffer<A = ()> {
    data: Box<[u8]>,
    /// What the client's user keeps beside it.
    pub aux: A,
    is_dirty: bool,
    /// Used since the hand last came by.
    is_recent: bool,
}

impl<A> Buffer<A> {
    /// The bytes of the block.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes of the block, to change; the change is written only if the buffer is marked dirty.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// Whether the buffer was changed and is not yet written.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }
}

/// Buffers by number, found without a search in a page of the directory; and a clock, as Linux has it: a hand goes round over the
/// buffers and takes those that are clean and were not used since it last came by.
pub(crate) struct Buffers<A> {
    pages: BTreeMap<u64, Page<A>>,
    len: usize,
    clean: usize,
    /// Every dirty buffer; and some that are dirty no more, or came twice.
    dirty: Vec<u64>,
    /// Where the hand is.
    hand: u64,
}

struct Page<A> {
    slots: Box<[Option<Box<Buffer<A>>>]>,
    len: usize,
}

impl<A> Default for Page<A> {
    fn default() -> Page<A> {
        Page { slots: (0..PAGE).map(|_| None).collect(), len: 0 }
    }
}

impl<A> Default for Buffers<A> {
    fn default() -> Buffers<A> {
        Buffers { pages: BTreeMap::new(), len: 0, clean: 0, dirty: Vec::new(), hand: 0 }
    }
}

impl<A: Default> Buffers<A> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn nr_clean(&self) -> usize {
        self.clean
    }

    #[inline]
    pub(crate) fn get(&self, block: u64) -> Option<&Buffer<A>> {
        self.pages.get(&(block / PAGE))?.slots[(block % PAGE) as usize].as_deref()
    }

    fn get_mut(&mut self, block: u64) -> Option<&mut Buffer<A>> {
        self.pages.get_mut(&(block / PAGE))?.slots[(block % PAGE) as usize].as_deref_mut()
    }

    /// A buffer that counts as used from now on.
    pub(crate) fn use_mut(&mut self, block: u64) -> Option<&mut Buffer<A>> {
        let buffer = self.get_mut(block)?;
        buffer.is_recent = true;
        Some(buffer)
    }

    /// Adds a clean buffer for a block that has none.
    pub(crate) fn put(&mut self, block: u64, data: Box<[u8]>) {
        let page = self.pages.entry(block / PAGE).or_default();
        let buffer = Buffer { data, aux: A::default(), is_dirty: false, is_recent: true };
        let old = page.slots[(block % PAGE) as usize].replace(Box::new(buffer));
        debug_assert!(old.is_none(), "block {block} had a buffer");
        page.len += 1;
        self.len += 1;
        self.clean += 1;
    }

    pub(crate) fn mark_dirty(&mut self, block: u64) {
        let Some(buffer) = self.get_mut(block) else { return };
        if !std::mem::replace(&mut buffer.is_dirty, true) {
            self.clean -= 1;
            self.dirty.push(block);
        }
    }

    pub(crate) fn mark_clean(&mut self, block: u64) {
        let Some(buffer) = self.get_mut(block) else { return };
        if std::mem::replace(&mut buffer.is_dirty, false) {
            self.clean += 1;
        }
        // What is left in the list is sorted out when it is next asked for; it must not grow for ever meanwhile.
        if self.dirty.len() > 2 * (self.len - self.clean) + PAGE as usize {
            self.dirty = self.dirty_blocks();
        }
    }

    pub(crate) fn dirty_blocks(&self) -> Vec<u64> {
        let is_dirty = |block: &u64| self.get(*block).is_some_and(|buffer| buffer.is_dirty);
        let mut dirty: Vec<u64> = self.dirty.iter().copied().filter(is_dirty).collect();
        dirty.sort_unstable();
        dirty.dedup();
        dirty
    }

    fn remove(&mut self, block: u64) {
        let Some(page) = self.pages.get_mut(&(block / PAGE)) else { return };
        let Some(buffer) = page.slots[(block % PAGE) as usize].take() else { return };
        page.len -= 1;
        if page.len == 0 {
            self.pages.remove(&(block / PAGE));
        }
        self.len -= 1;
        if !buffer.is_dirty {
            self.clean -= 1;
        }
    }

    pub(crate) fn forget(&mut self, blocks: Range<u64>) {
        if blocks.is_empty() || self.len == 0 {
            return;
        }
        let pages: Vec<u64> =
            self.pages.range(blocks.start / PAGE..=(blocks.end - 1) / PAGE).map(|(page, _)| *page).collect();
        for page in pages {
            let (begin, end) = (page * PAGE, (page + 1) * PAGE);
            (begin.max(blocks.start)..end.min(blocks.end)).for_each(|block| self.remove(block));
        }
    }

    /// Lets clean buffers go until only `most` are left, or all that are left were used a moment ago or are dirty.
    pub(crate) fn evict(&mut self, most: usize) {
        // Once round to find who was not used, and once more for those that were.
        let mut steps = 2 * self.pages.len() as u64 * PAGE;
        while self.clean > most && steps > 0 {
            steps -= 1;
            let Some(block) = self.next_place() else { return };
            match self.get_mut(block) {
                Some(buffer) if buffer.is_recent => buffer.is_recent = false,
                Some(buffer) if !buffer.is_dirty => self.remove(block),
                _ => {}
            }
        }
    }

    /// Moves the hand on, past pages that there are not.
    fn next_place(&mut self) -> Option<u64> {
        let next = self.hand + 1;
        self.hand = if self.pages.contains_key(&(next / PAGE)) {
            next
        } else {
            let after = self.pages.range(next / PAGE..).next();
            PAGE * *after.or_else(|| self.pages.first_key_value())?.0
        };
        Some(self.hand)
    }
}
