//! log-writes under random work against a plain model: a list of what must be in the log, and in which order.

use std::collections::BTreeSet;
use std::sync::Arc;

use dmlab::Lab;
use dmlab::machine::BlockDevice;
use dmlab_block::{Bio, BioFlags, Op, SyncIo};
use dmlab_control::{CreateOptions, DeviceId, LoadOptions, Query};
use dmlab_replay_log::{EntryFlags, Log, Stop, replay};
use dmlab_runtime::{Rng, Stream};
use dmlab_units::{DmName, Sector, Sectors};

const SIZE: u64 = 256;

/// What an entry of the log must be.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    flags: EntryFlags,
    sector: u64,
    len: u64,
    /// The byte that a write is full of, or the text of a mark.
    fill: u8,
    text: Vec<u8>,
}

impl Wanted {
    fn new(flags: EntryFlags, sector: u64, len: u64, fill: u8) -> Wanted {
        Wanted { flags, sector, len, fill, text: Vec::new() }
    }

    fn mark(text: &[u8]) -> Wanted {
        Wanted { text: text.to_vec(), ..Wanted::new(EntryFlags::MARK, 0, 0, 0) }
    }
}

fn create(lab: &Lab, name: &str, table: &str) -> Arc<BlockDevice> {
    let name = DmName::new(name).expect("a valid name");
    let table = table.parse().expect("a valid table");
    let made = lab.dm().create_with_table(&name, &CreateOptions::default(), &table, LoadOptions::default());
    made.unwrap_or_else(|e| panic!("{table}: {e}"));
    let dev = lab.device(&format!("/dev/mapper/{name}")).expect("just made");
    lab.machine().registry().get(dev).expect("just made")
}

fn remove(lab: &Lab, name: &str) {
    let name = DmName::new(name).expect("a valid name");
    lab.dm().remove(&DeviceId::from(&name), false).expect("nobody has it open");
}

fn mark(lab: &Lab, text: &str) {
    let name = DmName::new("l").expect("a valid name");
    lab.dm().message(&DeviceId::from(&name), Sector(0), &format!("mark {text}")).expect("a good mark");
}

fn open(lab: &Lab, sectors: u64) -> Log<Vec<u8>> {
    Log::open(lab.read("/dev/ram1", Sector(0), Sectors(sectors)).expect("a RAM disk can be read"))
        .expect("the target wrote a log")
}

/// All entries of the log on the second RAM disk.
fn found(lab: &Lab, sectors: u64) -> Vec<Wanted> {
    let mut log = open(lab, sectors);
    let mut entries = Vec::new();
    while let Some(logged) = log.next_entry().expect("a sound log") {
        let entry = logged.entry.clone();
        let mut data = vec![0; entry.nr_data_blocks() as usize * 512];
        log.read_data(&logged, 0, &mut data).expect("a sound log");
        let fill = data.first().copied().unwrap_or(0);
        assert!(data.iter().all(|&byte| byte == fill), "mixed data in entry {}", logged.number);
        let (flags, sector, len) = (entry.flags, entry.sector, entry.nr_sectors);
        entries.push(Wanted { flags, sector, len, fill, text: entry.text });
    }
    entries
}

