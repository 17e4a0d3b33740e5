//! Walks B-trees: in parallel, every node once, whatever the bytes are.
//!
//! Snapshots share subtrees, so the nodes of all devices' trees are no trees but one graph. It is read level by level,
//! the nodes of a level at once, each block once however many parents it has ([`Forest::walk`]). Then, from the leaves
//! up, each node learns what is below it; a block that is its own ancestor shows here as an edge that comes back
//! ([`shape`]). Nothing recurses, and no path is followed for each of its owners.
//!
//! Internal nodes stay in memory (there is one for about a hundred leaves); of leaves only their ends do.

mod losses;
mod node;
mod shape;

pub use losses::Loss;
pub use node::NodeError;
pub(crate) use node::sound;
pub use shape::{EdgeError, Shape};

use crate::counts::MetaCounts;
use crate::metadata::{Metadata, usable_blocks};
use dmlab_formats::BLOCK_SIZE;
use dmlab_formats::btree_node::Node;
use dmlab_units::MetaBlock;
use node::{Contents, read_node};
use rayon::prelude::*;
use std::collections::HashSet;

/// Which tree a node is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tree {
    /// Thin id to the root of its mappings.
    Devices,
    /// Virtual block to data block.
    Mappings,
    /// Thin id to details.
    Details,
    /// Bitmap number to index entry, of the data space map.
    DataIndex,
    /// Data block to a count above 2.
    DataOverflow,
    /// Metadata block to a count above 2.
    MetadataOverflow,
}

impl Tree {
    /// Bytes of a leaf's value.
    pub fn value_size(self) -> usize {
        match self {
            Tree::Devices | Tree::Mappings => 8,
            Tree::Details => 24,
            Tree::DataIndex => 16,
            Tree::DataOverflow | Tree::MetadataOverflow => 4,
        }
    }

    /// What its keys are, in the plural.
    pub fn keys(self) -> &'static str {
        match self {
            Tree::Devices | Tree::Details => "devices",
            Tree::Mappings => "virtual blocks",
            Tree::DataIndex => "bitmaps",
            Tree::DataOverflow => "counts of data blocks",
            Tree::MetadataOverflow => "counts of metadata blocks",
        }
    }
}

impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Tree::Devices => "mapping tree (top)",
            Tree::Mappings => "mapping tree",
            Tree::Details => "details tree",
            Tree::DataIndex => "data space map's index tree",
            Tree::DataOverflow => "data space map's overflow tree",
            Tree::MetadataOverflow => "metadata space map's overflow tree",
        })
    }
}

struct Visited {
    block: MetaBlock,
    contents: Contents,
    /// Room for entries, to tell an underfull node.
    max_entries: u32,
}

/// All nodes below some roots.
pub struct Forest {
    tree: Tree,
    nr_blocks: u64,
    /// Place in `nodes` of each block, plus one.
    places: Vec<u32>,
    nodes: Vec<Visited>,
    shapes: Vec<Shape>,
    /// Edges (place of the parent, index in it) that lead to an ancestor.
    loops: HashSet<(u32, u32)>,
}

impl Forest {
    /// Reads everything below `roots`. `leaf` is called once for each sound leaf, by many threads and in no order.
    /// `counts` gets one for every child of every node; the roots' own parents are the caller's to count.
    pub fn walk<M, F>(metadata: &M, tree: Tree, roots: &[MetaBlock], counts: &MetaCounts, leaf: F) -> Forest
    where
        M: Metadata + ?Sized,
        F: Fn(MetaBlock, Node<'_>) + Sync,
    {
        let nr_blocks = usable_blocks(metadata);
        let mut forest = Forest {
            tree,
            nr_blocks,
            places: vec![0; nr_blocks as usize],
            nodes: Vec::new(),
            shapes: Vec::new(),
            loops: HashSet::new(),
        };
        let mut level: Vec<MetaBlock> = roots.to_vec();
        level.sort_unstable();
        level.dedup();
        level.retain(|&root| root.0 < nr_blocks);
        while !level.is_empty() {
            let read = |buffer: &mut Box<[u8; BLOCK_SIZE]>, &block: &MetaBlock| {
                let (contents, max_entries) = read_node(metadata, tree, block, buffer, &leaf);
                if let Contents::Internal(internal) = &contents {
                    internal.children.iter().for_each(|&child| counts.add(child));
                }
                Visited { block, contents, max_entries }
            };
            let read: Vec<Visited> =
                level.par_iter().with_min_len(16).map_init(|| Box::new([0; BLOCK_SIZE]), read).collect();
            let first = forest.nodes.len();
            forest.nodes.extend(read);
            for place in first..forest.nodes.len() {
                forest.places[forest.nodes[place].block.0 as usize] = place as u32 + 1;
            }
            level.clear();
            for node in &forest.nodes[first..] {
                let Contents::Internal(internal) = &node.contents else { continue };
                for &child in &internal.children {
                    // A place that is not known yet stands for "will be read in the next level".
                    if let Some(place) = forest.places.get_mut(child.0 as usize)
                        && *place == 0
                    {
                        *place = u32::MAX;
                        level.push(child);
                    }
                }
            }
            // Blocks near one another are read near one another.
            level.sort_unstable();
        }
        forest.settle(roots);
        forest
    }

    /// Which tree these nodes are of.
    pub fn tree(&self) -> Tree {
        self.tree
    }

    /// Nodes that were read: internal nodes and leaves, also broken ones.
    pub fn nr_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Blocks of all nodes.
    pub fn blocks(&self) -> impl Iterator<Item = MetaBlock> {
        self.nodes.iter().map(|node| node.block)
    }

    fn place(&self, block: MetaBlock) -> Option<usize> {
        let place = *self.places.get(block.0 as usize)?;
        (place != 0).then(|| place as usize - 1)
    }

    /// What is below `block`; `None` when it is not sound, or was not walked.
    pub fn shape(&self, block: MetaBlock) -> Option<&Shape> {
        let place = self.place(block)?;
        match self.nodes[place].contents {
            Contents::Bad(_) => None,
            _ => Some(&self.shapes[place]),
        }
    }

    /// The children of a sound internal node that can be followed, with the key each begins at.
    pub fn children(&self, block: MetaBlock) -> Vec<(u64, MetaBlock)> {
        let Some(place) = self.place(block) else { return Vec::new() };
        let Contents::Internal(internal) = &self.nodes[place].contents else { return Vec::new() };
        (0..internal.keys.len())
            .filter(|&i| self.edge(place, i).is_ok())
            .map(|i| (internal.keys[i], internal.children[i]))
            .collect()
    }

    /// Whether `block` is a sound leaf.
    pub fn is_leaf(&self, block: MetaBlock) -> bool {
        self.place(block).is_some_and(|place| matches!(self.nodes[place].contents, Contents::Leaf(_)))
    }

    /// Room for entries of a node.
    pub fn max_entries(&self, block: MetaBlock) -> u32 {
        self.place(block).map_or(0, |place| self.nodes[place].max_entries)
    }

    /// Entries in a node itself.
    pub fn nr_entries(&self, block: MetaBlock) -> u32 {
        self.place(block).map_or(0, |place| self.nr_entries_at(place))
    }

    /// The leaves below `root` that can be reached, in the order of their keys.
    pub fn leaves(&self, root: MetaBlock) -> Vec<MetaBlock> {
        let mut leaves = Vec::new();
        let mut waiting = vec![root];
        while let Some(block) = waiting.pop() {
            if self.is_leaf(block) {
                leaves.push(block);
            } else {
                waiting.extend(self.children(block).iter().rev().map(|&(_, child)| child));
            }
        }
        leaves
    }
}
