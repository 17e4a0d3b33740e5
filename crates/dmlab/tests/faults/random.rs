//! Random rules over random IO, against a model that is plain enough to be believed: a disk of 32 sectors of one byte each.

use dmlab::units::{Errno, Sector, Sectors};
use dmlab::{Lab, OrErrno};
use proptest::prelude::*;

const SIZE: u64 = 32;

#[derive(Clone, Debug)]
enum What {
    Fail,
    Lose,
    Torn(u64, bool),
    /// Of the low byte of a sector.
    Flip(u64),
    Misdirect(u64),
}

#[derive(Clone, Debug)]
struct Fault {
    /// On the linear device, or on the disk below it, 64 sectors further.
    is_low: bool,
    sectors: Option<(u64, u64)>,
    reads: bool,
    writes: bool,
    what: What,
    skip: u64,
    nth: Option<u64>,
    every: Option<u64>,
    times: Option<u64>,
}

impl Fault {
    fn words(&self) -> String {
        let (device, base) = if self.is_low { ("/dev/ram0", 64) } else { ("/dev/mapper/a", 0) };
        let op = match (self.reads, self.writes) {
            (true, true) => "read,write",
            (true, false) => "read",
            _ => "write",
        };
        let what = match &self.what {
            What::Fail => "fail=EREMOTEIO".to_owned(),
            What::Lose => "drop".to_owned(),
            What::Torn(keep, true) => format!("torn={keep} then=ENODATA"),
            What::Torn(keep, false) => format!("torn={keep}"),
            What::Flip(sector) => format!("flip={}", sector * 512 * 8),
            What::Misdirect(to) => format!("misdirect={}", to + base),
        };
        let mut words = format!("device={device} op={op} {what} skip={}", self.skip);
        if let Some((from, to)) = self.sectors {
            words += &format!(" sectors={}..{}", from + base, to + base);
        }
        for (key, value) in [("nth", self.nth), ("every", self.every), ("times", self.times)] {
            words += &value.map(|value| format!(" {key}={value}")).unwrap_or_default();
        }
        words
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let what = prop_oneof![
        Just(What::Fail),
        Just(What::Lose),
        (1..6u64, any::<bool>()).prop_map(|(keep, fails)| What::Torn(keep, fails)),
        (0..6u64).prop_map(What::Flip),
        (0..SIZE).prop_map(What::Misdirect),
    ];
    let sectors = prop::option::of((0..SIZE, 1..8u64).prop_map(|(from, len)| (from, from + len)));
    let when = (0..3u64, prop::option::of(1..4u64), prop::option::of(1..4u64), prop::option::of(1..4u64));
    let fault = (any::<bool>(), sectors, any::<bool>(), any::<bool>(), what, when);
    let fault = fault.prop_map(|(is_low, sectors, reads, writes, what, (skip, nth, every, times))| {
        // A rule for nothing is refused, and only writes can be lost or torn.
        let only_writes = matches!(what, What::Lose | What::Torn(..));
        let (reads, writes) = (reads, writes || only_writes || !reads);
        let every = every.filter(|_| nth.is_none());
        Fault { is_low, sectors, reads, writes, what, skip, nth, every, times }
    });
    prop::collection::vec(fault, 0..6)
}

#[derive(Clone, Debug)]
struct Io {
    is_write: bool,
    sector: u64,
    len: u64,
    byte: u8,
}

fn ios() -> impl Strategy<Value = Vec<Io>> {
    let io = (any::<bool>(), 0..SIZE, 1..8u64, any::<u8>()).prop_map(|(is_write, sector, len, byte)| Io {
        is_write,
        sector,
        len: len.min(SIZE - sector),
        byte,
    });
    prop::collection::vec(io, 1..40)
}

struct Model {
    disk: Vec<u8>,
    rules: Vec<(Fault, u64, u64)>,
}

impl Model {
    /// Whether rule `at` strikes an IO.
    fn strikes(&mut self, at: usize, is_low: bool, is_write: bool, sector: u64, len: u64) -> bool {
        let (rule, matches, hits) = &mut self.rules[at];
        let is_for = rule.is_low == is_low
            && if is_write { rule.writes } else { rule.reads }
            && rule.sectors.is_none_or(|(from, to)| sector < to && sector + len > from)
            && match rule.what {
                What::Fail | What::Misdirect(_) => true,
                What::Lose => is_write,
                What::Torn(keep, _) => is_write && len > keep,
                What::Flip(sector) => sector < len,
            };
        if !is_for {
            return false;
        }
        *matches += 1;
        let Some(nr) = matches.checked_sub(rule.skip).filter(|nr| *nr > 0) else { return false };
        let strikes = rule.nth.is_none_or(|nth| nr == nth)
            && rule.every.is_none_or(|every| nr % every == 0)
            && rule.times.is_none_or(|times| *hits < times);
        *hits += u64::from(strikes);
        strikes
    }

