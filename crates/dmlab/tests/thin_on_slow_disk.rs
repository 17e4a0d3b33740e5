//! A pool on a data device that takes its time: what fills new blocks goes on side by side, bios to a block that is being
//! filled wait for it, and no device reads another's data.

use std::collections::BTreeMap;
use std::time::Duration;

use dmlab::control::{CreateOptions, DeviceId, LoadOptions, SuspendOptions, Table};
use dmlab::units::{DmName, Sector, Sectors};
use dmlab::{Lab, PendingWrite};

const BLOCK: u64 = 128;
const PAGE: u64 = 8;

struct Pool {
    lab: Lab,
}

fn name(text: &str) -> DmName {
    DmName::new(text).expect("a good name")
}

impl Pool {
    /// A pool over a data device with these delays of reads and writes, in milliseconds.
    fn new(read_ms: u32, write_ms: u32, features: &str) -> Pool {
        let pool = Pool { lab: Lab::new(1) };
        pool.create("slow", &format!("0 65536 delay /dev/ram1 0 {read_ms} /dev/ram1 0 {write_ms}"));
        pool.create("pool", &format!("0 65536 thin-pool /dev/ram0 /dev/mapper/slow {BLOCK} 0 {features}"));
        pool
    }

    fn create(&self, device: &str, table: &str) {
        let table: Table = table.parse().expect("a table");
        self.lab
            .dm()
            .create_with_table(&name(device), &CreateOptions::default(), &table, LoadOptions::default())
            .unwrap_or_else(|e| panic!("{device}: {e}"));
    }

    fn message(&self, text: &str) {
        self.lab.dm().message(&DeviceId::Name(name("pool")), Sector(0), text).expect(text);
    }

    fn open(&self, id: usize) {
        self.create(&format!("v{id}"), &format!("0 4096 thin /dev/mapper/pool {id}"));
    }

    fn snapshot(&self, id: usize, origin: usize) {
        let device = DeviceId::Name(name(&format!("v{origin}")));
        self.lab.dm().suspend(&device, SuspendOptions::default()).expect("it can be suspended");
        self.message(&format!("create_snap {id} {origin}"));
        self.lab.dm().resume(&device, SuspendOptions::default()).expect("it can be resumed");
        self.open(id);
    }

    fn start(&self, id: usize, sector: u64, value: u8) -> PendingWrite {
        let bytes = vec![value; (PAGE * 512) as usize];
        self.lab.start_write(&format!("/dev/mapper/v{id}"), Sector(sector), &bytes).expect("it is open")
    }

    fn read(&self, id: usize, sector: u64) -> u8 {
        let path = format!("/dev/mapper/v{id}");
        let bytes = self.lab.read(&path, Sector(sector), Sectors(PAGE)).expect("it can be read");
        assert!(bytes.iter().all(|&b| b == bytes[0]), "a torn page at sector {sector} of v{id}");
        bytes[0]
    }

    fn used_blocks(&self) -> String {
        let report = self.lab.dm().status(&DeviceId::Name(name("pool")), Default::default()).expect("a pool");
        let text = String::from_utf8_lossy(&report.lines[0].text).into_owned();
        text.split(' ').nth(2).expect("data blocks").split('/').next().expect("used").to_owned()
    }
}

fn all_done(writes: &[PendingWrite]) -> bool {
    writes.iter().all(|write| write.result() == Some(Ok(())))
}

#[test]
fn eight_first_writes_take_as_long_as_one() {
    let pool = Pool::new(1000, 1000, "0");
    pool.message("create_thin 0");
    pool.open(0);
    let writes: Vec<_> = (0..8).map(|block| pool.start(0, block * BLOCK, 1)).collect();
    // Zeros, a second; then the write itself.
    pool.lab.advance(Duration::from_millis(1990));
    assert!(writes.iter().all(|write| write.result().is_none()));
    // The timers of the kernel may be late by a step of their wheel each.
    pool.lab.advance(Duration::from_millis(100));
    assert!(all_done(&writes));
    assert_eq!(pool.used_blocks(), "8");
    assert_eq!((pool.read(0, 0), pool.read(0, PAGE)), (1, 0));

    // Breaking sharing: the copy is read and written, then the write itself.
    pool.snapshot(1, 0);
    let writes: Vec<_> = (0..8).map(|block| pool.start(0, block * BLOCK, 2)).collect();
    pool.lab.advance(Duration::from_millis(2990));
    assert!(writes.iter().all(|write| write.result().is_none()));
    pool.lab.advance(Duration::from_millis(150));
    assert!(all_done(&writes));
    assert_eq!(pool.used_blocks(), "16");
    assert_eq!((pool.read(0, 7 * BLOCK), pool.read(1, 7 * BLOCK)), (2, 1));
}

