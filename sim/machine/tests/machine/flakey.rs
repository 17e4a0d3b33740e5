//! `flakey` on virtual time: its intervals, what it corrupts and what it leaves alone.

use crate::kit;

use std::sync::Arc;
use std::time::Duration;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, BioFlags, SyncIo};
use dmlab_machine::BlockDevice;
use dmlab_units::{DevT, Sector};
use kit::Kit;

fn create(kit: &Kit, table: &str) -> Arc<BlockDevice> {
    let dev = kit.create("f", table);
    kit.machine.registry().get(dev).unwrap()
}

fn ram(kit: &Kit) -> Arc<BlockDevice> {
    kit.machine.registry().get(DevT::new(1, 0)).unwrap()
}

fn read(device: &Arc<BlockDevice>, sectors: usize) -> Vec<u8> {
    let mut buf = vec![0; sectors * 512];
    SyncIo::default().read(device, Sector(0), &mut buf, |bio| bio).unwrap();
    buf
}

fn is_up(device: &Arc<BlockDevice>) -> bool {
    SyncIo::default().submit(device, Bio::write(Sector(0), &[1; 512])).is_ok()
}

fn sleep(kit: &Kit, span: Duration) {
    let runtime = kit.machine.runtime();
    runtime.block_on(runtime.sleep(span)).unwrap();
}

#[test]
fn it_is_up_and_down_by_the_second_from_the_load_on() {
    let kit = Kit::new();
    sleep(&kit, Duration::from_millis(1234));
    kit.ask(Command::DevCreate, "f", DmFlags::empty()).unwrap();
    let dev = kit.load("f", "0 64 flakey 1:0 0 3 2").unwrap().dev().unwrap();
    // The clock runs before the first resume, and through suspends.
    sleep(&kit, Duration::from_secs(1));
    kit.resume("f").unwrap();
    let device = kit.machine.registry().get(dev).unwrap();
    sleep(&kit, Duration::from_millis(500));
    let mut seen = Vec::new();
    for second in 0..12 {
        if second == 4 {
            kit.ask(Command::DevSuspend, "f", DmFlags::SUSPEND).unwrap();
            kit.resume("f").unwrap();
        }
        seen.push(is_up(&device));
        sleep(&kit, Duration::from_secs(1));
    }
    // It begins in its second second.
    let want = [true, true, false, false, true, true, true, false, false, true, true, true];
    assert_eq!(seen, want);
    // Each load begins anew.
    kit.load("f", "0 64 flakey 1:0 0 1 2").unwrap();
    kit.resume("f").unwrap();
    assert!(is_up(&device));
    sleep(&kit, Duration::from_secs(1));
    assert!(!is_up(&device));
}

#[test]
fn a_corrupted_write_leaves_its_caller_alone() {
    let kit = Kit::new();
    let device = create(&kit, "0 64 flakey 1:0 0 0 1 5 corrupt_bio_byte 513 w 90 0");
    let data = vec![1; 2048];
    SyncIo::default().submit(&device, Bio::write(Sector(0), &data)).unwrap();
    assert_eq!(data, vec![1; 2048]);
    let on_disk = read(&ram(&kit), 4);
    let changed: Vec<usize> = (0..2048).filter(|&i| on_disk[i] != 1).collect();
    assert_eq!((changed, on_disk[512]), (vec![512], 90));
    // Too short a bio stays as it is.
    SyncIo::default().submit(&device, Bio::write(Sector(0), &data[..512])).unwrap();
    assert_eq!(read(&ram(&kit), 1), vec![1; 512]);
}

