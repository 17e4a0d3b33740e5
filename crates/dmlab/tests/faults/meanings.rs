//! Faults aimed at what bytes mean, wherever they lie.

use std::collections::BTreeSet;

use dmlab::machine::faults::{Hit, Struck, meanings};
use dmlab::units::{Bytes, Errno, Sector, Sectors};
use dmlab::{Lab, OrErrno};

/// A pool of 64 KiB blocks over disks with volatile caches, each under a linear device, and one thin device.
fn pool(lab: &Lab) {
    lab.create("meta", "0 16384 linear /dev/vda 2048").unwrap();
    lab.create("data", "0 65536 linear /dev/vdb 0").unwrap();
    lab.create("pool", "0 65536 thin-pool /dev/mapper/meta /dev/mapper/data 128 0").unwrap();
    lab.message("pool", "create_thin 3").unwrap();
    lab.create("thin", "0 65536 thin /dev/mapper/pool 3").unwrap();
}

fn lab() -> Lab {
    Lab::builder(1).ram_disks(4, Bytes::mib(32)).disk(Bytes::mib(16)).disk(Bytes::mib(32)).boot().unwrap()
}

/// Device, op and index of each hit.
fn seen(hits: &[Hit]) -> Vec<String> {
    let told = |hit: &Hit| match &hit.struck {
        Struck::Bio { device, op, tag, .. } => format!("{device} {} {}", op.letters(), tag.index),
        _ => String::new(),
    };
    hits.iter().map(told).collect()
}

#[test]
fn a_meaning_goes_down_the_stack() {
    let lab = lab();
    pool(&lab);
    lab.faults().meaning("superblock").writes().watch().add().unwrap();
    lab.write("/dev/mapper/thin", Sector(0), &[7; 512]).unwrap();
    lab.flush("/dev/mapper/thin").unwrap();
    // The metadata's linear device and the disk below it, 2048 sectors further.
    let hits = lab.faults().hits();
    assert_eq!(seen(&hits), ["dm-0 W 0", "vda W 0"]);
    assert!(matches!(hits[1].struck, Struck::Bio { sector: Sector(2048), .. }));
}

#[test]
fn one_thin_device_fails_and_the_other_does_not() {
    let lab = lab();
    pool(&lab);
    lab.message("pool", "create_thin 4").unwrap();
    lab.create("other", "0 65536 thin /dev/mapper/pool 4").unwrap();
    lab.faults().meaning("data").owner(3).index(2).fail(Errno::ENODATA).add().unwrap();
    let write = |name: &str, block: u64| lab.write(name, Sector(128 * block), &vec![7; 65536]).or_errno();
    assert_eq!(write("/dev/mapper/thin", 1), Ok(()));
    assert!(write("/dev/mapper/thin", 2).is_err());
    assert_eq!(write("/dev/mapper/other", 2), Ok(()));
    // Mapped by now or not, reads and writes of mapped blocks are seen on the fast path as well.
    assert_eq!(lab.read("/dev/mapper/other", Sector(256), Sectors(8)).unwrap(), [7; 4096]);
    lab.faults().meaning("data").owner(4).reads().fail(Errno::ENODATA).add().unwrap();
    assert_eq!(lab.read("/dev/mapper/other", Sector(256), Sectors(8)).or_errno(), Err(Errno::ENODATA));
    assert_eq!(lab.read("/dev/mapper/thin", Sector(128), Sectors(8)).unwrap(), [7; 4096]);
}

#[test]
fn a_torn_node_is_found_out_by_who_reads_it() {
    let lab = lab();
    pool(&lab);
    // On the disk itself: no layer above hears of it. A node's keys stand in its first half, its values in the second.
    lab.faults().on("/dev/vda").meaning("btree_node").writes().torn(1).add().unwrap();
    lab.write("/dev/mapper/thin", Sector(0), &[7; 512]).unwrap();
    lab.flush("/dev/mapper/thin").unwrap();
    assert!(lab.faults().hits().iter().all(|hit| hit.to_string().ends_with("torn after 1 sector")));
    lab.faults().clear();
    lab.remove("thin").unwrap();
    lab.remove("pool").unwrap();
    // What is read at once, or at the first look at the thin device.
    let reopened = lab
        .create("pool", "0 65536 thin-pool /dev/mapper/meta /dev/mapper/data 128 0")
        .and_then(|_| lab.create("thin", "0 65536 thin /dev/mapper/pool 3"));
    assert!(reopened.is_err());
    let text = "device-mapper: block manager: btree_node validator check failed for block";
    assert!(lab.klog().iter().any(|line| line.starts_with(text)), "{:#?}", lab.klog());
}

