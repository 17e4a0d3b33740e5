//! `flakey`: a device that misbehaves from time to time.
//!
//! ```text
//! START LEN flakey DEVICE OFFSET UP DOWN [N_WORDS FEATURE...]
//! 0 204800 flakey /dev/ram0 0 59 1                       fails everything, one second in each minute
//! 0 204800 flakey /dev/ram0 0 0 1 1 drop_writes          says yes to every write and forgets it
//!
//!   seconds since the table was loaded   0 ...... UP-1 | UP ...... UP+DOWN-1 | 0 ...
//!                                        up: as linear |  down: the features |
//! ```
//!
//! While it is up it is a `linear`. While it is down:
//!
//! | feature | what happens |
//! |---|---|
//! | `error_reads` | reads fail |
//! | `error_writes` | writes, flushes and discards fail |
//! | `drop_writes` | they succeed and do nothing |
//! | `corrupt_bio_byte N r\|w VALUE FLAGS` | byte N (from 1) of each bio that has all FLAGS becomes VALUE |
//! | `random_read_corrupt P`, `random_write_corrupt P` | with probability P in 10^9, one byte becomes a random one |
//!
//! Without any of them, reads and writes fail. Corrupted reads are so in the reader's memory only, corrupted writes on
//! the device only. FLAGS are bits of the kernel's `bi_opf` ([`Bio::op_word`]).
//!
//! | | |
//! |---|---|
//! | status line | empty |
//! | table line | `MAJOR:MINOR OFFSET UP DOWN N FEATURE...`, in an order of its own |
//! | messages, events | none |
//! | time | begins when the table is loaded; a suspend does not stop it |
//!
//! Every target draws from a stream of its own, split off the machine's seed: the same run corrupts the same bytes.
//!
//! Behaviour: kernel/targets.md#flakey, recorded cases `flakey/*`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab_block::{Bio, BlkStatus, End, Op};
use dmlab_dm::kit::LinearExtent;
use dmlab_dm::{
    Args, Constructor, Ctr, CtrError, CtrResult, DeviceRange, IoctlRoute, Map, Module, OrRefuse, Saved,
    StatusKind, StatusResult, Target, TargetFeatures, TargetType,
};
use dmlab_runtime::{HZ, Instant, Quirks, Rng, Runtime, Stream, Tick};
use dmlab_units::{Sector, Sectors};
use parking_lot::Mutex;

/// `flakey` 1.5.0.
pub static FLAKEY: TargetType = TargetType {
    name: "flakey",
    version: [1, 5, 0],
    features: TargetFeatures::ZONED_HM.union(TargetFeatures::PASSES_CRYPTO),
    ctr: Constructor::Now(construct),
    module: &Module::named("dm_flakey"),
};

/// What random corruption of every bio is called in a table.
const CERTAIN: u32 = 1_000_000_000;
/// Most words that features take.
const MAX_FEATURE_WORDS: u32 = 11;
/// Most words that features took before there were those of [`Quirks::FLAKEY_LACKS_FEATURES`].
const MAX_FEATURE_WORDS_ONCE: u32 = 6;
/// A write that is to be corrupted is cut at this: 1024 pages.
const MAX_COPY: Sectors = Sectors(8192);

struct Flakey {
    extent: LinearExtent,
    /// Seconds.
    up: u32,
    /// Seconds.
    down: u32,
    features: Features,
    /// When the table was loaded: nanoseconds since boot.
    began: AtomicU64,
    runtime: Arc<Runtime>,
    rng: Mutex<Rng>,
}

/// What it does while it is down.
#[derive(Clone, Copy, Default)]
struct Features {
    error_reads: bool,
    error_writes: bool,
    drop_writes: bool,
    fixed: Option<FixedByte>,
    /// The chance of a corrupted read, in 10^9.
    random_read: u32,
    /// The chance of a corrupted write, in 10^9.
    random_write: u32,
    /// The table line has a blank behind each feature, and none for failing everything.
    is_shown_old: bool,
}

/// `corrupt_bio_byte`.
#[derive(Clone, Copy)]
struct FixedByte {
    /// Counted from 1.
    nth: u32,
    is_write: bool,
    value: u8,
    flags: u32,
}

/// The stream that each new target of the machine splits its own off.
#[derive(Default)]
struct Streams(Mutex<Option<Rng>>);

impl Streams {
    fn next(&self, runtime: &Runtime) -> Rng {
        self.0.lock().get_or_insert_with(|| runtime.rng(Stream::Corruption)).split()
    }
}

