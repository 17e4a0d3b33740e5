//! The block manager: metadata blocks in memory, checked when read and sealed when written.

use std::sync::Arc;

use dmlab_block::{BlkStatus, BlockDevice, Tag};
use dmlab_bufio::{Buffer, Client};
use dmlab_formats::btree_node::NODE;
use dmlab_formats::{BLOCK_SECTORS, BLOCK_SIZE, Block, CheckError, Validator};
use dmlab_runtime::{Level, Planted};
use dmlab_units::{Errno, MetaBlock, Sectors};

use crate::{PdError, PdErrorKind};

/// A superblock is written without a flush of the blocks that it points to.
#[doc(hidden)]
pub static SUPERBLOCK_UNFLUSHED: Planted =
    Planted::new("a superblock is written without a flush of the blocks that it points to");

/// What a block is: the validator that checks and seals it, and the tag of its bios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRole {
    /// How it is checked and sealed.
    pub validator: &'static Validator,
    /// What it means, more exactly than its validator if its user knows: the tag of the bios that read and write it.
    pub meaning: &'static str,
}

impl From<&'static Validator> for BlockRole {
    /// Of a block of which nothing more is known: it has the kernel's name of its validator.
    fn from(validator: &'static Validator) -> BlockRole {
        BlockRole { validator, meaning: validator.name }
    }
}

impl BlockRole {
    fn tag(self, block: MetaBlock) -> Tag {
        Tag::new(self.meaning, 0, block.0)
    }
}

/// As what a block in memory was read or made; `None` for one that was read unchecked.
type Known = Option<BlockRole>;

fn refused(status: BlkStatus) -> PdErrorKind {
    PdErrorKind::Device(status.errno().unwrap_or(Errno::EIO))
}

fn bytes(buffer: &Buffer<Known>) -> &Block {
    buffer.data().try_into().expect("a buffer is a block")
}

fn bytes_mut(buffer: &mut Buffer<Known>) -> &mut Block {
    buffer.data_mut().try_into().expect("a buffer is a block")
}

/// Metadata blocks of one device, read when wanted and written together: a client of bufio with a validator for each block
/// (`struct dm_block_manager`).
pub struct BlockManager {
    bufio: Client<Known>,
    is_read_only: bool,
}

impl BlockManager {
    /// A block manager of `device` with nothing in memory.
    pub fn new(device: Arc<BlockDevice>) -> BlockManager {
        BlockManager { bufio: Client::new(device, Sectors(BLOCK_SECTORS)), is_read_only: false }
    }

    /// Blocks that the device has.
    pub fn nr_blocks(&self) -> u64 {
        self.bufio.device_size()
    }

    /// The device.
    pub fn device(&self) -> &Arc<BlockDevice> {
        self.bufio.device()
    }

    /// Refuses to write from now on, or no longer.
    pub fn set_read_only(&mut self, is_read_only: bool) {
        self.is_read_only = is_read_only;
    }

    /// Forgets everything, what was not written too.
    pub fn forget(&mut self) {
        self.bufio.forget_all();
    }

    /// A block that is in memory as `kind`, for callers that may not wait. `None`: it would have to be read.
    ///
    /// # Errors
    /// As [`BlockManager::load`], for a block that was read before and found bad.
    pub fn cached(&self, block: MetaBlock, validator: &'static Validator) -> Option<Result<&Block, PdError>> {
        let buffer = self.bufio.get(block.0)?;
        match buffer.aux {
            Some(known) if known.validator == validator => Some(Ok(bytes(buffer))),
            Some(_) => None,
            None => match validator.check(block, bytes(buffer)) {
                Ok(()) => None,
                Err(error) => Some(Err(self.log_bad(block, validator, error))),
            },
        }
    }

    fn log_bad(&self, block: MetaBlock, validator: &'static Validator, error: CheckError) -> PdError {
        self.log(validator.log_prefix, error);
        self.log(
            "block manager",
            format_args!("{} validator check failed for block {block}", validator.name),
        );
        PdErrorKind::Check(error).at(block)
    }

    /// Brings a block into memory and checks that it is of the role's kind.
    ///
    /// # Errors
    /// `Device`, `BeyondDevice`; `Check` when it is not what it should be; `ValidatorMismatch` when it is in memory as
    /// something else. The log says which.
    pub async fn load(&mut self, block: MetaBlock, role: impl Into<BlockRole>) -> Result<(), PdError> {
        let role = role.into();
        let validator = role.validator;
        match self.bufio.get_mut(block.0).map(|buffer| buffer.aux) {
            Some(Some(known)) if known.validator == validator => return Ok(()),
            Some(Some(known)) => {
                let (old, new) = (known.validator.name, validator.name);
                let text = format!("validator mismatch (old={old} vs new={new}) for block {block}");
                self.log("block manager", text);
                return Err(
                    PdErrorKind::ValidatorMismatch { found: known.validator, wanted: validator }.at(block)
                );
            }
            Some(None) => {}
            None if block.0 >= self.nr_blocks() => return Err(PdErrorKind::BeyondDevice.at(block)),
            None => {}
        }
        let buffer = self.bufio.read(block.0, role.tag(block)).await;
        let buffer = buffer.map_err(|status| refused(status).at(block))?;
        match validator.check(block, bytes(buffer)) {
            Ok(()) => {
                buffer.aux = Some(role);
                Ok(())
            }
            Err(error) => Err(self.log_bad(block, validator, error)),
        }
    }

