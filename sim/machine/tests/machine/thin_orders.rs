//! Thin pools: what must come before what, on devices that fail, hold bios back or have a volatile write cache.

use crate::kit;

use std::sync::Arc;
use std::time::Duration;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, BioFlags, BlkStatus, IoFailed, Op, SyncIo, WriteCache, submit};
use dmlab_machine::BlockDevice;
use dmlab_units::{Errno, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::{Fails, FaultDisk, Noted};
use parking_lot::Mutex;

const BLOCK: u64 = 128;
const BLOCKS: u64 = 16;

/// A pool on disks of the test's own, and the thin devices 0, 1, … that it has.
struct Pool {
    kit: Kit,
    metadata: Arc<FaultDisk>,
    data: Arc<FaultDisk>,
    thins: Vec<Arc<BlockDevice>>,
}

/// How a bio ended, once it has.
type End = Arc<Mutex<Option<(BlkStatus, Vec<u8>)>>>;

fn ended(end: &End) -> Option<BlkStatus> {
    end.lock().as_ref().map(|(status, _)| *status)
}

impl Pool {
    fn new(features: &str) -> Pool {
        let kit = Kit::new();
        let (_, metadata) = FaultDisk::add_with(&kit, 0, Sectors(8192), WriteCache::Volatile);
        let (_, data) = FaultDisk::add_with(&kit, 1, Sectors(BLOCKS * BLOCK), WriteCache::Volatile);
        kit.create("pool", &table(features));
        kit.message("pool", "create_thin 0").unwrap();
        let mut pool = Pool { kit, metadata, data, thins: Vec::new() };
        pool.open(0);
        pool
    }

    fn open(&mut self, id: usize) {
        assert_eq!(self.thins.len(), id, "one after the other");
        let dev = self.kit.create(&format!("v{id}"), &format!("0 4096 thin 254:0 {id}"));
        self.thins.push(self.kit.machine.registry().get(dev).unwrap());
    }

    fn snapshot(&mut self, id: usize) {
        self.kit.ask(Command::DevSuspend, "v0", DmFlags::SUSPEND).unwrap();
        self.kit.message("pool", &format!("create_snap {id} 0")).unwrap();
        self.kit.resume("v0").unwrap();
        self.open(id);
    }

    /// Submits a bio; time does not pass.
    fn start(&self, id: usize, bio: Bio<'static>) -> End {
        let end = End::default();
        let told = end.clone();
        let tell = move |status, buffers: Vec<dmlab_block::Part>| {
            let read = buffers.first().map(|part| part.data.to_vec());
            *told.lock() = Some((status, read.unwrap_or_default()));
        };
        submit(bio.on_end(tell).to(&self.thins[id]));
        self.kit.machine.runtime().run_until_idle();
        end
    }

    fn write(&self, id: usize, block: u64, byte: u8) -> Result<(), IoFailed> {
        SyncIo::default().submit(&self.thins[id], Bio::write(Sector(block * BLOCK), &[byte; 4096]))
    }

    fn flush(&self, id: usize) -> Result<(), IoFailed> {
        SyncIo::default().submit(&self.thins[id], Bio::flush())
    }

    fn byte(&self, id: usize, block: u64) -> u8 {
        let mut bytes = [0xee; 512];
        SyncIo::default().read(&self.thins[id], Sector(block * BLOCK), &mut bytes, |bio| bio).unwrap();
        bytes[0]
    }

    fn status(&self) -> String {
        self.kit.status("pool", DmFlags::empty())
    }
}

fn table(features: &str) -> String {
    format!("0 {} thin-pool 7:0 7:1 {BLOCK} 0 {features}", BLOCKS * BLOCK)
}

fn block_of(block: u64, byte: u8) -> Bio<'static> {
    Bio::write_owned(Sector(block * BLOCK), vec![byte; (BLOCK * 512) as usize].into())
}

fn page_of(block: u64, byte: u8) -> Bio<'static> {
    Bio::write_owned(Sector(block * BLOCK), vec![byte; 4096].into())
}

