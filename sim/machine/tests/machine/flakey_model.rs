//! `flakey` with all its features, on virtual time, against a plain model.

use crate::kit;

use std::sync::Arc;
use std::time::Duration;

use dmlab_block::{Bio, BioFlags, Op, SyncIo, WriteCache};
use dmlab_machine::BlockDevice;
use dmlab_units::{Errno, Sector, Sectors};
use kit::Kit;
use kit::fault_disk::FaultDisk;
use proptest::prelude::*;

const SECTOR: usize = 512;
const SIZE: u64 = 64;
/// Where the device begins on its disk: whole pages, in which a RAM disk discards.
const OFFSET: u64 = 16;
const CERTAIN: u32 = 1_000_000_000;

/// What happens to writes, flushes and discards while it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    Pass,
    Drop,
    Fail,
}

/// `corrupt_bio_byte`.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    nth: u32,
    is_write: bool,
    value: u8,
    flags: u32,
}

#[derive(Clone, Debug)]
struct Features {
    fails_reads: bool,
    writes: Writes,
    fixed: Option<Fixed>,
    random_read: u32,
    random_write: u32,
}

impl Features {
    fn words(&self) -> String {
        let mut words = Vec::new();
        if self.fails_reads {
            words.push("error_reads".to_owned());
        }
        match self.writes {
            Writes::Pass => {}
            Writes::Drop => words.push("drop_writes".to_owned()),
            Writes::Fail => words.push("error_writes".to_owned()),
        }
        if let Some(Fixed { nth, is_write, value, flags }) = self.fixed {
            let direction = if is_write { 'w' } else { 'r' };
            words.push(format!("corrupt_bio_byte {nth} {direction} {value} {flags}"));
        }
        words.push(format!(
            "random_read_corrupt {} random_write_corrupt {}",
            self.random_read, self.random_write
        ));
        let words = words.join(" ");
        format!("{} {words}", words.split(' ').count())
    }

    /// What a device without any feature in effect does.
    fn in_effect(mut self) -> Features {
        let has_none = !self.fails_reads
            && self.writes == Writes::Pass
            && self.fixed.is_none()
            && self.random_read + self.random_write == 0;
        if has_none {
            (self.fails_reads, self.writes) = (true, Writes::Fail);
        }
        self
    }
}

fn features() -> impl Strategy<Value = Features> {
    // Any bio, any write, one that says that it is metadata.
    let flags = prop_oneof![Just(0), Just(1), Just(BioFlags::META.bits())];
    let fixed = (1..5000u32, any::<bool>(), any::<u8>(), flags)
        .prop_map(|(nth, is_write, value, flags)| Fixed { nth, is_write, value, flags });
    let writes = prop_oneof![3 => Just(Writes::Pass), 1 => Just(Writes::Drop), 1 => Just(Writes::Fail)];
    let random = || prop_oneof![2 => Just(0), 1 => Just(CERTAIN / 2), 1 => Just(CERTAIN)];
    (prop::bool::weighted(0.2), writes, prop::option::of(fixed), random(), random()).prop_map(
        |(fails_reads, writes, fixed, random_read, random_write)| {
            // The other combination is refused.
            let fixed = fixed.filter(|fixed| !fixed.is_write || writes == Writes::Pass);
            Features { fails_reads, writes, fixed, random_read, random_write }
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    /// Quarters of a second.
    Sleep(u64),
    Read(u64, u64, bool),
    Write(u64, u64, u8, bool),
    Discard(u64, u64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..SIZE, 1..20u64).prop_map(|(at, len)| (at, len.min(SIZE - at)));
    prop_oneof![
        2 => (1..8u64).prop_map(Step::Sleep),
        4 => (place(), any::<bool>()).prop_map(|((at, len), is_meta)| Step::Read(at, len, is_meta)),
        4 => (place(), any::<u8>(), any::<bool>())
            .prop_map(|((at, len), byte, is_meta)| Step::Write(at, len, byte, is_meta)),
        1 => place().prop_map(|(at, len)| Step::Discard(at, len)),
        1 => Just(Step::Flush),
    ]
}

struct Lab {
    kit: Kit,
    device: Arc<BlockDevice>,
    disk: Arc<BlockDevice>,
    up: u32,
    down: u32,
    features: Features,
    /// Quarters of a second since the table was loaded.
    quarters: u64,
    /// What lies on the disk.
    bytes: Vec<u8>,
    /// Bytes that chance has changed: in which step, and where in the bio.
    struck: Vec<(usize, usize)>,
}

fn read(device: &Arc<BlockDevice>, at: u64, len: u64, flags: BioFlags) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; len as usize * SECTOR];
    let read = SyncIo::default().read(device, Sector(at), &mut buf, |bio| bio.with_flags(flags));
    read.map(|()| buf).map_err(dmlab_block::IoFailed::errno)
}

