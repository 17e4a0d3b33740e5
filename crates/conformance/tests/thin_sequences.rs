//! Every recorded sequence of pool operations, run here: the same refusals, the same status lines, and a metadata
//! device that is the same byte for byte.

use dmlab::Lab;
use dmlab_conformance::thin_sequences::{
    Io, PART, Recording, Sequence, Step, THIN_BLOCKS, folder, parse_all,
};
use dmlab_control::{CreateOptions, DeviceId, LoadOptions, Query, SuspendOptions, Table};
use dmlab_units::{Bytes, DmName, Sector, Sectors};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Read;
use std::path::PathBuf;

const BLKDISCARD: u32 = 0x1277;
const SECTOR: u64 = 512;

/// A step was refused.
struct Refused;

impl<E: std::error::Error> From<E> for Refused {
    fn from(_: E) -> Refused {
        Refused
    }
}

type Done = Result<(), Refused>;

/// A pool while a sequence runs.
struct Replay<'a> {
    lab: Lab,
    sequence: &'a Sequence,
    data_blocks: u64,
    metadata_blocks: u64,
    features: Vec<String>,
    active: Vec<u64>,
}

fn id(name: &str) -> DeviceId {
    DeviceId::from(&DmName::new(name).expect("a valid name"))
}

impl Replay<'_> {
    fn create(&self, name: &str, table: &str) -> Done {
        let table: Table = table.parse()?;
        let name = DmName::new(name)?;
        self.lab.dm().create_with_table(&name, &CreateOptions::default(), &table, LoadOptions::default())?;
        Ok(())
    }

    fn reload(&self, name: &str, table: &str) -> Done {
        let table: Table = table.parse()?;
        self.lab.dm().load(&id(name), &table, LoadOptions::default())?;
        if name == "pool" { self.resume_pool() } else { self.resume(name) }
    }

    /// A pool that can't grow stays suspended; the second time it doesn't try.
    fn resume_pool(&self) -> Done {
        let resumed = self.resume("pool");
        if resumed.is_err() {
            self.resume("pool")?;
        }
        resumed
    }

    fn suspend(&self, name: &str) -> Done {
        self.lab.dm().suspend(&id(name), SuspendOptions::default())?;
        Ok(())
    }

    fn resume(&self, name: &str) -> Done {
        self.lab.dm().resume(&id(name), SuspendOptions::default())?;
        Ok(())
    }

    fn remove(&self, name: &str) -> Done {
        self.lab.dm().remove(&id(name), false)?;
        Ok(())
    }

    fn message(&self, text: &str) -> Done {
        self.lab.dm().message(&id("pool"), Sector(0), text)?;
        Ok(())
    }

    fn status(&self, name: &str) -> Option<String> {
        let report = self.lab.dm().status(&id(name), Query::default()).ok()?;
        let line = report.lines.first()?;
        let (kind, text) = (String::from_utf8_lossy(&line.target_type), String::from_utf8_lossy(&line.text));
        Some(format!("{} {} {kind} {text}", line.start, line.len))
    }

    fn metadata_table(&self) -> String {
        format!("0 {} linear /dev/ram0 0", self.metadata_blocks * 8)
    }

    fn data_table(&self) -> String {
        format!("0 {} zero", self.data_blocks * self.sequence.block_size)
    }

    fn pool_table(&self) -> String {
        let (len, block) = (self.data_blocks * self.sequence.block_size, self.sequence.block_size);
        let count = self.features.len();
        let features =
            if count == 0 { String::new() } else { format!(" {count} {}", self.features.join(" ")) };
        format!("0 {len} thin-pool /dev/mapper/pool-meta /dev/mapper/pool-data {block} 0{features}")
    }

    fn begin(&self) -> Done {
        self.create("pool-meta", &self.metadata_table())?;
        self.create("pool-data", &self.data_table())?;
        self.create("pool", &self.pool_table())
    }

    fn turn_all_off(&mut self) -> Done {
        self.active.sort_unstable();
        for id in std::mem::take(&mut self.active) {
            self.remove(&format!("t{id}"))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Done {
        match step {
            Step::Create(id) => self.message(&format!("create_thin {id}")),
            Step::Snap(id, origin) => self.message(&format!("create_snap {id} {origin}")),
            Step::Delete(id) => self.message(&format!("delete {id}")),
            Step::On(id) => {
                let len = THIN_BLOCKS * self.sequence.block_size;
                self.create(&format!("t{id}"), &format!("0 {len} thin /dev/mapper/pool {id}"))?;
                self.active.push(*id);
                Ok(())
            }
            Step::Off(id) => {
                self.active.retain(|active| active != id);
                self.remove(&format!("t{id}"))
            }
            Step::Io(list) => {
                let results: Vec<Done> = list.iter().map(|&(id, io)| self.access(id, io)).collect();
                results.into_iter().collect()
            }
            Step::Hold => self.message("reserve_metadata_snap"),
            Step::Release => self.message("release_metadata_snap"),
            Step::TransId(old, new) => self.message(&format!("set_transaction_id {old} {new}")),
            Step::Suspend => self.suspend("pool"),
            Step::Resume => self.resume("pool"),
            Step::Reload(features) => {
                self.features = features.clone();
                self.reload("pool", &self.pool_table())
            }
            Step::GrowData(blocks) => {
                self.data_blocks = *blocks;
                self.reload("pool-data", &self.data_table())?;
                self.reload("pool", &self.pool_table())
            }
            Step::GrowMetadata(blocks) => {
                self.metadata_blocks = *blocks;
                self.reload("pool-meta", &self.metadata_table())?;
                self.suspend("pool")?;
                self.resume_pool()
            }
            Step::Reopen => {
                self.turn_all_off()?;
                self.remove("pool")?;
                self.create("pool", &self.pool_table())
            }
            Step::Status => self.status("pool").map(|_| ()).ok_or(Refused),
        }
    }

    fn access(&self, id: u64, io: Io) -> Done {
        let file = self.lab.open(&format!("/dev/mapper/t{id}"))?;
        let block = self.sequence.block_size * SECTOR;
        let zeros = vec![0; block as usize];
        let write = |at: u64, bytes: &[u8]| -> Done {
            file.write_at(at, bytes, Default::default())?;
            Ok(())
        };
        match io {
            Io::Write(first, count) => {
                let written = write(first * block, &zeros.repeat(count as usize));
                // dd flushes only what it could write.
                written?;
                Ok(file.sync()?)
            }
            Io::Unsynced(first) => write(first * block, &zeros),
            Io::Part(first) => {
                write(first * block, &zeros[..PART as usize])?;
                Ok(file.sync()?)
            }
            Io::Trim(first, count) => {
                let range = [(first * block).to_ne_bytes(), (count * block).to_ne_bytes()].concat();
                let caller = dmlab::machine::Kernel(self.lab.machine().registry());
                file.ioctl(&caller, BLKDISCARD, 0, &mut range.clone())?;
                Ok(())
            }
            Io::Sync => Ok(file.sync()?),
            // fio goes on after errors, and nobody looks at how it ends.
            Io::Fill(fill) => {
                for (at, syncs) in fill.blocks() {
                    let _ = write(at * block, &zeros);
                    if syncs {
                        let _ = file.sync();
                    }
                }
                Ok(())
            }
        }
    }
}

/// A machine before the pool is made.
fn before(sequence: &Sequence, lab: Lab) -> Replay<'_> {
    Replay {
        lab,
        sequence,
        data_blocks: sequence.data_blocks,
        metadata_blocks: sequence.metadata_blocks,
        features: sequence.features.clone(),
        active: Vec::new(),
    }
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn replay(sequence: &Sequence, begins_with: &[u8]) -> (Recording, Vec<String>) {
    let mut run = before(sequence, Lab::new(1));
    run.lab.write("/dev/ram0", Sector(0), begins_with).expect("a RAM disk can be written");
    if run.begin().is_err() {
        return (Recording::default(), run.lab.klog());
    }
    let mut recording = Recording::default();
    for (at, step) in sequence.steps.iter().enumerate() {
        if run.step(step).is_err() {
            recording.failed.push(at);
        }
    }
    for id in sequence.active() {
        let status = run.status(&format!("t{id}")).unwrap_or_default();
        recording.status.push(format!("t{id} {status}"));
    }
    recording.status.push(format!("pool {}", run.status("pool").unwrap_or_default()));
    let closed = run.turn_all_off().and_then(|()| run.remove("pool"));
    assert!(closed.is_ok(), "sequence {}: the pool stays: {:?}", sequence.name, run.lab.klog());
    let bytes = run.lab.read("/dev/mapper/pool-meta", Sector(0), Sectors(run.metadata_blocks * 8));
    let hash = Sha256::digest(bytes.expect("a linear device can be read"));
    recording.sha256 = hex(&hash);
    (recording, run.lab.klog())
}

#[test]
fn recorded_sequences_come_out_the_same() {
    let mut files: Vec<_> = fs::read_dir(folder())
        .expect("golden/thin-sequences is there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let only = std::env::var("SEQUENCE").ok();
    let (mut same, mut different) = (0, Vec::new());
    for path in files {
        let text = fs::read_to_string(&path).expect("a readable file");
        for (sequence, recorded) in parse_all(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
            if only.as_ref().is_some_and(|only| *only != sequence.name) {
                continue;
            }
            let (here, log) = replay(&sequence, &[]);
            if here == recorded {
                same += 1;
                continue;
            }
            let log = if only.is_some() { log.join("\n") } else { String::new() };
            let name = &sequence.name;
            different.push(format!("sequence {name}: on Linux\n{recorded}here\n{here}{log}"));
        }
    }
    assert!(different.is_empty(), "{same} the same, {} not:\n{}", different.len(), different.join("\n"));
    assert!(only.is_some() || same >= 200, "only {same} recordings");
}

/// Where images are that other programs wrote, and what Linux made of them.
fn writers() -> PathBuf {
    folder().join("../thin-writers")
}

fn image(name: &str) -> Vec<u8> {
    let path = writers().join(format!("{name}.img.gz"));
    let file = fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("a gzip file");
    bytes
}

#[test]
fn pools_on_the_metadata_of_other_writers_come_out_as_on_linux() {
    let text = fs::read_to_string(writers().join("work.txt")).expect("a readable file");
    let all = parse_all(&text).expect("sequences");
    assert_eq!(all.len(), 3);
    for (sequence, recorded) in all {
        let begins_with =
            sequence.name.strip_prefix("linux-on-").map(|writer| image(&format!("restored-{writer}")));
        let (here, log) = replay(&sequence, &begins_with.unwrap_or_default());
        assert_eq!(here, recorded, "{}: {log:#?}", sequence.name);
        let hash = Sha256::digest(image(&sequence.name));
        assert_eq!(recorded.sha256, hex(&hash), "{}: the recorded image is another", sequence.name);
    }
}

/// What `growth-to-the-end.sh` printed on Linux: blocks of the metadata device, then used and all of the status line after
/// growing to it.
const GROWTH: [(u64, &str); 10] = [
    (16_320, "1642/16320 1/2048 -"),
    (16_323, "1644/16323 2/2048 -"),
    (16_340, "1647/16340 3/2048 -"),
    (65_536, "4113/65536 4/2048 -"),
    (65_540, "4117/65540 5/2048 16351"),
    (1_000_000, "4175/1000000 6/2048 16351"),
    (1_000_001, "4176/1000001 7/2048 16351"),
    (4_161_599, "4367/4161599 8/2048 -"),
    (4_161_600, "4368/4161600 9/2048 -"),
    (5_000_000, "4369/4161600 10/2048 -"),
];
/// Where new blocks come from: 160 blocks from each of these on, hashed after the pool was removed.
const LOOKED_AT: [u64; 9] = [0, 16_320, 16_323, 16_340, 65_536, 65_540, 1_000_000, 1_000_001, 4_161_440];
const GROWTH_HASH: &str = "b64d170cd480c5b94fd19afaf75d49ff2c06b9bb559d9a3a9f68732a8bc344e6";

#[test]
fn metadata_grows_to_the_last_bitmap_as_on_linux() {
    let sequence = Sequence {
        name: "growth to the end".to_owned(),
        block_size: 128,
        metadata_blocks: 300,
        data_blocks: 2048,
        features: Vec::new(),
        steps: Vec::new(),
    };
    let lab = Lab::builder(1).ram_disks(1, Bytes(20_100_000 << 10)).boot().expect("it boots");
    let mut run = before(&sequence, lab);
    assert!(run.begin().is_ok());
    let mut step = |step: Step| {
        let done = run.step(&step);
        assert!(done.is_ok(), "{step}: {:?}", run.lab.klog());
        run.status("pool").expect("a pool that works")
    };
    step(Step::Create(0));
    step(Step::On(0));
    for (at, (blocks, status)) in (1..).zip(GROWTH) {
        step(Step::Io(vec![(0, Io::Write(at * 31, 1))]));
        let found = step(Step::GrowMetadata(blocks));
        assert_eq!(
            found,
            format!("0 262144 thin-pool 0 {status} rw discard_passdown queue_if_no_space - 1024 ")
        );
        step(Step::Snap(at, 0));
        match at {
            4 => _ = step(Step::Hold),
            7 => _ = step(Step::Release),
            _ => {}
        }
    }
    assert!(run.turn_all_off().and_then(|()| run.remove("pool")).is_ok());
    let mut hash = Sha256::new();
    for block in LOOKED_AT {
        let bytes = run.lab.read("/dev/mapper/pool-meta", Sector(block * 8), Sectors(160 * 8));
        hash.update(bytes.expect("a linear device can be read"));
    }
    assert_eq!(hex(&hash.finalize()), GROWTH_HASH);
}
