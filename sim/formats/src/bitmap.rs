//! Bitmap blocks: reference counts of 2 bits, 16320 to a block.
//!
//! Entry `i` is in byte `16 + i / 4`, at bits `2 * (i % 4)` and the one above. The **lower** of the two is the high bit
//! of the count: 1 is stored as `10b`, 2 as `01b`, 3 ("more than two, see the overflow tree") as `11b`.
//!
//! ```text
//!  0 csum u32   4 unused u32   8 blocknr u64   16 counts, 4 to a byte
//! ```

use crate::{BLOCK_SIZE, Block, Validator};

/// The validator of bitmap blocks.
pub static BITMAP: Validator = Validator {
    log_prefix: "space map common",
    failed: "bitmap check failed",
    ..Validator::new("sm_bitmap", 240_779)
};

const HEADER: usize = 16;
/// Entries of a bitmap block.
pub const BITMAP_ENTRIES: u64 = (BLOCK_SIZE as u64 - HEADER as u64) * 4;

/// A bitmap block to read.
#[derive(Clone, Copy)]
pub struct Bitmap<'a>(&'a Block);

impl<'a> Bitmap<'a> {
    /// Reads `block` as a bitmap.
    pub fn new(block: &'a Block) -> Bitmap<'a> {
        Bitmap(block)
    }

    /// Count of entry `i`, 0 to 3.
    pub fn get(&self, i: u64) -> u8 {
        let (byte, shift) = place(i);
        let pair = (self.0[byte] >> shift) & 3;
        ((pair & 1) << 1) | (pair >> 1)
    }

    /// Whether the 32 entries from `begin` on, a multiple of 32, all have the count 0.
    pub fn are_32_free(&self, begin: u64) -> bool {
        let at = HEADER + (begin / 4) as usize;
        self.0[at..at + 8] == [0; 8]
    }

    /// First entry from `begin` up to `end` whose count is 0.
    pub fn find_free(&self, begin: u64, end: u64) -> Option<u64> {
        let mut i = begin;
        while i < end {
            let byte = self.0[HEADER + (i / 4) as usize];
            // Four entries at once where none of them is free.
            if i.is_multiple_of(4) && (byte | byte >> 1) & 0x55 == 0x55 {
                i += 4;
                continue;
            }
            if self.get(i) == 0 {
                return Some(i);
            }
            i += 1;
        }
        None
    }
}

/// A bitmap block to change.
pub struct BitmapMut<'a>(&'a mut Block);

impl<'a> BitmapMut<'a> {
    /// Changes `block` as a bitmap.
    pub fn new(block: &'a mut Block) -> BitmapMut<'a> {
        BitmapMut(block)
    }

    /// Sets the count of entry `i`, 0 to 3.
    pub fn set(&mut self, i: u64, count: u8) {
        let (byte, shift) = place(i);
        let pair = ((count & 1) << 1) | (count >> 1 & 1);
        self.0[byte] = self.0[byte] & !(3 << shift) | pair << shift;
    }
}

fn place(i: u64) -> (usize, u32) {
    (HEADER + (i / 4) as usize, 2 * (i % 4) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_stored_with_their_bits_swapped() {
        let mut block = [0; BLOCK_SIZE];
        for i in 0..4 {
            BitmapMut::new(&mut block).set(i, 1);
            BitmapMut::new(&mut block).set(4 + i, 2);
            BitmapMut::new(&mut block).set(8 + i, 3);
        }
        assert_eq!(block[16..20], [0xaa, 0x55, 0xff, 0]);
        let bitmap = Bitmap::new(&block);
        assert_eq!(
            (0..13).map(|i| bitmap.get(i)).collect::<Vec<_>>(),
            [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 0]
        );
        assert_eq!(bitmap.find_free(0, BITMAP_ENTRIES), Some(12));
        assert_eq!(bitmap.find_free(1, 12), None);
        assert!(!bitmap.are_32_free(0) && bitmap.are_32_free(32) && bitmap.are_32_free(BITMAP_ENTRIES - 32));
        assert_eq!(BITMAP_ENTRIES, 16320);
    }
}
