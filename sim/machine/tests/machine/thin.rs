//! Thin pools on virtual time: timeouts, mixed work in one pass, reloads.

use crate::kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dmlab_abi::{Command, DmFlags, HEADER_SIZE, Header};
use dmlab_block::{Bio, BioFlags, BlkStatus, IoFailed, Op, SyncIo, submit};
use dmlab_machine::BlockDevice;
use dmlab_units::{Errno, Sector, Sectors};
use kit::Kit;

const BLOCK: u64 = 128;

struct Pool {
    kit: Kit,
    thin: Arc<BlockDevice>,
}

impl Pool {
    fn new(blocks: u64, features: &str) -> Pool {
        let kit = Kit::new();
        kit.create("meta", "0 8192 linear 1:0 0");
        kit.create("data", &format!("0 {} linear 1:1 0", blocks * BLOCK));
        let pool = kit.create("pool", &pool_table(blocks, features));
        let made = Pool { thin: kit.machine.registry().get(pool).unwrap(), kit };
        made.message("create_thin 0").unwrap();
        let dev = made.kit.create("thin", &format!("0 8192 thin {pool} 0"));
        Pool { thin: made.kit.machine.registry().get(dev).unwrap(), kit: made.kit }
    }

    fn message(&self, text: &str) -> Result<(), Errno> {
        let payload = [&0u64.to_le_bytes()[..], text.as_bytes(), b"\0"].concat();
        let mut header = self.kit.named("pool", DmFlags::empty());
        header.set_data_size((HEADER_SIZE + payload.len()) as u32);
        self.kit.send(Command::TargetMsg, header, &payload).map(|_| ())
    }

    fn write(&self, block: u64) -> Result<(), IoFailed> {
        SyncIo::default().submit(&self.thin, Bio::write(Sector(block * BLOCK), &[block as u8 + 1; 4096]))
    }

    fn status(&self) -> String {
        self.kit.status("pool", DmFlags::empty())
    }
}

fn pool_table(blocks: u64, features: &str) -> String {
    format!("0 {} thin-pool 254:0 254:1 {BLOCK} 0 {features}", blocks * BLOCK)
}

#[test]
fn a_write_without_space_waits_a_minute_and_fails() {
    let pool = Pool::new(2, "0");
    pool.write(0).unwrap();
    pool.write(1).unwrap();
    let began = pool.kit.machine.runtime().now();
    // On virtual time the minute passes at once.
    assert_eq!(pool.write(2), Err(IoFailed::Status(BlkStatus::NoSpc)));
    let waited = pool.kit.machine.runtime().now() - began;
    assert!((Duration::from_secs(60)..Duration::from_secs(61)).contains(&waited), "{waited:?}");
    assert!(
        pool.status().contains("out_of_data_space discard_passdown error_if_no_space"),
        "{}",
        pool.status()
    );
    // From now on it fails at once; mapped blocks are as good as ever.
    assert_eq!(pool.write(3), Err(IoFailed::Status(BlkStatus::NoSpc)));
    pool.write(1).unwrap();
}

#[test]
fn a_timed_commit_comes_within_two_seconds() {
    let pool = Pool::new(8, "0");
    pool.kit
        .machine
        .runtime()
        .block_on(pool.kit.machine.runtime().sleep(Duration::from_millis(300)))
        .unwrap();
    pool.write(0).unwrap();
    let root = |pool: &Pool| {
        let meta = pool.kit.machine.registry().get(dmlab_units::DevT::new(1, 0)).unwrap();
        let mut buf = [0; 512];
        SyncIo::default().read(&meta, Sector(0), &mut buf, |bio| bio).unwrap();
        buf
    };
    let before = root(&pool);
    pool.kit.machine.runtime().block_on(pool.kit.machine.runtime().sleep(Duration::from_secs(2))).unwrap();
    assert_ne!(before, root(&pool));
}

