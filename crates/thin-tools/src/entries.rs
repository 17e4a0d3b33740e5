//! What the leaves hold, in the order of keys.

use crate::metadata::{BlockError, Metadata, read_checked};
use crate::walk::{Forest, Tree, sound};
use dmlab_formats::BLOCK_SIZE;
use dmlab_formats::btree_node::{NODE, Node, Value};
use dmlab_formats::thin::Mapping;
use dmlab_units::{MetaBlock, ThinBlock};
use rayon::prelude::*;

/// Leaves read at once: enough for all threads, little enough to keep few in memory.
const BATCH: usize = 512;

/// Shows the entries of each leaf below `root` that can be reached, leaf by leaf, in the order of their keys.
///
/// # Errors
/// A leaf that was sound when it was walked and is not any more: the device is in use.
pub(crate) fn for_each_leaf<M, V>(
    metadata: &M,
    forest: &Forest,
    root: MetaBlock,
    mut see: impl FnMut(MetaBlock, &[(u64, V)]),
) -> Result<(), BlockError>
where
    M: Metadata + ?Sized,
    V: Value + Send,
{
    let tree = forest.tree();
    for batch in forest.leaves(root).chunks(BATCH) {
        let leaves: Vec<Result<Vec<(u64, V)>, BlockError>> = batch
            .par_iter()
            .with_min_len(16)
            .map_init(
                || Box::new([0; BLOCK_SIZE]),
                |buffer, &block| {
                    read_checked(metadata, &NODE, block, buffer)?;
                    let node = Node::new(buffer);
                    if !node.is_leaf() || sound(tree, node).is_err() {
                        // It changed under our hands.
                        return Err(BlockError::Io(std::io::ErrorKind::InvalidData));
                    }
                    Ok((0..node.len()).map(|i| (node.key(i), node.value(i))).collect())
                },
            )
            .collect();
        for (&block, entries) in batch.iter().zip(leaves) {
            see(block, &entries?);
        }
    }
    Ok(())
}

/// All entries below `root` that can be reached.
pub(crate) fn entries<M, V>(
    metadata: &M,
    forest: &Forest,
    root: MetaBlock,
) -> Result<Vec<(u64, V)>, BlockError>
where
    M: Metadata + ?Sized,
    V: Value + Send,
{
    let mut all = Vec::new();
    for_each_leaf(metadata, forest, root, |_, entries| all.extend_from_slice(entries))?;
    Ok(all)
}

/// Shows each mapping below a device's `root` that can be reached, by virtual block.
///
/// # Errors
/// A leaf that was sound when it was walked and is not any more: the device is in use.
pub fn for_each_mapping<M: Metadata + ?Sized>(
    metadata: &M,
    mappings: &Forest,
    root: MetaBlock,
    mut see: impl FnMut(ThinBlock, Mapping),
) -> Result<(), BlockError> {
    debug_assert_eq!(mappings.tree(), Tree::Mappings);
    for_each_leaf(metadata, mappings, root, |_, entries| {
        for &(block, mapping) in entries {
            see(ThinBlock(block), mapping);
        }
    })
}