fn is_superblock(noted: &Noted) -> bool {
    noted.op == Op::Write && noted.sector == 0
}

/// Asserts that every write of the superblock has a flush right before it and right after it.
fn assert_superblocks_between_flushes(noted: &[Noted]) -> usize {
    let mut count = 0;
    for (at, _) in noted.iter().enumerate().filter(|(_, noted)| is_superblock(noted)) {
        let is_flush = |noted: Option<&Noted>| noted.is_some_and(|noted| noted.op == Op::Flush);
        assert!(at > 0 && is_flush(noted.get(at - 1)) && is_flush(noted.get(at + 1)), "{noted:?}");
        count += 1;
    }
    count
}

#[test]
fn blocks_are_durable_before_the_superblock_and_that_before_the_commit_ends() {
    let mut pool = Pool::new("0");
    for block in 0..4 {
        pool.write(0, block, 1).unwrap();
        pool.flush(0).unwrap();
    }
    pool.snapshot(1);
    pool.write(0, 1, 2).unwrap();
    pool.flush(0).unwrap();
    let noted = pool.metadata.noted();
    assert!(assert_superblocks_between_flushes(&noted) >= 7, "one for each step at least: {noted:?}");
    // Nothing but the superblock is written where the last commit may still need it.
    assert!(noted.iter().filter(|noted| noted.op == Op::Write).count() > 20);
}

#[test]
fn data_is_durable_before_the_mapping_that_leads_to_it() {
    let pool = Pool::new("0");
    pool.write(0, 3, 7).unwrap();
    pool.data.noted();
    pool.metadata.hold(true);
    let flush = pool.start(0, Bio::flush());
    // The first bio of the commit waits; by then the data device was flushed.
    assert_eq!(pool.metadata.held(), 1);
    assert!(pool.data.noted().iter().any(|noted| noted.op == Op::Flush));
    assert_eq!(ended(&flush), None);
    while pool.metadata.held() > 0 {
        assert_eq!(ended(&flush), None);
        pool.metadata.let_go(0);
        pool.kit.machine.runtime().run_until_idle();
    }
    assert_eq!(ended(&flush), Some(BlkStatus::Ok));
}

#[test]
fn a_forced_write_of_a_whole_new_block_ends_after_the_commit_that_maps_it() {
    let pool = Pool::new("0");
    pool.metadata.noted();
    let plain = pool.start(0, block_of(1, 4));
    assert_eq!(ended(&plain), Some(BlkStatus::Ok));
    pool.kit.advance(Duration::from_millis(10));
    assert!(!pool.metadata.noted().iter().any(is_superblock), "a plain write needs no commit");
    pool.metadata.hold(true);
    let forced = pool.start(0, block_of(2, 5).with_flags(BioFlags::FUA));
    assert!(pool.metadata.held() > 0 && ended(&forced).is_none());
    let mut last = None;
    while pool.metadata.held() > 0 {
        assert_eq!(ended(&forced), None);
        last = pool.metadata.noted().last().copied();
        pool.metadata.let_go(0);
        pool.kit.machine.runtime().run_until_idle();
    }
    assert_eq!(last.map(|noted| noted.op), Some(Op::Flush), "the superblock's own");
    assert_eq!(ended(&forced), Some(BlkStatus::Ok));
    assert_eq!((pool.byte(0, 1), pool.byte(0, 2)), (4, 5));
}

#[test]
fn a_forced_write_fails_with_its_commit() {
    let pool = Pool::new("0");
    pool.metadata.fail_flushes();
    let forced = pool.start(0, block_of(2, 5).with_flags(BioFlags::FUA));
    assert_eq!(ended(&forced), Some(BlkStatus::IoErr));
    assert!(pool.status().contains(" ro ") && pool.status().contains("needs_check"), "{}", pool.status());
}

