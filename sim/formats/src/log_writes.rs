//! The log of the `log-writes` target, as it lies on its device (kernel/targets.md#the-log-on-its-device).
//!
//! ```text
//! block 0      superblock   0 magic u64   8 version u64   16 entries u64   24 block size u32
//! block 1      entry        0 sector u64  8 length u64    16 flags u64     24 text length u64   32 text of a mark
//! block 2..    its data, LENGTH blocks; none after a discard
//! then         the next entry, and so on
//! ```
//!
//! A block is as large as a logical block of the device that is logged; sectors and lengths are counted in it too. All
//! numbers are little-endian, what is not named is zero.
//!
//! Nothing in an entry says whether it is one: where a log ends, the superblock's count says, and it may lag behind.

/// First word of a log.
pub const MAGIC: u64 = 0x006a_7366_7773_6872;
/// The version that is written, and the only one that is read.
pub const VERSION: u64 = 1;
/// Bytes of an entry before a mark's text.
pub const ENTRY_SIZE: usize = 32;
/// The mark that a target writes last.
pub const END_MARK: &[u8] = b"dm-log-writes-end";

/// Block sizes that a log can have.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 512..=65_536;

bitflags::bitflags! {
    /// What an entry records.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct EntryFlags: u64 {
        /// A flush.
        const FLUSH = 1 << 0;
        /// A write that was forced through the cache.
        const FUA = 1 << 1;
        /// A discard: it has a length but no data.
        const DISCARD = 1 << 2;
        /// A mark: a text that the user put into the log.
        const MARK = 1 << 3;
        /// A write of a file system's metadata.
        const METADATA = 1 << 4;
    }
}

/// Why bytes are no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The first word is another.
    #[error("this is no log of log-writes: it begins with {0:#x}")]
    Magic(u64),
    /// A version that is not known.
    #[error("the log has version {0}; only 1 is known")]
    Version(u64),
    /// No block of a device is that large.
    #[error("the log's block size {0} is no power of two from 512 to 65536")]
    BlockSize(u32),
    /// The bytes end before the structure does.
    #[error("the log ends in the middle")]
    Short,
    /// The text of a mark does not fit into its block.
    #[error("an entry has a text of {0} bytes, more than its block holds")]
    Text(u64),
}

/// Block 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Entries in the log when this was written.
    pub nr_entries: u64,
    /// Bytes of a block.
    pub block_size: u32,
}

impl Superblock {
    /// As a whole block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; self.block_size as usize];
        block[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        block[8..16].copy_from_slice(&VERSION.to_le_bytes());
        block[16..24].copy_from_slice(&self.nr_entries.to_le_bytes());
        block[24..28].copy_from_slice(&self.block_size.to_le_bytes());
        block
    }

    /// Reads the first bytes of a log, 28 at least.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Superblock, FormatError> {
        let magic = u64_at(bytes, 0)?;
        if magic != MAGIC {
            return Err(FormatError::Magic(magic));
        }
        let version = u64_at(bytes, 8)?;
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let block_size = bytes.get(24..28).ok_or(FormatError::Short)?;
        let block_size = u32::from_le_bytes([block_size[0], block_size[1], block_size[2], block_size[3]]);
        if !BLOCK_SIZES.contains(&block_size) || !block_size.is_power_of_two() {
            return Err(FormatError::BlockSize(block_size));
        }
        Ok(Superblock { nr_entries: u64_at(bytes, 16)?, block_size })
    }
}

/// What one block records, without the data that follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Where on the mapped device, in blocks.
    pub sector: u64,
    /// How long, in blocks.
    pub nr_sectors: u64,
    /// What it was. Bits without a name are kept.
    pub flags: EntryFlags,
    /// The text of a mark.
    pub text: Vec<u8>,
}

impl Entry {
    /// A mark, its text cut to what a block of `block_size` bytes holds of it: one byte less than there is room.
    pub fn mark(text: &[u8], block_size: u32) -> Entry {
        let room = (block_size as usize).saturating_sub(ENTRY_SIZE + 1);
        Entry { flags: EntryFlags::MARK, text: text[..text.len().min(room)].to_vec(), ..Entry::default() }
    }

    /// Blocks of data that follow it.
    pub fn nr_data_blocks(&self) -> u64 {
        if self.flags.contains(EntryFlags::DISCARD) { 0 } else { self.nr_sectors }
    }

    /// As a whole block.
    ///
    /// # Panics
    /// When its text does not fit; [`Entry::mark`] makes one that does.
    pub fn encode(&self, block_size: u32) -> Vec<u8> {
        let mut block = vec![0; block_size as usize];
        block[0..8].copy_from_slice(&self.sector.to_le_bytes());
        block[8..16].copy_from_slice(&self.nr_sectors.to_le_bytes());
        block[16..24].copy_from_slice(&self.flags.bits().to_le_bytes());
        block[24..32].copy_from_slice(&(self.text.len() as u64).to_le_bytes());
        block[ENTRY_SIZE..ENTRY_SIZE + self.text.len()].copy_from_slice(&self.text);
        block
    }

    /// Reads a whole block.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(block: &[u8]) -> Result<Entry, FormatError> {
        let len = u64_at(block, 24)?;
        let text = usize::try_from(len).ok().and_then(|len| block.get(ENTRY_SIZE..)?.get(..len));
        Ok(Entry {
            sector: u64_at(block, 0)?,
            nr_sectors: u64_at(block, 8)?,
            flags: EntryFlags::from_bits_retain(u64_at(block, 16)?),
            text: text.ok_or(FormatError::Text(len))?.to_vec(),
        })
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, FormatError> {
    let bytes = bytes.get(at..at + 8).ok_or(FormatError::Short)?;
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    Ok(u64::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let superblock = Superblock { nr_entries: 10, block_size: 512 };
        let block = superblock.encode();
        assert_eq!(&block[..28], b"rhswfsj\0\x01\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0\0\x02\0\0");
        assert_eq!(Superblock::decode(&block), Ok(superblock));
        let discard = Entry { sector: 16, nr_sectors: 16, flags: EntryFlags::DISCARD, ..Entry::default() };
        assert_eq!(Entry::decode(&discard.encode(4096)), Ok(discard.clone()));
        assert_eq!(discard.nr_data_blocks(), 0);
        let mark = Entry::mark(&[b'm'; 600], 512);
        assert_eq!(mark.text.len(), 479);
        assert_eq!(Entry::decode(&mark.encode(512)), Ok(mark));
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let good = Superblock { nr_entries: 0, block_size: 4096 }.encode();
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Superblock::decode(&bytes).unwrap_err()
        };
        assert!(matches!(with(0, 0), FormatError::Magic(_)));
        assert_eq!(with(8, 2), FormatError::Version(2));
        assert_eq!(with(24, 1), FormatError::BlockSize(4097));
        assert_eq!(Superblock::decode(&good[..27]), Err(FormatError::Short));
        let mut block = Entry::default().encode(512);
        block[24..32].copy_from_slice(&481_u64.to_le_bytes());
        assert_eq!(Entry::decode(&block), Err(FormatError::Text(481)));
        block[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Entry::decode(&block), Err(FormatError::Text(u64::MAX)));
    }
}
