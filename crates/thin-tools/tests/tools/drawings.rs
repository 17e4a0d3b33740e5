//! Maps, trees and their pictures, of metadata that Linux made and of devices that share whole subtrees.

use crate::damage::change;
use crate::images::{image, made, written};
use dmlab_thin_tools::{
    BytesMetadata, MapRun, Scope, State, Survey, Which, draw_svg, draw_text, map, picture,
};
use dmlab_units::ThinId;

fn text_of(metadata: &BytesMetadata) -> String {
    let survey = Survey::new(metadata, Scope::Mappings).unwrap();
    let text = draw_text(&survey, &survey.live);
    let (legend, tree) = text.split_once('\n').unwrap();
    assert!(legend.starts_with("▁▂▃▄▅▆▇█ a leaf"));
    tree.to_owned()
}

#[test]
fn trees_are_drawn_node_by_node() {
    let snapshots = "\
top leaf 238: 3/252
└─ thin 0: 21 mappings, 1 level(s)
   └─ leaf 232: 21/252
└─ thin 1: 21 mappings, 1 level(s)
   └─ leaf 239: 21/252
└─ thin 2: 22 mappings, 1 level(s)
   └─ leaf 225: 22/252
";
    assert_eq!(text_of(&image("05-snapshots")), snapshots);
    let two_levels = "\
top leaf 392: 1/252
└─ thin 1: 900 mappings, 2 level(s)
   └─ internal 385: 5/252
         █▄▄▅█
";
    assert_eq!(text_of(&image("16-ascending600")), two_levels);
}

/// Devices 0 and 41 of this image came of one another: they have nodes in common.
fn sharing() -> BytesMetadata {
    written("linux")
}

#[test]
fn what_several_parents_share_is_drawn_once_and_marked() {
    let metadata = sharing();
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let text = text_of(&metadata);
    let mut found_shared = false;
    for (&id, &root) in &survey.live.roots {
        let shape = survey.mappings.shape(root).unwrap();
        let line = format!("└─ thin {id}: {} mappings, {} level(s)\n", shape.nr_entries, shape.height + 1);
        assert!(text.contains(&line), "{text}");
        let parents = survey.meta_counts.get(root);
        let shown = text.lines().filter(|line| line.contains(&format!(" {root}: "))).count();
        assert!(shown >= 1, "{text}");
        if parents > 1 {
            found_shared = true;
            assert!(
                text.contains(&format!(
                    " {root}: {}/252, {parents} parents",
                    survey.mappings.nr_entries(root)
                ))
            );
        }
    }
    assert!(found_shared, "{text}");
    let mut damaged = made(2, 1000, 100);
    let survey = Survey::new(&damaged, Scope::Mappings).unwrap();
    let root = survey.live.roots[&ThinId(3)];
    let leaf = survey.mappings.leaves(root)[0];
    change(&mut damaged, leaf, None, |bytes| bytes[1000] ^= 1);
    let text = text_of(&damaged);
    let lines: Vec<&str> = text.lines().filter(|line| line.ends_with(", damaged")).collect();
    assert!(lines.len() == 1 && lines[0].contains(&format!("internal {root}: ")), "{text}");
}

