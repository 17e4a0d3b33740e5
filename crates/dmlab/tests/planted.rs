//! Mistakes planted in thin pools, mirrors and snapshots are found, and without them nothing is.
//!
//! Within a second: each in fewer states than one core examines in that time (`cargo bench -p dmlab-benches --bench
//! crash`). Counted in states, so that a busy machine fails no test.

use std::sync::atomic::{AtomicUsize, Ordering};

use dmlab::crash::{
    Crash, CrashRun, Explore, Failure, MirrorLog, Moment, Outcome, RecordedLab, Report, Shard, SnapshotStore,
    StateId, ThinCheck,
};
use dmlab::machine::planted::PLANTED;
use dmlab::units::{DevT, SECTOR_SIZE, Sector, Sectors};
use dmlab::{Error, Lab};

/// States of a second.
const SECOND: u64 = 5_000;
const BLOCK: u64 = 128;
const PIECE: usize = 4096;

fn record(
    sizes: &[Sectors],
    fault: Option<&'static str>,
    workload: impl FnOnce(&RecordedLab) -> Outcome,
) -> CrashRun {
    let run = Crash::record(1, sizes, |lab| {
        if let Some(fault) = fault {
            let (_, planted) = PLANTED.iter().find(|(name, _)| *name == fault).expect("it can be planted");
            lab.machine().runtime().plant(planted);
        }
        workload(lab)
    });
    run.expect("the mistakes show only when the power goes")
}

fn sync(lab: &Lab, path: &str) -> Outcome {
    Ok(lab.open(path)?.sync()?)
}

fn open_pool(lab: &Lab) -> Result<DevT, Error> {
    lab.create("pool", format!("0 32768 thin-pool /dev/ram0 /dev/ram1 {BLOCK} 0"))
}

fn open_thin(lab: &Lab) -> Result<DevT, Error> {
    lab.create("thin", format!("0 {} thin /dev/mapper/pool 0", 8 * BLOCK))
}

/// A block that was synced, then shared with a snapshot, then written to in part.
fn pool_run(fault: Option<&'static str>) -> CrashRun {
    let old = vec![1; (BLOCK * SECTOR_SIZE) as usize];
    record(&[Sectors(1024), Sectors(32768)], fault, |lab| {
        open_pool(lab)?;
        lab.message("pool", "create_thin 0")?;
        open_thin(lab)?;
        for block in 0..8 {
            lab.write("/dev/mapper/thin", Sector(block * BLOCK), &old)?;
        }
        sync(lab, "/dev/mapper/thin")?;
        lab.begin();
        for snapshot in 1..4 {
            lab.suspend("thin")?;
            lab.message("pool", &format!("create_snap {snapshot} 0"))?;
            lab.resume("thin")?;
            for block in [3, 5] {
                lab.write("/dev/mapper/thin", Sector(block * BLOCK), &[2; PIECE])?;
            }
            sync(lab, "/dev/mapper/thin")?;
        }
        Ok(())
    })
}

fn explore_pool(run: &CrashRun) -> Explore<'_> {
    run.explore().limit(32).enough(1).judge(ThinCheck::on(0))
}

fn blocks_are_there(lab: &Lab, _: &Moment<'_>) -> Outcome {
    open_pool(lab)?;
    open_thin(lab)?;
    for block in 0..8 {
        let bytes = lab.read("/dev/mapper/thin", Sector(block * BLOCK), Sectors(BLOCK))?;
        if bytes[PIECE..].iter().any(|&byte| byte != 1) {
            return Err(format!("block {block} lost what was synced before the snapshots").into());
        }
    }
    Ok(())
}

fn pool(fault: Option<&'static str>) -> Report {
    explore_pool(&pool_run(fault)).check(blocks_are_there)
}

fn mirror(fault: Option<&'static str>) -> Report {
    let len = Sectors(64);
    let run = record(&[len, len, Sectors(8)], fault, |lab| {
        lab.create("mirror", format!("0 {len} mirror disk 2 1:2 16 2 1:0 0 1:1 0"))?;
        lab.settle();
        lab.begin();
        for piece in [0, 3, 5, 3] {
            lab.write("/dev/mapper/mirror", Sector(piece * 8), &[piece as u8 + 1; PIECE])?;
            lab.settle();
        }
        sync(lab, "/dev/mapper/mirror")
    });
    run.explore().limit(32).enough(1).judge(MirrorLog::new(2, [0, 1], Sectors(16), len)).run()
}

