//! What waits for a snapshot: for a copy, a commit, a merge or a handover, and what becomes of it.

use crate::kit;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, BlkStatus, Op, SyncIo, submit};
use dmlab_runtime::{Rng, SeededScheduler, Stream};
use dmlab_units::{DevT, Sector, Sectors};
use kit::Kit;
use parking_lot::Mutex;

const SECTOR: usize = 512;
/// Sectors of a chunk.
const CHUNK: u64 = 8;

fn write(sector: u64, len: u64, byte: u8) -> Bio<'static> {
    Bio::write_owned(Sector(sector), vec![byte; len as usize * SECTOR].into())
}

fn read(kit: &Kit, dev: DevT, sector: u64, len: u64) -> Vec<u8> {
    let dev = kit.machine.registry().get(dev).unwrap();
    let mut buf = vec![0xee; len as usize * SECTOR];
    SyncIo::default().read(&dev, Sector(sector), &mut buf, |bio| bio).unwrap();
    buf.chunks(SECTOR).map(|sector| sector[0]).collect()
}

/// How bios have ended, in the order in which they did.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<BlkStatus>>>);

impl Ends {
    /// Submits a bio; time does not pass.
    fn start(&self, kit: &Kit, dev: DevT, bio: Bio<'static>) {
        let dev = kit.machine.registry().get(dev).unwrap();
        let ends = self.0.clone();
        submit(bio.on_end(move |status, _| ends.lock().push(status)).to(&dev));
        kit.machine.runtime().run_until_idle();
    }

    fn count(&self) -> usize {
        self.0.lock().len()
    }
}

/// Ends the machine: all that waits, and nothing else, ends with an error.
fn end(kit: Kit, ends: &Ends, waiting: usize) {
    assert_eq!(ends.count(), 0, "all of them wait");
    drop(kit);
    assert_eq!(*ends.0.lock(), vec![BlkStatus::IoErr; waiting]);
}

/// A COW device on which writes to these chunks take a second.
fn slow_cow(kit: &Kit, chunks: std::ops::Range<u64>) -> DevT {
    let (from, to) = (chunks.start * CHUNK, chunks.end * CHUNK);
    let mut table = String::new();
    if from > 0 {
        table += &format!("0 {from} linear 1:1 0\n");
    }
    table += &format!("{from} {} delay 1:1 {from} 0 1:1 {from} 1000\n", to - from);
    table += &format!("{to} 24000 linear 1:1 {to}");
    kit.create("cow", &table)
}

/// An origin's device whose reads and writes take that many milliseconds.
fn slow_base(kit: &Kit, read: u32, write: u32) -> DevT {
    kit.create("base", &format!("0 20000 delay 1:0 0 {read} 1:0 0 {write}"))
}

#[test]
fn a_machine_that_ends_ends_writes_that_wait_for_a_copy() {
    for chunks in [1, 2100] {
        // Of the snapshot: for copies, and for there to be fewer of them.
        let (kit, ends) = (Kit::new(), Ends::default());
        let base = slow_base(&kit, 1000, 0);
        let dev = kit.create("s", &format!("0 20000 snapshot {base} 1:1 P {CHUNK}"));
        (0..chunks).for_each(|chunk| ends.start(&kit, dev, write(chunk * CHUNK, 1, 1)));
        end(kit, &ends, chunks as usize);

        // Of the origin.
        let (kit, ends) = (Kit::new(), Ends::default());
        let base = slow_base(&kit, 1000, 0);
        kit.create("s", &format!("0 20000 snapshot {base} 1:1 P {CHUNK}"));
        let origin = kit.create("o", &format!("0 20000 snapshot-origin {base}"));
        (0..chunks).for_each(|chunk| ends.start(&kit, origin, write(chunk * CHUNK, 1, 1)));
        end(kit, &ends, chunks as usize);
    }
}

#[test]
fn a_machine_that_ends_ends_writes_of_whole_chunks_that_wait_for_their_commit() {
    let (kit, ends) = (Kit::new(), Ends::default());
    let cow = slow_cow(&kit, 1..2);
    let dev = kit.create("s", &format!("0 20000 snapshot 1:0 {cow} P {CHUNK}"));
    (0..3).for_each(|chunk| ends.start(&kit, dev, write(chunk * CHUNK, CHUNK, 1)));
    end(kit, &ends, 3);
}

#[test]
fn a_machine_that_ends_ends_writes_that_wait_for_the_snapshot_to_be_made_invalid() {
    let (kit, ends) = (Kit::new(), Ends::default());
    kit.create("cow", &format!("0 {CHUNK} delay 1:1 0 0 1:1 0 1000\n{CHUNK} {CHUNK} linear 1:1 {CHUNK}"));
    let dev = kit.create("s", &format!("0 20000 snapshot 1:0 254:0 P {CHUNK}"));
    ends.start(&kit, dev, write(0, 1, 1));
    end(kit, &ends, 1);
}

#[test]
fn a_machine_that_ends_ends_discards_that_wait_for_zeros() {
    let (kit, ends) = (Kit::new(), Ends::default());
    let cow = slow_cow(&kit, 2..3);
    let dev = kit.create("s", &format!("0 20000 snapshot 1:0 {cow} P {CHUNK} 1 discard_zeroes_cow"));
    ends.start(&kit, dev, write(0, 1, 1));
    kit.advance(Duration::from_secs(10));
    assert_eq!(std::mem::take(&mut *ends.0.lock()), [BlkStatus::Ok]);
    ends.start(&kit, dev, Bio::range(Op::Discard, Sector(0), Sectors(CHUNK)));
    end(kit, &ends, 1);
}

