//! `dust`: a disk that gets bad sectors, and loses them again when they are written.
//!
//! ```text
//! START LEN dust DEVICE OFFSET BLOCK_SIZE
//! 0 204800 dust /dev/ram0 0 4096         bad blocks of 4 KiB, none yet
//!
//!   read ──> block on the list? ── yes ──> EIO
//!   write ─> block on the list? ── yes ──> EIO as often as it is to fail, then the block is good again
//!                               ── no ───> DEVICE, moved by OFFSET
//! ```
//!
//! A disk behaves so: a sector that can't be read any more is replaced when it is next written. The list is empty at
//! first and filled by messages; it counts only while it is enabled. Blocks are numbered on DEVICE, so OFFSET counts.
//!
//! | | |
//! |---|---|
//! | status line | `MAJOR:MINOR fail_read_on_bad_block\|bypass verbose\|quiet` |
//! | table line | `MAJOR:MINOR OFFSET BLOCK_SIZE`, the block size in bytes |
//! | messages | `enable`, `disable`, `quiet`, `addbadblock B [FAILURES]`, `removebadblock B`, `queryblock B`, `countbadblocks`, `listbadblocks`, `clearbadblocks` |
//! | splits | reads and writes at blocks; of a discard only the first block is looked at, as on Linux |
//!
//! Behaviour: kernel/targets.md#dust, recorded cases `dust/*` of a kernel that has it: that of the reference does not.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use dmlab_block::{Bio, Caller, Op};
use dmlab_dm::kit::{LinearExtent, TargetLog};
use dmlab_dm::{
    BoxFuture, Constructor, Ctr, CtrError, CtrResult, DeviceRange, IoctlRoute, Map, MessageResult, Messages,
    Module, OrRefuse, Saved, StatusKind, StatusResult, Target, TargetFeatures, TargetType, parse_u32_strict,
    scan_u32, scan_u64,
};
use dmlab_runtime::{Level, Personality};
use dmlab_units::{Errno, SECTOR_SIZE, Sector, Sectors};
use parking_lot::Mutex;

/// `dust` 1.0.0.
pub static DUST: TargetType = TargetType {
    name: "dust",
    version: [1, 0, 0],
    features: TargetFeatures::empty(),
    ctr: Constructor::Now(construct),
    module: &Module::named("dm_dust"),
};

/// Most sectors of a block: 1 GiB.
const MAX_BLOCK: u64 = 2_097_152;
/// Most failing writes of a bad block.
const MAX_FAILURES: u32 = 255;

struct Dust {
    extent: LinearExtent,
    block_size: u32,
    is_enabled: AtomicBool,
    is_quiet: AtomicBool,
    /// Bad blocks, with how many writes are yet to fail before one of them goes through.
    bad: Mutex<BTreeMap<u64, u8>>,
    log: TargetLog,
    personality: &'static Personality,
}

/// What messages have set.
struct DustState {
    is_enabled: bool,
    is_quiet: bool,
    bad: BTreeMap<u64, u8>,
}

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let [device, offset, block_size] = ctr.args.all("Invalid argument count")?;
    let block_size = match parse_u32_strict(&block_size) {
        Some(size) if size > 0 => size,
        _ => return Err(CtrError::invalid("Invalid block size parameter")),
    };
    if u64::from(block_size) < SECTOR_SIZE {
        return Err(CtrError::invalid("Block size must be at least 512"));
    }
    if !block_size.is_power_of_two() {
        return Err(CtrError::invalid("Block size must be a power of 2"));
    }
    let sectors = u64::from(block_size) / SECTOR_SIZE;
    if sectors > ctr.len.0.min(MAX_BLOCK) {
        return Err(CtrError::invalid("Block size is too large"));
    }
    let offset = ctr.args.scan_u64(&offset).or_refuse("Invalid device offset sector")?;
    // Whatever is wrong with the device.
    let device = ctr.device(&device).map_err(|_| CtrError::invalid("Device lookup failed"))?;
    ctr.settings.max_io_len = Sectors(sectors);
    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = 1;
    Ok(Box::new(Dust {
        extent: LinearExtent { device, offset: Sector(offset), start: ctr.start, len: ctr.len },
        block_size,
        is_enabled: AtomicBool::new(false),
        is_quiet: AtomicBool::new(false),
        bad: Mutex::default(),
        log: ctr.log("dust"),
        personality: ctr.runtime().personality(),
    }))
}

