//! The largest chunks that a snapshot can have. A process of its own, because it looks at how much memory that takes.

use crate::kit;

use dmlab_abi::{Command, DmFlags};
use dmlab_block::{Bio, Op, SyncIo};
use dmlab_units::{DevT, Sector, Sectors};
use kit::Kit;

/// Sectors of a chunk: 1 GiB.
const CHUNK: u64 = 1 << 21;
const SIZE: u64 = 5 * CHUNK;
/// Sectors at the beginning of each chunk that are kept; the others read as zeros, whatever is written there.
const KEPT: u64 = 8;

fn first_bytes(kit: &Kit, dev: DevT, sector: u64) -> Vec<u8> {
    let dev = kit.machine.registry().get(dev).unwrap();
    let mut buf = vec![0xee; 512];
    SyncIo::default().read(&dev, Sector(sector), &mut buf, |bio| bio).unwrap();
    buf.truncate(32);
    buf
}

fn submit(kit: &Kit, dev: DevT, bio: Bio<'_>) {
    SyncIo::default().submit(&kit.machine.registry().get(dev).unwrap(), bio).unwrap();
}

/// The most memory that the process has had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[test]
fn a_chunk_of_a_gib_takes_little_memory() {
    let kit = Kit::new();
    let zero = kit.create("zero", &format!("0 {SIZE} zero"));
    let sparse = |name: &str, disk: u32| {
        let rest = CHUNK - KEPT;
        let chunk = |at: u64| {
            let (start, middle) = (at * CHUNK, at * CHUNK + KEPT);
            format!("{start} {KEPT} linear 1:{disk} {}\n{middle} {rest} linear {zero} 0", at * KEPT)
        };
        kit.create(name, &(0..5).map(chunk).collect::<Vec<_>>().join("\n"))
    };
    let (base, cow) = (sparse("base", 0), sparse("cow", 1));
    for at in 0..5 {
        submit(&kit, base, Bio::write(Sector(at * CHUNK), &[1; 512]));
        // Nothing is left of what was there before.
        submit(&kit, cow, Bio::write(Sector(at * CHUNK + 1), &[0xee; 512]));
    }
    let table = format!("0 {SIZE} snapshot {base} {cow} P {CHUNK} 1 discard_zeroes_cow");
    let mut dev = kit.create("s", &table);
    let usage = |allocated: u64| {
        let text = format!("0 {SIZE} snapshot {}/{SIZE} {}", allocated * CHUNK, 2 * CHUNK);
        assert_eq!(kit.status("s", DmFlags::empty()), text);
    };
    usage(2);
    let header = [&b"SnAp"[..], &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x20, 0], &[0; 16]].concat();
    assert_eq!(
        [0, 1, CHUNK, CHUNK + 1].map(|at| first_bytes(&kit, cow, at)),
        [header, vec![0; 32], vec![0; 32], vec![0; 32]]
    );

    // Copied, committed, and found again.
    submit(&kit, dev, Bio::write(Sector(3 * CHUNK + 1), &[2; 512]));
    usage(3);
    let mut record = [0; 32];
    (record[0], record[8]) = (3, 2);
    assert_eq!(first_bytes(&kit, cow, CHUNK), record);
    kit.ask(Command::DevRemove, "s", DmFlags::empty()).unwrap();
    dev = kit.create("s", &table);
    usage(3);
    assert_eq!([0, 1].map(|at| first_bytes(&kit, dev, 3 * CHUNK + at)[0]), [1, 2]);

    // Zeroed.
    submit(&kit, dev, Bio::range(Op::Discard, Sector(3 * CHUNK), Sectors(CHUNK)));
    assert_eq!([0, 1].map(|at| first_bytes(&kit, dev, 3 * CHUNK + at)[0]), [0, 0]);
    assert_eq!(first_bytes(&kit, dev, 2 * CHUNK)[0], 1);

    // Merged.
    kit.ask(Command::DevRemove, "s", DmFlags::empty()).unwrap();
    submit(&kit, cow, Bio::write(Sector(2 * CHUNK), &[3; 512]));
    let merged = kit.create("m", &format!("0 {SIZE} snapshot-merge {base} {cow} P {CHUNK}"));
    kit.machine.runtime().run_until_idle();
    let done = format!("0 {SIZE} snapshot-merge {}/{SIZE} {}", 2 * CHUNK, 2 * CHUNK);
    assert_eq!(kit.status("m", DmFlags::empty()), done);
    assert_eq!([3, 2].map(|chunk| first_bytes(&kit, merged, chunk * CHUNK)[0]), [3, 1]);

    let peak = peak_mib();
    assert!(peak < 256, "{peak} MiB");
}

#[test]
fn a_transient_store_of_such_chunks_takes_none() {
    let kit = Kit::new();
    let zero = kit.create("zero", &format!("0 {SIZE} zero"));
    let cow = kit.create("cow", &format!("0 {SIZE} zero"));
    kit.create("s", &format!("0 {SIZE} snapshot {zero} {cow} N {CHUNK}"));
    assert_eq!(kit.status("s", DmFlags::empty()), format!("0 {SIZE} snapshot 0/{SIZE} 0"));
}