#[test]
fn forced_writes_flushes_and_discards_in_one_pass_all_end() {
    let pool = Pool::new(16, "0");
    for block in 0..4 {
        pool.write(block).unwrap();
    }
    let ended = Arc::new(AtomicU32::new(0));
    let count = |ended: &Arc<AtomicU32>| {
        let ended = ended.clone();
        move |status: BlkStatus, _: Vec<_>| {
            assert!(status.is_ok(), "{status:?}");
            ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    let data: Arc<[u8]> = vec![9; 4096].into();
    // A new mapping makes the device changed, so the forced write and the flush wait for a commit; the discard of the
    // same pass waits for bios under way, which those are not yet.
    submit(Bio::write_owned(Sector(5 * BLOCK), data.clone()).to(&pool.thin).on_end(count(&ended)));
    let forced = Bio::write_owned(Sector(0), data).with_flags(BioFlags::FUA);
    submit(forced.to(&pool.thin).on_end(count(&ended)));
    submit(Bio::flush().to(&pool.thin).on_end(count(&ended)));
    let discard = Bio::range(Op::Discard, Sector(BLOCK), Sectors(2 * BLOCK));
    submit(discard.to(&pool.thin).on_end(count(&ended)));
    pool.kit.machine.runtime().run_until_idle();
    assert_eq!(ended.load(Ordering::Relaxed), 4);
    assert!(pool.status().contains(" 3/16 "), "{}", pool.status());
}

#[test]
fn discards_cannot_be_switched_by_a_reload() {
    let pool = Pool::new(8, "0");
    assert_eq!(pool.kit.load("pool", &pool_table(8, "1 ignore_discard")).err(), Some(Errno::EINVAL));
    let log = pool.kit.log();
    assert!(
        log.iter().any(|line| line.ends_with("Discard support cannot be disabled once enabled (-EINVAL)"))
    );
}

#[test]
fn a_snapshot_of_a_running_device_ends_its_cached_mappings() {
    let pool = Pool::new(16, "0");
    pool.write(0).unwrap();
    pool.write(0).unwrap();
    pool.message("create_snap 1 0").unwrap();
    // The write must copy: the snapshot keeps what it saw.
    SyncIo::default().submit(&pool.thin, Bio::write(Sector(0), &[77; 4096])).unwrap();
    let pool_dev = pool.kit.ask(Command::DevStatus, "pool", DmFlags::empty()).unwrap().dev().unwrap();
    let snap = pool.kit.create("snap", &format!("0 8192 thin {pool_dev} 1"));
    let snap = pool.kit.machine.registry().get(snap).unwrap();
    let mut buf = [0; 512];
    SyncIo::default().read(&snap, Sector(0), &mut buf, |bio| bio).unwrap();
    assert_eq!(buf[0], 1);
    SyncIo::default().read(&pool.thin, Sector(0), &mut buf, |bio| bio).unwrap();
    assert_eq!(buf[0], 77);
}

#[test]
fn a_suspended_pool_shows_its_devices_suspended_internally() {
    let pool = Pool::new(8, "0");
    pool.kit.ask(Command::DevSuspend, "pool", DmFlags::SUSPEND).unwrap();
    let flags = pool.kit.ask(Command::DevStatus, "thin", DmFlags::empty()).unwrap().flags();
    assert!(flags.contains(DmFlags::INTERNAL_SUSPEND));
    assert_eq!(pool.write(0), Err(IoFailed::Stalled));
    pool.kit.resume("pool").unwrap();
    pool.kit.machine.runtime().run_until_idle();
    assert!(pool.status().contains(" 1/8 "), "{}", pool.status());
    let header: Header = pool.kit.ask(Command::DevStatus, "thin", DmFlags::empty()).unwrap();
    assert!(!header.flags().contains(DmFlags::INTERNAL_SUSPEND));
}

#[test]
fn a_write_that_waits_for_space_outlives_the_growing_of_its_pool() {
    let pool = Pool::new(2, "0");
    pool.write(0).unwrap();
    pool.write(1).unwrap();
    let ended = Arc::new(AtomicU32::new(0));
    let done = ended.clone();
    let held = Bio::write_owned(Sector(2 * BLOCK), vec![5; 4096].into());
    submit(held.to(&pool.thin).on_end(move |status, _| {
        assert!(status.is_ok(), "{status:?}");
        done.fetch_add(1, Ordering::Relaxed);
    }));
    pool.kit.machine.runtime().run_until_idle();
    pool.kit.load("data", &format!("0 {} linear 1:1 0", 4 * BLOCK)).unwrap();
    pool.kit.resume("data").unwrap();
    pool.kit.load("pool", &pool_table(4, "0")).unwrap();
    pool.kit.ask(Command::DevSuspend, "pool", DmFlags::SUSPEND | DmFlags::NOFLUSH).unwrap();
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    pool.kit.resume("pool").unwrap();
    pool.kit.machine.runtime().run_until_idle();
    assert_eq!(ended.load(Ordering::Relaxed), 1);
    assert!(pool.status().contains(" 3/4 "), "{}", pool.status());
}

#[test]
fn the_minute_of_an_earlier_wait_does_not_end_a_later_one() {
    let pool = Pool::new(2, "0");
    pool.write(0).unwrap();
    pool.write(1).unwrap();
    let ended = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let wait = |block: u64| {
        let told = ended.clone();
        let bio = Bio::write_owned(Sector(block * BLOCK), vec![5; 4096].into());
        submit(bio.to(&pool.thin).on_end(move |status, _| told.lock().push((block, status))));
        pool.kit.machine.runtime().run_until_idle();
    };
    wait(2);
    pool.kit.advance(Duration::from_secs(50));
    // Space for one: that wait is over.
    let discard = Bio::range(Op::Discard, Sector(0), Sectors(BLOCK));
    submit(discard.to(&pool.thin).on_end(|status, _| assert!(status.is_ok())));
    pool.kit.machine.runtime().run_until_idle();
    pool.status();
    pool.kit.machine.runtime().run_until_idle();
    assert_eq!(*ended.lock(), [(2, BlkStatus::Ok)]);
    wait(3);
    pool.kit.advance(Duration::from_secs(55));
    assert_eq!(ended.lock().len(), 1, "the first minute is over, the second is not");
    assert!(pool.status().contains("queue_if_no_space"), "{}", pool.status());
    pool.kit.advance(Duration::from_secs(6));
    assert_eq!(ended.lock()[1..], [(3, BlkStatus::NoSpc)]);
}