fn snapshot(fault: Option<&'static str>) -> Report {
    let len = Sectors(128);
    let open = |lab: &Lab| -> Outcome {
        lab.create("snap", format!("0 {len} snapshot 1:0 1:1 P 8"))?;
        lab.create("origin", format!("0 {len} snapshot-origin 1:0"))?;
        Ok(())
    };
    let old = vec![1; (len.0 * SECTOR_SIZE) as usize];
    let run = record(&[len, Sectors(512)], fault, |lab| {
        lab.write("/dev/ram0", Sector(0), &old)?;
        sync(lab, "/dev/ram0")?;
        open(lab)?;
        lab.begin();
        for piece in [0, 7, 3] {
            lab.write("/dev/mapper/origin", Sector(piece * 8), &[2; PIECE])?;
        }
        sync(lab, "/dev/mapper/origin")
    });
    run.explore().limit(32).enough(1).judge(SnapshotStore::on(1, len)).check(|lab, _| {
        open(lab)?;
        match lab.read("/dev/mapper/snap", Sector(0), len)?.iter().position(|&byte| byte != 1) {
            Some(at) => Err(format!("the snapshot shows something else in sector {}", at / 512).into()),
            None => Ok(()),
        }
    })
}

#[test]
fn nothing_is_reported_where_nothing_is_planted() {
    for report in [pool(None), mirror(None), snapshot(None)] {
        report.assert_clean();
        assert_eq!(report.states_examined, report.states);
        assert!(report.states > 20, "{report}");
    }
}

#[track_caller]
fn is_found(report: &Report, by: &str, says: &str) {
    let failure = report.failures.first().expect("it is found");
    assert!(report.states_examined <= SECOND, "only after {} states", report.states_examined);
    assert_eq!(failure.judge, by, "{report}");
    assert!(failure.error.contains(says), "{report}");
}

#[test]
fn a_superblock_before_the_data() {
    let report = pool(Some("superblock before data"));
    is_found(&report, "check", "lost what was synced");
    // What makes the difference: the copy is not there, and the superblock is.
    let text = report.to_string();
    assert!(text.contains("on disk 1"), "{text}");
}

#[test]
fn a_superblock_without_a_flush_before_it() {
    is_found(&pool(Some("superblock unflushed")), "thin check", "");
}

#[test]
fn a_space_map_root_that_is_missing() {
    is_found(&pool(Some("space map root missing")), "thin check", "");
}

#[test]
fn a_freed_block_that_is_used_again_at_once() {
    is_found(&pool(Some("freed block reused")), "thin check", "");
}

#[test]
fn a_mirror_log_after_the_data() {
    is_found(&mirror(Some("log after data")), "mirror log", "legs 0 and 1 differ");
}

#[test]
fn an_exception_before_its_copy() {
    is_found(&snapshot(Some("exception before copy")), "check", "the snapshot shows something else");
}

/// A failure's smallest case.
fn smallest(failure: &Failure) -> StateId {
    failure.smallest.parse().expect("a state")
}

#[test]
fn the_earliest_case_is_found_from_the_latest_one() {
    for fault in ["superblock before data", "superblock unflushed", "freed block reused"] {
        let run = pool_run(Some(fault));
        let all = explore_pool(&run).enough(usize::MAX).patience(0).check(blocks_are_there);
        let (first, last) = (&all.failures[0], &all.failures[all.failures.len() - 1]);
        let only = |state: &str| explore_pool(&run).only(state).expect("a state of the run");
        let found = |state: &str, patience| {
            let report = only(state).patience(patience).check(blocks_are_there);
            report.failures.into_iter().next().expect("it breaks again")
        };
        // What the earliest case of this very damage is, is known from having looked at everything.
        let same = all.failures.iter().find(|failure| {
            let no_numbers = |error: &str| {
                let first = error.split(';').next().unwrap_or_default();
                first.replace(|c: char| c.is_ascii_digit(), "")
            };
            no_numbers(&failure.error) == no_numbers(&last.error)
        });
        let known: StateId = same.expect("the last one is like itself").state.parse().expect("a state");
        let late: StateId = last.state.parse().expect("a state");
        assert!(known.boundary < late.boundary, "{fault:?}: {known} and {late} lie apart");
        let case = found(&last.state, 10_000);
        assert!(smallest(&case).boundary <= known.boundary, "{fault:?}: not {known} but\n{case}");
        assert!(!case.is_cut_short, "{case}");
        assert!(case.to_string().contains("the same damage as early as after"), "{case}");
        // It breaks in the same way, and from it nothing earlier is found.
        let again = found(&case.smallest, 10_000);
        assert_eq!((&again.judge, &again.smallest), (&case.judge, &case.smallest));
        // Few writes matter: those that the mistake leaves behind.
        assert!(case.writes.len() <= 2 && !case.to_string().contains("torn"), "{fault:?}: {case}");
        // All of them come down to few cases, one of each damage.
        let whole = explore_pool(&run).enough(64).check(blocks_are_there);
        let mut cases: Vec<&str> = whole.failures.iter().map(|failure| &*failure.smallest).collect();
        cases.sort_unstable();
        cases.dedup();
        assert!(cases.len() <= 8, "{fault:?}: {cases:?}\n{whole}");
        assert_eq!(whole.failures[0].state, first.state);
    }
}