/// Everything is looked at before the device is opened.
fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let [device, offset, up, down] = ctr.args.take("Invalid argument count")?;
    let offset = ctr.args.scan_u64(&offset).or_refuse("Invalid device sector")?;
    let up = ctr.args.scan_u32(&up).or_refuse("Invalid up interval")?;
    let checks_more = ctr.runtime().has(Quirks::FLAKEY_CHECKS_MORE);
    let down_text = if checks_more { "Invalid down interval" } else { "Invalid up interval" };
    let down = ctr.args.scan_u32(&down).or_refuse(down_text)?;
    let total = up.wrapping_add(down);
    if total == 0 {
        return Err(CtrError::invalid("Total (up + down) interval is zero"));
    }
    if total < up {
        return Err(CtrError::invalid("Interval overflow"));
    }
    let features = Features::parse(ctr)?;
    let device = ctr.device(&device).or_refuse("Device lookup failed")?;
    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = 1;
    let runtime = ctr.runtime().clone();
    Ok(Box::new(Flakey {
        extent: LinearExtent { device, offset: Sector(offset), start: ctr.start, len: ctr.len },
        up,
        down,
        features,
        began: AtomicU64::new(runtime.now().as_nanos()),
        rng: Mutex::new(ctr.machine_state::<Streams>().next(&runtime)),
        runtime,
    }))
}

impl Features {
    /// Reads `N_WORDS FEATURE...`. Words behind the counted ones are ignored.
    fn parse(ctr: &mut Ctr<'_>) -> Result<Features, CtrError> {
        let knows_all = !ctr.runtime().has(Quirks::FLAKEY_LACKS_FEATURES);
        let checks_more = ctr.runtime().has(Quirks::FLAKEY_CHECKS_MORE);
        let args = &mut ctr.args;
        let refused = |text| Err(CtrError::invalid(text));
        let mut features = Features::default();
        let mut left = if args.is_empty() {
            0
        } else {
            let most = if knows_all { MAX_FEATURE_WORDS } else { MAX_FEATURE_WORDS_ONCE };
            args.group(0, most, "Invalid number of feature args")?
        };
        while left > 0 {
            let Some(name) = args.shift() else { return refused("Insufficient feature arguments") };
            // A count that is too small for a feature's parameters wraps, as on Linux; the words then run out.
            left -= 1;
            match &name.to_ascii_lowercase()[..] {
                b"error_reads" | b"random_read_corrupt" | b"random_write_corrupt" if !knows_all => {
                    return refused("Unrecognised flakey feature requested");
                }
                b"error_reads" if features.error_reads => return refused("Feature error_reads duplicated"),
                b"error_reads" => features.error_reads = true,
                b"drop_writes" if features.drop_writes => return refused("Feature drop_writes duplicated"),
                b"drop_writes" if features.error_writes => {
                    return refused("Feature drop_writes conflicts with feature error_writes");
                }
                b"drop_writes" => features.drop_writes = true,
                b"error_writes" if features.error_writes => {
                    return refused("Feature error_writes duplicated");
                }
                b"error_writes" if features.drop_writes => {
                    return refused("Feature error_writes conflicts with feature drop_writes");
                }
                b"error_writes" => features.error_writes = true,
                b"corrupt_bio_byte" if checks_more && features.fixed.is_some() => {
                    return refused("Feature corrupt_bio_byte duplicated");
                }
                b"random_read_corrupt" if checks_more && features.random_read > 0 => {
                    return refused("Feature random_read_corrupt duplicated");
                }
                b"random_write_corrupt" if checks_more && features.random_write > 0 => {
                    return refused("Feature random_write_corrupt duplicated");
                }
                b"corrupt_bio_byte" if checks_more && left < 4 => {
                    return refused("Feature corrupt_bio_byte requires 4 parameters");
                }
                b"corrupt_bio_byte" if left == 0 => {
                    return refused("Feature corrupt_bio_byte requires parameters");
                }
                b"corrupt_bio_byte" => {
                    features.fixed = Some(FixedByte::parse(args)?);
                    left = left.wrapping_sub(4);
                }
                b"random_read_corrupt" if left == 0 => {
                    return refused("Feature random_read_corrupt requires a parameter");
                }
                b"random_read_corrupt" => {
                    features.random_read = args.number(0, CERTAIN, "Invalid random corrupt argument")?;
                    left -= 1;
                }
                b"random_write_corrupt" if left == 0 => {
                    return refused("Feature random_write_corrupt requires a parameter");
                }
                b"random_write_corrupt" => {
                    features.random_write = args.number(0, CERTAIN, "Invalid random corrupt argument")?;
                    left -= 1;
                }
                _ => return refused("Unrecognised flakey feature requested"),
            }
        }
        features.is_shown_old = !knows_all;
        features.checked(checks_more)
    }

