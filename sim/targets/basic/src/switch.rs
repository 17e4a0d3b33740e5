//! `switch`: regions of one device on many paths, with a map that can be changed while it runs.
//!
//! ```text
//! START LEN switch PATHS REGION_SIZE 0 (DEVICE OFFSET)...
//! 0 96 switch 2 8 0 /dev/ram0 0 /dev/ram1 0        twelve regions of 4 KiB, in turn on two paths
//!
//!   region         0   1   2   3   4 ...
//!   path           0   1   0   1   0          when loaded; then as `set_region_mappings` says
//!   sector         OFFSET of the path + place in the target: the same place on every path
//! ```
//!
//! It is made for storage that spreads one volume over several controllers: each region is reached best by the path
//! that leads to it, and there may be millions of regions. Their map is a table of a few bits each, and the message that
//! changes it is made to be short:
//!
//! | word of `set_region_mappings` | what it does |
//! |---|---|
//! | `REGION:PATH` | sets this region |
//! | `:PATH` | sets the region after the last one |
//! | `RN,M` | repeats the last N mappings for the next M regions |
//!
//! All numbers are hexadecimal. Words before a wrong one have had their effect.
//!
//! | | |
//! |---|---|
//! | status line | empty: the map can't be read back |
//! | table line | the arguments, devices as `MAJOR:MINOR` |
//! | events | none |
//! | passes on | reads, writes, discards (whole, by their first region), ioctls (to the path of region 0) |
//! | splits | reads and writes at regions |
//!
//! Behaviour: kernel/targets.md#switch, recorded cases `switch-unstriped/switch*`.

mod regions;

use std::fmt::Write;

use dmlab_block::{Bio, Caller};
use dmlab_dm::kit::TargetLog;
use dmlab_dm::{
    BoxFuture, Constructor, Ctr, CtrError, CtrResult, DeviceRange, IoctlRoute, Map, MessageResult, Messages,
    Module, OrRefuse, Saved, StatusKind, StatusResult, TableDevice, Target, TargetFeatures, TargetType,
    parse_u64_strict,
};
use dmlab_units::{Errno, Sector, Sectors};

use regions::Regions;

/// `switch` 1.1.0.
pub static SWITCH: TargetType = TargetType {
    name: "switch",
    version: [1, 1, 0],
    features: TargetFeatures::NOWAIT,
    ctr: Constructor::Now(construct),
    module: &Module::named("dm_switch"),
};

/// Most paths: what fits into the largest piece of memory that the kernel hands out (recorded:
/// `switch-unstriped/switch-args`).
const MAX_PATHS: u32 = 262_141;

struct Path {
    device: TableDevice,
    offset: Sector,
}

struct Switch {
    paths: Vec<Path>,
    region_size: Sectors,
    regions: Regions,
    start: Sector,
    len: Sectors,
    log: TargetLog,
}

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let nr_paths = ctr.args.number(1, MAX_PATHS, "Invalid number of paths")?;
    let region_size = ctr.args.number(1, u32::MAX, "Invalid region size")?;
    ctr.args.group(0, 0, "Invalid number of optional args")?;
    if ctr.args.len() as u64 != 2 * u64::from(nr_paths) {
        return Err(CtrError::invalid("Incorrect number of path arguments"));
    }
    let region_size = Sectors(u64::from(region_size));
    let mut paths = Vec::with_capacity(nr_paths as usize);
    while let (Some(device), Some(offset)) = (ctr.args.shift(), ctr.args.shift()) {
        let device = ctr.device(&device).or_refuse("Device lookup failed")?;
        let offset = parse_u64_strict(&offset).or_refuse("Invalid device starting offset")?;
        paths.push(Path { device, offset: Sector(offset) });
    }
    let regions = Regions::new(ctr.len.0.div_ceil(region_size.0), nr_paths)
        .ok_or(CtrError::new(Errno::ENOMEM, "Cannot allocate region table"))?;
    ctr.settings.max_io_len = region_size;
    ctr.settings.num_discard_bios = 1;
    let (start, len) = (ctr.start, ctr.len);
    Ok(Box::new(Switch { paths, region_size, regions, start, len, log: ctr.log("switch") }))
}

impl Switch {
    /// The path of the region in which the sector `into` the target lies.
    fn path(&self, into: Sectors) -> &Path {
        &self.paths[self.regions.get(into.0 / self.region_size.0) as usize]
    }

    fn refuse(&self, text: impl std::fmt::Display) -> Errno {
        self.log.warn(text);
        Errno::EINVAL
    }

