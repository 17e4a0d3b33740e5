//! The metadata snapshot: a superblock copy that holds the trees as they were, for tools to read at leisure.

use dmlab_runtime::Level;
use dmlab_units::{Errno, MetaBlock};

use super::{DETAILS, LOCATION, TOP, ThinMetadata};
use dmlab_formats::space_map_root::SpaceMapRoot;
use dmlab_formats::thin::{SUPERBLOCK, Superblock};

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
        // One more parent makes the shadow a copy; the copy takes that parent back.
        self.store.increment_metadata(0, 1).await?;
        let (copy, _) = self.store.shadow(LOCATION, &SUPERBLOCK).await?;
        if self.held_root().is_some() {
            self.store.decrement_metadata(copy.0, copy.0 + 1).await?;
            let text = "Pool metadata snapshot already exists: release this before taking another.";
            self.log(Level::Warning, text);
            return Err(Errno::EBUSY);
        }
        let held = Superblock {
            data_space_map: SpaceMapRoot::default(),
            metadata_space_map: SpaceMapRoot::default(),
            ..Superblock::decode(self.store.blocks.get(copy))
        };
        let block = self.store.blocks.get_mut(copy);
        block[64..320].fill(0);
        held.encode(block);
        self.store.increment_metadata(held.mapping_root.0, held.mapping_root.0 + 1).await?;
        self.store.increment_metadata(held.details_root.0, held.details_root.0 + 1).await?;
        self.set_held_root(copy);
        Ok(())
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
        self.store.blocks.load(held, &SUPERBLOCK).await?;
        let copy = Superblock::decode(self.store.blocks.get(held));
        self.store.delete_tree(copy.mapping_root, TOP).await?;
        self.store.delete_tree(copy.details_root, DETAILS).await?;
        self.store.decrement_metadata(held.0, held.0 + 1).await
    }

    fn set_held_root(&mut self, root: MetaBlock) {
        self.superblock.held_root = root;
        let superblock = self.superblock.clone();
        superblock.encode(self.store.blocks.get_mut(LOCATION));
    }
}