#[test]
fn who_stops_sharing_a_block_lets_its_readers_end() {
    let mut pool = Pool::new("0");
    pool.write(0, 0, 1).unwrap();
    pool.snapshot(1);
    pool.data.hold(true);
    let read = pool.start(1, Bio::read_owned(Sector(0), Sectors(8)));
    assert_eq!(pool.data.held(), 1);
    pool.data.hold(false);
    // The copy is made, but no caller is told: the old block may be another's alone afterwards.
    let write = pool.start(0, page_of(0, 2));
    pool.kit.advance(Duration::from_millis(500));
    assert_eq!((ended(&write), ended(&read)), (None, None));
    pool.data.let_go(0);
    pool.kit.machine.runtime().run_until_idle();
    assert_eq!((ended(&write), ended(&read)), (Some(BlkStatus::Ok), Some(BlkStatus::Ok)));
    assert_eq!(read.lock().as_ref().unwrap().1, vec![1; 4096]);
    assert_eq!((pool.byte(0, 0), pool.byte(1, 0)), (2, 1));
}

#[test]
fn a_discard_lets_writes_under_way_end_before_their_block_is_given_away() {
    for features in ["1 no_discard_passdown", "0"] {
        let mut pool = Pool::new(features);
        pool.kit.message("pool", "create_thin 1").unwrap();
        pool.open(1);
        for block in 0..BLOCKS - 1 {
            pool.write(0, block, 1).unwrap();
        }
        pool.flush(0).unwrap();
        pool.data.hold(true);
        let late = pool.start(0, page_of(3, 9));
        assert_eq!(pool.data.held(), 1);
        pool.data.hold(false);
        let discard = pool.start(0, Bio::range(Op::Discard, Sector(3 * BLOCK), Sectors(BLOCK)));
        pool.kit.advance(Duration::from_millis(500));
        assert_eq!((ended(&late), ended(&discard)), (None, None), "{features}");
        pool.data.let_go(0);
        pool.kit.machine.runtime().run_until_idle();
        assert_eq!((ended(&late), ended(&discard)), (Some(BlkStatus::Ok), Some(BlkStatus::Ok)), "{features}");
        pool.flush(0).unwrap();
        // Another device takes both blocks that are free: what was written late lies in neither.
        for block in 0..2 {
            pool.write(1, block, 5).unwrap();
        }
        assert_eq!((pool.byte(0, 3), pool.byte(1, 0), pool.byte(1, 1)), (0, 5, 5), "{features}");
        assert!(pool.status().contains(&format!(" {BLOCKS}/{BLOCKS} ")), "{}", pool.status());
    }
}

#[test]
fn a_write_that_waits_for_space_goes_on_when_a_commit_finds_some() {
    let mut pool = Pool::new("0");
    pool.kit.message("pool", "create_thin 1").unwrap();
    pool.open(1);
    for block in 0..BLOCKS {
        pool.write((block % 2) as usize, block, 1).unwrap();
    }
    let waits = pool.start(0, page_of(20, 3));
    pool.kit.advance(Duration::from_secs(5));
    assert_eq!(ended(&waits), None);
    assert!(pool.status().contains(" out_of_data_space "), "{}", pool.status());
    // No table grows: the blocks of another device become free.
    pool.thins.pop();
    pool.kit.ask(Command::DevRemove, "v1", DmFlags::empty()).unwrap();
    pool.kit.message("pool", "delete 1").unwrap();
    pool.kit.machine.runtime().run_until_idle();
    assert_eq!(ended(&waits), Some(BlkStatus::Ok));
    assert_eq!(pool.byte(0, 20), 3);
    assert!(pool.status().contains(" 9/16 ") && pool.status().contains(" rw "), "{}", pool.status());
}

