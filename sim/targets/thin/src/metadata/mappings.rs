//! Which data block a thin block is.

use std::ops::Range;

use dmlab_formats::thin::Mapping;
use dmlab_persistent_data::Cached;
use dmlab_units::{DataBlock, Errno, MetaBlock, ThinBlock, ThinId};

use super::errors::errno;
use super::trees::{BOTTOM, TOP, bottom, top};
use super::{Lookup, Run, ThinMetadata};

impl ThinMetadata {
    fn seen_by(&self, id: ThinId, mapping: Mapping) -> Lookup {
        // A snapshot taken after the block was mapped may share it, until it is mapped anew.
        let snapshotted = self.details(id).map_or(0, |details| details.snapshotted_time);
        Lookup { block: mapping.block, is_shared: snapshotted > mapping.time }
    }

    /// The root of a device's tree.
    pub(super) async fn root_of(&mut self, id: ThinId) -> Result<Option<MetaBlock>, Errno> {
        TOP.lookup(&mut self.tm, self.mapping_root, id.0).await.map_err(errno)
    }

    /// Puts the root of a device's tree into the top level.
    pub(super) async fn insert_root(&mut self, id: ThinId, root: MetaBlock) -> Result<(), Errno> {
        let inserted = top(&mut self.data).insert(&mut self.tm, self.mapping_root, id.0, root).await;
        (self.mapping_root, _) = inserted.map_err(errno)?;
        Ok(())
    }

    /// Takes the root of a device's tree out of the top level, which gives up its reference to it.
    pub(super) async fn remove_root(&mut self, id: ThinId) -> Result<(), Errno> {
        let removed = top(&mut self.data).remove(&mut self.tm, self.mapping_root, id.0).await;
        self.mapping_root = removed.map_err(errno)?;
        Ok(())
    }

    /// Where a block of an open device is, if it is mapped.
    ///
    /// # Errors
    /// What reading the tree says.
    pub async fn lookup(&mut self, id: ThinId, block: ThinBlock) -> Result<Option<Lookup>, Errno> {
        let Some(root) = self.root_of(id).await? else { return Ok(None) };
        let found = BOTTOM.lookup(&mut self.tm, root, block.0).await.map_err(errno)?;
        Ok(found.map(|mapping| self.seen_by(id, mapping)))
    }

    /// Looks a block up without waiting, as far as the nodes on the way are in memory.
    pub fn lookup_cached(&self, id: ThinId, block: ThinBlock) -> Cached<Lookup> {
        let root = match TOP.lookup_cached(&self.tm, self.mapping_root, id.0) {
            Cached::Found(root) => root,
            Cached::Missing => return Cached::Missing,
            Cached::Unknown => return Cached::Unknown,
            Cached::Bad(error) => return Cached::Bad(error),
        };
        match BOTTOM.lookup_cached(&self.tm, root, block.0) {
            Cached::Found(mapping) => Cached::Found(self.seen_by(id, mapping)),
            Cached::Missing => Cached::Missing,
            Cached::Unknown => Cached::Unknown,
            Cached::Bad(error) => Cached::Bad(error),
        }
    }

    /// Maps a block of an open device to a data block. What it was mapped to before loses a reference.
    ///
    /// # Errors
    /// ENOSPC; what reading or changing the tree says.
    pub async fn map(&mut self, id: ThinId, block: ThinBlock, to: DataBlock) -> Result<(), Errno> {
        self.is_in_service = true;
        let (keys, mapping) = ([id.0, block.0], Mapping { block: to, time: self.time });
        let mut top = top(&mut self.data);
        let inserted = top.insert_nested(&mut self.tm, self.mapping_root, keys, mapping).await;
        let (root, is_new) = inserted.map_err(errno)?;
        self.mapping_root = root;
        self.changed(id, i64::from(is_new));
        Ok(())
    }

    /// Unmaps a range of blocks of an open device.
    ///
    /// # Errors
    /// ENOSPC; EILSEQ when the tree's keys are not in order; what reading or changing the tree says.
    pub async fn unmap(&mut self, id: ThinId, blocks: Range<ThinBlock>) -> Result<(), Errno> {
        self.is_in_service = true;
        let Some(mut root) = self.root_of(id).await? else { return Err(Errno::ENODATA) };
        // Out of the top tree it goes, so that it can change on its own; the reference keeps it alive meanwhile.
        self.tm.inc(root).await.map_err(errno)?;
        self.remove_root(id).await?;
        let (mut begin, end) = (blocks.start.0, blocks.end.0);
        let mut removed = 0;
        while begin < end {
            let next = BOTTOM.lookup_next(&mut self.tm, root, begin).await.map_err(errno)?;
            let Some((first, _)) = next.filter(|&(first, _)| first < end) else { break };
            begin = first;
            let mut bottom = bottom(&mut self.data);
            let taken = bottom.remove_leaves(&mut self.tm, root, begin..end).await;
            let (new_root, count) = taken.map_err(errno)?;
            if count == 0 {
                // An entry that one walk sees and another does not: the keys are not in order, and it would be looked for for ever.
                return Err(Errno::EILSEQ);
            }
            root = new_root;
            removed += count;
        }
        self.changed(id, -(removed as i64));
        self.insert_root(id, root).await
    }

    /// The first run of mapped blocks that starts inside a range; it ends there too.
    ///
    /// # Errors
    /// What reading the tree says.
    pub async fn next_run(&mut self, id: ThinId, blocks: Range<ThinBlock>) -> Result<Option<Run>, Errno> {
        let Some(root) = self.root_of(id).await? else { return Ok(None) };
        let end = blocks.end.0;
        let next = BOTTOM.lookup_next(&mut self.tm, root, blocks.start.0).await.map_err(errno)?;
        let Some((first, mapping)) = next.filter(|&(first, _)| first < end) else { return Ok(None) };
        let seen = self.seen_by(id, mapping);
        let mut run = Run { thin: ThinBlock(first), data: seen.block, len: 1, is_shared: seen.is_shared };
        while first + run.len < end {
            let next = BOTTOM.lookup(&mut self.tm, root, first + run.len).await.map_err(errno)?;
            let Some(mapping) = next else { break };
            let seen = self.seen_by(id, mapping);
            if seen.block.0 != run.data.0 + run.len || seen.is_shared != run.is_shared {
                break;
            }
            run.len += 1;
        }
        Ok(Some(run))
    }

    /// The highest mapped block of a device.
    ///
    /// # Errors
    /// What reading the tree says.
    pub async fn highest_mapped(&mut self, id: ThinId) -> Result<Option<ThinBlock>, Errno> {
        let Some(root) = self.root_of(id).await? else { return Ok(None) };
        Ok(BOTTOM.highest_key(&mut self.tm, root).await.map_err(errno)?.map(ThinBlock))
    }
}
