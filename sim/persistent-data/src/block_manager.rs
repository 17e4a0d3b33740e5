//! The block manager: metadata blocks in memory, checked when read and sealed when written.

use std::sync::Arc;

use dmlab_block::{Bio, BlkStatus, BlockDevice, Tag, read_bio_async, run_async};
use dmlab_formats::btree_node::NODE;
use dmlab_formats::{BLOCK_SECTORS, BLOCK_SIZE, Block, CheckError, Validator};
use dmlab_runtime::{Level, Planted};
use dmlab_units::{Errno, MetaBlock, Sector, Sectors};

use crate::{PdError, PdErrorKind};

/// A superblock is written without a flush of the blocks that it points to.
#[doc(hidden)]
pub static SUPERBLOCK_UNFLUSHED: Planted =
    Planted::new("a superblock is written without a flush of the blocks that it points to");

/// Blocks that stand side by side in the cache's directory.
const PAGE: usize = 512;
/// Clean blocks kept before some are let go: 256 MiB.
const CLEAN_LIMIT: usize = 65_536;

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

struct Slot {
    data: Block,
    /// As what it was read or made; `None` for one that was read unchecked.
    role: Option<BlockRole>,
    is_dirty: bool,
    /// Used since the hand last came by.
    is_recent: bool,
}

type Page = Box<[Option<Box<Slot>>]>;

fn refused(status: BlkStatus) -> PdErrorKind {
    PdErrorKind::Device(status.errno().unwrap_or(Errno::EIO))
}

/// Metadata blocks of one device, read when wanted and written together.
pub struct BlockManager {
    device: Arc<BlockDevice>,
    pages: Vec<Option<Page>>,
    clean: usize,
    clean_limit: usize,
    dirty: Vec<MetaBlock>,
    /// Where the search for a block to let go goes on.
    hand: usize,
    is_read_only: bool,
}

impl BlockManager {
    /// An empty cache over `device`.
    pub fn new(device: Arc<BlockDevice>) -> BlockManager {
        BlockManager {
            device,
            pages: Vec::new(),
            clean: 0,
            clean_limit: CLEAN_LIMIT,
            dirty: Vec::new(),
            hand: 0,
            is_read_only: false,
        }
    }

    /// Blocks that the device has.
    pub fn nr_blocks(&self) -> u64 {
        self.device.capacity().0 / BLOCK_SECTORS
    }

    /// The device.
    pub fn device(&self) -> &Arc<BlockDevice> {
        &self.device
    }

    /// Refuses to write from now on, or no longer.
    pub fn set_read_only(&mut self, is_read_only: bool) {
        self.is_read_only = is_read_only;
    }

    /// Forgets everything, what was not written too.
    pub fn forget(&mut self) {
        self.pages.clear();
        self.dirty.clear();
        self.clean = 0;
    }

    fn slot(&self, block: MetaBlock) -> Option<&Slot> {
        let at = block.0 as usize;
        self.pages.get(at / PAGE)?.as_ref()?[at % PAGE].as_deref()
    }

    fn slot_mut(&mut self, block: MetaBlock) -> Option<&mut Slot> {
        let at = block.0 as usize;
        self.pages.get_mut(at / PAGE)?.as_mut()?[at % PAGE].as_deref_mut()
    }

    fn put(&mut self, block: MetaBlock, slot: Slot) {
        let at = block.0 as usize;
        if self.pages.len() <= at / PAGE {
            self.pages.resize_with(at / PAGE + 1, || None);
        }
        let page = self.pages[at / PAGE].get_or_insert_with(|| (0..PAGE).map(|_| None).collect());
        if slot.is_dirty {
            self.dirty.push(block);
        } else {
            self.clean += 1;
        }
        page[at % PAGE] = Some(Box::new(slot));
    }