#[test]
fn a_discard_sets_a_waiting_write_free_too() {
    let pool = Pool::new("0");
    for block in 0..BLOCKS {
        pool.write(0, block, 1).unwrap();
    }
    let waits = pool.start(0, page_of(20, 3));
    assert_eq!(ended(&waits), None);
    let discard = pool.start(0, Bio::range(Op::Discard, Sector(0), Sectors(2 * BLOCK)));
    assert_eq!(ended(&discard), Some(BlkStatus::Ok));
    pool.status();
    pool.kit.machine.runtime().run_until_idle();
    assert_eq!(ended(&waits), Some(BlkStatus::Ok));
    assert_eq!((pool.byte(0, 0), pool.byte(0, 20), pool.byte(0, 5)), (0, 3, 1));
}

#[test]
fn failing_metadata_writes_leave_the_last_commit_and_a_mark() {
    let pool = Pool::new("0");
    pool.write(0, 0, 1).unwrap();
    pool.flush(0).unwrap();
    assert!(!pool.status().contains("needs_check"));
    pool.metadata.fail(8..8192, Fails::Writes);
    pool.write(0, 1, 2).unwrap();
    pool.flush(0).unwrap_err();
    let status = pool.status();
    assert!(
        status.contains(" 1/16 ") && status.contains(" ro ") && status.contains("needs_check"),
        "{status}"
    );
    // What is committed is there; nothing new can be.
    assert_eq!(pool.byte(0, 0), 1);
    pool.write(0, 0, 4).unwrap();
    assert_eq!(pool.write(0, 2, 5), Err(IoFailed::Status(BlkStatus::IoErr)));
    assert_eq!(pool.kit.message("pool", "create_thin 7"), Err(Errno::EOPNOTSUPP));
    assert_eq!(pool.byte(0, 2), 0, "what was never written is read as before");
    pool.metadata.heal();
    assert_eq!(pool.byte(0, 1), 0, "its mapping went with the transaction");
}

#[test]
fn a_pool_whose_metadata_is_gone_fails_everything() {
    let pool = Pool::new("0");
    pool.write(0, 0, 1).unwrap();
    pool.flush(0).unwrap();
    pool.metadata.fail(0..8192, Fails::All);
    pool.write(0, 1, 2).unwrap();
    pool.flush(0).unwrap_err();
    assert_eq!(pool.status(), "0 2048 thin-pool Fail");
    assert_eq!(pool.kit.status("v0", DmFlags::empty()), "0 4096 thin Fail");
    pool.write(0, 0, 4).unwrap_err();
    pool.metadata.heal();
    pool.write(0, 0, 4).unwrap_err();
}

#[test]
fn a_discard_of_what_others_have_too_is_not_passed_down() {
    let mut pool = Pool::new("0");
    pool.write(0, 0, 1).unwrap();
    pool.write(0, 1, 1).unwrap();
    pool.snapshot(1);
    pool.write(0, 1, 2).unwrap();
    pool.data.noted();
    // Block 0 is the snapshot's too; block 1 is this device's own by now.
    let discard = pool.start(0, Bio::range(Op::Discard, Sector(0), Sectors(2 * BLOCK)));
    assert_eq!(ended(&discard), Some(BlkStatus::Ok));
    let passed: Vec<u64> =
        pool.data.noted().iter().filter(|noted| noted.op == Op::Discard).map(|noted| noted.sector).collect();
    assert_eq!(passed, [2 * BLOCK], "the third block that was taken");
    assert_eq!((pool.byte(1, 0), pool.byte(1, 1), pool.byte(0, 0)), (1, 1, 0));
}