    /// Refuses features that exclude each other. Without any, reads and writes fail.
    fn checked(mut self, checks_more: bool) -> Result<Features, CtrError> {
        let refused = |text| Err(CtrError::invalid(text));
        let features = &mut self;
        if checks_more {
            features.check_corruptions()?;
        }
        let corrupts_fixed_writes = features.fixed.is_some_and(|fixed| fixed.is_write);
        if features.drop_writes && corrupts_fixed_writes {
            return refused("drop_writes is incompatible with corrupt_bio_byte with the WRITE flag set");
        }
        if features.error_writes && corrupts_fixed_writes {
            return refused("error_writes is incompatible with corrupt_bio_byte with the WRITE flag set");
        }
        let has_any = features.error_reads
            || features.error_writes
            || features.drop_writes
            || features.fixed.is_some()
            || features.random_read > 0
            || features.random_write > 0;
        if !has_any {
            (features.error_reads, features.error_writes) = (true, true);
        }
        Ok(self)
    }

    /// Whether something is to be corrupted that is dropped or failed anyway, whether at random or not.
    fn check_corruptions(&self) -> Result<(), CtrError> {
        let text = if self.drop_writes && self.corrupts_writes() {
            "drop_writes is incompatible with random_write_corrupt or corrupt_bio_byte with the WRITE flag set"
        } else if self.error_writes && self.corrupts_writes() {
            "error_writes is incompatible with random_write_corrupt or corrupt_bio_byte with the WRITE flag set"
        } else if self.error_reads && self.corrupts_reads() {
            "error_reads is incompatible with random_read_corrupt or corrupt_bio_byte with the READ flag set"
        } else {
            return Ok(());
        };
        Err(CtrError::invalid(text))
    }

    fn corrupts_reads(&self) -> bool {
        self.random_read > 0 || self.fixed.is_some_and(|fixed| !fixed.is_write)
    }

    fn corrupts_writes(&self) -> bool {
        self.random_write > 0 || self.fixed.is_some_and(|fixed| fixed.is_write)
    }

    /// The features as a table line has them: the number of words, then each feature that is in effect.
    fn line(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        let flags = [
            (self.error_reads, "error_reads"),
            (self.drop_writes, "drop_writes"),
            (self.error_writes, "error_writes"),
        ];
        words.extend(flags.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| (*name).to_owned()));
        if let Some(FixedByte { nth, is_write, value, flags }) = self.fixed {
            let direction = if is_write { 'w' } else { 'r' };
            words.push(format!("corrupt_bio_byte {nth} {direction} {value} {flags}"));
        }
        let random = [(self.random_read, "random_read_corrupt"), (self.random_write, "random_write_corrupt")];
        words.extend(random.iter().filter(|(p, _)| *p > 0).map(|(p, name)| format!("{name} {p}")));
        if self.is_shown_old && self.error_reads {
            return "0 ".to_owned();
        }
        let words = words.join(" ");
        let blank = if self.is_shown_old { " " } else { "" };
        format!("{} {words}{blank}", words.split(' ').count())
    }
}

impl FixedByte {
    fn parse(args: &mut Args) -> Result<FixedByte, CtrError> {
        let nth = args.number(1, u32::MAX, "Invalid corrupt bio byte")?;
        let is_write = match args.shift().map(|word| word.to_ascii_lowercase()).as_deref() {
            Some(b"w") => true,
            Some(b"r") => false,
            _ => return Err(CtrError::invalid("Invalid corrupt bio direction (r or w)")),
        };
        let value = args.number(0, 255, "Invalid corrupt value to write into bio byte (0-255)")? as u8;
        let flags = args.number(0, u32::MAX, "Invalid corrupt bio flags mask")?;
        Ok(FixedByte { nth, is_write, value, flags })
    }

    fn strikes(&self, bio: &Bio<'_>, is_write: bool) -> bool {
        self.is_write == is_write && bio.op_word() & self.flags == self.flags
    }

    /// A bio that is too short stays as it is.
    fn corrupt(&self, bytes: &mut [u8]) {
        if let Some(byte) = bytes.get_mut(self.nth as usize - 1) {
            *byte = self.value;
        }
    }
}