#[test]
fn an_svg_has_every_node_in_its_colour_and_every_edge() {
    for metadata in [image("05-snapshots"), image("16-ascending600"), sharing()] {
        let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
        let svg = draw_svg(&survey, &survey.live);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        let nodes: Vec<_> = survey.mappings.blocks().collect();
        let mut below: Vec<_> = survey.live.roots.values().copied().collect();
        let (mut reached, mut edges) = (std::collections::BTreeSet::new(), below.len());
        while let Some(block) = below.pop() {
            if reached.insert(block) {
                let children = survey.mappings.children(block);
                edges += children.len();
                below.extend(children.into_iter().map(|(_, child)| child));
            }
        }
        assert!(reached.len() <= nodes.len());
        // The root of the top tree is drawn above all.
        assert_eq!(svg.matches("<g><title>").count(), reached.len() + 1);
        assert_eq!(svg.matches("<line ").count(), edges);
        for block in &reached {
            let (found, parents) = (survey.mappings.nr_entries(*block), survey.meta_counts.get(*block));
            let title = format!("<title>block {block}: {found}/252 entries, {parents} parent(s)</title>");
            let node = svg.lines().find(|line| line.contains(&title)).unwrap_or_else(|| panic!("{title}"));
            let colour = match () {
                () if parents > 1 => "#f0a030",
                () if survey.mappings.is_leaf(*block) => "#5a9",
                () => "#68c",
            };
            assert!(node.contains(&format!("stroke=\"{colour}\"")), "{node}");
        }
        for id in survey.live.roots.keys() {
            assert!(
                svg.contains(&format!("thin {id}")) || svg.contains(&format!(", {id}")),
                "thin {id} has a label"
            );
        }
        assert!(svg.contains(">devices</text>") && !svg.contains("not drawn"));
        // Levels lie below one another, each edge leads down, and from the top's root a label hangs.
        for line in svg.lines().filter(|line| line.starts_with("<line ")) {
            let number = |name: &str| -> u64 {
                let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
                rest.split('"').next().unwrap().parse().unwrap()
            };
            assert!(number("y1") < number("y2"), "{line}");
        }
    }
}

#[test]
fn a_map_says_whose_each_block_is() {
    let metadata = image("05-snapshots");
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let runs = map(&survey, survey.view(Which::Live).unwrap(), ThinId(0)).unwrap().unwrap();
    let told: Vec<(u64, u64, u64, u32, State)> = runs
        .iter()
        .map(|MapRun { run, state }| (run.begin.0, run.length, run.data.0, run.time, *state))
        .collect();
    let wanted = [
        (0, 1, 29, 2, State::Own),
        (1, 2, 1, 0, State::Shared),
        (3, 2, 20, 1, State::Own),
        (5, 1, 5, 0, State::OnceShared),
        (6, 14, 6, 0, State::Shared),
        (25, 1, 22, 1, State::Own),
    ];
    assert_eq!(told, wanted);
    let drawn = "\
one character is 1 block(s): # own, s shared, o once shared, . not mapped
           0 #ss##ossssssssssssss.....#
";
    assert_eq!(picture(&runs), drawn);
    assert_eq!(map(&survey, &survey.live, ThinId(9)).unwrap(), None);
    assert_eq!(picture(&[]), "nothing is mapped\n");
}

#[test]
fn a_large_device_fits_sixteen_rows() {
    let metadata = made(1, 1500, 100);
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let runs = map(&survey, &survey.live, ThinId(0)).unwrap().unwrap();
    // Every other block from 0 on: 2999 blocks, 3 of them to a character.
    let drawn = picture(&runs);
    let mut lines = drawn.lines();
    assert!(lines.next().unwrap().starts_with("one character is 3 block(s)"));
    let rows: Vec<(u64, &str)> = lines
        .map(|line| line.trim_start().split_once(' ').unwrap())
        .map(|(at, cells)| (at.parse().unwrap(), cells))
        .collect();
    assert_eq!(rows.len(), 16);
    for (row, (at, cells)) in rows.iter().enumerate() {
        assert_eq!(*at, row as u64 * 64 * 3);
        assert_eq!(cells.len(), if row == 15 { 40 } else { 64 });
        assert!(!cells.contains('.'), "{cells}");
    }
}

#[test]
fn a_node_that_cannot_be_read_is_drawn_empty() {
    let mut metadata = made(2, 20, 60);
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let root = survey.live.roots[&ThinId(3)];
    change(&mut metadata, root, None, |bytes| bytes[1000] ^= 1);
    let survey = Survey::new(&metadata, Scope::Mappings).unwrap();
    let svg = draw_svg(&survey, &survey.live);
    let node = svg.lines().find(|line| line.contains(&format!("<title>block {root}: "))).unwrap();
    assert!(node.contains("stroke=\"#d33\"") && node.contains(" width=\"0\" "), "{node}");
    assert!(draw_text(&survey, &survey.live).contains(&format!("{root}: 0/0, damaged")));
}
