//! Bitsets: arrays of 64-bit words, with the word in use kept in memory.

use dmlab_formats::array::BITS_PER_WORD;
use dmlab_units::MetaBlock;

use crate::{Array, PdError, TransactionManager};

/// One bitset. Changes stay in a word in memory until another word is needed or the bitset is flushed; only then does its
/// root lead to them.
#[derive(Debug)]
pub struct Bitset {
    words: Array<u64>,
    root: MetaBlock,
    current: Option<Word>,
}

/// A word in memory.
#[derive(Clone, Copy, Debug)]
struct Word {
    index: u64,
    bits: u64,
    is_dirty: bool,
}

impl Bitset {
    /// Makes a bitset of no bits. The two words are the tags of the bios that read and write the nodes of its tree and its
    /// blocks.
    ///
    /// # Errors
    /// `NoSpace`.
    pub async fn create(
        tm: &mut TransactionManager,
        node: &'static str,
        block: &'static str,
    ) -> Result<Bitset, PdError> {
        let words = Array::new(node, block);
        let root = words.empty(tm).await?;
        Ok(Bitset { words, root, current: None })
    }

    /// The bitset that `root` leads to.
    pub fn open(root: MetaBlock, node: &'static str, block: &'static str) -> Bitset {
        Bitset { words: Array::new(node, block), root, current: None }
    }

    /// Whether a bit is set.
    ///
    /// # Errors
    /// `NotFound` beyond the bitset's last word; `NoSpace`, for the word in memory may have to be written first; what
    /// reading the bitset says.
    pub async fn test(&mut self, tm: &mut TransactionManager, bit: u64) -> Result<bool, PdError> {
        Ok(self.word(tm, bit).await?.bits & mask(bit) != 0)
    }

    /// Sets a bit.
    ///
    /// # Errors
    /// As [`Bitset::test`].
    pub async fn set(&mut self, tm: &mut TransactionManager, bit: u64) -> Result<(), PdError> {
        let word = self.word(tm, bit).await?;
        word.bits |= mask(bit);
        word.is_dirty = true;
        Ok(())
    }

    /// Clears a bit.
    ///
    /// # Errors
    /// As [`Bitset::test`].
    pub async fn clear(&mut self, tm: &mut TransactionManager, bit: u64) -> Result<(), PdError> {
        let word = self.word(tm, bit).await?;
        word.bits &= !mask(bit);
        word.is_dirty = true;
        Ok(())
    }

    /// Writes the word in memory, if it changed, and returns the root: all changes can be reached from it.
    ///
    /// # Errors
    /// `NoSpace`; what reading the bitset says.
    pub async fn flush(&mut self, tm: &mut TransactionManager) -> Result<MetaBlock, PdError> {
        if let Some(word) = &mut self.current
            && word.is_dirty
        {
            self.root = self.words.set(tm, self.root, word.index, word.bits).await?;
            word.is_dirty = false;
        }
        Ok(self.root)
    }

    /// Gives the bitset another length. Its length on disk is one of whole words: new words have all bits as `fill` says,
    /// bits behind the end of a word that was there before stay as they are.
    ///
    /// # Errors
    /// `NotFound` when the bitset is shorter than `old_bits`; `NoSpace`; what reading it says.
    pub async fn resize(
        &mut self,
        tm: &mut TransactionManager,
        old_bits: u64,
        new_bits: u64,
        fill: bool,
    ) -> Result<(), PdError> {
        let root = self.flush(tm).await?;
        self.current = None;
        let words = |bits: u64| bits.div_ceil(BITS_PER_WORD);
        let fill = if fill { u64::MAX } else { 0 };
        self.root = self.words.resize(tm, root, words(old_bits), words(new_bits), fill).await?;
        Ok(())
    }

    /// Takes a reference from the bitset's root, and if it was the last deletes the bitset. What was not flushed is lost.
    ///
    /// # Errors
    /// What reading the bitset or changing the space map says.
    pub async fn delete(mut self, tm: &mut TransactionManager) -> Result<(), PdError> {
        self.words.delete(tm, self.root).await
    }

    /// The word of a bit, brought into memory; one that was there and changed is written first.
    async fn word(&mut self, tm: &mut TransactionManager, bit: u64) -> Result<&mut Word, PdError> {
        let index = bit / BITS_PER_WORD;
        if self.current.is_none_or(|word| word.index != index) {
            self.flush(tm).await?;
            let bits = self.words.get(tm, self.root, index).await.map_err(|error| error.with_key(bit))?;
            self.current = None;
            return Ok(self.current.insert(Word { index, bits, is_dirty: false }));
        }
        Ok(self.current.as_mut().expect("it was just looked at"))
    }
}

fn mask(bit: u64) -> u64 {
    1 << (bit % BITS_PER_WORD)
}
