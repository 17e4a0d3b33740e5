//! As text.

use super::Drawn;
use crate::metadata::Metadata;
use crate::survey::{Survey, View};
use dmlab_units::MetaBlock;
use std::fmt::Write;

/// Leaves of a strip's row.
const STRIP: usize = 64;

/// Draws the tree: internal nodes a line each, the leaves below one as a strip of characters, as high as they are full.
///
/// What several parents share is drawn where it is first met and named after that.
pub fn draw_text<M: Metadata + ?Sized>(survey: &Survey<'_, M>, view: &View) -> String {
    let mut text =
        String::from("▁▂▃▄▅▆▇█ a leaf and how full it is; a b c … h the same, shared by several parents\n");
    let top = Drawn::new(survey, &survey.devices, view.superblock.mapping_root);
    let _ = writeln!(text, "top {}", node(&top));
    let mut drawn = std::collections::HashSet::new();
    for (id, &root) in &view.roots {
        let mapped = survey.mappings.shape(root).map_or(0, |shape| shape.nr_entries);
        let depth = survey.mappings.shape(root).map_or(0, |shape| shape.height + 1);
        let _ = writeln!(text, "└─ thin {id}: {mapped} mappings, {depth} level(s)");
        let mut waiting = vec![(root, 1usize)];
        while let Some((block, indent)) = waiting.pop() {
            let margin = "   ".repeat(indent);
            let here = Drawn::new(survey, &survey.mappings, block);
            if !drawn.insert(block) {
                let _ = writeln!(text, "{margin}└─ {} (above)", node(&here));
                continue;
            }
            let _ = writeln!(text, "{margin}└─ {}", node(&here));
            let children: Vec<MetaBlock> =
                survey.mappings.children(block).into_iter().map(|(_, child)| child).collect();
            if children.first().is_some_and(|&child| survey.mappings.is_leaf(child)) {
                for row in children.chunks(STRIP) {
                    let strip: String =
                        row.iter().map(|&leaf| glyph(&Drawn::new(survey, &survey.mappings, leaf))).collect();
                    let _ = writeln!(text, "{margin}      {strip}");
                }
            } else {
                waiting.extend(children.into_iter().rev().map(|child| (child, indent + 1)));
            }
        }
    }
    text
}

fn node(node: &Drawn) -> String {
    let kind = if node.is_leaf { "leaf" } else { "internal" };
    let shared = if node.parents > 1 { format!(", {} parents", node.parents) } else { String::new() };
    let damaged = if node.is_damaged { ", damaged" } else { "" };
    format!("{kind} {}: {}/{}{shared}{damaged}", node.block, node.nr_entries, node.max_entries)
}

fn glyph(leaf: &Drawn) -> char {
    let step = ((leaf.fill() * 8.0).ceil() as usize).clamp(1, 8) - 1;
    let glyphs = if leaf.parents > 1 { "abcdefgh" } else { "▁▂▃▄▅▆▇█" };
    glyphs.chars().nth(step).unwrap_or('?')
}
