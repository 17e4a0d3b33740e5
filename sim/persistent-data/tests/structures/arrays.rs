//! Arrays against vectors.

use dmlab_persistent_data::{Array, PdErrorKind};
use dmlab_units::MetaBlock;
use proptest::prelude::*;

use crate::bench::{Bench, Holds, for_all};

fn numbers() -> Array<u64> {
    Array::new("node", "array")
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64, u64),
    Resize(u64, u64),
    /// Keeps the array as it is now, under a root of its own.
    Snapshot,
    /// Deletes the oldest snapshot.
    Drop,
    Commit,
    Reopen,
}

/// Lengths around the ends of blocks of 509 entries, and others.
fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..2600u64,
        (0..5u64, 0..3u64).prop_map(|(blocks, off)| (509 * blocks + off).saturating_sub(1))
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<u64>(), any::<u64>()).prop_map(|(index, value)| Step::Set(index, value)),
        3 => (length(), any::<u64>()).prop_map(|(len, fill)| Step::Resize(len, fill)),
        2 => Just(Step::Snapshot),
        1 => Just(Step::Drop),
        2 => Just(Step::Commit),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

/// All that a root leads to is what the model says.
fn compare(bench: &mut Bench, root: MetaBlock, model: &[u64]) {
    let mut found = Vec::new();
    bench
        .run(async |tm| numbers().for_each(tm, root, |index, value| found.push((index, value))).await)
        .unwrap();
    // A last block that was not full may stay, behind the end.
    found.retain(|&(index, _)| index < model.len() as u64);
    assert!(found.iter().map(|&(index, _)| index).eq(0..model.len() as u64));
    assert!(found.iter().map(|&(_, value)| value).eq(model.iter().copied()));
}

#[test]
fn an_array_is_what_a_vector_is() {
    for_all(60, steps(), |steps| {
        let mut bench = Bench::new(256);
        let mut array = numbers();
        let mut root = bench.run(async |tm| array.empty(tm).await).unwrap();
        let mut model: Vec<u64> = Vec::new();
        let mut snapshots: Vec<(MetaBlock, Vec<u64>)> = Vec::new();
        let roots = |root, snapshots: &[(MetaBlock, Vec<u64>)]| {
            let mut roots = vec![(root, Holds::Array)];
            roots.extend(snapshots.iter().map(|(root, _)| (*root, Holds::Array)));
            roots
        };
        for step in steps {
            match step {
                Step::Set(index, value) => {
                    let len = model.len() as u64;
                    let index = if len > 0 { index % len } else { 3000 };
                    let set = bench.run(async |tm| array.set(tm, root, index, value).await);
                    if len > 0 {
                        root = set.unwrap();
                        model[index as usize] = value;
                        let found = bench.run(async |tm| array.get(tm, root, index).await);
                        assert_eq!(found, Ok(value));
                    } else {
                        assert_eq!(set.unwrap_err().kind, PdErrorKind::NotFound);
                    }
                }
                Step::Resize(len, fill) => {
                    let old = model.len() as u64;
                    root = bench.run(async |tm| array.resize(tm, root, old, len, fill).await).unwrap();
                    model.resize(len as usize, fill);
                }
                Step::Snapshot => {
                    bench.run(async |tm| tm.inc(root).await).unwrap();
                    snapshots.push((root, model.clone()));
                }
                Step::Drop if !snapshots.is_empty() => {
                    let (root, _) = snapshots.remove(0);
                    bench.run(async |tm| array.delete(tm, root).await).unwrap();
                }
                Step::Drop => {}
                Step::Commit => bench.check(&roots(root, &snapshots)),
                Step::Reopen => {
                    bench.commit();
                    bench.reopen();
                    compare(&mut bench, root, &model);
                }
            }
        }
        bench.check(&roots(root, &snapshots));
        bench.reopen();
        compare(&mut bench, root, &model);
        for (root, model) in &snapshots {
            compare(&mut bench, *root, model);
        }
        for (root, _) in snapshots.into_iter().chain([(root, Vec::new())]) {
            bench.run(async |tm| array.delete(tm, root).await).unwrap();
        }
        bench.check(&[]);
    });
}

#[test]
fn a_large_array_has_a_tree_of_several_levels() {
    let mut bench = Bench::new(1000);
    let mut array = numbers();
    // More blocks than one node has room for.
    let len = 509 * 300 + 7;
    let mut root = bench.run(async |tm| array.empty(tm).await).unwrap();
    root = bench.run(async |tm| array.resize(tm, root, 0, len, 5).await).unwrap();
    bench.check(&[(root, Holds::Array)]);
    let snapshot = root;
    bench.run(async |tm| tm.inc(snapshot).await).unwrap();
    for index in [0, 508, 509, len / 2, len - 1] {
        root = bench.run(async |tm| array.set(tm, root, index, index).await).unwrap();
    }
    bench.check(&[(root, Holds::Array), (snapshot, Holds::Array)]);
    let mut changed = vec![5; len as usize];
    compare(&mut bench, snapshot, &changed);
    for index in [0, 508, 509, len / 2, len - 1] {
        changed[index as usize] = index;
    }
    compare(&mut bench, root, &changed);
    root = bench.run(async |tm| array.resize(tm, root, len, 600, 0).await).unwrap();
    compare(&mut bench, root, &changed[..600]);
    bench.check(&[(root, Holds::Array), (snapshot, Holds::Array)]);
    bench.run(async |tm| array.delete(tm, snapshot).await).unwrap();
    bench.check(&[(root, Holds::Array)]);
    bench.run(async |tm| array.delete(tm, root).await).unwrap();
    bench.check(&[]);
}

#[test]
fn a_snapshot_in_the_middle_of_a_transaction_keeps_what_it_had() {
    let mut bench = Bench::new(64);
    let mut array = numbers();
    let mut root = bench.run(async |tm| array.empty(tm).await).unwrap();
    root = bench.run(async |tm| array.resize(tm, root, 0, 10, 1).await).unwrap();
    let snapshot = root;
    bench.run(async |tm| tm.inc(snapshot).await).unwrap();
    root = bench.run(async |tm| array.set(tm, root, 3, 7).await).unwrap();
    assert_ne!(root, snapshot);
    compare(&mut bench, snapshot, &[1; 10]);
    compare(&mut bench, root, &[1, 1, 1, 7, 1, 1, 1, 1, 1, 1]);
    bench.check(&[(root, Holds::Array), (snapshot, Holds::Array)]);
}