    /// Reads a block that should be this without looking at it: to find out whether there is anything at all.
    ///
    /// # Errors
    /// What the device says.
    pub async fn read(&self, block: MetaBlock, role: impl Into<BlockRole>) -> Result<Block, PdError> {
        if block.0 >= self.nr_blocks() {
            return Err(PdErrorKind::BeyondDevice.at(block));
        }
        let bytes = self.bufio.read_past(block.0, role.into().tag(block)).await;
        let bytes = bytes.map_err(|status| refused(status).at(block))?;
        let mut data = [0; BLOCK_SIZE];
        data.copy_from_slice(&bytes);
        Ok(data)
    }

    /// A block in memory.
    ///
    /// # Panics
    /// When it was not loaded or made before: a bug of this crate.
    pub fn get(&self, block: MetaBlock) -> &Block {
        bytes(self.bufio.get(block.0).expect("a block is loaded before it is looked at"))
    }

    /// A block in memory, to change; it will be written.
    ///
    /// # Panics
    /// When it was not loaded or made before.
    pub fn get_mut(&mut self, block: MetaBlock) -> &mut Block {
        self.bufio.mark_buffer_dirty(block.0);
        bytes_mut(self.bufio.get_mut(block.0).expect("a block is loaded before it is changed"))
    }

    /// Makes a block of zeros, whatever is on the disk.
    pub fn make_zero(&mut self, block: MetaBlock, role: impl Into<BlockRole>) {
        self.make(block, role.into(), [0; BLOCK_SIZE]);
    }

    /// Makes a block that is a copy of another one in memory.
    ///
    /// # Panics
    /// When `from` was not loaded before.
    pub fn make_copy(&mut self, from: MetaBlock, to: MetaBlock, role: impl Into<BlockRole>) {
        let data = *self.get(from);
        self.make(to, role.into(), data);
    }

    fn make(&mut self, block: MetaBlock, role: BlockRole, data: Block) {
        let buffer = self.bufio.new_buffer(block.0);
        *bytes_mut(buffer) = data;
        buffer.aux = Some(role);
        self.bufio.mark_buffer_dirty(block.0);
    }

    /// Writes every changed block but the superblock, in order of their numbers, and flushes the device.
    ///
    /// # Errors
    /// The first error of a write or of the flush; what could not be written stays changed.
    pub async fn write_all_but_superblock(&mut self) -> Result<(), PdError> {
        for block in self.dirty_blocks().filter(|block| block.0 != 0) {
            self.write(block).await?;
        }
        if self.device().runtime().has_planted(&SUPERBLOCK_UNFLUSHED) {
            return Ok(());
        }
        self.flush().await
    }

    /// Writes the superblock through the cache of the device.
    ///
    /// # Errors
    /// What the device says.
    pub async fn write_superblock(&mut self) -> Result<(), PdError> {
        self.write(MetaBlock(0)).await?;
        self.flush().await?;
        // Blocks that were made, and never read, are clean only now; and nothing is in the middle of an operation.
        self.bufio.make_room();
        Ok(())
    }

    /// Writes every changed block, in order of their numbers, as far as that works: for a cache that goes.
    pub async fn write_leftovers(&mut self) {
        self.is_read_only = false;
        for block in self.dirty_blocks() {
            // There is no caller left to be told.
            let _ = self.write(block).await;
        }
    }

    fn dirty_blocks(&self) -> impl Iterator<Item = MetaBlock> + use<> {
        self.bufio.dirty_blocks().into_iter().map(MetaBlock)
    }

    async fn flush(&self) -> Result<(), PdError> {
        let flushed = self.bufio.issue_flush(Tag::new("metadata-flush", 0, 0)).await;
        flushed.map_err(|status| refused(status).into())
    }

    /// Seals a block and writes it, if it was changed.
    async fn write(&mut self, block: MetaBlock) -> Result<(), PdError> {
        let Some(buffer) = self.bufio.get_mut(block.0).filter(|buffer| buffer.is_dirty()) else {
            return Ok(());
        };
        if self.is_read_only {
            return Err(PdErrorKind::ReadOnly.at(block));
        }
        let role = buffer.aux.unwrap_or((&NODE).into());
        role.validator.seal(block, bytes_mut(buffer));
        let written = self.bufio.write_buffer(block.0, role.tag(block)).await;
        written.map_err(|status| refused(status).at(block))
    }

    pub(crate) fn log(&self, prefix: &str, text: impl std::fmt::Display) {
        self.device().runtime().log(Level::Err, format!("device-mapper: {prefix}: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmlab_block::{RamDisk, Registry, WriteCache};
    use dmlab_formats::thin::SUPERBLOCK;
    use dmlab_runtime::{Runtime, VirtualDriver};
    use dmlab_units::DevT;

    #[test]
    fn blocks_that_are_only_ever_made_are_let_go_too() {
        let runtime = Runtime::new(0, VirtualDriver::new());
        let registry = Registry::new(runtime.clone());
        let disk = RamDisk::new(Sectors(8192), WriteCache::WriteThrough);
        let (limits, seq) = (disk.limits(), registry.next_disk_seq());
        let device = BlockDevice::new(DevT::new(1, 0), "ram0", seq, runtime.clone(), Arc::new(disk), limits);
        device.set_capacity(Sectors(8192));
        let mut blocks = BlockManager::new(device);
        blocks.bufio.set_clean_limit(32);
        let transactions = async {
            for transaction in 0..20 {
                blocks.make_zero(MetaBlock(0), &SUPERBLOCK);
                for i in 0..10 {
                    blocks.make_zero(MetaBlock(1 + 10 * transaction + i), &NODE);
                }
                blocks.write_all_but_superblock().await.unwrap();
                blocks.write_superblock().await.unwrap();
                let kept = blocks.bufio.nr_clean();
                assert!(kept <= 32, "{kept} blocks are kept");
            }
        };
        runtime.block_on(transactions).unwrap();
    }
}
