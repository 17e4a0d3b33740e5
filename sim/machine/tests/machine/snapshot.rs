//! Snapshots against a plain model, and their store on disk.

use crate::kit;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, Op, SyncIo, submit};
use dmlab_units::{DevT, Errno, Sector, Sectors};
use kit::Kit;
use proptest::prelude::*;

const SECTOR: usize = 512;
const SIZE: u64 = 128;

fn write(kit: &Kit, dev: DevT, sector: u64, len: u64, byte: u8) -> bool {
    let dev = kit.machine.registry().get(dev).unwrap();
    SyncIo::default().submit(&dev, Bio::write(Sector(sector), &vec![byte; len as usize * SECTOR])).is_ok()
}

fn read(kit: &Kit, dev: DevT, sector: u64, len: u64) -> Vec<u8> {
    let dev = kit.machine.registry().get(dev).unwrap();
    let mut buf = vec![0xee; len as usize * SECTOR];
    SyncIo::default().read(&dev, Sector(sector), &mut buf, |bio| bio).unwrap();
    buf
}

#[derive(Clone, Debug)]
enum Step {
    WriteOrigin(u64, u64, u8),
    WriteSnapshot(usize, u64, u64, u8),
    Reload(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..SIZE, 1..24u64, 1..255u8);
    prop_oneof![
        3 => place().prop_map(|(at, len, byte)| Step::WriteOrigin(at, len.min(SIZE - at), byte)),
        3 => (0..2usize, place()).prop_map(|(i, (at, len, byte))| Step::WriteSnapshot(i, at, len.min(SIZE - at), byte)),
        1 => (0..2usize).prop_map(Step::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Two snapshots, of different chunk sizes and stores, keep what the origin held when they were taken; their own
    /// writes stay theirs; the persistent one survives being torn down and set up again.
    #[test]
    fn origin_and_snapshots_keep_apart(steps in prop::collection::vec(step(), 1..40)) {
        let kit = Kit::new();
        let base = DevT::new(1, 0);
        write(&kit, base, 0, SIZE, 1);
        let origin = kit.create("origin", &format!("0 {SIZE} snapshot-origin 1:0"));
        let tables = [format!("0 {SIZE} snapshot 1:0 1:1 P 8"), format!("0 {SIZE} snapshot 1:0 1:2 N 4")];
        let mut snapshots = [kit.create("s0", &tables[0]), kit.create("s1", &tables[1])];
        // The origin samples its snapshots' chunks when it is resumed.
        kit.ask(Command::DevSuspend, "origin", DmFlags::SUSPEND).unwrap();
        kit.resume("origin").unwrap();
        let mut model = [vec![1u8; SIZE as usize], vec![1; SIZE as usize], vec![1; SIZE as usize]];
        for step in steps {
            match step {
                Step::WriteOrigin(at, len, byte) => {
                    prop_assert!(write(&kit, origin, at, len, byte));
                    model[0][at as usize..(at + len) as usize].fill(byte);
                }
                Step::WriteSnapshot(i, at, len, byte) => {
                    prop_assert!(write(&kit, snapshots[i], at, len, byte));
                    model[i + 1][at as usize..(at + len) as usize].fill(byte);
                }
                Step::Reload(0) => {
                    kit.ask(Command::DevRemove, "s0", DmFlags::empty()).unwrap();
                    snapshots[0] = kit.create("s0", &tables[0]);
                }
                // A reload under the running snapshot hands its exceptions over.
                Step::Reload(i) => {
                    let name = format!("s{i}");
                    kit.load(&name, &tables[i]).unwrap();
                    kit.resume(&name).unwrap();
                }
            }
            for (dev, model) in [origin, snapshots[0], snapshots[1]].into_iter().zip(&model) {
                let got: Vec<u8> = read(&kit, dev, 0, SIZE).chunks(SECTOR).map(|sector| sector[0]).collect();
                prop_assert_eq!(&got, model);
            }
        }
    }
}

#[test]
fn the_store_on_disk_is_as_recorded() {
    let kit = Kit::new();
    let origin = kit.create("origin", "0 1024 snapshot-origin 1:0");
    let snapshot = kit.create("s", "0 1024 snapshot 1:0 1:1 P 8");
    assert_eq!(kit.status("s", DmFlags::empty()), "0 1024 snapshot 16/32768 16");
    kit.ask(Command::DevSuspend, "origin", DmFlags::SUSPEND).unwrap();
    kit.resume("origin").unwrap();
    write(&kit, origin, 5 * 8, 1, 1);
    write(&kit, snapshot, 9 * 8, 1, 2);
    write(&kit, snapshot, 20 * 8, 8, 3);
    assert_eq!(kit.status("s", DmFlags::empty()), "0 1024 snapshot 40/32768 16");
    let cow = DevT::new(1, 1);
    let header = read(&kit, cow, 0, 1);
    assert_eq!(header[..16], [0x53, 0x6e, 0x41, 0x70, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0]);
    let area = read(&kit, cow, 8, 1);
    let words: Vec<u64> =
        area.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).take(8).collect();
    assert_eq!(words, [5, 2, 9, 3, 0x14, 4, 0, 0]);
}

#[test]
fn a_full_store_invalidates_or_shows_overflow() {
    let kit = Kit::new();
    for (name, cow, store) in [("p", 1, "P"), ("po", 2, "PO"), ("n", 3, "N")] {
        kit.create(&format!("{name}-cow"), &format!("0 64 linear 1:{cow} 0"));
        let table = format!(
            "0 1024 snapshot 1:0 {} {store} 8",
            kit.ask(Command::DevStatus, &format!("{name}-cow"), DmFlags::empty()).unwrap().dev().unwrap()
        );
        let dev = kit.create(name, &table);
        let room = if store == "N" { 8 } else { 6 };
        for chunk in 0..room {
            assert!(write(&kit, dev, chunk * 8, 1, 7), "{name} {chunk}");
        }
        assert!(!write(&kit, dev, 900, 1, 7), "{name}");
    }
    assert_eq!(kit.status("p", DmFlags::empty()), "0 1024 snapshot Invalid");
    assert_eq!(kit.status("po", DmFlags::empty()), "0 1024 snapshot Overflow");
    assert_eq!(kit.status("n", DmFlags::empty()), "0 1024 snapshot Invalid");
    assert_eq!(
        read(&kit, DevT::new(1, 1), 0, 1)[..16],
        [0x53, 0x6e, 0x41, 0x70, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0]
    );
    assert_eq!(
        kit.log(),
        [
            "device-mapper: snapshots: Invalidating snapshot: Unable to allocate exception.",
            "device-mapper: snapshots: Snapshot overflowed: Unable to allocate exception.",
            "device-mapper: snapshots: Invalidating snapshot: Unable to allocate exception.",
        ]
    );
}

/// Sectors that the store of `s` has allocated.
fn allocated(kit: &Kit) -> u64 {
    let status = kit.status("s", DmFlags::empty());
    status.split([' ', '/']).nth(3).and_then(|word| word.parse().ok()).unwrap()
}

#[test]
fn copies_beyond_the_threshold_wait() {
    let kit = Kit::new();
    let base = kit.create("base", "0 20000 linear 1:0 0");
    let dev = kit.create("s", &format!("0 20000 snapshot {base} 1:1 P 8"));
    // Nothing is copied while the origin stands still.
    kit.ask(Command::DevSuspend, "base", DmFlags::SUSPEND).unwrap();
    let device = kit.machine.registry().get(dev).unwrap();
    let left = Arc::new(AtomicU64::new(2100));
    for chunk in 0..2100 {
        let left = left.clone();
        let bio = Bio::write_owned(Sector(chunk * 8), vec![1; SECTOR].into());
        submit(
            bio.on_end(move |status, _| assert!(status.is_ok() && left.fetch_sub(1, Relaxed) > 0))
                .to(&device),
        );
    }
    kit.machine.runtime().run_until_idle();
    // 2048 chunks of data, 9 of areas (the ninth when the eighth is full), one header.
    assert_eq!((allocated(&kit), left.load(Relaxed)), ((2048 + 9 + 1) * 8, 2100));
    kit.resume("base").unwrap();
    kit.machine.runtime().run_until_idle();
    assert_eq!((allocated(&kit), left.load(Relaxed)), ((2100 + 9 + 1) * 8, 0));
}

#[test]
fn copies_that_end_after_the_store_became_invalid_fill_more_than_one_area() {
    let kit = Kit::new();
    let origin = kit.create("origin", "0 1024 snapshot-origin 1:0");
    let cow = kit.create("cow", "0 64 delay 1:1 0 0 1:1 0 100");
    // Chunks of a sector: 32 records in an area, and room for 61 in all.
    kit.create("s", &format!("0 1024 snapshot 1:0 {cow} P 1"));
    kit.ask(Command::DevSuspend, "origin", DmFlags::SUSPEND).unwrap();
    kit.resume("origin").unwrap();
    let device = kit.machine.registry().get(origin).unwrap();
    let left = Arc::new(AtomicU64::new(1));
    let ended = left.clone();
    // The last of its pieces find the store full while the copies for the first are under way.
    let bio = Bio::write_owned(Sector(0), vec![1; 70 * SECTOR].into());
    submit(
        bio.on_end(move |status, _| assert!(status.is_ok() && ended.fetch_sub(1, Relaxed) > 0)).to(&device),
    );
    let runtime = kit.machine.runtime();
    runtime.block_on(runtime.sleep(Duration::from_secs(2))).unwrap();
    assert_eq!(left.load(Relaxed), 0);
    assert_eq!(kit.status("s", DmFlags::empty()), "0 1024 snapshot Invalid");
    assert_eq!(read(&kit, DevT::new(1, 1), 0, 1)[..8], [0x53, 0x6e, 0x41, 0x70, 0, 0, 0, 0]);
    // No record was written for what came too late.
    assert!(read(&kit, DevT::new(1, 1), 1, 1).iter().all(|&byte| byte == 0));
}

/// Puts a store on disk whose chunks have 8 sectors.
fn write_store(kit: &Kit, cow: DevT, valid: u32, records: &[[u64; 2]]) {
    let mut bytes = vec![0; 16 * SECTOR];
    for (at, word) in [0x7041_6e53, valid, 1, 8].into_iter().enumerate() {
        bytes[4 * at..4 * at + 4].copy_from_slice(&word.to_le_bytes());
    }
    let words = records.as_flattened().iter().enumerate();
    words.for_each(|(at, word)| bytes[8 * SECTOR + 8 * at..][..8].copy_from_slice(&word.to_le_bytes()));
    let dev = kit.machine.registry().get(cow).unwrap();
    SyncIo::default().submit(&dev, Bio::write(Sector(0), &bytes)).unwrap();
}

#[test]
fn a_store_whose_chunks_have_no_sector_numbers_is_refused() {
    for new in [u64::MAX, 1 << 63, u64::MAX / 8, u64::MAX / 8 - 2] {
        let kit = Kit::new();
        let cow = DevT::new(1, 1);
        write_store(&kit, cow, 1, &[[5, 2], [6, new]]);
        let before = read(&kit, cow, 0, 16);
        kit.ask(Command::DevCreate, "s", DmFlags::empty()).unwrap();
        let loaded = kit.load("s", "0 1024 snapshot 1:0 1:1 P 8");
        assert_eq!(loaded.map(|_| ()), Err(Errno::ENXIO), "{new:#x}");
        assert_eq!(read(&kit, cow, 0, 16), before);
        let log = kit.log();
        assert_eq!(log[0], "device-mapper: persistent snapshot: Invalid or corrupt snapshot");
        assert!(log[1].ends_with("Failed to read snapshot metadata (-ENXIO)"), "{log:?}");
    }
}

#[test]
fn a_store_whose_chunks_lie_beyond_the_device_is_full() {
    for (new, allocated) in [(1 << 55, 288_230_376_151_711_752_u64), (1 << 20, 8_388_616)] {
        let kit = Kit::new();
        write_store(&kit, DevT::new(1, 1), 1, &[[5, new]]);
        let dev = kit.create("s", "0 1024 snapshot 1:0 1:1 P 8");
        let status = format!("0 1024 snapshot {allocated}/32768 16");
        assert_eq!(kit.status("s", DmFlags::empty()), status);
        assert!(!write(&kit, dev, 5 * 8, 1, 1), "a copy that is nowhere cannot be written");
        assert!(!write(&kit, dev, 7 * 8, 1, 1));
        assert_eq!(kit.status("s", DmFlags::empty()), "0 1024 snapshot Invalid");
    }
}

#[test]
fn a_merge_fails_at_records_of_chunks_that_the_origin_cannot_have() {
    for old in [u64::MAX, 1 << 56, 1 << 30, 5000] {
        let kit = Kit::new();
        // A run that is copied in more than one piece.
        let records: Vec<_> = (0..200).map(|i| [old - 199 + i, 2 + i]).collect();
        write_store(&kit, DevT::new(1, 1), 1, &records);
        kit.create("s", "0 1024 snapshot-merge 1:0 1:1 P 8");
        kit.machine.runtime().run_until_idle();
        assert_eq!(kit.status("s", DmFlags::empty()), "0 1024 snapshot-merge Merge failed", "{old:#x}");
        let text = "device-mapper: snapshots: Write error: shutting down merge.";
        assert_eq!(kit.log().last().map(String::as_str), Some(text));
    }
}

#[test]
fn discards_of_an_overflowed_snapshot_fail() {
    let kit = Kit::new();
    let cow = kit.create("cow", "0 64 linear 1:1 0");
    let dev = kit.create("s", &format!("0 1024 snapshot 1:0 {cow} PO 8 1 discard_zeroes_cow"));
    let device = kit.machine.registry().get(dev).unwrap();
    let discard = |chunk: u64| {
        let bio = Bio::range(Op::Discard, Sector(chunk * 8), Sectors(8));
        SyncIo::default().submit(&device, bio).is_ok()
    };
    (0..6).for_each(|chunk| assert!(write(&kit, dev, chunk * 8, 1, 7)));
    assert!(discard(0) && discard(100));
    assert!(!write(&kit, dev, 900, 1, 7));
    assert_eq!(kit.status("s", DmFlags::empty()), "0 1024 snapshot Overflow");
    assert!(!discard(1), "of a chunk with a copy");
    assert!(!discard(100), "of one without");
    assert_eq!(read(&kit, dev, 8, 1), [7; SECTOR]);
}

#[test]
fn the_records_of_an_invalid_store_are_not_read() {
    let kit = Kit::new();
    write_store(&kit, DevT::new(1, 1), 0, &[[5, 2]]);
    let cow = kit.create("cow", "0 8 linear 1:1 0\n8 1016 error");
    kit.create("s", &format!("0 1024 snapshot 1:0 {cow} P 8"));
    assert_eq!(kit.status("s", DmFlags::empty()), "0 1024 snapshot Invalid");
    assert_eq!(kit.log(), ["device-mapper: snapshots: Snapshot is marked invalid."]);
}

#[test]
fn a_snapshot_cannot_be_kept_on_its_origin() {
    let kit = Kit::new();
    kit.ask(Command::DevCreate, "s", DmFlags::empty()).unwrap();
    let loaded = kit.load("s", "0 1024 snapshot 1:0 1:0 P 8");
    assert_eq!(loaded.map(|_| ()), Err(Errno::EINVAL));
    assert_eq!(
        kit.log()[0],
        "device-mapper: table: 254:0: snapshot: COW device cannot be the same as origin device (-EINVAL)"
    );
}

#[test]
fn a_machine_that_ends_ends_what_waits_for_a_copy() {
    let kit = Kit::new();
    let base = kit.create("base", "0 1024 delay 1:0 0 4294967295 1:0 0 0");
    let dev = kit.create("s", &format!("0 1024 snapshot {base} 1:1 P 8"));
    let device = kit.machine.registry().get(dev).unwrap();
    let ended = Arc::new(AtomicU64::new(0));
    for sector in [0, 1] {
        let seen = ended.clone();
        let bio = Bio::write_owned(Sector(sector), vec![1; SECTOR].into()).to(&device);
        submit(bio.on_end(move |status, _| assert!(!status.is_ok() && seen.fetch_add(1, Relaxed) < 2)));
    }
    kit.machine.runtime().run_until_idle();
    assert_eq!(ended.load(Relaxed), 0);
    drop((kit, device));
    assert_eq!(ended.load(Relaxed), 2);
}
