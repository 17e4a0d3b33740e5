//! What the snapshot targets say to the kernel log where no recorded run brings them to it.

use crate::kit;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, SyncIo, WriteCache};
use dmlab_units::{DevT, Errno, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::{Fails, FaultDisk};

const COW: DevT = DevT::new(1, 1);

fn write(kit: &Kit, dev: DevT, sector: u64, bytes: &[u8]) -> bool {
    let dev = kit.machine.registry().get(dev).unwrap();
    SyncIo::default().submit(&dev, Bio::write(Sector(sector), bytes)).is_ok()
}

/// Puts the header of a store on disk, and empty areas behind it.
fn write_header(kit: &Kit, version: u32, chunk_size: u32) {
    let mut bytes = vec![0; 64 * 512];
    for (at, word) in [0x7041_6e53, 1, version, chunk_size].into_iter().enumerate() {
        bytes[4 * at..4 * at + 4].copy_from_slice(&u32::to_le_bytes(word));
    }
    assert!(write(kit, COW, 0, &bytes));
}

/// Loads a first table for `s` that is refused; what the log says.
fn refused(kit: &Kit, params: &str) -> Vec<String> {
    kit.ask(Command::DevCreate, "s", DmFlags::empty()).unwrap();
    let before = kit.log().len();
    assert_eq!(kit.load("s", &format!("0 1024 {params}")).err(), Some(Errno::EINVAL));
    let mut log = kit.log().split_off(before);
    assert_eq!(log.pop().as_deref(), Some("device-mapper: ioctl: error adding target to table"));
    log
}

fn unreadable(dev: &str) -> String {
    format!("device-mapper: table: {dev}: snapshot: Failed to read snapshot metadata (-EINVAL)")
}

#[test]
fn a_transient_store_needs_a_chunk_size() {
    let kit = Kit::new();
    let text = "device-mapper: table: 254:0: snapshot: Chunk size not set (-EINVAL)";
    assert_eq!(refused(&kit, "snapshot 1:0 1:1 N 0"), [text]);
}

#[test]
fn chunk_sizes_on_disk_that_cannot_be() {
    for (chunk, text) in [
        (7, "invalid on-disk chunk size 7: Chunk size is not a power of 2."),
        (0, "invalid on-disk chunk size 0: Chunk size is not a power of 2."),
        (1 << 22, "invalid on-disk chunk size 4194304: Chunk size is too high."),
    ] {
        let kit = Kit::new();
        write_header(&kit, 1, chunk);
        let line = format!("device-mapper: persistent snapshot: {text}");
        assert_eq!(refused(&kit, "snapshot 1:0 1:1 P 0"), [line, unreadable("254:0")]);
    }
    // On a device with larger blocks.
    let kit = Kit::new();
    write_header(&kit, 1, 4);
    let cow = kit.create("blocks", "0 32768 ebs 1:1 0 8 8");
    let text = "invalid on-disk chunk size 4: Chunk size is not a multiple of device blocksize.";
    let line = format!("device-mapper: persistent snapshot: {text}");
    assert_eq!(refused(&kit, &format!("snapshot 1:0 {cow} P 8")), [
        "device-mapper: persistent snapshot: chunk size 4 in device metadata overrides table chunk size of 8.".to_owned(),
        line,
        unreadable("254:1")
    ]);
}

#[test]
fn the_chunk_size_on_disk_counts() {
    let kit = Kit::new();
    write_header(&kit, 1, 8);
    kit.create("s", "0 1024 snapshot 1:0 1:1 P 16");
    let text = "device-mapper: persistent snapshot: chunk size 8 in device metadata overrides table chunk size of 16.";
    assert_eq!(kit.log(), [text]);
    assert_eq!(kit.status("s", DmFlags::STATUS_TABLE), "0 1024 snapshot 1:0 1:1 P 8");
    for asked in [0, 8] {
        let kit = Kit::new();
        write_header(&kit, 1, 8);
        kit.create("s", &format!("0 1024 snapshot 1:0 1:1 P {asked}"));
        assert_eq!(kit.log(), [""; 0], "{asked}");
    }
}

#[test]
fn another_version_is_refused() {
    let kit = Kit::new();
    write_header(&kit, 2, 8);
    let line = "device-mapper: persistent snapshot: unable to handle snapshot disk version 2".to_owned();
    assert_eq!(refused(&kit, "snapshot 1:0 1:1 P 8"), [line, unreadable("254:0")]);
}

/// Whatever the COW device says, a full thin pool for example, it is an IO error.
#[test]
fn a_new_store_that_cannot_be_written() {
    for (bad, lines) in [
        (0..8, &["device-mapper: persistent snapshot: write_header failed"][..]),
        (8..16, &["device-mapper: persistent snapshot: zero_disk_area(0) failed"]),
    ] {
        let kit = Kit::new();
        let (cow, disk) = FaultDisk::add(&kit, 0, Sectors(1024));
        disk.fail(bad, Fails::Writes);
        kit.ask(Command::DevCreate, "s", DmFlags::empty()).unwrap();
        let loaded = kit.load("s", &format!("0 1024 snapshot 1:0 {cow} P 8"));
        assert_eq!(loaded.err(), Some(Errno::EIO));
        let last = [
            "device-mapper: table: 254:0: snapshot: Failed to read snapshot metadata (-EIO)",
            "device-mapper: ioctl: error adding target to table",
        ];
        assert_eq!(kit.log(), [lines, &last].concat());
    }
}

/// A whole chunk is read to see whether there is a header, 32 sectors where the table names no chunk size.
#[test]
fn a_store_shorter_than_its_first_chunk() {
    for (chunk, size, errno) in
        [(8, 7, Some(Errno::EIO)), (0, 31, Some(Errno::EIO)), (4, 8, None), (0, 32, None), (1, 8, None)]
    {
        let kit = Kit::new();
        write_header(&kit, 1, 4);
        let cow = kit.create("cow", &format!("0 {size} linear 1:1 0"));
        kit.ask(Command::DevCreate, "s", DmFlags::empty()).unwrap();
        let loaded = kit.load("s", &format!("0 1024 snapshot 1:0 {cow} P {chunk}"));
        assert_eq!(loaded.err(), errno, "{chunk} {size}");
        if errno.is_some() {
            let text = "device-mapper: table: 254:1: snapshot: Failed to read snapshot metadata (-EIO)";
            assert!(kit.log().iter().any(|line| line == text), "{:?}", kit.log());
        }
    }
}

#[test]
fn a_header_that_cannot_be_written() {
    let kit = Kit::new();
    let (cow, disk) = FaultDisk::add(&kit, 0, Sectors(16));
    let dev = kit.create("s", &format!("0 1024 snapshot 1:0 {cow} P 8"));
    disk.fail(0..8, Fails::Writes);
    assert!(!write(&kit, dev, 0, &[1; 512]));
    assert_eq!(kit.status("s", DmFlags::empty()), "0 1024 snapshot Invalid");
    assert_eq!(
        kit.log(),
        [
            "device-mapper: snapshots: Invalidating snapshot: Unable to allocate exception.",
            "device-mapper: persistent snapshot: write header failed",
        ]
    );
    // So that it is valid again after the next load.
    kit.ask(Command::DevRemove, "s", DmFlags::empty()).unwrap();
    disk.heal();
    kit.create("s", &format!("0 1024 snapshot 1:0 {cow} P 8"));
    assert_eq!(kit.status("s", DmFlags::empty()), "0 1024 snapshot 16/16 16");
}

#[test]
fn a_merge_whose_origin_cannot_be_flushed() {
    let kit = Kit::new();
    let (base, disk) = FaultDisk::add_with(&kit, 0, Sectors(1024), WriteCache::Volatile);
    let dev = kit.create("s", &format!("0 1024 snapshot {base} 1:1 P 8"));
    assert!(write(&kit, dev, 0, &[1; 512]));
    kit.ask(Command::DevRemove, "s", DmFlags::empty()).unwrap();
    disk.fail_flushes();
    let dev = kit.create("m", &format!("0 1024 snapshot-merge {base} 1:1 P 8"));
    kit.machine.runtime().run_until_idle();
    assert_eq!(kit.status("m", DmFlags::empty()), "0 1024 snapshot-merge Merge failed");
    assert_eq!(kit.log(), ["device-mapper: snapshots: Flush after merge failed: shutting down merge"]);
    // Part of it is in the store still, and it goes on working.
    assert!(write(&kit, dev, 1, &[2; 512]));
}

/// The destination gets the source's store, the source what the destination's table had asked for.
#[test]
fn table_lines_after_a_handover() {
    for (source, asked, left, taken) in
        [("P 8", "PO 16", "PO 0", "PO 8"), ("PO 8", "N 16", "N 0", "P 8"), ("N 8", "P 0", "P 0", "N 8")]
    {
        let kit = Kit::new();
        kit.create("s", &format!("0 1024 snapshot 1:0 1:1 {source}"));
        kit.ask(Command::DevCreate, "d", DmFlags::empty()).unwrap();
        kit.load("d", &format!("0 1024 snapshot 1:0 1:1 {asked}")).unwrap();
        kit.ask(Command::DevSuspend, "s", DmFlags::SUSPEND).unwrap();
        kit.resume("d").unwrap();
        for (name, line) in [("s", left), ("d", taken)] {
            assert_eq!(kit.status(name, DmFlags::STATUS_TABLE), format!("0 1024 snapshot 1:0 1:1 {line}"));
        }
    }
}
