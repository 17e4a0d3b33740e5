//! The metadata snapshot: a superblock copy that holds the trees as they were, for tools to read at leisure.

use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_formats::thin::{SUPERBLOCK, Superblock};
use dmlab_runtime::{Level, Quirks};
use dmlab_units::{Errno, MetaBlock};

use super::errors::errno;
use super::trees::{details, top};
use super::{LOCATION, ThinMetadata};

impl ThinMetadata {
    /// Block of the metadata snapshot, if there is one.
    pub fn held_root(&self) -> Option<MetaBlock> {
        Some(self.superblock.held_root).filter(|root| root.0 != 0)
    }

    /// Takes a metadata snapshot. The caller has committed, and commits again.
    ///
    /// # Errors
    /// EBUSY when there is one already; ENOSPC.
    pub async fn reserve_metadata_snapshot(&mut self) -> Result<(), Errno> {
        self.is_in_service = true;
        let is_held = self.held_root().is_some();
        if is_held && self.device().runtime().has(Quirks::METADATA_SNAPSHOT_CHECKED_FIRST) {
            return Err(self.already_held());
        }
        // One more parent makes the shadow a copy; the copy takes that parent back.
        self.tm.inc(LOCATION).await.map_err(errno)?;
        let (copy, _) = self.tm.shadow(LOCATION, &SUPERBLOCK).await.map_err(errno)?;
        if is_held {
            self.tm.dec(copy).await.map_err(errno)?;
            return Err(self.already_held());
        }
        let held = Superblock {
            data_space_map: SpaceMapRoot::default(),
            metadata_space_map: SpaceMapRoot::default(),
            ..Superblock::decode(self.tm.blocks().get(copy))
        };
        let block = self.tm.blocks_mut().get_mut(copy);
        block[64..320].fill(0);
        held.encode(block);
        self.tm.inc(held.mapping_root).await.map_err(errno)?;
        self.tm.inc(held.details_root).await.map_err(errno)?;
        self.set_held_root(copy);
        Ok(())
    }

    fn already_held(&self) -> Errno {
        self.log(
            Level::Warning,
            "Pool metadata snapshot already exists: release this before taking another.",
        );
        Errno::EBUSY
    }

    /// Gives the metadata snapshot up. The caller commits.
    ///
    /// # Errors
    /// EINVAL when there is none; what reading or changing the trees says.
    pub async fn release_metadata_snapshot(&mut self) -> Result<(), Errno> {
        self.is_in_service = true;
        let Some(held) = self.held_root() else {
            self.log(Level::Warning, "No pool metadata snapshot found: nothing to release.");
            return Err(Errno::EINVAL);
        };
        self.set_held_root(MetaBlock(0));
        self.tm.blocks_mut().load(held, &SUPERBLOCK).await.map_err(errno)?;
        let copy = Superblock::decode(self.tm.blocks().get(held));
        top(&mut self.data).delete(&mut self.tm, copy.mapping_root).await.map_err(errno)?;
        details().delete(&mut self.tm, copy.details_root).await.map_err(errno)?;
        self.tm.dec(held).await.map_err(errno)
    }

    fn set_held_root(&mut self, root: MetaBlock) {
        self.superblock.held_root = root;
        let superblock = self.superblock.clone();
        superblock.encode(self.tm.blocks_mut().get_mut(LOCATION));
    }
}