    /// Carries out the words of `set_region_mappings`, one by one.
    fn set_mappings(&self, words: &[Vec<u8>]) -> Result<(), Errno> {
        let count = self.regions.count();
        let mut region = 0_u64;
        for word in words {
            match Mapping::parse(word) {
                Some(Mapping::Repeat { cycle, times }) => {
                    let back = cycle.wrapping_sub(1);
                    if back > region {
                        let text = format!("invalid set_region_mappings cycle length: {back} > {region}");
                        return Err(self.refuse(text));
                    }
                    if region.checked_add(times).is_none_or(|last| last >= count) {
                        let text = format!(
                            "invalid set_region_mappings region number: {region} + {times} >= {count}"
                        );
                        return Err(self.refuse(text));
                    }
                    for _ in 0..times {
                        region += 1;
                        self.regions.set(region, self.regions.get(region - cycle));
                    }
                }
                Some(Mapping::Set { region: named, path }) => {
                    region = named.unwrap_or_else(|| region.wrapping_add(1));
                    if region >= count {
                        let text = format!("invalid set_region_mappings region number: {region} >= {count}");
                        return Err(self.refuse(text));
                    }
                    let nr_paths = self.paths.len();
                    if path >= nr_paths as u64 {
                        let text = format!("invalid set_region_mappings device: {path} >= {nr_paths}");
                        return Err(self.refuse(text));
                    }
                    self.regions.set(region, path as u32);
                }
                None => {
                    let word = String::from_utf8_lossy(word);
                    return Err(self.refuse(format!("invalid set_region_mappings argument: '{word}'")));
                }
            }
        }
        Ok(())
    }
}

/// One word of `set_region_mappings`.
#[derive(Debug, PartialEq)]
enum Mapping {
    Set { region: Option<u64>, path: u64 },
    Repeat { cycle: u64, times: u64 },
}

impl Mapping {
    fn parse(word: &[u8]) -> Option<Mapping> {
        if let [b'R' | b'r', rest @ ..] = word {
            let (cycle, times) = split(rest, b',')?;
            return Some(Mapping::Repeat { cycle: hex(cycle)?, times: hex(times)? });
        }
        let (region, path) = split(word, b':')?;
        let region = if region.is_empty() { None } else { Some(hex(region)?) };
        Some(Mapping::Set { region, path: hex(path)? })
    }
}

fn split(word: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = word.iter().position(|&byte| byte == at)?;
    Some((&word[..place], &word[place + 1..]))
}

/// Hexadecimal digits and nothing else, at least one, modulo 2^64 (recorded: `switch-unstriped/switch-messages`).
fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(u64::from);
    digits.iter().try_fold(0_u64, |number, byte| Some(number << 4 | digit(byte)?))
}

impl Target for Switch {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        let into = bio.sector - self.start;
        let path = self.path(into);
        bio.set_dev(path.device.device());
        bio.sector = Sector(path.offset.0.wrapping_add(into.0));
        Map::Remapped
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        if kind != StatusKind::Table {
            return Ok(()).into();
        }
        let paths: String =
            self.paths.iter().map(|path| format!(" {} {}", path.device.dev(), path.offset)).collect();
        write!(out, "{} {} 0{paths}", self.paths.len(), self.region_size).into()
    }

    /// The map of regions.
    fn save(&self) -> Option<Saved> {
        Some(Saved::new(self.regions.to_words()))
    }

    fn restore(&self, saved: &Saved) {
        self.regions.set_words(saved.get::<Vec<u64>>());
    }

    fn messages(&self) -> Option<&dyn Messages> {
        Some(self)
    }

    /// Ioctls go to the path of region 0; freely only if the target ends where that device does.
    fn route_ioctl(&self) -> IoctlRoute<'_> {
        let path = self.path(Sectors::ZERO);
        let device = path.device.device().clone();
        let is_whole = self.len.0.checked_add(path.offset.0) == Some(device.capacity().0);
        IoctlRoute::To { device, is_whole }
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        let paths = self.paths.iter();
        Some(paths.map(|path| DeviceRange::new(&path.device, path.offset, self.len)).collect())
    }
}

impl Messages for Switch {
    fn message<'a>(&'a self, words: &'a [Vec<u8>], _caller: &'a dyn Caller) -> BoxFuture<'a, MessageResult> {
        let answer = match words.split_first() {
            Some((name, words)) if name.eq_ignore_ascii_case(b"set_region_mappings") => {
                self.set_mappings(words).map(|()| None)
            }
            _ => Err(self.refuse("Unrecognised message received.")),
        };
        Box::pin(async { answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_recorded() {
        let set = |region, path| Some(Mapping::Set { region, path });
        assert_eq!(Mapping::parse(b"a:1"), set(Some(10), 1));
        assert_eq!(Mapping::parse(b":Ff"), set(None, 255));
        assert_eq!(Mapping::parse(b"100000000000000000000:1"), set(Some(0), 1));
        assert_eq!(Mapping::parse(b"0:fffffffffffffffff"), set(Some(0), u64::MAX));
        assert_eq!(Mapping::parse(b"r2,e"), Some(Mapping::Repeat { cycle: 2, times: 14 }));
        for wrong in ["x", ":", "0:", "0:0x1", "0:1,", "0:-1", "0:1:2", "R1", "R1,", "R,1", "R1,1x", "R1,R1"]
        {
            assert_eq!(Mapping::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