#[test]
fn bios_to_a_block_that_is_being_filled_wait_for_it() {
    let pool = Pool::new(10, 1000, "0");
    pool.message("create_thin 0");
    pool.open(0);
    let writes = [pool.start(0, 0, 1), pool.start(0, PAGE, 2), pool.start(0, 2 * PAGE, 3)];
    assert_eq!(pool.read(0, PAGE), 0, "this read waits for the zeros, and for nothing else");
    pool.lab.advance(Duration::from_secs(3));
    assert!(all_done(&writes));
    assert_eq!(pool.used_blocks(), "1");
    assert_eq!([0, 1, 2, 3].map(|page| pool.read(0, page * PAGE)), [1, 2, 3, 0]);
}

#[test]
fn a_suspend_waits_for_what_is_being_filled() {
    let pool = Pool::new(1000, 1000, "0");
    pool.message("create_thin 0");
    pool.open(0);
    let write = pool.start(0, 0, 1);
    let device = DeviceId::Name(name("v0"));
    pool.lab.dm().suspend(&device, SuspendOptions::default()).expect("it can be suspended");
    assert_eq!(write.result(), Some(Ok(())));
}

/// Writes, reads and snapshots at random over a slow disk, against a plain map of what each volume holds.
#[test]
fn volumes_keep_apart_whatever_is_under_way() {
    for seed in 0..40u64 {
        // Numbers of a linear congruential generator: a test's own, the same on each run.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let features = if seed % 2 == 0 { "0" } else { "1 skip_block_zeroing" };
        let pool = Pool::new(1 + below(900) as u32, 1 + below(900) as u32, features);
        pool.message("create_thin 0");
        pool.open(0);
        let mut held: BTreeMap<(usize, u64), u8> = BTreeMap::new();
        let mut pending: BTreeMap<(usize, u64), (PendingWrite, u8)> = BTreeMap::new();
        let mut volumes = 1;
        for step in 0..120 {
            pending.retain(|place, (write, value)| match write.result() {
                Some(result) => {
                    assert_eq!(result, Ok(()), "seed {seed}");
                    held.insert(*place, *value);
                    false
                }
                None => true,
            });
            // Few blocks and pages, so that all of them meet.
            let (id, sector) = (below(volumes as u64) as usize, below(3) * BLOCK + below(3) * PAGE);
            match below(10) {
                0..=4 if !pending.contains_key(&(id, sector)) => {
                    let value = below(255) as u8 + 1;
                    pending.insert((id, sector), (pool.start(id, sector, value), value));
                }
                5..=7 if !pending.contains_key(&(id, sector)) => {
                    let (read, want) = (pool.read(id, sector), held.get(&(id, sector)).copied());
                    // Without zeroing a block shows what was on the disk; that is nothing here, or old data.
                    let is_open = want.is_none() && seed % 2 == 1;
                    assert!(
                        is_open || read == want.unwrap_or(0),
                        "seed {seed}, step {step}: {read}, {want:?}"
                    );
                }
                8 => pool.lab.advance(Duration::from_millis(below(700))),
                _ if volumes < 5 && below(4) == 0 => {
                    // Its suspend waits for all writes to the origin.
                    pool.snapshot(volumes, id);
                    for (place, value) in pending.iter().filter(|(place, _)| place.0 == id) {
                        held.insert(*place, value.1);
                    }
                    pending.retain(|place, _| place.0 != id);
                    let of_origin = held.range((id, 0)..(id + 1, 0));
                    let copies: Vec<_> = of_origin.map(|((_, sector), v)| ((volumes, *sector), *v)).collect();
                    held.extend(copies);
                    volumes += 1;
                }
                _ => {}
            }
        }
        pool.lab.advance(Duration::from_secs(60));
        for (place, (write, value)) in pending {
            assert_eq!(write.result(), Some(Ok(())), "seed {seed}");
            held.insert(place, value);
        }
        for ((id, sector), value) in held {
            assert_eq!(pool.read(id, sector), value, "seed {seed}: sector {sector} of v{id}");
        }
    }
}
