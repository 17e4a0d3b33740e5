//! How thin provisioning behaves when there is much of it: mappings by the million, snapshots by the thousand, snapshots
//! of snapshots a thousand deep, a pool of 16 TiB. `docs/src/performance.md` holds what it printed.
//!
//!     cargo bench -p dmlab-benches --bench thin_scale [-- mappings|snapshots|depth|16tib]
//!
//! Each part runs once and prints its table: what is measured grows while it runs, so repeating it measures another thing.
#![allow(clippy::print_stdout, reason = "a table is what it makes")]

use std::sync::Arc;
use std::time::Duration;

use dmlab_abi::Command;
use dmlab_benches::{Bench, ThreadTime};
use dmlab_block::{Bio, SyncIo};
use dmlab_machine::BlockDevice;
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{Bytes, DevT, Sector, Sectors};

const BLOCK: Sectors = Sectors(128);
const PAGE: usize = 4096;

/// A pool whose data goes nowhere (a `zero` target), so that what is measured is the pool's own.
struct Pool {
    bench: Bench,
    size: Sectors,
    pool: DevT,
}

impl Pool {
    fn new(size: Sectors, metadata: Bytes) -> Pool {
        let bench = Bench::with_ram_disks(metadata);
        let data = bench.create("data", size, "zero", "");
        let args = format!("1:0 {} {} 0 1 skip_block_zeroing", data.dev(), BLOCK.0);
        let pool = bench.create("pool", size, "thin-pool", &args).dev();
        Pool { bench, size, pool }
    }

    fn message(&self, text: &str) {
        let mut header = self.bench.named("pool");
        header.set_data_start(312);
        let mut buf = header.as_bytes().to_vec();
        buf.extend_from_slice(&0u64.to_le_bytes());
        buf.extend_from_slice(text.as_bytes());
        buf.resize(512, 0);
        self.bench.ioctl(Command::TargetMsg, &mut buf).expect("the message is good");
    }

    fn open(&self, id: u64) -> Arc<BlockDevice> {
        self.bench.create(&format!("thin{id}"), self.size, "thin", &format!("{} {id}", self.pool))
    }

    fn close(&self, id: u64) {
        let mut buf = self.bench.named(&format!("thin{id}")).as_bytes().to_vec();
        self.bench.ioctl(Command::DevRemove, &mut buf).expect("nobody has it open");
    }

    /// What the pool's status line says of metadata and data in use.
    fn used(&self) -> String {
        let mut buf = self.bench.named("pool").as_bytes().to_vec();
        buf.resize(4096, 0);
        buf[12..16].copy_from_slice(&4096u32.to_le_bytes());
        self.bench.ioctl(Command::TableStatus, &mut buf).expect("the pool is there");
        let text = String::from_utf8_lossy(&buf[312 + 40..]).into_owned();
        let words: Vec<&str> = text.trim_end_matches('\0').split(' ').take(3).collect();
        format!("metadata {}, data {}", words[1], words[2])
    }
}

/// Memory of this process that is in use, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Writes a page to each of these blocks; the mean time of one.
fn write(dev: &Arc<BlockDevice>, blocks: impl Iterator<Item = u64>) -> Duration {
    let (mut io, page) = (SyncIo::default(), [0x5a; PAGE]);
    let mut count = 0;
    let time = ThreadTime::of(|| {
        for block in blocks {
            io.submit(dev, Bio::write(Sector(block * BLOCK.0), &page)).expect("there is room");
            count += 1;
        }
    });
    time / count.max(1)
}

/// Reads a page of each of these blocks; the mean time of one.
fn read(dev: &Arc<BlockDevice>, blocks: impl Iterator<Item = u64>) -> Duration {
    let (mut io, mut page) = (SyncIo::default(), vec![0; PAGE]);
    let mut count = 0;
    let time = ThreadTime::of(|| {
        for block in blocks {
            io.read(dev, Sector(block * BLOCK.0), &mut page, |bio| bio).expect("it is healthy");
            count += 1;
        }
    });
    time / count.max(1)
}