#[test]
fn a_corrupted_read_leaves_the_disk_alone_even_when_it_was_cut_below() {
    let kit = Kit::new();
    let lower = kit.create("s", "0 64 striped 2 4 1:0 0 1:1 0");
    let device = create(&kit, &format!("0 64 flakey {lower} 0 0 1 5 corrupt_bio_byte 3000 r 7 0"));
    let below = kit.machine.registry().get(lower).unwrap();
    let data: Vec<u8> = (0..8192u32).map(|i| (i / 512) as u8 + 100).collect();
    SyncIo::default().submit(&below, Bio::write(Sector(0), &data)).unwrap();
    let mut want = data.clone();
    want[2999] = 7;
    assert_eq!(read(&device, 16), want);
    assert_eq!(read(&below, 16), data);
}

#[test]
fn only_bios_with_all_flags_are_corrupted() {
    for (mask, flags, is_struck) in [
        (0, BioFlags::empty(), true),
        (1, BioFlags::empty(), true),
        (2, BioFlags::empty(), false),
        (BioFlags::META.bits(), BioFlags::empty(), false),
        (BioFlags::META.bits(), BioFlags::META, true),
        (BioFlags::META.bits() | BioFlags::SYNC.bits(), BioFlags::META, false),
        (BioFlags::META.bits() | BioFlags::SYNC.bits() | 1, BioFlags::META | BioFlags::SYNC, true),
    ] {
        let kit = Kit::new();
        let device = create(&kit, &format!("0 64 flakey 1:0 0 0 1 5 corrupt_bio_byte 1 w 90 {mask}"));
        SyncIo::default().submit(&device, Bio::write(Sector(0), &[1; 512]).with_flags(flags)).unwrap();
        assert_eq!(read(&ram(&kit), 1)[0] == 90, is_struck, "{mask:#x} {flags:?}");
    }
}

/// Bytes that were changed: the turn, and the place in the bio.
type Changed = Vec<(usize, usize)>;

/// What a thousand reads and writes through random corruption change: (corrupted reads, corrupted writes), and where.
fn corruptions(p: u32) -> (Changed, Changed) {
    let kit = Kit::new();
    let words = format!("4 random_read_corrupt {p} random_write_corrupt {p}");
    let device = create(&kit, &format!("0 64 flakey 1:0 0 0 1 {words}"));
    let disk = ram(&kit);
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for turn in 0..1000 {
        let data = vec![(turn % 251) as u8; 1024];
        SyncIo::default().submit(&device, Bio::write(Sector(0), &data)).unwrap();
        let written = read(&disk, 2);
        writes.extend((0..1024).filter(|&i| written[i] != data[i]).map(|i| (turn, i)));
        let seen = read(&device, 2);
        reads.extend((0..1024).filter(|&i| seen[i] != written[i]).map(|i| (turn, i)));
    }
    (reads, writes)
}

#[test]
fn chance_strikes_as_often_as_it_is_told_and_the_same_in_every_run() {
    let (reads, writes) = corruptions(1_000_000_000);
    // Each time a byte is drawn; now and then it is the one that was there.
    assert!((980..=1000).contains(&reads.len()) && (980..=1000).contains(&writes.len()));
    let (reads, writes) = corruptions(250_000_000);
    assert!((190..310).contains(&reads.len()), "{}", reads.len());
    assert!((190..310).contains(&writes.len()), "{}", writes.len());
    assert!(reads.iter().any(|(_, at)| *at < 100) && reads.iter().any(|(_, at)| *at > 900));
    assert_eq!(corruptions(250_000_000), (reads, writes));
}

#[test]
fn two_devices_have_streams_of_their_own() {
    let kit = Kit::new();
    let table = |disk: u32| format!("0 64 flakey 1:{disk} 0 0 1 2 random_write_corrupt 1000000000");
    let devs = [kit.create("a", &table(0)), kit.create("b", &table(1))];
    let mut places = Vec::new();
    for (disk, dev) in devs.iter().enumerate() {
        let device = kit.machine.registry().get(*dev).unwrap();
        SyncIo::default().submit(&device, Bio::write(Sector(0), &[1; 4096])).unwrap();
        let below = kit.machine.registry().get(DevT::new(1, disk as u32)).unwrap();
        places.push(read(&below, 8));
    }
    assert_ne!(places[0], places[1]);
}
