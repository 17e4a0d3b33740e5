//! Where metadata is: blocks of a file, of a device, or of memory.

use dmlab_formats::{BLOCK_SIZE, Block, CheckError, Validator};
use dmlab_units::MetaBlock;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most blocks a pool's metadata can have: what 255 bitmaps count (kernel/thin-metadata.md#space-maps).
pub const NR_BLOCKS_MAX: u64 = 255 * 16320;

/// Metadata to read. Many threads read at once.
pub trait Metadata: Sync {
    /// Blocks there are.
    fn nr_blocks(&self) -> u64;

    /// Fills `into` with a block.
    ///
    /// # Errors
    /// The system's, and `UnexpectedEof` past the end.
    fn read(&self, block: MetaBlock, into: &mut Block) -> io::Result<()>;
}

/// Blocks that a pool can use: of a larger device Linux uses the beginning, and nothing sound points behind it.
pub(crate) fn usable_blocks<M: Metadata + ?Sized>(metadata: &M) -> u64 {
    metadata.nr_blocks().min(NR_BLOCKS_MAX)
}

/// Metadata to write.
pub trait MetadataMut: Metadata {
    /// Writes whole blocks, from `block` on.
    ///
    /// # Errors
    /// The system's, and `UnexpectedEof` past the end.
    fn write(&mut self, block: MetaBlock, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The system's.
    fn sync(&mut self) -> io::Result<()>;
}

/// Metadata in a file or on a device of the host.
#[derive(Debug)]
pub struct FileMetadata {
    file: File,
    nr_blocks: u64,
}

impl FileMetadata {
    /// Opens metadata to read.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<FileMetadata> {
        FileMetadata::new(File::open(path)?)
    }

    /// Opens metadata to read and write.
    ///
    /// # Errors
    /// The system's.
    pub fn open_rw(path: &Path) -> io::Result<FileMetadata> {
        FileMetadata::new(OpenOptions::new().read(true).write(true).open(path)?)
    }

    /// Takes an open file or device. What is left after the last whole block is not looked at.
    ///
    /// # Errors
    /// The system's, when it can't say how long it is.
    pub fn new(mut file: File) -> io::Result<FileMetadata> {
        // A device's length is where its end is; its stat says 0.
        let len = file.seek(SeekFrom::End(0))?;
        Ok(FileMetadata { file, nr_blocks: len / BLOCK_SIZE as u64 })
    }

    /// Gives the file room for `nr_blocks` blocks.
    ///
    /// # Errors
    /// The system's; a device can't be resized.
    pub fn resize(&mut self, nr_blocks: u64) -> io::Result<()> {
        self.file.set_len(nr_blocks * BLOCK_SIZE as u64)?;
        self.nr_blocks = nr_blocks;
        Ok(())
    }
}

fn offset(block: MetaBlock) -> io::Result<u64> {
    block.0.checked_mul(BLOCK_SIZE as u64).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl Metadata for FileMetadata {
    fn nr_blocks(&self) -> u64 {
        self.nr_blocks
    }

    fn read(&self, block: MetaBlock, into: &mut Block) -> io::Result<()> {
        self.file.read_exact_at(into, offset(block)?)
    }
}

impl MetadataMut for FileMetadata {
    fn write(&mut self, block: MetaBlock, bytes: &[u8]) -> io::Result<()> {
        // A file would grow; metadata may not.
        if block.0.saturating_add((bytes.len() / BLOCK_SIZE) as u64) > self.nr_blocks {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.write_all_at(bytes, offset(block)?)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Metadata in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BytesMetadata(Vec<u8>);

impl BytesMetadata {
    /// Takes bytes as metadata; what is left after the last whole block is not looked at.
    pub fn new(bytes: Vec<u8>) -> BytesMetadata {
        BytesMetadata(bytes)
    }

    /// Zeroes.
    pub fn zeroed(nr_blocks: u64) -> BytesMetadata {
        BytesMetadata(vec![0; nr_blocks as usize * BLOCK_SIZE])
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn range(&self, block: MetaBlock, len: usize) -> io::Result<std::ops::Range<usize>> {
        let start = usize::try_from(offset(block)?).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(len).filter(|&end| end <= self.0.len());
        Ok(start..end.ok_or(io::ErrorKind::UnexpectedEof)?)
    }
}

impl Metadata for BytesMetadata {
    fn nr_blocks(&self) -> u64 {
        (self.0.len() / BLOCK_SIZE) as u64
    }

    fn read(&self, block: MetaBlock, into: &mut Block) -> io::Result<()> {
        into.copy_from_slice(&self.0[self.range(block, BLOCK_SIZE)?]);
        Ok(())
    }
}

impl MetadataMut for BytesMetadata {
    fn write(&mut self, block: MetaBlock, bytes: &[u8]) -> io::Result<()> {
        let range = self.range(block, bytes.len())?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a block can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The system could not read it.
    #[error("it can't be read: {0}")]
    Io(io::ErrorKind),
    /// There is no such block.
    #[error("the metadata has {nr_blocks} blocks only")]
    Beyond {
        /// Blocks there are.
        nr_blocks: u64,
    },
    /// It is not what it should be.
    #[error("{0}")]
    Check(#[from] CheckError),
}

/// Reads a block and checks that it is of its kind.
///
/// # Errors
/// Why it can't be used.
pub fn read_checked<M: Metadata + ?Sized>(
    metadata: &M,
    validator: &'static Validator,
    block: MetaBlock,
    into: &mut Block,
) -> Result<(), BlockError> {
    let nr_blocks = metadata.nr_blocks();
    if block.0 >= nr_blocks {
        return Err(BlockError::Beyond { nr_blocks });
    }
    metadata.read(block, into).map_err(|e| BlockError::Io(e.kind()))?;
    Ok(validator.check(block, into)?)
}