impl Flakey {
    fn began(&self) -> Tick {
        Instant::from_nanos(self.began.load(Ordering::Relaxed)).tick()
    }

    fn is_down(&self) -> bool {
        let elapsed = self.runtime.now().tick().since(self.began()).0 / HZ;
        elapsed % u64::from(self.up + self.down) >= u64::from(self.up)
    }

    fn send(&self, bio: &mut Bio<'_>) -> Map {
        self.extent.remap(bio);
        Map::Remapped
    }

    /// Whether chance strikes, and if so where in `len` bytes and with what.
    fn draw(&self, probability: u32, len: usize) -> Option<(usize, u8)> {
        if probability == 0 || len == 0 {
            return None;
        }
        let mut rng = self.rng.lock();
        if rng.below(u64::from(CERTAIN)) >= u64::from(probability) {
            return None;
        }
        let place = rng.below(len as u64) as usize;
        Some((place, rng.next_u32() as u8))
    }

    /// Replaces the data of a write by a corrupted copy, if it is its turn.
    fn corrupt_write(&self, bio: &mut Bio<'_>) {
        let fixed = self.features.fixed.filter(|fixed| fixed.strikes(bio, true));
        let len = bio.bytes().map_or(0, <[u8]>::len);
        let random = self.draw(self.features.random_write, len);
        if fixed.is_none() && random.is_none() {
            return;
        }
        let Some(bytes) = bio.bytes() else { return };
        let mut copy = bytes.to_vec();
        if let Some(fixed) = fixed {
            fixed.corrupt(&mut copy);
        }
        if let Some((place, value)) = random {
            copy[place] = value;
        }
        bio.replace_bytes(copy.into());
    }
}

impl Target for Flakey {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        if !self.is_down() {
            return self.send(bio);
        }
        let features = &self.features;
        match bio.op {
            Op::Read if features.error_reads => return Map::Kill,
            Op::Read => {
                if features.corrupts_reads() {
                    // Below, the bio may be cut into pieces: the bytes must come back here all the same.
                    bio.own_buffer();
                    self.extent.remap(bio);
                    return Map::RemappedAndHear(0);
                }
            }
            _ if features.drop_writes => return Map::Done(BlkStatus::Ok),
            // Taken and failed, where a read is refused: it counts in the device's statistics
            // (recorded: `core/statistics-of-a-disk`).
            _ if features.error_writes => return Map::Done(BlkStatus::IoErr),
            Op::Write => self.corrupt_write(bio),
            Op::Flush | Op::Discard | Op::SecureErase | Op::WriteZeroes => {}
        }
        self.send(bio)
    }

    fn accept(&self, bio: &Bio<'_>) -> Sectors {
        let is_copied = bio.op == Op::Write && bio.len() > MAX_COPY && self.features.corrupts_writes();
        if is_copied && self.is_down() { MAX_COPY } else { bio.len() }
    }

    /// Corrupts what was read.
    fn end_io(&self, bio: &mut Bio<'_>, _bio_data: u64, status: BlkStatus) -> End {
        if status.is_ok() {
            let fixed = self.features.fixed.filter(|fixed| fixed.strikes(bio, false));
            if let Some(bytes) = bio.gather() {
                if let Some(fixed) = fixed {
                    fixed.corrupt(bytes);
                }
                if let Some((place, value)) = self.draw(self.features.random_read, bytes.len()) {
                    bytes[place] = value;
                }
            }
        }
        End::Done(status)
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let (dev, offset) = (self.extent.device.dev(), self.extent.offset);
        let (up, down, features) = (self.up, self.down, self.features.line());
        let written = match kind {
            StatusKind::Table => write!(out, "{dev} {offset} {up} {down} {features}"),
            StatusKind::Info | StatusKind::Ima => Ok(()),
        };
        written.into()
    }

    /// When its turns began, and what it draws next.
    fn save(&self) -> Option<Saved> {
        Some(Saved::new((self.began.load(Ordering::Relaxed), self.rng.lock().clone())))
    }

    fn restore(&self, saved: &Saved) {
        let (began, rng) = saved.get::<(u64, Rng)>();
        self.began.store(*began, Ordering::Relaxed);
        *self.rng.lock() = rng.clone();
    }

    /// Ioctls go to the device below even while it is down.
    fn route_ioctl(&self) -> IoctlRoute<'_> {
        self.extent.route_ioctl()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![self.extent.range()])
    }
}