#[test]
fn a_node_that_cannot_be_written_stops_the_pool() {
    let lab = lab();
    pool(&lab);
    lab.faults().meaning("btree_node").writes().fail(Errno::EIO).once().add().unwrap();
    lab.write("/dev/mapper/thin", Sector(0), &[7; 512]).unwrap();
    assert!(lab.flush("/dev/mapper/thin").is_err());
    assert!(lab.status("pool").unwrap().contains(" ro "), "{}", lab.status("pool").unwrap());
    assert!(
        lab.klog().iter().any(|line| line.contains("switching pool to read-only mode")),
        "{:#?}",
        lab.klog()
    );
}

/// Each meaning that there is, by something that has it.
#[test]
fn every_meaning_is_somebodys() {
    let lab = lab();
    lab.faults().anywhere().watch().add().unwrap();

    pool(&lab);
    lab.write("/dev/mapper/thin", Sector(0), &[7; 512]).unwrap();
    for snapshot in 4..8 {
        lab.message("pool", &format!("create_snap {snapshot} 3")).unwrap();
    }
    lab.write("/dev/mapper/thin", Sector(0), &[8; 512]).unwrap();
    lab.write("/dev/mapper/thin", Sector(128), &[8; 65536]).unwrap();
    lab.discard("/dev/mapper/thin", Sector(128), Sectors(128)).unwrap();
    lab.flush("/dev/mapper/thin").unwrap();
    lab.remove("thin").unwrap();
    lab.remove("pool").unwrap();

    lab.create("origin", "0 2048 snapshot-origin /dev/ram0").unwrap();
    lab.create("snap", "0 2048 snapshot /dev/ram0 /dev/ram1 P 8").unwrap();
    lab.write("/dev/mapper/origin", Sector(8), &[7; 512]).unwrap();
    lab.remove("snap").unwrap();
    lab.remove("origin").unwrap();
    lab.create("merging", "0 2048 snapshot-merge /dev/ram0 /dev/ram1 P 8").unwrap();
    lab.advance(std::time::Duration::from_secs(1));
    lab.remove("merging").unwrap();

    lab.create("mirror", "0 2048 mirror disk 2 /dev/ram3 1024 2 /dev/ram0 0 /dev/ram1 0").unwrap();
    lab.advance(std::time::Duration::from_secs(5));
    lab.remove("mirror").unwrap();

    lab.create("logged", "0 2048 log-writes /dev/ram0 /dev/ram2").unwrap();
    lab.write("/dev/mapper/logged", Sector(0), &[7; 512]).unwrap();
    lab.message("logged", "mark here").unwrap();
    lab.remove("logged").unwrap();

    let whats: BTreeSet<&str> = lab
        .faults()
        .hits()
        .iter()
        .filter_map(|hit| match hit.struck {
            Struck::Bio { tag, .. } => Some(tag.what),
            _ => None,
        })
        .filter(|what| !what.is_empty())
        .collect();
    // One that has parts is said by them.
    let is_whole = |name: &str| meanings().iter().any(|part| part.within == name);
    let known: BTreeSet<&str> =
        meanings().iter().map(|meaning| meaning.name).filter(|name| !is_whole(name)).collect();
    assert_eq!(whats, known);
}

/// What a test does to have every meaning of some target read and written; that some of it fails is what it is for.
type Everything = fn(&Lab);

fn all_of_thin(lab: &Lab) {
    const POOL: &str = "0 65536 thin-pool /dev/ram0 /dev/ram1 128 0";
    let _ = lab.create("pool", POOL);
    let _ = lab.message("pool", "create_thin 3");
    let _ = lab.create("thin", "0 65536 thin /dev/mapper/pool 3");
    let _ = lab.write("/dev/mapper/thin", Sector(0), &[7; 512]);
    // Shared by five, which is a count that no bitmap holds.
    for snapshot in 4..8 {
        let _ = lab.message("pool", &format!("create_snap {snapshot} 3"));
        let _ = lab.write("/dev/mapper/thin", Sector(128 * snapshot), &[7; 512]);
    }
    let _ = lab.flush("/dev/mapper/thin");
    let _ = lab.remove("thin");
    let _ = lab.remove("pool");
    let _ = lab.create("pool", POOL);
    let _ = lab.create("thin", "0 65536 thin /dev/mapper/pool 3");
    let _ = lab.read("/dev/mapper/thin", Sector(0), Sectors(8));
    let _ = lab.write("/dev/mapper/thin", Sector(0), &[8; 512]);
    let _ = lab.flush("/dev/mapper/thin");
}

fn all_of_snapshot(lab: &Lab) {
    let _ = lab.create("origin", "0 2048 snapshot-origin /dev/ram2");
    for _ in 0..2 {
        let _ = lab.create("snap", "0 2048 snapshot /dev/ram2 /dev/ram0 P 8");
        let _ = lab.write("/dev/mapper/snap", Sector(0), &[7; 4096]);
        let _ = lab.write("/dev/mapper/origin", Sector(8), &[7; 512]);
        let _ = lab.read("/dev/mapper/snap", Sector(0), Sectors(8));
        let _ = lab.remove("snap");
    }
}

