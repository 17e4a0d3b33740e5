//! `/lib/modules`: what `modprobe` reads to learn that the machine's kernel has its drivers built in, and no others.
//!
//! kmod asks index files, each a tree of the letters of a name: a header (magic, version, place of the root), then nodes, all
//! numbers in network order. A node's place carries in its top bits what the node has.

use std::collections::{BTreeMap, BTreeSet};

use dmlab_machine::Machine;

use super::node::EntryKind;
use super::sysfs::Entry;

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HAS_CHILDREN: u32 = 0x2000_0000;
const HAS_VALUES: u32 = 0x4000_0000;

/// Index files that name nothing: there are no files of modules.
const EMPTY: [&str; 4] =
    ["modules.dep.bin", "modules.alias.bin", "modules.symbols.bin", "modules.builtin.alias.bin"];
const BUILT_IN: &str = "modules.builtin";
const BUILT_IN_INDEX: &str = "modules.builtin.bin";

/// What lies at a path below `/lib/modules`.
pub(super) fn lookup(machine: &Machine, below: &str) -> Option<Entry> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let release = release.trim();
    let below = below.trim_start_matches('/');
    if below.is_empty() {
        return Some(Entry::Dir(vec![(release.to_owned(), EntryKind::Dir)]));
    }
    let (version, file) = below.split_once('/').unwrap_or((below, ""));
    if version != release {
        return None;
    }
    match file {
        "" => {
            let names = EMPTY.into_iter().chain([BUILT_IN, BUILT_IN_INDEX]);
            Some(Entry::Dir(names.map(|name| (name.to_owned(), EntryKind::Node)).collect()))
        }
        BUILT_IN => {
            let line = |name: &String| format!("kernel/drivers/{}.ko\n", path(name));
            Some(Entry::Text(built_in(machine).iter().map(line).collect::<String>().into_bytes()))
        }
        BUILT_IN_INDEX => Some(Entry::Text(index(&built_in(machine)))),
        name => EMPTY.contains(&name).then(|| Entry::Text(index(&BTreeSet::new()))),
    }
}

/// The drivers of the machine's devices: the module that has each type of target on Linux.
fn built_in(machine: &Machine) -> BTreeSet<String> {
    let types = machine.mapper().types();
    types
        .iter()
        .map(|kind| kind.module.name.to_owned())
        .chain(["dm_mod", "loop", "brd"].map(str::to_owned))
        .collect()
}

/// Where a module's file would be.
fn path(name: &str) -> String {
    match name {
        "loop" | "brd" => format!("block/{name}"),
        name => format!("md/{}", name.replace('_', "-")),
    }
}

/// A tree of letters.
#[derive(Default)]
struct Node {
    children: BTreeMap<u8, Node>,
    is_name: bool,
}

/// An index of names without values.
fn index(names: &BTreeSet<String>) -> Vec<u8> {
    let mut root = Node::default();
    for name in names {
        let mut node = &mut root;
        for letter in name.bytes() {
            node = node.children.entry(letter).or_default();
        }
        node.is_name = true;
    }
    let mut out = [MAGIC, VERSION, 0].map(u32::to_be_bytes).concat();
    let place = write(&root, &mut out);
    out[8..12].copy_from_slice(&place.to_be_bytes());
    out
}

/// Writes a node behind those below it, and returns its place.
fn write(node: &Node, out: &mut Vec<u8>) -> u32 {
    let places: BTreeMap<u8, u32> =
        node.children.iter().map(|(&letter, child)| (letter, write(child, out))).collect();
    let mut place = out.len() as u32;
    if let (Some((&first, _)), Some((&last, _))) = (places.first_key_value(), places.last_key_value()) {
        place |= HAS_CHILDREN;
        out.extend([first, last]);
        for letter in first..=last {
            out.extend(places.get(&letter).copied().unwrap_or(0).to_be_bytes());
        }
    }
    if node.is_name {
        place |= HAS_VALUES;
        // One value: of no priority, and empty.
        out.extend(1u32.to_be_bytes());
        out.extend(0u32.to_be_bytes());
        out.push(0);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks a name up, as kmod does.
    fn has(index: &[u8], name: &str) -> bool {
        let number = |at: usize| u32::from_be_bytes(index[at..at + 4].try_into().unwrap());
        assert_eq!((number(0), number(4)), (MAGIC, VERSION));
        let mut place = number(8);
        for letter in name.bytes() {
            let at = (place & 0x0fff_ffff) as usize;
            if place & HAS_CHILDREN == 0 || !(index[at]..=index[at + 1]).contains(&letter) {
                return false;
            }
            place = number(at + 2 + 4 * usize::from(letter - index[at]));
            if place == 0 {
                return false;
            }
        }
        place & HAS_VALUES != 0
    }

    #[test]
    fn an_index_has_its_names_and_no_others() {
        let names = ["dm_mod", "dm_mirror", "loop", "dm"].map(str::to_owned);
        let index = index(&names.iter().cloned().collect());
        for name in names {
            assert!(has(&index, &name), "{name}");
        }
        for name in ["d", "dm_", "dm_mods", "x", "", "loo", "a"] {
            assert!(!has(&index, name), "{name}");
        }
    }
}