    /// A block that is in memory as `kind`, for callers that may not wait. `None`: it would have to be read.
    ///
    /// # Errors
    /// As [`BlockManager::load`], for a block that was read before and found bad.
    pub fn cached(&self, block: MetaBlock, validator: &'static Validator) -> Option<Result<&Block, PdError>> {
        let slot = self.slot(block)?;
        match slot.role {
            Some(known) if known.validator == validator => Some(Ok(&slot.data)),
            Some(_) => None,
            None => match validator.check(block, &slot.data) {
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
        if let Some(slot) = self.slot_mut(block) {
            slot.is_recent = true;
            match slot.role {
                Some(known) if known.validator == validator => return Ok(()),
                Some(known) => {
                    let (old, new) = (known.validator.name, validator.name);
                    let text = format!("validator mismatch (old={old} vs new={new}) for block {block}");
                    self.log("block manager", text);
                    return Err(PdErrorKind::ValidatorMismatch { found: known.validator, wanted: validator }
                        .at(block));
                }
                None => {}
            }
        } else {
            let data = self.read(block, role).await?;
            self.make_room();
            self.put(block, Slot { data, role: None, is_dirty: false, is_recent: true });
        }
        let slot = self.slot_mut(block).expect("just put there or found");
        match validator.check(block, &slot.data) {
            Ok(()) => {
                slot.role = Some(role);
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
        let sector = Sector(block.0 * BLOCK_SECTORS);
        let bio = Bio::read_owned(sector, Sectors(BLOCK_SECTORS)).with_tag(role.into().tag(block));
        let bytes = read_bio_async(bio.to(&self.device)).await;
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
        &self.slot(block).expect("a block is loaded before it is looked at").data
    }

    /// A block in memory, to change; it will be written.
    ///
    /// # Panics
    /// When it was not loaded or made before.
    pub fn get_mut(&mut self, block: MetaBlock) -> &mut Block {
        self.mark_dirty(block);
        &mut self.slot_mut(block).expect("a block is loaded before it is changed").data
    }

    fn mark_dirty(&mut self, block: MetaBlock) {
        if let Some(slot) = self.slot_mut(block)
            && !slot.is_dirty
        {
            slot.is_dirty = true;
            self.clean -= 1;
            self.dirty.push(block);
        }
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
        match self.slot_mut(block) {
            Some(slot) => {
                slot.data = data;
                slot.role = Some(role);
                slot.is_recent = true;
                self.mark_dirty(block);
            }
            None => self.put(block, Slot { data, role: Some(role), is_dirty: true, is_recent: true }),
        }
    }

    /// Writes every changed block but the superblock, in order of their numbers, and flushes the device.
    ///
    /// # Errors
    /// The first error of a write or of the flush; what could not be written stays changed.
    pub async fn write_all_but_superblock(&mut self) -> Result<(), PdError> {
        let is_due = |block: &MetaBlock| block.0 != 0 && self.slot(*block).is_some_and(|slot| slot.is_dirty);
        let mut dirty: Vec<MetaBlock> = self.dirty.iter().copied().filter(is_due).collect();
        dirty.sort_unstable();
        dirty.dedup();
        for block in dirty {
            self.write(block).await?;
        }
        self.dirty.retain(|block| block.0 == 0);
        if self.device.runtime().has_planted(&SUPERBLOCK_UNFLUSHED) {
            return Ok(());
        }
        self.flush().await
    }

    /// Writes the superblock through the cache of the device.
    ///
    /// # Errors
    /// What the device says.
    pub async fn write_superblock(&mut self) -> Result<(), PdError> {
        let superblock = MetaBlock(0);
        if self.slot(superblock).is_some_and(|slot| slot.is_dirty) {
            self.write(superblock).await?;
            self.dirty.retain(|block| block.0 != 0);
        }
        self.flush().await?;
        // Blocks that were made, and never read, are clean only now; and nothing is in the middle of an operation.
        self.make_room();
        Ok(())
    }

    /// Writes every changed block, in order of their numbers, as far as that works: for a cache that goes.
    pub async fn write_leftovers(&mut self) {
        self.is_read_only = false;
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for block in dirty {
            if self.slot(block).is_some_and(|slot| slot.is_dirty) {
                // There is no caller left to be told.
                let _ = self.write(block).await;
            }
        }
    }

    async fn flush(&self) -> Result<(), PdError> {
        let tag = Tag::new("metadata-flush", 0, 0);
        let flushed = run_async(Bio::flush().with_tag(tag).to(&self.device)).await;
        flushed.map_err(|status| refused(status).into())
    }

    async fn write(&mut self, block: MetaBlock) -> Result<(), PdError> {
        if self.is_read_only {
            return Err(PdErrorKind::ReadOnly.at(block));
        }
        let slot = self.slot_mut(block).expect("a changed block is in memory");
        let role = slot.role.unwrap_or((&NODE).into());
        role.validator.seal(block, &mut slot.data);
        let bio = Bio::write_owned(Sector(block.0 * BLOCK_SECTORS), Arc::from(&slot.data[..]));
        let written = run_async(bio.with_tag(role.tag(block)).to(&self.device)).await;
        written.map_err(|status| refused(status).at(block))?;
        let slot = self.slot_mut(block).expect("nobody else changes the cache meanwhile");
        slot.is_dirty = false;
        self.clean += 1;
        Ok(())
    }

    /// Lets clean blocks go that were not used for a while, when there are too many.
    fn make_room(&mut self) {
        if self.clean < self.clean_limit {
            return;
        }
        let total = self.pages.len() * PAGE;
        let mut steps = 2 * total;
        while self.clean > self.clean_limit - self.clean_limit / 16 && steps > 0 {
            steps -= 1;
            self.hand = (self.hand + 1) % total;
            let at = self.hand;
            let Some(page) = &mut self.pages[at / PAGE] else { continue };
            match &mut page[at % PAGE] {
                Some(slot) if slot.is_recent => slot.is_recent = false,
                Some(slot) if !slot.is_dirty => {
                    page[at % PAGE] = None;
                    self.clean -= 1;
                }
                _ => {}
            }
        }
    }

    pub(crate) fn log(&self, prefix: &str, text: impl std::fmt::Display) {
        self.device.runtime().log(Level::Err, format!("device-mapper: {prefix}: {text}"));
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
        blocks.clean_limit = 32;
        let transactions = async {
            for transaction in 0..20 {
                blocks.make_zero(MetaBlock(0), &SUPERBLOCK);
                for i in 0..10 {
                    blocks.make_zero(MetaBlock(1 + 10 * transaction + i), &NODE);
                }
                blocks.write_all_but_superblock().await.unwrap();
                blocks.write_superblock().await.unwrap();
                assert!(blocks.clean <= 32, "{} blocks are kept", blocks.clean);
            }
        };
        runtime.block_on(transactions).unwrap();
    }
}