#[test]
fn a_machine_that_ends_ends_writes_that_wait_for_a_merge() {
    let (kit, ends) = (Kit::new(), Ends::default());
    let dev = kit.create("s", &format!("0 20000 snapshot 1:0 1:1 P {CHUNK}"));
    ends.start(&kit, dev, write(0, 1, 1));
    assert_eq!(std::mem::take(&mut *ends.0.lock()), [BlkStatus::Ok]);
    kit.ask(Command::DevRemove, "s", DmFlags::empty()).unwrap();
    let base = slow_base(&kit, 0, 1000);
    let dev = kit.create("m", &format!("0 20000 snapshot-merge {base} 1:1 P {CHUNK}"));
    kit.machine.runtime().run_until_idle();
    (1..3).for_each(|sector| ends.start(&kit, dev, write(sector, 1, 1)));
    end(kit, &ends, 2);
}

/// A chunk that has its copy may still be read from the origin, by those that came before: no write overtakes them.
#[test]
fn origin_writes_wait_for_snapshot_reads_of_their_chunk() {
    let (kit, ends) = (Kit::new(), Ends::default());
    let base = slow_base(&kit, 1000, 0);
    let snapshot = kit.create("s", &format!("0 20000 snapshot {base} 1:1 P {CHUNK}"));
    let origin = kit.create("o", &format!("0 20000 snapshot-origin {base}"));
    let dev = kit.machine.registry().get(snapshot).unwrap();
    let seen = Arc::new(Mutex::new(None));
    ends.start(&kit, origin, write(0, 1, 1));
    kit.advance(Duration::from_millis(500));
    let tell = seen.clone();
    let bio = Bio::read_owned(Sector(1), Sectors(1));
    submit(bio.on_end(move |_, parts| *tell.lock() = Some(parts[0].data[0])).to(&dev));
    // The copy has ended, the read has not.
    kit.advance(Duration::from_millis(600));
    assert_eq!(
        (ends.count(), kit.status("s", DmFlags::empty())),
        (0, "0 20000 snapshot 24/32768 16".to_owned())
    );
    ends.start(&kit, origin, write(1, 1, 2));
    assert_eq!(ends.count(), 0);
    kit.advance(Duration::from_secs(2));
    assert_eq!((*seen.lock(), ends.count()), (Some(0), 2));
    assert_eq!(read(&kit, DevT::new(1, 0), 0, 2), [1, 2]);
    assert_eq!(read(&kit, snapshot, 0, 2), [0, 0]);
}

/// Hands `s` over to a table like its own.
fn hand_over(kit: &Kit, table: &str) {
    kit.load("s", table).unwrap();
    kit.resume("s").unwrap();
}

/// Whatever runs first when copies have ended: the writes that waited for there to be fewer, or the handover.
#[test]
fn a_handover_loses_no_write_that_waits_for_its_turn() {
    let chunks = 2200;
    for seed in 0..8 {
        let (kit, ends) = (Kit::new(), Ends::default());
        let base = slow_base(&kit, 1000, 0);
        let table = format!("0 20000 snapshot {base} 1:1 P {CHUNK}");
        let snapshot = kit.create("s", &table);
        let origin = kit.create("o", &format!("0 20000 snapshot-origin {base}"));
        kit.machine.runtime().set_scheduler(Box::new(SeededScheduler(Rng::new(seed, Stream::Scheduling))));
        (0..chunks).for_each(|chunk| ends.start(&kit, origin, write(chunk * CHUNK, 1, 1)));
        hand_over(&kit, &table);
        kit.advance(Duration::from_secs(10));
        assert_eq!(*ends.0.lock(), vec![BlkStatus::Ok; chunks as usize]);
        let kept = read(&kit, snapshot, 0, chunks * CHUNK);
        assert_eq!(kept.iter().position(|&byte| byte != 0), None, "seed {seed}");
    }
}

/// Writes of one thread meet handovers of another: at whatever moment, one side of the handover keeps the chunk.
#[test]
fn a_handover_loses_no_write_of_another_thread() {
    let chunks = 2000;
    for _ in 0..3 {
        let (kit, ends) = (Kit::for_threads(), Ends::default());
        let table = format!("0 20000 snapshot 1:0 1:1 N {CHUNK}");
        let snapshot = kit.create("s", &table);
        let origin = kit.create("o", "0 20000 snapshot-origin 1:0");
        let device = kit.machine.registry().get(origin).unwrap();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for chunk in 0..chunks {
                    let ends = ends.0.clone();
                    let bio = write(chunk * CHUNK, 1, 1).to(&device);
                    submit(bio.on_end(move |status, _| ends.lock().push(status)));
                }
                is_done.store(true, SeqCst);
            });
            while !is_done.load(SeqCst) {
                hand_over(&kit, &table);
            }
        });
        kit.machine.runtime().run_until_idle();
        assert_eq!(*ends.0.lock(), vec![BlkStatus::Ok; chunks as usize]);
        let kept = read(&kit, snapshot, 0, chunks * CHUNK);
        assert_eq!(kept.iter().position(|&byte| byte != 0), None);
    }
}
