//! The part of the architecture page that is made from the Cargo.toml files: which crates there are, and what stands
//! on what.

use crate::tidy::Manifest;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The lines of the page between which the crates stand.
pub const MARKS: [&str; 2] = [
    "<!-- The crates, from their Cargo.toml files: DMLAB_UPDATE=1 cargo test -p dmlab-conformance --test docs -->",
    "<!-- End of the crates. -->",
];

/// The crates as a picture of layers, the highest first, and as a table.
///
/// A layer is one above the highest layer of its side that its crates use. A crate's folder is its name here.
pub fn crates(manifests: &[Manifest]) -> String {
    let known: BTreeMap<&str, &Manifest> = manifests.iter().map(|m| (m.package.as_str(), m)).collect();
    let mut out = String::from("```text\n");
    for (side, label, folder) in
        [(Side::User, "user side", "(crates/, benches/)"), (Side::Kernel, "kernel side", "(sim/)")]
    {
        let mut layers: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for manifest in manifests.iter().filter(|m| side_of(m) == side) {
            layers.entry(height(manifest, &known)).or_default().push(folder_of(manifest));
        }
        for (at, names) in layers.values().rev().enumerate() {
            let label = [label, folder].get(at).copied().unwrap_or_default();
            writeln!(out, " {label:<20} {}", names.join("   ")).expect("a String takes all");
        }
        if side == Side::User {
            out.push_str(" ───── the kernel boundary: bytes of ioctls, block IO ─────\n");
        }
    }
    out.push_str("```\n\n| Crate | What it is | Stands on |\n|---|---|---|\n");
    let mut rows: Vec<&Manifest> = manifests.iter().collect();
    rows.sort_by_key(|m| (side_of(m), std::cmp::Reverse(height(m, &known)), folder_of(m)));
    for manifest in rows {
        let mut below: Vec<&str> = uses(manifest, &known).map(folder_of).collect();
        below.sort_unstable();
        let what = manifest.description().unwrap_or("");
        let path = manifest.file.trim_end_matches("/Cargo.toml");
        writeln!(out, "| `{path}` | {what} | {} |", below.join(", ")).expect("a String takes all");
    }
    out
}

/// `page` with `crates` between its marks; `None` if it lacks them.
pub fn with_crates(page: &str, crates: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}\n\n{crates}\n{}{after}", MARKS[0], MARKS[1]))
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    User,
    Kernel,
}

fn side_of(manifest: &Manifest) -> Side {
    if manifest.file.starts_with("sim/") { Side::Kernel } else { Side::User }
}

fn folder_of(manifest: &Manifest) -> &str {
    manifest.file.rsplit('/').nth(1).unwrap_or(&manifest.package)
}

/// The crates of the repository that a crate is built on.
fn uses<'a>(
    manifest: &'a Manifest,
    known: &'a BTreeMap<&str, &'a Manifest>,
) -> impl Iterator<Item = &'a Manifest> {
    manifest.built_on().filter_map(|name| known.get(name).copied())
}

/// How many layers of its own side lie below a crate.
fn height(manifest: &Manifest, known: &BTreeMap<&str, &Manifest>) -> usize {
    let own_side = uses(manifest, known).filter(|below| side_of(below) == side_of(manifest));
    own_side.map(|below| height(below, known) + 1).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(file: &str, name: &str, description: &str, uses: &[&str]) -> Manifest {
        let mut text = format!("[package]\nname = \"{name}\"\n");
        if !description.is_empty() {
            writeln!(text, "description = \"{description}\"").unwrap();
        }
        text.push_str("[dev-dependencies]\nd-top.workspace = true\n[dependencies]\n");
        for below in uses {
            writeln!(text, "{below}.workspace = true").unwrap();
        }
        Manifest::parse(file, &text).unwrap()
    }

    #[test]
    fn layers_follow_from_what_is_built_on_what() {
        let manifests = [
            manifest("crates/top/Cargo.toml", "d-top", "The top.", &["d-mid", "serde"]),
            manifest("sim/low/Cargo.toml", "d-low", "", &[]),
            manifest("sim/mid/Cargo.toml", "d-mid", "The middle.", &["d-low"]),
        ];
        let shown = crates(&manifests);
        assert_eq!(
            shown,
            "```text\n user side            top\n ───── the kernel boundary: bytes of ioctls, block IO ─────\n \
             kernel side          mid\n (sim/)               low\n```\n\n| Crate | What it is | Stands on |\n\
             |---|---|---|\n| `crates/top` | The top. | mid |\n| `sim/mid` | The middle. | low |\n| `sim/low` |  |  |\n"
        );
        let page = format!("a\n{}\nold\n{}\nb\n", MARKS[0], MARKS[1]);
        let page = with_crates(&page, &shown).unwrap();
        assert!(page.starts_with("a\n") && page.ends_with("\nb\n") && !page.contains("old"));
        assert_eq!(with_crates(&page, &shown).as_ref(), Some(&page));
        assert_eq!(with_crates("no marks", &shown), None);
    }
}