impl Lab {
    fn new(up: u32, down: u32, features: Features) -> Lab {
        let kit = Kit::new();
        let (disk, _) = FaultDisk::add_with(&kit, 0, Sectors(SIZE + OFFSET), WriteCache::Volatile);
        let table = format!("0 {SIZE} flakey {disk} {OFFSET} {up} {down} {}", features.words());
        let device = kit.create("f", &table);
        let [device, disk] = [device, disk].map(|dev| kit.machine.registry().get(dev).unwrap());
        let bytes = vec![0; SIZE as usize * SECTOR];
        let features = features.in_effect();
        Lab { kit, device, disk, up, down, features, quarters: 0, bytes, struck: Vec::new() }
    }

    fn is_down(&self) -> bool {
        self.quarters / 4 % u64::from(self.up + self.down) >= u64::from(self.up)
    }

    fn submit(&self, bio: Bio<'_>) -> Result<(), Errno> {
        SyncIo::default().submit(&self.device, bio).map_err(dmlab_block::IoFailed::errno)
    }

    /// What must become of something that writes nothing but goes the way of writes; whether it reaches the disk.
    fn check_write(&self, ended: Result<(), Errno>) -> bool {
        let writes = if self.is_down() { self.features.writes } else { Writes::Pass };
        assert_eq!(ended, if writes == Writes::Fail { Err(Errno::EIO) } else { Ok(()) });
        writes == Writes::Pass
    }

    /// What chance and the table make of bytes on their way; `got` is what came of them.
    fn check_bytes(&mut self, step: usize, mut sent: Vec<u8>, got: &[u8], op: u32, flags: BioFlags) {
        let is_write = op == 1;
        if self.is_down()
            && let Some(fixed) = self.features.fixed
            && fixed.is_write == is_write
            && (op | flags.bits()) & fixed.flags == fixed.flags
            && let Some(byte) = sent.get_mut(fixed.nth as usize - 1)
        {
            *byte = fixed.value;
        }
        let chance = if is_write { self.features.random_write } else { self.features.random_read };
        let differ: Vec<usize> = (0..sent.len()).filter(|&at| sent[at] != got[at]).collect();
        assert!(
            differ.len() <= usize::from(chance > 0 && self.is_down()),
            "{differ:?} in {} bytes",
            sent.len()
        );
        self.struck.extend(differ.into_iter().map(|at| (step, at)));
    }

    fn range(at: u64, len: u64) -> std::ops::Range<usize> {
        at as usize * SECTOR..(at + len) as usize * SECTOR
    }

    fn run(&mut self, number: usize, step: &Step) {
        let meta = |is_meta: bool| if is_meta { BioFlags::META } else { BioFlags::empty() };
        match *step {
            Step::Sleep(quarters) => {
                self.kit.advance(Duration::from_millis(250 * quarters));
                self.quarters += quarters;
            }
            Step::Read(at, len, is_meta) => {
                let got = read(&self.device, at, len, meta(is_meta));
                if self.is_down() && self.features.fails_reads {
                    assert_eq!(got, Err(Errno::EIO));
                } else {
                    let sent = self.bytes[Lab::range(at, len)].to_vec();
                    self.check_bytes(number, sent, &got.unwrap(), 0, meta(is_meta));
                }
            }
            Step::Write(at, len, byte, is_meta) => {
                let data = vec![byte; len as usize * SECTOR];
                let ended = self.submit(Bio::write(Sector(at), &data).with_flags(meta(is_meta)));
                assert!(data.iter().all(|&kept| kept == byte), "the writer's own memory stays as it is");
                if self.check_write(ended) {
                    let got = read(&self.disk, at + OFFSET, len, BioFlags::empty()).unwrap();
                    self.check_bytes(number, data, &got, 1, meta(is_meta));
                    self.bytes[Lab::range(at, len)].copy_from_slice(&got);
                }
            }
            Step::Discard(at, len) => {
                let ended = self.submit(Bio::range(Op::Discard, Sector(at), Sectors(len)));
                // The RAM disk gives back whole pages.
                let (first, last) = (at.div_ceil(8) * 8, (at + len) / 8 * 8);
                if self.check_write(ended) && first < last {
                    self.bytes[Lab::range(first, last - first)].fill(0);
                }
            }
            Step::Flush => {
                let ended = self.submit(Bio::flush());
                self.check_write(ended);
            }
        }
        let on_disk = read(&self.disk, OFFSET, SIZE, BioFlags::empty()).unwrap();
        assert!(on_disk == self.bytes, "{step:?} changed what it should not");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// A flakey device does what its table says, when its table says it, and the second time the same, chance included.
    #[test]
    fn it_fails_as_its_table_says(
        (up, down) in (0..4u32, 0..4u32).prop_filter("some time", |(up, down)| up + down > 0),
        features in features(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let run = || {
            let mut lab = Lab::new(up, down, features.clone());
            steps.iter().enumerate().for_each(|(number, step)| lab.run(number, step));
            (lab.struck, lab.bytes)
        };
        prop_assert!(run() == run());
    }
}