#[test]
fn patience_bounds_what_is_looked_at() {
    let run = pool_run(Some("superblock before data"));
    let all = explore_pool(&run).enough(usize::MAX).patience(0).check(blocks_are_there);
    let last = &all.failures[all.failures.len() - 1];
    for patience in [0, 1, 7, 40] {
        let looks = AtomicUsize::new(0);
        let only = explore_pool(&run).only(&last.state).expect("a state of the run").patience(patience);
        let report = only.check_disks(|_| {
            looks.fetch_add(1, Ordering::Relaxed);
            Err("always".into())
        });
        assert!(looks.load(Ordering::Relaxed) <= 1 + patience, "{patience}");
        let case = &report.failures[0];
        // Whatever is broken everywhere is broken at the beginning.
        if patience > 8 {
            assert_eq!(smallest(case).boundary, run.begin(), "{report}");
            assert!(case.writes.is_empty() && !case.is_cut_short, "{report}");
        }
    }
}

#[test]
fn a_report_does_not_depend_on_cores_and_shards_are_parts_of_it() {
    let on = |threads| {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        threads.install(|| pool(Some("superblock unflushed")))
    };
    assert_eq!(on(1), on(3));

    let run = record(&[Sectors(64)], None, |lab| {
        for piece in 0..8 {
            lab.write("/dev/ram0", Sector(piece * 8), &[1; PIECE])?;
        }
        Ok(())
    });
    // Broken wherever the first piece is not there but another is.
    let explore = || run.explore().limit(64).enough(usize::MAX).patience(0);
    let check = |lab: &Lab, _: &Moment<'_>| -> Outcome {
        let bytes = lab.read("/dev/ram0", Sector(0), Sectors(64))?;
        if !bytes[..PIECE].contains(&1) && bytes.contains(&1) {
            Err("the first piece is missing".into())
        } else {
            Ok(())
        }
    };
    let whole = explore().check(check);
    assert!(whole.failures.len() > 50 && whole.states_examined == whole.states);
    let shard = |index| explore().shard(Shard { index, count: 3 }).check(check);
    let joined = Report::merge([3, 1, 2].map(shard)).expect("three shards of one recording");
    assert!(joined.missing().is_empty());
    assert_eq!(joined.states_examined, whole.states);
    let names = |report: &Report| {
        let mut names: Vec<String> = report.failures.iter().map(|failure| failure.state.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&joined), names(&whole));
    let some = explore().max_states(20).check(check);
    assert_eq!((some.states, some.states_examined), (20, 20));
    assert!(names(&some).iter().all(|name| names(&whole).contains(name)));
    // The smallest case: the first piece is lost, whatever else is there.
    let smallest = run.explore().limit(64).enough(1).check(check);
    let writes: Vec<&str> = smallest.failures[0].writes.iter().map(String::as_str).collect();
    assert_eq!(writes, ["lost: write on disk 0, sector 0+8"], "{smallest}");
}

#[test]
fn a_failing_state_is_replayed_from_its_name() {
    let again = || snapshot(Some("exception before copy"));
    assert_eq!(again(), again(), "the same seed, the same report");
    let len = Sectors(128);
    let recorded = record(&[len], None, |lab| {
        lab.mark("here");
        lab.write("/dev/ram0", Sector(0), &vec![9; (len.0 * SECTOR_SIZE) as usize])?;
        sync(lab, "/dev/ram0")
    });
    let state = recorded.replay("2.none").expect("it has two events and more");
    assert_eq!(state.read("/dev/ram0", Sector(0), Sectors(1)).expect("a disk"), [0; 512]);
    let state = recorded.replay("2.all").expect("it has two events and more");
    assert_eq!(state.read("/dev/ram0", Sector(0), Sectors(1)).expect("a disk"), [9; 512]);
    for wrong in ["2", "x.all", "999.all"] {
        assert!(recorded.replay(wrong).is_err(), "{wrong}");
    }
}
