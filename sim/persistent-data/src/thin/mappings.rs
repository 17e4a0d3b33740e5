//! Which data block a thin block is.

use dmlab_units::{DataBlock, Errno, MetaBlock, ThinBlock, ThinId};

use super::{BOTTOM, Lookup, Run, TOP, ThinMetadata};
use crate::Cached;
use crate::store::value_bytes;
use dmlab_formats::thin::Mapping;

impl ThinMetadata {
    fn seen_by(&self, id: ThinId, mapping: Mapping) -> Lookup {
        // A snapshot taken after the block was mapped may share it, until it is mapped anew.
        let snapshotted = self.details(id).map_or(0, |details| details.snapshotted_time);
        Lookup { block: mapping.block, is_shared: snapshotted > mapping.time }
    }

    async fn root_of(&mut self, id: ThinId) -> Result<Option<MetaBlock>, Errno> {
        self.store.lookup::<MetaBlock>(TOP, self.mapping_root, id.0).await
    }

    /// Where a block of an open device is, if it is mapped.
    ///
    /// # Errors
    /// What reading the tree says.
    pub async fn lookup(&mut self, id: ThinId, block: ThinBlock) -> Result<Option<Lookup>, Errno> {
        let Some(root) = self.root_of(id).await? else { return Ok(None) };
        let found = self.store.lookup::<Mapping>(BOTTOM, root, block.0).await?;
        Ok(found.map(|mapping| self.seen_by(id, mapping)))
    }

    /// The same for those who may not wait.
    pub fn lookup_cached(&self, id: ThinId, block: ThinBlock) -> Cached<Lookup> {
        let root = match self.store.lookup_cached::<MetaBlock>(self.mapping_root, id.0) {
            Cached::Found(root) => root,
            Cached::Missing => return Cached::Missing,
            Cached::Unknown => return Cached::Unknown,
            Cached::Bad(errno) => return Cached::Bad(errno),
        };
        match self.store.lookup_cached::<Mapping>(root, block.0) {
            Cached::Found(mapping) => Cached::Found(self.seen_by(id, mapping)),
            Cached::Missing => Cached::Missing,
            Cached::Unknown => Cached::Unknown,
            Cached::Bad(errno) => Cached::Bad(errno),
        }
    }

    /// Maps a block of an open device to a data block. What it was mapped to before loses a reference.
    ///
    /// # Errors
    /// ENOSPC; what reading or changing the tree says.
    pub async fn map(&mut self, id: ThinId, block: ThinBlock, to: DataBlock) -> Result<(), Errno> {
        self.is_in_service = true;
        let value = value_bytes(Mapping { block: to, time: self.time });
        let keys = [id.0, block.0];
        let (root, is_new) = self.store.insert_nested([TOP, BOTTOM], self.mapping_root, keys, &value).await?;
        self.mapping_root = root;
        self.changed(id, i64::from(is_new));
        Ok(())
    }

    /// Unmaps blocks `begin` up to `end` of an open device.
    ///
    /// # Errors
    /// ENOSPC; EILSEQ when the tree's keys are not in order; what reading or changing the tree says.
    pub async fn unmap(&mut self, id: ThinId, begin: u64, end: u64) -> Result<(), Errno> {
        self.is_in_service = true;
        let Some(mut root) = self.root_of(id).await? else { return Err(Errno::ENODATA) };
        // Out of the top tree it goes, so that it can change on its own; the reference keeps it alive meanwhile.
        self.store.increment_metadata(root.0, root.0 + 1).await?;
        self.mapping_root = self.store.remove(TOP, self.mapping_root, id.0).await?;
        let mut begin = begin;
        let mut removed = 0;
        while begin < end {
            let Some((first, _)) = self.store.lookup_next::<Mapping>(BOTTOM, root, begin).await? else {
                break;
            };
            if first >= end {
                break;
            }
            begin = first;
            let (new_root, count) = self.store.remove_leaves(BOTTOM, root, begin, end).await?;
            if count == 0 {
                // An entry that one walk sees and another does not: the keys are not in order, and it would be looked for for ever.
                return Err(Errno::EILSEQ);
            }
            root = new_root;
            removed += count;
        }
        self.changed(id, -(removed as i64));
        let (top, _) = self.store.insert(TOP, self.mapping_root, id.0, &value_bytes(root)).await?;
        self.mapping_root = top;
        Ok(())
    }

    /// The first run of mapped blocks from `begin` on that starts below `end`.
    ///
    /// # Errors
    /// What reading the tree says.
    pub async fn next_run(&mut self, id: ThinId, begin: u64, end: u64) -> Result<Option<Run>, Errno> {
        let Some(root) = self.root_of(id).await? else { return Ok(None) };
        let Some((first, mapping)) = self.store.lookup_next::<Mapping>(BOTTOM, root, begin).await? else {
            return Ok(None);
        };
        if first >= end {
            return Ok(None);
        }
        let seen = self.seen_by(id, mapping);
        let mut run = Run {
            thin_begin: first,
            thin_end: first.saturating_add(1),
            data_begin: seen.block.0,
            is_shared: seen.is_shared,
        };
        while run.thin_end < end {
            let Some(mapping) = self.store.lookup::<Mapping>(BOTTOM, root, run.thin_end).await? else {
                break;
            };
            let seen = self.seen_by(id, mapping);
            let next = run.data_begin + (run.thin_end - run.thin_begin);
            if seen.block.0 != next || seen.is_shared != run.is_shared {
                break;
            }
            run.thin_end += 1;
        }
        Ok(Some(run))
    }

    /// The highest mapped block of a device.
    ///
    /// # Errors
    /// What reading the tree says.
    pub async fn highest_mapped(&mut self, id: ThinId) -> Result<Option<ThinBlock>, Errno> {
        let Some(root) = self.root_of(id).await? else { return Ok(None) };
        Ok(self.store.highest_key(BOTTOM, root).await?.map(ThinBlock))
    }
}
