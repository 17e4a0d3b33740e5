//! Draws the two-level mapping tree: node fill and sharing, as text or as SVG.

mod svg;
mod text;

pub use svg::draw_svg;
pub use text::draw_text;

use crate::metadata::Metadata;
use crate::survey::Survey;
use crate::walk::Forest;
use dmlab_units::MetaBlock;

/// A node to draw.
struct Drawn {
    block: MetaBlock,
    nr_entries: u32,
    max_entries: u32,
    /// Nodes, or superblocks, that point to it.
    parents: u64,
    is_leaf: bool,
    /// Whether something below it, or it, is damaged.
    is_damaged: bool,
}

impl Drawn {
    fn new<M: Metadata + ?Sized>(survey: &Survey<'_, M>, forest: &Forest, block: MetaBlock) -> Drawn {
        Drawn {
            block,
            nr_entries: forest.nr_entries(block),
            max_entries: forest.max_entries(block),
            parents: survey.meta_counts.get(block),
            is_leaf: forest.is_leaf(block),
            is_damaged: forest.shape(block).is_none_or(|shape| shape.is_flawed),
        }
    }

    /// How full it is, 0 to 1.
    fn fill(&self) -> f64 {
        if self.max_entries == 0 { 0.0 } else { f64::from(self.nr_entries) / f64::from(self.max_entries) }
    }
}