impl Dust {
    fn block_sectors(&self) -> u64 {
        u64::from(self.block_size) / SECTOR_SIZE
    }

    fn log_unless_quiet(&self, level: Level, text: std::fmt::Arguments<'_>) {
        if !self.is_quiet.load(Ordering::Relaxed) {
            self.log.log(level, text);
        }
    }

    fn refuse<T>(&self, text: std::fmt::Arguments<'_>) -> Result<T, Errno> {
        self.log.err(text);
        Err(Errno::EINVAL)
    }

    /// Whether a write to this block fails. One that doesn't makes the block good.
    fn fails_write(&self, block: u64) -> bool {
        let mut bad = self.bad.lock();
        match bad.get_mut(&block) {
            None => return false,
            Some(0) => {}
            Some(failures) => {
                *failures -= 1;
                return true;
            }
        }
        bad.remove(&block);
        drop(bad);
        // The block's number is divided once more, as in the kernel: right only where a block is a sector.
        let shown = block / self.block_sectors();
        self.log_unless_quiet(Level::Info, format_args!("block {shown} removed from badblocklist by write"));
        false
    }

    /// A message of one word.
    fn command(&self, word: &[u8]) -> MessageResult {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let shown = String::from_utf8_lossy(word);
        if is("addbadblock") || is("removebadblock") || is("queryblock") {
            return self.refuse(format_args!("{shown} requires an additional argument"));
        } else if is("disable") {
            self.log.info("disabling read failures on bad sectors");
            self.is_enabled.store(false, Ordering::Relaxed);
        } else if is("enable") {
            self.log.info("enabling read failures on bad sectors");
            self.is_enabled.store(true, Ordering::Relaxed);
        } else if is("countbadblocks") {
            let count = self.bad.lock().len();
            return Ok(Some(format!("countbadblocks: {count} badblock(s) found")));
        } else if is("clearbadblocks") {
            let cleared = std::mem::take(&mut *self.bad.lock());
            let what = if cleared.is_empty() { "no badblocks found" } else { "badblocks cleared" };
            return Ok(Some(format!("dust_clear_badblocks: {what}")));
        } else if is("quiet") {
            self.is_quiet.fetch_xor(true, Ordering::Relaxed);
        } else if is("listbadblocks") {
            let list: String = self.bad.lock().keys().map(|block| format!("{block}\n")).collect();
            return Ok(Some(if list.is_empty() { "No blocks in badblocklist".to_owned() } else { list }));
        } else {
            return self.refuse(format_args!("unrecognized message '{shown}' received"));
        }
        Ok(None)
    }

    /// The number in a word. No number at all is refused without a line in the log.
    fn number(&self, word: &[u8]) -> Result<u64, Errno> {
        scan_u64(word, self.personality).ok_or(Errno::EINVAL)
    }

    /// A block that may be listed: the one behind the last may, too (recorded: `dust/messages`).
    fn block(&self, block: u64) -> Result<u64, Errno> {
        if block > self.extent.device.device().capacity().0 / self.block_sectors() {
            return self.refuse(format_args!("selected block value out of range"));
        }
        Ok(block)
    }

    fn add(&self, block: u64, failures: u8) -> MessageResult {
        let mut bad = self.bad.lock();
        if bad.contains_key(&block) {
            let text = format_args!("dust_add_block: block {block} already in badblocklist");
            self.log_unless_quiet(Level::Err, text);
            return Err(Errno::EINVAL);
        }
        bad.insert(block, failures);
        let text =
            format_args!("dust_add_block: badblock added at block {block} with write fail count {failures}");
        self.log_unless_quiet(Level::Info, text);
        Ok(None)
    }

