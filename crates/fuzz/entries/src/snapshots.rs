//! Persistent stores of snapshots with wrong bytes.

use dmlab::Lab;
use dmlab_control::{CreateOptions, DeviceId, LoadOptions, Query, SuspendOptions};
use dmlab_units::{DmName, Sector, Sectors};
use std::sync::OnceLock;

/// Sectors of the COW device: two whole areas of chunks of one sector, and part of a third.
const COW: u64 = 80;
/// Sectors of the origin.
const ORIGIN: u64 = 64;

fn create(lab: &Lab, name: &str, table: &str) -> bool {
    let name = DmName::new(name).expect("a valid name");
    let table = table.parse().expect("a valid table");
    lab.dm().create_with_table(&name, &CreateOptions::default(), &table, LoadOptions::default()).is_ok()
}

fn id(name: &str) -> DeviceId {
    DeviceId::from(&DmName::new(name).expect("a valid name"))
}

fn devices(lab: &Lab, store: &[u8]) {
    let mut disk = vec![0; (COW * 512) as usize];
    let len = store.len().min(disk.len());
    disk[..len].copy_from_slice(&store[..len]);
    lab.write("/dev/ram1", Sector(0), &disk).expect("a RAM disk takes writes");
    assert!(create(lab, "cow", &format!("0 {COW} linear /dev/ram1 0")), "no COW device");
}

fn snapshot(lab: &Lab, target: &str) -> bool {
    create(lab, "s", &format!("0 {ORIGIN} {target} /dev/ram0 /dev/mapper/cow P 1"))
}

/// Takes `bytes` for the beginning of a store: uses the snapshot on it, then merges what is left.
pub(crate) fn store(bytes: &[u8]) {
    let lab = Lab::new(1);
    devices(&lab, bytes);
    if snapshot(&lab, "snapshot") {
        use_both(&lab);
        lab.dm().remove(&id("o"), false).expect("nobody has it open");
        lab.dm().remove(&id("s"), false).expect("nobody has it open");
    }
    if snapshot(&lab, "snapshot-merge") {
        let _ = lab.write("/dev/mapper/s", Sector(3), &[4; 512]);
        lab.settle();
        let _ = lab.dm().status(&id("s"), Query::default());
        lab.dm().suspend(&id("s"), SuspendOptions::default()).expect("a merge can be stopped");
    }
    lab.dm().remove_all(false).expect("remove_all always succeeds");
    assert_eq!(lab.dm().list().expect("a sound machine lists its devices"), [], "devices are left behind");
}

fn use_both(lab: &Lab) {
    assert!(create(lab, "o", &format!("0 {ORIGIN} snapshot-origin /dev/ram0")), "no origin");
    for sector in [0, 5, 33, 63] {
        let _ = lab.read("/dev/mapper/s", Sector(sector), Sectors(1));
        let _ = lab.write("/dev/mapper/s", Sector(sector), &[2; 512]);
        let written = lab.write("/dev/mapper/o", Sector(sector ^ 1), &[3; 512]);
        assert!(written.is_ok(), "a store hurts the origin");
        lab.settle();
        let _ = lab.dm().status(&id("s"), Query::default());
    }
}

/// Stores with one area that is part full, one that is full, and none.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    let whole = SAMPLE.get_or_init(|| {
        let lab = Lab::new(1);
        devices(&lab, &[]);
        assert!(snapshot(&lab, "snapshot"), "no snapshot");
        lab.write("/dev/mapper/s", Sector(0), &[1; 40 * 512]).expect("it takes writes");
        lab.dm().remove(&id("s"), false).expect("nobody has it open");
        lab.read("/dev/ram1", Sector(0), Sectors(COW)).expect("a RAM disk can be read")
    });
    let part = |records: usize| whole[..512 + records * 16].to_vec();
    vec![whole[..36 * 512].to_vec(), part(32), part(5), part(1), Vec::new()]
}
