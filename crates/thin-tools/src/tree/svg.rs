//! As SVG.

use super::Drawn;
use crate::metadata::Metadata;
use crate::survey::{Survey, View};
use dmlab_units::MetaBlock;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// Nodes of a level that are drawn; a picture of more shows nothing.
const LEVEL_MAX: usize = 400;
const WIDTH: usize = 46;
const HEIGHT: usize = 22;
const GAP: usize = 6;
const LEVEL: usize = 90;

/// Draws the tree, level under level: each node a box as far filled as it is full, shared ones orange, damaged ones red.
pub fn draw_svg<M: Metadata + ?Sized>(survey: &Survey<'_, M>, view: &View) -> String {
    let top = view.superblock.mapping_root;
    // Level 0 is the top tree's root; the roots of devices come next, whatever the height of the top tree.
    let mut levels: Vec<Vec<Drawn>> = vec![vec![Drawn::new(survey, &survey.devices, top)]];
    let mut edges: Vec<(usize, MetaBlock, MetaBlock)> = Vec::new();
    let mut labels: HashMap<MetaBlock, String> = HashMap::from([(top, "devices".to_owned())]);
    let mut next: Vec<MetaBlock> = Vec::new();
    for (id, &root) in &view.roots {
        edges.push((0, top, root));
        let label = labels.entry(root).or_default();
        let _ = write!(label, "{}{id}", if label.is_empty() { "thin " } else { ", " });
        next.push(root);
    }
    let mut seen = HashSet::new();
    let mut hidden = 0;
    loop {
        next.retain(|&block| seen.insert(block));
        if next.is_empty() {
            break;
        }
        hidden += next.len().saturating_sub(LEVEL_MAX);
        next.truncate(LEVEL_MAX);
        let level = levels.len();
        let mut below = Vec::new();
        for &block in &next {
            for (_, child) in survey.mappings.children(block) {
                edges.push((level, block, child));
                below.push(child);
            }
        }
        levels.push(next.iter().map(|&block| Drawn::new(survey, &survey.mappings, block)).collect());
        next = below;
    }
    paint(&levels, &edges, &labels, hidden)
}

fn paint(
    levels: &[Vec<Drawn>],
    edges: &[(usize, MetaBlock, MetaBlock)],
    labels: &HashMap<MetaBlock, String>,
    hidden: usize,
) -> String {
    let widest = levels.iter().map(Vec::len).max().unwrap_or(1);
    let width = widest * (WIDTH + GAP) + 2 * GAP;
    let height = levels.len() * LEVEL + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"9\">\n"
    );
    let mut places: HashMap<(bool, MetaBlock), (usize, usize)> = HashMap::new();
    for (row, level) in levels.iter().enumerate() {
        let margin = (width - level.len() * (WIDTH + GAP)) / 2;
        for (column, node) in level.iter().enumerate() {
            places.insert((row == 0, node.block), (margin + column * (WIDTH + GAP), 20 + row * LEVEL));
        }
    }
    for &(row, parent, child) in edges {
        let (Some(from), Some(to)) = (places.get(&(row == 0, parent)), places.get(&(false, child))) else {
            continue;
        };
        let (x1, y1) = (from.0 + WIDTH / 2, from.1 + HEIGHT);
        let _ = writeln!(
            svg,
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{}\" y2=\"{}\" stroke=\"#999\" stroke-width=\"0.6\"/>",
            to.0 + WIDTH / 2,
            to.1
        );
    }
    for (row, level) in levels.iter().enumerate() {
        for node in level {
            let (x, y) = places[&(row == 0, node.block)];
            let colour = match () {
                () if node.is_damaged => "#d33",
                () if node.parents > 1 => "#f0a030",
                () if node.is_leaf => "#5a9",
                () => "#68c",
            };
            let filled = (node.fill().min(1.0) * WIDTH as f64) as usize;
            let title = format!(
                "block {}: {}/{} entries, {} parent(s)",
                node.block, node.nr_entries, node.max_entries, node.parents
            );
            let _ = writeln!(
                svg,
                "<g><title>{title}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\" stroke=\"{colour}\"/>\
                 <rect x=\"{x}\" y=\"{y}\" width=\"{filled}\" height=\"{HEIGHT}\" fill=\"{colour}\" fill-opacity=\"0.45\"/>\
                 <text x=\"{}\" y=\"{}\">{}</text></g>",
                x + 3,
                y + 14,
                node.block
            );
            if row <= 1
                && let Some(label) = labels.get(&node.block)
            {
                let _ = writeln!(svg, "<text x=\"{x}\" y=\"{}\">{label}</text>", y - 3);
            }
        }
    }
    if hidden > 0 {
        let _ = writeln!(svg, "<text x=\"{GAP}\" y=\"{}\">{hidden} nodes not drawn</text>", height - 8);
    }
    svg.push_str("</svg>\n");
    svg
}