    fn remove(&self, block: u64) -> MessageResult {
        if self.bad.lock().remove(&block).is_none() {
            let text = format_args!("dust_remove_block: block {block} not found in badblocklist");
            self.log_unless_quiet(Level::Err, text);
            return Err(Errno::EINVAL);
        }
        self.log_unless_quiet(
            Level::Info,
            format_args!("dust_remove_block: badblock removed at block {block}"),
        );
        Ok(None)
    }

    fn query(&self, block: u64) -> MessageResult {
        let found = if self.bad.lock().contains_key(&block) { "found" } else { "not found" };
        Ok(Some(format!("dust_query_block: block {block} {found} in badblocklist")))
    }

    fn take_message(&self, words: &[Vec<u8>]) -> MessageResult {
        let is = |name: &str| words[0].eq_ignore_ascii_case(name.as_bytes());
        match words {
            [word] => return self.command(word),
            [_, block] => {
                let block = self.block(self.number(block)?)?;
                if is("addbadblock") {
                    return self.add(block, 0);
                } else if is("removebadblock") {
                    return self.remove(block);
                } else if is("queryblock") {
                    return self.query(block);
                }
            }
            [_, block, failures] => {
                // Neither number is looked at before both are numbers; then the second goes first.
                let failures = scan_u32(failures, self.personality).ok_or(Errno::EINVAL)?;
                let block = self.number(block)?;
                if failures > MAX_FAILURES {
                    return self.refuse(format_args!("selected write fail count out of range"));
                }
                let block = self.block(block)?;
                if is("addbadblock") {
                    return self.add(block, failures as u8);
                }
            }
            _ => return self.refuse(format_args!("invalid number of arguments '{}'", words.len())),
        }
        let shown = String::from_utf8_lossy(&words[0]);
        self.refuse(format_args!("unrecognized message '{shown}' received"))
    }
}

impl Target for Dust {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        // A flush is moved as in `delay` and `flakey`, where it is recorded: what is said of the block of a flush makes
        // sense only if its sector goes the way of every other.
        self.extent.remap(bio);
        if !self.is_enabled.load(Ordering::Relaxed) {
            return Map::Remapped;
        }
        // A flush is a write at the first sector to the kernel, and to this list.
        let block = bio.sector.0 / self.block_sectors();
        let fails = match bio.op {
            Op::Read => self.bad.lock().contains_key(&block),
            _ => self.fails_write(block),
        };
        if fails { Map::Kill } else { Map::Remapped }
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let dev = self.extent.device.dev();
        let written = match kind {
            StatusKind::Info => {
                let mode =
                    if self.is_enabled.load(Ordering::Relaxed) { "fail_read_on_bad_block" } else { "bypass" };
                let talk = if self.is_quiet.load(Ordering::Relaxed) { "quiet" } else { "verbose" };
                write!(out, "{dev} {mode} {talk}")
            }
            StatusKind::Table => write!(out, "{dev} {} {}", self.extent.offset, self.block_size),
            StatusKind::Ima => Ok(()),
        };
        written.into()
    }

    fn save(&self) -> Option<Saved> {
        Some(Saved::new(DustState {
            is_enabled: self.is_enabled.load(Ordering::Relaxed),
            is_quiet: self.is_quiet.load(Ordering::Relaxed),
            bad: self.bad.lock().clone(),
        }))
    }

    fn restore(&self, saved: &Saved) {
        let known = saved.get::<DustState>();
        self.is_enabled.store(known.is_enabled, Ordering::Relaxed);
        self.is_quiet.store(known.is_quiet, Ordering::Relaxed);
        *self.bad.lock() = known.bad.clone();
    }

    fn messages(&self) -> Option<&dyn Messages> {
        Some(self)
    }

    fn route_ioctl(&self) -> IoctlRoute<'_> {
        self.extent.route_ioctl()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![self.extent.range()])
    }
}

impl Messages for Dust {
    fn message<'a>(&'a self, words: &'a [Vec<u8>], _caller: &'a dyn Caller) -> BoxFuture<'a, MessageResult> {
        let answer = self.take_message(words);
        Box::pin(async { answer })
    }
}