    /// One IO through the linear device and then the disk. What a read gets, or the error.
    fn run(&mut self, io: &Io) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![io.byte; io.len as usize];
        let (mut sector, mut result, mut flips) = (io.sector, Ok(()), Vec::new());
        for is_low in [false, true] {
            for at in 0..self.rules.len() {
                let len = bytes.len() as u64;
                if !self.strikes(at, is_low, io.is_write, sector, len) {
                    continue;
                }
                match self.rules[at].0.what.clone() {
                    What::Fail => return Err(Errno::EREMOTEIO),
                    What::Lose => return result.map(|()| Vec::new()),
                    What::Torn(keep, fails) => {
                        bytes.truncate(keep as usize);
                        if fails && result.is_ok() {
                            result = Err(Errno::ENODATA);
                        }
                    }
                    What::Flip(at) if io.is_write => bytes[at as usize] ^= 1,
                    What::Flip(at) => flips.push(at as usize),
                    // On the linear device the end is near; on the disk it is not.
                    What::Misdirect(to) if is_low => sector = to,
                    What::Misdirect(to) => sector = to.min(SIZE - len),
                }
                break;
            }
        }
        let place = sector as usize..sector as usize + bytes.len();
        if io.is_write {
            self.disk[place].copy_from_slice(&bytes);
        } else {
            bytes.copy_from_slice(&self.disk[place]);
            for at in flips {
                bytes[at] ^= 1;
            }
        }
        result.map(|()| bytes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn rules_do_what_a_plain_model_says(faults in faults(), ios in ios()) {
        let lab = Lab::builder(1).ram_disks(1, dmlab::units::Bytes::mib(1)).boot().unwrap();
        lab.create("a", format!("0 {SIZE} linear /dev/ram0 64")).unwrap();
        for fault in &faults {
            lab.faults().add_all(vec![fault.words().parse().unwrap()]).unwrap();
        }
        // Beyond the linear device's end lies more disk.
        let mut model = Model { disk: vec![0; 2 * SIZE as usize], rules: faults.into_iter().map(|rule| (rule, 0, 0)).collect() };
        for io in &ios {
            let want = model.run(io);
            let is_ok = if io.is_write {
                let bytes: Vec<u8> = (0..io.len).flat_map(|_| sector_of(io.byte)).collect();
                let got = lab.write("/dev/mapper/a", Sector(io.sector), &bytes).or_errno();
                prop_assert_eq!(got, want.as_ref().map(|_| ()).map_err(|errno| *errno));
                got.is_ok()
            } else {
                let got = lab.read("/dev/mapper/a", Sector(io.sector), Sectors(io.len)).or_errno();
                let got = got.map(|bytes| bytes.chunks(512).map(|sector| sector[0]).collect::<Vec<u8>>());
                prop_assert_eq!(&got, &want);
                got.is_ok()
            };
            prop_assert_eq!(is_ok, want.is_ok());
        }
        let counts: Vec<_> = lab.faults().list().iter().map(|rule| (rule.counts.matches, rule.counts.hits)).collect();
        let want: Vec<_> = model.rules.iter().map(|(_, matches, hits)| (*matches, *hits)).collect();
        prop_assert_eq!(counts, want);
        lab.faults().clear();
        let disk = lab.read("/dev/ram0", Sector(64), Sectors(2 * SIZE)).unwrap();
        prop_assert_eq!(disk.chunks(512).map(|sector| sector[0]).collect::<Vec<u8>>(), model.disk);
    }
}

fn sector_of(byte: u8) -> [u8; 512] {
    [byte; 512]
}