fn all_of_mirror(lab: &Lab) {
    let _ = lab.create("mirror", "0 2048 mirror disk 2 /dev/ram0 1024 2 /dev/ram1 0 /dev/ram2 0");
    lab.advance(std::time::Duration::from_secs(5));
}

fn all_of_log_writes(lab: &Lab) {
    let _ = lab.create("logged", "0 2048 log-writes /dev/ram1 /dev/ram0");
    let _ = lab.write("/dev/mapper/logged", Sector(0), &[7; 512]);
    let _ = lab.message("logged", "mark here");
    let _ = lab.remove("logged");
}

/// A rule that aims at one meaning strikes one such bio, on the right device, reads and writes each.
#[test]
fn each_meaning_is_aimed_at_where_it_is_read_and_where_it_is_written() {
    let thin: Everything = all_of_thin;
    let metadata = ["superblock", "index", "sm_bitmap", "mapping_top_node", "mapping_tree_node"]
        .into_iter()
        .chain(["details_tree_node", "index_tree_node", "count_tree_node", "btree_node"]);
    let mut cases: Vec<(Everything, &str, &str, &str)> = Vec::new();
    cases.extend(metadata.flat_map(|what| ["R", "W"].map(|op| (thin, what, op, "ram0"))));
    cases.extend(["R", "W"].map(|op| (thin, "data", op, "ram1")));
    for what in ["exception-header", "exception-area", "exception"] {
        cases.extend(["R", "W"].map(|op| (all_of_snapshot as Everything, what, op, "ram0")));
    }
    cases.extend(["R", "W"].map(|op| (all_of_mirror as Everything, "mirror-log", op, "ram0")));
    for what in ["log-super", "log-entry", "log-data"] {
        cases.push((all_of_log_writes, what, "W", "ram0"));
    }
    for (everything, what, op, disk) in cases {
        let lab = lab();
        let aimed = lab.faults().on(&format!("/dev/{disk}")).meaning(what);
        let aimed = if op == "R" { aimed.reads() } else { aimed.writes() };
        aimed.fail(Errno::EIO).once().add().unwrap();
        everything(&lab);
        let hits = lab.faults().hits();
        let [Hit { struck: Struck::Bio { device, op: struck, tag, .. }, .. }] = &hits[..] else {
            panic!("{what} {op}: {hits:?}");
        };
        assert_eq!(device, disk, "{what} {op}");
        assert!(struck.letters().starts_with(op), "{what} {op}: {}", struck.letters());
        let is_part = meanings().iter().any(|part| part.name == tag.what && part.within == what);
        assert!(tag.what == what || is_part, "{what} {op} is {}", tag.what);
    }
}

/// The trees are the ones that the superblock says they are.
#[test]
fn nodes_of_trees_are_told_apart() {
    let lab = lab();
    let all = ["mapping_top_node", "mapping_tree_node", "details_tree_node", "index_tree_node"];
    for what in all {
        lab.faults().on("/dev/ram0").meaning(what).watch().named(what).add().unwrap();
    }
    all_of_thin(&lab);
    lab.remove("thin").unwrap();
    lab.remove("pool").unwrap();
    let superblock = lab.read("/dev/ram0", Sector(0), Sectors(8)).unwrap();
    let number = |at: usize| {
        let bytes = superblock[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let last = |what: &str| {
        let hits = lab.faults().hits();
        let last = hits.iter().rev().find(|hit| hit.label == what).expect("it was written");
        match last.struck {
            Struck::Bio { tag, .. } => tag.index,
            _ => 0,
        }
    };
    assert_eq!((last("mapping_top_node"), last("details_tree_node")), (number(320), number(328)));
    // The root of thin device 3's own tree is the first value of the top level's leaf, behind room for 252 keys.
    let top = lab.read("/dev/ram0", Sector(8 * number(320)), Sectors(8)).unwrap();
    let root = u64::from_le_bytes(top[32 + 8 * 252..][..8].try_into().expect("eight bytes"));
    assert_eq!(last("mapping_tree_node"), root);
    // A block may serve one tree after the other, but none of these did.
    let nodes = |what: &str| -> BTreeSet<u64> {
        let hits = lab.faults().hits();
        let of = |hit: &Hit| match hit.struck {
            Struck::Bio { tag, .. } if hit.label == what => Some(tag.index),
            _ => None,
        };
        hits.iter().filter_map(of).collect()
    };
    assert!(all.iter().all(|what| !nodes(what).is_empty()));
    assert!(!nodes("details_tree_node").contains(&root) && !nodes("mapping_top_node").contains(&root));
}