/// The i-th of `count` blocks in an order that jumps about and meets each once: multiples of a number that has no factor
/// in common with `count`.
fn scattered(count: u64) -> impl Fn(u64) -> u64 {
    let stride = (2_654_435_761..u64::MAX).find(|&n| gcd(n, count) == 1).expect("primes don't end");
    move |i| (u128::from(i) * u128::from(stride) % u128::from(count)) as u64
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Mappings in random order into one thin device.
fn mappings(size: Sectors, metadata: Bytes, steps: &[u64]) {
    let blocks = size.0 / BLOCK.0;
    println!("\n{blocks} blocks of 64 KiB ({} GiB), written one by one in random order", size.0 >> 21);
    println!(
        "mappings | each write, up to here | random read of a mapped block | commit | memory of the process"
    );
    println!("---|---|---|---|---");
    let pool = Pool::new(size, metadata);
    pool.message("create_thin 0");
    let dev = pool.open(0);
    let place = scattered(blocks);
    let mut rng = Rng::new(1, Stream::Workload);
    let mut done = 0;
    for &step in steps {
        let each = write(&dev, (done..step).map(&place));
        done = step;
        // A message commits before it does its work.
        let commit = ThreadTime::of(|| pool.message("set_transaction_id 0 0"));
        let reads = read(&dev, (0..200_000).map(|_| place(rng.below(done))));
        println!("{done} | {each:.2?} | {reads:.2?} | {commit:.2?} | {} MiB", resident());
    }
    println!("{}", pool.used());
}

/// Many snapshots of one device, each with a few blocks of its own.
fn snapshots(steps: &[u64]) {
    const BLOCKS: u64 = 16_384;
    println!("\nsnapshots of one device of {BLOCKS} blocks; 4 blocks of each are written");
    println!("snapshots | create_snap | write that breaks sharing | memory of the process");
    println!("---|---|---|---");
    let pool = Pool::new(Sectors(1 << 33), Bytes::gib(1));
    pool.message("create_thin 0");
    let origin = pool.open(0);
    write(&origin, 0..BLOCKS);
    let mut rng = Rng::new(2, Stream::Workload);
    let mut done = 0;
    for &step in steps {
        let (mut creating, mut breaking) = (Duration::ZERO, Duration::ZERO);
        for id in done + 1..=step {
            creating += ThreadTime::of(|| pool.message(&format!("create_snap {id} 0")));
            let dev = pool.open(id);
            breaking += write(&dev, (0..4).map(|_| rng.below(BLOCKS)));
            drop(dev);
            pool.close(id);
        }
        let count = (step - done) as u32;
        done = step;
        println!("{done} | {:.2?} | {:.2?} | {} MiB", creating / count, breaking / count, resident());
    }
    println!("{}", pool.used());
}

/// Snapshots of snapshots.
fn depth(steps: &[u64]) {
    const BLOCKS: u64 = 16_384;
    println!(
        "\na snapshot of a snapshot of … a device of {BLOCKS} blocks; 16 blocks are written at each level"
    );
    println!("depth | create_snap | write that breaks sharing | random read at the top");
    println!("---|---|---|---");
    let pool = Pool::new(Sectors(1 << 33), Bytes::gib(1));
    pool.message("create_thin 0");
    let mut top = pool.open(0);
    write(&top, 0..BLOCKS);
    let mut rng = Rng::new(3, Stream::Workload);
    let mut done = 0;
    for &step in steps {
        let (mut creating, mut breaking) = (Duration::ZERO, Duration::ZERO);
        for id in done + 1..=step {
            drop(top);
            pool.close(id - 1);
            creating += ThreadTime::of(|| pool.message(&format!("create_snap {id} {}", id - 1)));
            top = pool.open(id);
            breaking += write(&top, (0..16).map(|_| rng.below(BLOCKS)));
        }
        let count = (step - done) as u32;
        done = step;
        let reads = read(&top, (0..100_000).map(|_| rng.below(BLOCKS)));
        println!("{done} | {:.2?} | {:.2?} | {reads:.2?}", creating / count, breaking / count);
    }
    println!("{}", pool.used());
}

fn main() {
    // `cargo bench` says --bench; without it, this is only built.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    let parts: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let wants = |part: &str| parts.is_empty() || parts.contains(&part);
    if wants("mappings") {
        mappings(Sectors(1 << 31), Bytes::gib(1), &[1_000, 10_000, 100_000, 1_000_000, 4_000_000]);
    }
    if wants("snapshots") {
        snapshots(&[10, 100, 1_000, 10_000]);
    }
    if wants("depth") {
        depth(&[1, 10, 100, 1_000]);
    }
    if wants("16tib") {
        mappings(Sectors(16 << 31), Bytes::gib(2), &[1_000_000, 5_000_000, 10_000_000]);
    }
}
