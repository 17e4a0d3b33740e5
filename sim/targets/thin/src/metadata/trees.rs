//! The trees of a pool's metadata, and what their values refer to.
//!
//! ```text
//! mapping tree, top      thin id -> root of that device's tree       values are references to trees
//! mapping tree, bottom   thin block -> data block and time           values are references to data blocks
//! details tree           thin id -> what is known of the device      values refer to nothing
//! ```

use dmlab_formats::thin::{DeviceDetails, Mapping};
use dmlab_persistent_data::{
    BoxFuture, DiskSpaceMap, PdError, Plain, Roots, TransactionManager, Tree, ValueType,
};
use dmlab_units::MetaBlock;

const TOP_NODE: &str = "mapping_top_node";
const BOTTOM_NODE: &str = "mapping_tree_node";

/// Mappings, each of which is a reference to its data block.
pub(super) struct Mappings<'a> {
    data: &'a mut DiskSpaceMap,
}

impl ValueType for Mappings<'_> {
    type Value = Mapping;

    const REFERS: bool = true;

    fn inc<'a>(
        &'a mut self,
        tm: &'a mut TransactionManager,
        mappings: &'a [Mapping],
    ) -> BoxFuture<'a, Result<(), PdError>> {
        Box::pin(self.data.inc_each(tm, mappings.iter().map(|mapping| mapping.block)))
    }

    fn dec<'a>(
        &'a mut self,
        tm: &'a mut TransactionManager,
        mappings: &'a [Mapping],
    ) -> BoxFuture<'a, Result<(), PdError>> {
        Box::pin(self.data.dec_each(tm, mappings.iter().map(|mapping| mapping.block)))
    }

    fn is_same(&self, a: &Mapping, b: &Mapping) -> bool {
        a.block == b.block
    }
}

/// The mapping tree of one device, to change: the references of its mappings are counted in `data`.
pub(super) fn bottom(data: &mut DiskSpaceMap) -> Tree<Mappings<'_>> {
    Tree::new(Mappings { data }, BOTTOM_NODE)
}

/// The mapping tree's top level, to change.
pub(super) fn top(data: &mut DiskSpaceMap) -> Tree<Roots<Mappings<'_>>> {
    Tree::new(Roots { tree: bottom(data) }, TOP_NODE)
}

/// The mapping tree of one device, to look something up.
pub(super) const BOTTOM: Tree<Plain<Mapping>> = Tree::plain(BOTTOM_NODE);

/// The mapping tree's top level, to look something up.
pub(super) const TOP: Tree<Plain<MetaBlock>> = Tree::plain(TOP_NODE);

/// What is known of each device besides its mappings.
pub(super) const fn details() -> Tree<Plain<DeviceDetails>> {
    Tree::plain("details_tree_node")
}