#[test]
fn parts_of_blocks_at_the_ends_of_a_discard_stay() {
    let pool = Pool::new("0");
    for block in 0..5 {
        pool.write(0, block, 1).unwrap();
    }
    for (from, len, freed) in
        [(8, BLOCK, 0), (BLOCK - 8, 16, 0), (BLOCK, BLOCK - 1, 0), (BLOCK - 1, 2 * BLOCK, 1)]
    {
        let before = pool.status();
        let discard = pool.start(0, Bio::range(Op::Discard, Sector(from), Sectors(len)));
        assert_eq!(ended(&discard), Some(BlkStatus::Ok));
        pool.flush(0).unwrap();
        let used = |status: &str| {
            status.split(' ').nth(5).unwrap().split('/').next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(used(&before) - used(&pool.status()), freed, "{from}+{len}");
    }
    assert_eq!((pool.byte(0, 0), pool.byte(0, 1), pool.byte(0, 2)), (1, 0, 1));
}

#[test]
fn a_flush_of_the_pool_itself_reaches_the_data_device() {
    let pool = Pool::new("0");
    pool.data.noted();
    let dev = pool.kit.ask(Command::DevStatus, "pool", DmFlags::empty()).unwrap().dev().unwrap();
    let dev = pool.kit.machine.registry().get(dev).unwrap();
    SyncIo::default().submit(&dev, Bio::flush()).unwrap();
    assert_eq!(pool.data.noted().iter().filter(|noted| noted.op == Op::Flush).count(), 1);
}

#[test]
fn what_was_never_written_reads_as_zeros_whatever_the_buffer_held() {
    let mut pool = Pool::new("0");
    pool.write(0, 1, 7).unwrap();
    pool.snapshot(1);
    // A pool made anew knows no mapping yet: the worker has to look.
    pool.thins.clear();
    for name in ["v1", "v0", "pool"] {
        pool.kit.ask(Command::DevRemove, name, DmFlags::empty()).unwrap();
    }
    pool.kit.create("pool", &table("0"));
    pool.open(0);
    pool.open(1);
    for id in [0, 1] {
        assert_eq!((pool.byte(id, 0), pool.byte(id, 1), pool.byte(id, 2)), (0, 7, 0));
    }
}

#[test]
fn beyond_the_end_of_an_external_origin_are_zeros() {
    // 300 sectors: two whole blocks, and 44 sectors of the third.
    let mut pool = Pool::new("0");
    pool.kit.create("base", "0 300 linear 1:2 0");
    let base = pool.kit.ask(Command::DevStatus, "base", DmFlags::empty()).unwrap().dev().unwrap();
    let disk = pool.kit.machine.registry().get(base).unwrap();
    SyncIo::default().submit(&disk, Bio::write(Sector(0), &[9; 300 * 512])).unwrap();
    let dev = pool.kit.create("ext", &format!("0 4096 thin 254:0 0 {base}"));
    pool.thins[0] = pool.kit.machine.registry().get(dev).unwrap();
    for (from, len) in [(0, 8), (292, 8), (296, 8), (299, 2), (300, 8), (256, 128), (1000, 8)] {
        let mut bytes = vec![0xee; len * 512];
        SyncIo::default().read(&pool.thins[0], Sector(from), &mut bytes, |bio| bio).unwrap();
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        let wanted: Vec<u8> = (from..from + len as u64).map(|at| if at < 300 { 9 } else { 0 }).collect();
        assert_eq!(sectors, wanted, "{from}+{len}");
    }
}

#[test]
fn a_mapping_that_is_known_answers_while_a_commit_is_under_way() {
    let pool = Pool::new("0");
    pool.write(0, 0, 1).unwrap();
    pool.write(0, 0, 2).unwrap();
    pool.write(0, 1, 3).unwrap();
    pool.metadata.hold(true);
    let flush = pool.start(0, Bio::flush());
    assert!(pool.metadata.held() > 0);
    let write = pool.start(0, page_of(0, 4));
    let read = pool.start(0, Bio::read_owned(Sector(0), Sectors(8)));
    assert_eq!(
        (ended(&write), ended(&read), ended(&flush)),
        (Some(BlkStatus::Ok), Some(BlkStatus::Ok), None)
    );
    assert_eq!(read.lock().as_ref().unwrap().1, vec![4; 4096]);
    pool.metadata.hold(false);
    while pool.metadata.held() > 0 {
        pool.metadata.let_go(0);
        pool.kit.machine.runtime().run_until_idle();
    }
    assert_eq!(ended(&flush), Some(BlkStatus::Ok));
}