#[test]
#[expect(clippy::too_many_lines, reason = "the log and its model take each step side by side")]
fn a_log_is_as_a_plain_list_is() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed, Stream::Workload);
        let lab = Lab::new(seed);
        let device = create(&lab, "l", &format!("0 {SIZE} log-writes /dev/ram0 /dev/ram1"));
        let (mut logged, mut unflushed): (Vec<Wanted>, Vec<Wanted>) = (Vec::new(), Vec::new());
        let mut disk = vec![0_u8; (SIZE * 512) as usize];
        // The disk after each flush, with the number of entries up to it, and the sectors where a forced write passed
        // an older one that waited: the log has the older one last, as Linux's has.
        let mut durable = Vec::new();
        let mut passed: BTreeSet<u64> = BTreeSet::new();
        let mut io = SyncIo::default();
        for turn in 0..60 {
            let sector = rng.below(SIZE - 16);
            let len = 1 + rng.below(16);
            let fill = turn + 1;
            let data = vec![fill; (len * 512) as usize];
            let range = (sector * 512) as usize..((sector + len) * 512) as usize;
            let flags = if rng.below(4) == 0 { BioFlags::META } else { BioFlags::empty() };
            let meta = if flags.is_empty() { EntryFlags::empty() } else { EntryFlags::METADATA };
            match rng.below(10) {
                0..5 => {
                    io.submit(&device, Bio::write(Sector(sector), &data).with_flags(flags)).unwrap();
                    disk[range].copy_from_slice(&data);
                    unflushed.push(Wanted::new(meta, sector, len, fill));
                    passed.retain(|s| !(sector..sector + len).contains(s));
                }
                5 => {
                    let forced = Bio::write(Sector(sector), &data).with_flags(flags | BioFlags::FUA);
                    io.submit(&device, forced).unwrap();
                    disk[range].copy_from_slice(&data);
                    logged.push(Wanted::new(EntryFlags::FUA | meta, sector, len, fill));
                    let waits = |s: &u64| unflushed.iter().any(|w| (w.sector..w.sector + w.len).contains(s));
                    passed.retain(|s| !(sector..sector + len).contains(s));
                    passed.extend((sector..sector + len).filter(waits));
                }
                6 => {
                    // Whole pages, which a RAM disk really forgets.
                    let (sector, len) = (sector / 8 * 8, 8);
                    io.submit(&device, Bio::range(Op::Discard, Sector(sector), Sectors(len))).unwrap();
                    disk[(sector * 512) as usize..((sector + len) * 512) as usize].fill(0);
                    unflushed.push(Wanted::new(EntryFlags::DISCARD, sector, len, 0));
                    passed.retain(|s| !(sector..sector + len).contains(s));
                }
                7 => {
                    // A flush and a write in one: two entries, the first at the write's place.
                    let flags = flags | BioFlags::PREFLUSH;
                    logged.append(&mut unflushed);
                    logged.push(Wanted::new(EntryFlags::FLUSH | meta, sector, 0, 0));
                    durable.push((logged.len(), disk.clone(), passed.clone()));
                    io.submit(&device, Bio::write(Sector(sector), &data).with_flags(flags)).unwrap();
                    disk[range].copy_from_slice(&data);
                    unflushed.push(Wanted::new(meta, sector, len, fill));
                    passed.retain(|s| !(sector..sector + len).contains(s));
                }
                8 => {
                    io.submit(&device, Bio::flush()).unwrap();
                    logged.append(&mut unflushed);
                    logged.push(Wanted::new(EntryFlags::FLUSH, 0, 0, 0));
                    durable.push((logged.len(), disk.clone(), passed.clone()));
                }
                _ => {
                    let text = format!("turn-{turn}");
                    mark(&lab, &text);
                    logged.push(Wanted::mark(text.as_bytes()));
                }
            }
        }
        logged.append(&mut unflushed);
        logged.push(Wanted::mark(b"dm-log-writes-end"));
        remove(&lab, "l");
        assert_eq!(found(&lab, 4096), logged, "seed {seed}");
        for (nr_entries, disk, passed) in durable.into_iter().chain([(logged.len(), disk, passed)]) {
            let mut copy = vec![0; (SIZE * 512) as usize];
            let stop = Stop { limit: Some(nr_entries as u64), ..Stop::default() };
            replay(&mut open(&lab, 4096), &mut copy, &stop).expect("a sound log");
            for sector in (0..SIZE).filter(|sector| !passed.contains(sector)) {
                let bytes = (sector * 512) as usize..(sector * 512 + 512) as usize;
                assert!(
                    copy[bytes.clone()] == disk[bytes],
                    "seed {seed}: sector {sector} after {nr_entries}"
                );
            }
        }
    }
}

#[test]
fn what_fails_below_is_logged_all_the_same() {
    let lab = Lab::new(1);
    create(&lab, "bad", "0 256 flakey /dev/ram0 0 0 1 1 error_writes");
    let device = create(&lab, "l", "0 256 log-writes /dev/mapper/bad /dev/ram1");
    let mut io = SyncIo::default();
    assert!(io.submit(&device, Bio::write(Sector(3), &[7; 512])).is_err());
    assert!(io.submit(&device, Bio::range(Op::Discard, Sector(8), Sectors(8))).is_err());
    remove(&lab, "l");
    let want = [
        Wanted::new(EntryFlags::empty(), 3, 1, 7),
        Wanted::new(EntryFlags::DISCARD, 8, 8, 0),
        Wanted::mark(b"dm-log-writes-end"),
    ];
    assert_eq!(found(&lab, 64), want);
}

#[test]
fn a_full_log_ends_the_logging_and_not_the_io() {
    // The last block is never used: of a log of n sectors, entries fill up to n - 1.
    for size in 4..24 {
        let lab = Lab::new(1);
        create(&lab, "log", &format!("0 {size} linear /dev/ram1 0"));
        let device = create(&lab, "l", "0 256 log-writes /dev/ram0 /dev/mapper/log");
        let mut io = SyncIo::default();
        let (mut next, mut nr_logged, mut is_enabled) = (1, 0, true);
        for turn in 0..8 {
            let len = 1 + turn % 3;
            let data = vec![9; len as usize * 512];
            io.submit(&device, Bio::write(Sector(turn), &data).with_flags(BioFlags::FUA)).unwrap();
            if is_enabled {
                next += 1 + len;
                is_enabled = next < size;
                nr_logged += u64::from(is_enabled);
            }
            lab.settle();
            let name = DmName::new("l").expect("a valid name");
            let status = lab.dm().status(&DeviceId::from(&name), Query::default()).expect("it is there");
            let disabled = if is_enabled { "" } else { " logging_disabled" };
            let text = String::from_utf8_lossy(&status.lines[0].text).into_owned();
            assert_eq!(text, format!("{nr_logged} {}{disabled}", next - 1), "{size} sectors, write {turn}");
        }
        let nr_lines =
            lab.klog().iter().filter(|line| line.ends_with("Ran out of space on the logdev")).count();
        assert_eq!(nr_lines, 1, "{size} sectors");
        remove(&lab, "l");
        if nr_logged > 0 {
            assert_eq!(found(&lab, size).len() as u64, nr_logged);
        }
    }
}
