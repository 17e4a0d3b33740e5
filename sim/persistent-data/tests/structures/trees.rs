//! Trees against maps: values that refer to nothing, and roots of other trees.

use std::collections::BTreeMap;

use dmlab_persistent_data::{Cached, Plain, Roots, Tree};
use dmlab_units::MetaBlock;
use proptest::prelude::*;

use crate::bench::{Bench, Holds, for_all};

fn numbers() -> Tree<Plain<u64>> {
    Tree::plain("node")
}

fn nested() -> Tree<Roots<Plain<u64>>> {
    Tree::new(Roots { tree: numbers() }, "node")
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Remove(u64),
    RemoveRun(u64, u64),
    Snapshot,
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..900u64, any::<u64>()).prop_map(|(key, value)| Step::Insert(key, value)),
        3 => (0..900u64).prop_map(Step::Remove),
        1 => (0..900u64, 1..200u64).prop_map(|(key, len)| Step::RemoveRun(key, len)),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Commit),
    ];
    proptest::collection::vec(step, 1..600)
}

fn entries(bench: &mut Bench, root: MetaBlock) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    let mut next = 0;
    while let Some((key, value)) = bench.run(async |tm| numbers().lookup_next(tm, root, next).await).unwrap()
    {
        found.insert(key, value);
        next = key + 1;
    }
    found
}

#[test]
fn a_tree_is_what_a_map_is() {
    for_all(40, steps(), |steps| {
        let mut bench = Bench::new(256);
        let mut tree = numbers();
        let mut root = bench.run(async |tm| tree.empty(tm).await).unwrap();
        let mut model = BTreeMap::new();
        let mut snapshots: Vec<(MetaBlock, BTreeMap<u64, u64>)> = Vec::new();
        for step in steps {
            match step {
                Step::Insert(key, value) => {
                    let inserted = bench.run(async |tm| tree.insert(tm, root, key, value).await);
                    let is_new = model.insert(key, value).is_none();
                    assert_eq!(inserted.map(|(_, new)| new), Ok(is_new));
                    root = inserted.unwrap().0;
                    assert_eq!(tree.lookup_cached(&bench.tm, root, key), Cached::Found(value));
                }
                Step::Remove(key) => {
                    let removed = bench.run(async |tm| tree.remove(tm, root, key).await);
                    match model.remove(&key) {
                        Some(_) => root = removed.unwrap(),
                        // What a failed walk has shadowed cannot be undone but by giving up the transaction.
                        None => {
                            let found = removed.unwrap_err();
                            assert_eq!(found.key, Some(key));
                            return;
                        }
                    }
                }
                Step::RemoveRun(first, len) => {
                    let mut at = first;
                    while let Some((&key, _)) = model.range(at..first + len).next() {
                        let keys = key..first + len;
                        let removed = bench.run(async |tm| tree.remove_leaves(tm, root, keys).await);
                        let (new_root, count) = removed.unwrap();
                        assert!(count > 0);
                        root = new_root;
                        for _ in 0..count {
                            let (&key, _) = model.range(key..first + len).next().unwrap();
                            model.remove(&key);
                        }
                        at = key;
                    }
                }
                Step::Snapshot => {
                    bench.run(async |tm| tm.inc(root).await).unwrap();
                    snapshots.push((root, model.clone()));
                }
                Step::Commit => bench.commit(),
            }
        }
        let mut roots = vec![(root, Holds::Tree)];
        roots.extend(snapshots.iter().map(|(root, _)| (*root, Holds::Tree)));
        bench.check(&roots);
        bench.reopen();
        assert_eq!(entries(&mut bench, root), model);
        let highest = bench.run(async |tm| tree.highest_key(tm, root).await);
        assert_eq!(highest, Ok(model.keys().next_back().copied()));
        for (root, model) in &snapshots {
            assert_eq!(entries(&mut bench, *root), *model);
        }
        for (root, _) in roots {
            bench.run(async |tm| tree.delete(tm, root).await).unwrap();
        }
        bench.check(&[]);
    });
}

#[test]
fn trees_of_trees_give_up_what_is_removed_and_replaced() {
    let mut bench = Bench::new(256);
    let mut top = nested();
    let mut root = bench.run(async |tm| top.empty(tm).await).unwrap();
    for outer in 0..20 {
        for key in 0..30 {
            let keys = [outer, key];
            root = bench.run(async |tm| top.insert_nested(tm, root, keys, outer * key).await).unwrap().0;
        }
    }
    bench.check(&[(root, Holds::Roots)]);
    let snapshot = root;
    bench.run(async |tm| tm.inc(snapshot).await).unwrap();
    // One removed, one replaced by another's tree, one changed: the snapshot has them all.
    root = bench.run(async |tm| top.remove(tm, root, 3).await).unwrap();
    let shared: MetaBlock = {
        let reader: Tree<Plain<MetaBlock>> = Tree::plain("node");
        bench.run(async |tm| reader.lookup(tm, root, 5).await).unwrap().unwrap()
    };
    bench.run(async |tm| tm.inc(shared).await).unwrap();
    root = bench.run(async |tm| top.insert(tm, root, 4, shared).await).unwrap().0;
    root = bench.run(async |tm| top.insert_nested(tm, root, [6, 7], 1000).await).unwrap().0;
    bench.check(&[(root, Holds::Roots), (snapshot, Holds::Roots)]);
    bench.run(async |tm| top.delete(tm, snapshot).await).unwrap();
    bench.check(&[(root, Holds::Roots)]);
    bench.run(async |tm| top.delete(tm, root).await).unwrap();
    bench.check(&[]);
}
