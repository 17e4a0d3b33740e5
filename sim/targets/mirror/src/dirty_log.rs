//! The dirty log: which regions are in sync, and which were being written when everything stopped.
//!
//! Two bits for each region. **Clean**: no write is under way, so all legs hold the same, now and after a loss of power.
//! **In sync**: all legs hold the same unless a write is under way. A `core` log keeps both in memory; a `disk` log keeps
//! the clean bits on a device, and what is clean there is in sync after the next resume.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bitvec::boxed::BitBox;
use bitvec::order::Lsb0;
use dmlab_block::{Bio, Tag, read_bio_async, run_async};
use dmlab_dm::kit::TargetLog;
use dmlab_dm::{Ctr, TableDevice, TableEvents};
use dmlab_runtime::AsyncMutex;
use dmlab_units::{SECTOR_SIZE, Sector, Sectors};
use parking_lot::Mutex;

use dmlab_formats::mirror_log::{self as format, Header};

/// Most regions.
const MAX_REGIONS: u64 = u32::MAX as u64;
/// Most regions that memory is given for: 64 MiB for each of the two bits. Linux has as much as it has memory; the legs
/// need not be large to ask for this, their sizes are looked at later.
const MAX_KEPT_REGIONS: u64 = 1 << 29;
const PREFIX: &str = "dirty region log";
/// What is read and written on a log device.
const TAG: Tag = Tag::new("mirror-log", 0, 0);

/// What the table says about the state of the legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    /// Nothing: a core log begins with all regions out of sync, a disk log with what is on the device.
    Default,
    /// `sync`: all regions are to be synchronised.
    Force,
    /// `nosync`: all are in sync.
    Never,
}

/// A disk log's device.
struct Disk {
    device: TableDevice,
    /// Header and bits as they are on the device; held while they are written.
    bytes: AsyncMutex<Vec<u8>>,
}

pub(super) struct DirtyLog {
    disk: Option<Disk>,
    sync: Sync,
    region_size: Sectors,
    regions: u64,
    /// Looked at by every read, without a lock.
    in_sync: BitBox<AtomicU64, Lsb0>,
    state: Mutex<State>,
    lines: TargetLog,
    events: TableEvents,
}

struct State {
    clean: BitBox<u64, Lsb0>,
    synced: u64,
    /// Where the search for regions to recover goes on.
    search: u64,
    /// Bits were cleared, or set, that are not on the device yet.
    has_cleared: bool,
    has_set: bool,
    /// A flush of the legs has failed: nothing is clean any more.
    legs_flush_failed: bool,
    has_failed: bool,
    flush_has_failed: bool,
}

/// What a log knows that is on no device.
pub(super) struct LogState {
    /// The bits of a core log.
    clean: Option<BitBox<u64, Lsb0>>,
    in_sync: Option<Vec<bool>>,
    /// Which have failed: the flushes of the legs, the log device, its flushes.
    failed: [bool; 3],
}

/// The log could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogFailed;

fn bits<T: bitvec::store::BitStore>(count: u64, value: bool) -> BitBox<T, Lsb0> {
    let mut bits = bitvec::vec::BitVec::<T, Lsb0>::new();
    bits.resize(count as usize, value);
    bits.into_boxed_bitslice()
}

impl DirtyLog {
    /// Makes the log that `kind` and its arguments name; what is wrong with them is in the kernel log.
    pub(super) fn construct(ctr: &mut Ctr<'_>, kind: &[u8], args: &[Vec<u8>]) -> Option<DirtyLog> {
        let warn = |ctr: &Ctr<'_>, text: String| ctr.log(PREFIX).warn(text);
        let shown = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        let (device, args) = match kind {
            b"core" => (None, args),
            b"disk" => {
                if !(2..=3).contains(&args.len()) {
                    warn(ctr, "wrong number of arguments to disk dirty region log".to_owned());
                    return None;
                }
                (Some(ctr.device(&args[0]).ok()?), &args[1..])
            }
            _ => {
                warn(ctr, format!("Module for logging type \"{}\" not found.", shown(kind)));
                return None;
            }
        };
        if !(1..=2).contains(&args.len()) {
            warn(ctr, "wrong number of arguments to dirty region log".to_owned());
            return None;
        }
        let sync = match args.get(1).map(Vec::as_slice) {
            None => Sync::Default,
            Some(b"sync") => Sync::Force,
            Some(b"nosync") => Sync::Never,
            Some(other) => {
                warn(ctr, format!("unrecognised sync argument to dirty region log: {}", shown(other)));
                return None;
            }
        };
        let (region_size, regions) = DirtyLog::divided(ctr, &args[0])?;
        let disk = match device {
            Some(device) => Some(Disk::new(ctr, device, regions)?),
            None => None,
        };
        if regions > MAX_KEPT_REGIONS {
            warn(ctr, "couldn't allocate clean bitset".to_owned());
            return None;
        }
        let is_in_sync = sync == Sync::Never;
        Some(DirtyLog {
            disk,
            sync,
            region_size: Sectors(region_size),
            regions,
            in_sync: bits(regions, is_in_sync),
            state: Mutex::new(State {
                clean: bits(regions, is_in_sync),
                synced: if is_in_sync { regions } else { 0 },
                search: 0,
                has_cleared: false,
                has_set: false,
                legs_flush_failed: false,
                has_failed: false,
                flush_has_failed: false,
            }),
            lines: ctr.log(PREFIX),
            events: ctr.events(),
        })
    }

    /// The sectors of a region as an argument says, and how many of them the line has.
    fn divided(ctr: &Ctr<'_>, size: &[u8]) -> Option<(u64, u64)> {
        let warn = |text: String| ctr.log(PREFIX).warn(text);
        let region_size = (ctr.args.scan_u32(size).map(u64::from))
            .filter(|&size| size.is_power_of_two() && (2..=ctr.len.0).contains(&size));
        let Some(region_size) = region_size else {
            warn(format!("invalid region size {}", String::from_utf8_lossy(size)));
            return None;
        };
        let regions = ctr.len.0.div_ceil(region_size);
        if regions > MAX_REGIONS {
            warn(format!("region count exceeds limit of {MAX_REGIONS}"));
            return None;
        }
        Some((region_size, regions))
    }

    pub(super) fn region_size(&self) -> Sectors {
        self.region_size
    }

    pub(super) fn regions(&self) -> u64 {
        self.regions
    }

    pub(super) fn synced(&self) -> u64 {
        self.state.lock().synced
    }

    pub(super) fn is_all_synced(&self) -> bool {
        self.synced() == self.regions
    }

    pub(super) fn is_in_sync(&self, region: u64) -> bool {
        self.in_sync.get(region as usize).is_some_and(|bit| *bit)
    }

    // What the region hash says.

    /// A write begins in a region that was clean.
    pub(super) fn mark_dirty(&self, region: u64) {
        let mut state = self.state.lock();
        state.clean.set(region as usize, false);
        state.has_cleared = true;
    }

    /// No write is under way in a region.
    pub(super) fn mark_clean(&self, region: u64) {
        let mut state = self.state.lock();
        if !state.legs_flush_failed {
            state.clean.set(region as usize, true);
            state.has_set = true;
        }
    }

    /// A recovery has ended, or a write has failed. The device hears of either at once (recorded:
    /// `mirror/flushes-and-log`, where each region that is recovered is a write).
    pub(super) fn set_in_sync(&self, region: u64, is_in_sync: bool) {
        let mut state = self.state.lock();
        state.has_cleared = true;
        let was_in_sync = self.is_in_sync(region);
        self.in_sync.set_aliased(region as usize, is_in_sync);
        match (was_in_sync, is_in_sync) {
            (false, true) => state.synced += 1,
            (true, false) => state.synced -= 1,
            _ => {}
        }
    }

    /// The next region to recover: ascending, once through the device after each resume.
    pub(super) fn next_to_recover(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let from = state.search as usize;
        let found = self.in_sync.get(from..).and_then(bitvec::slice::BitSlice::first_zero);
        let region = found.map(|at| (from + at) as u64);
        state.search = region.map_or(self.regions, |region| region + 1);
        region
    }

    // For the same mirror in another machine.

    /// What it knows that is on no device.
    pub(super) fn save(&self) -> LogState {
        let state = self.state.lock();
        LogState {
            clean: self.disk.is_none().then(|| state.clean.clone()),
            in_sync: self.disk.is_none().then(|| self.in_sync.iter().map(|bit| *bit).collect()),
            failed: [state.legs_flush_failed, state.has_failed, state.flush_has_failed],
        }
    }

    /// Restores the state that another instance of the same log has saved.
    pub(super) fn restore(&self, known: &LogState) {
        let mut state = self.state.lock();
        [state.legs_flush_failed, state.has_failed, state.flush_has_failed] = known.failed;
        let (Some(clean), Some(in_sync)) = (&known.clean, &known.in_sync) else { return };
        state.clean.clone_from(clean);
        for (region, is_in_sync) in in_sync.iter().enumerate().take(self.regions as usize) {
            self.in_sync.set_aliased(region, *is_in_sync);
        }
        state.synced = in_sync.iter().filter(|is_in_sync| **is_in_sync).count() as u64;
    }

    // Life of the device.

    /// Reads what is on the device, and says there what is true now (disk log); lets recovery begin anew.
    pub(super) async fn resume(&self) -> Result<(), LogFailed> {
        let Some(disk) = &self.disk else {
            self.state.lock().search = 0;
            return Ok(());
        };
        let mut bytes = disk.bytes.lock().await;
        let mut header = match self.read_header(disk, &mut bytes).await {
            Ok(header) => header,
            Err(kept) => {
                self.warn(disk, "Failed to read header on dirty region log device");
                self.fail();
                Header { regions: 0, ..kept }
            }
        };
        {
            let mut state = self.state.lock();
            // What is set or cleared here is written below, but counts as not yet flushed: the first pass of the worker
            // writes once more (recorded: `mirror/flushes-and-log`, where a resume writes twice).
            let grows = header.regions < self.regions;
            state.has_set |= grows && self.sync == Sync::Never;
            state.has_cleared |= !self.regions.is_multiple_of(64) || (grows && self.sync != Sync::Never);
            let known = header.regions.min(self.regions) as usize;
            let on_disk = bytes.get(format::BITS_OFFSET..).unwrap_or_default();
            for region in 0..self.regions as usize {
                let is_clean = match region < known {
                    true => on_disk[region / 8] & 1 << (region % 8) != 0,
                    false => self.sync == Sync::Never,
                };
                state.clean.set(region, is_clean);
                self.in_sync.set_aliased(region, is_clean);
            }
            state.synced = state.clean.count_ones() as u64;
            state.search = 0;
        }
        header.regions = self.regions;
        bytes[..format::HEADER_BYTES].copy_from_slice(&header.encode());
        let mut written = self.write(disk, &mut bytes).await;
        if written.is_ok() {
            written = self.flush_device(disk).await;
        }
        if written.is_err() {
            self.warn(disk, "Failed to write header on dirty region log device");
        }
        written
    }

    /// The header on the device, or the one to begin with; `Err` when it is of no use.
    async fn read_header(&self, disk: &Disk, bytes: &mut Vec<u8>) -> Result<Header, Header> {
        let fresh = Header { magic: format::MAGIC, version: format::VERSION, regions: 0 };
        let len = Sectors(bytes.len() as u64 / SECTOR_SIZE);
        let read = Bio::read_owned(Sector::ZERO, len).with_tag(TAG).to(disk.device.device());
        match read_bio_async(read).await {
            Ok(read) => *bytes = read.to_vec(),
            Err(_) => return Err(fresh),
        }
        let header = bytes.first_chunk().map_or(fresh, Header::decode);
        if self.sync != Sync::Default || header.magic != format::MAGIC {
            return Ok(fresh);
        }
        match header.version {
            1 | format::VERSION => Ok(Header { version: format::VERSION, ..header }),
            _ => {
                self.lines.warn("incompatible disk log version");
                Err(header)
            }
        }
    }

    /// Makes what was marked since the last time durable. Before a region may be called clean on disk, what was
    /// written to it must be: `flush_legs` says whether it is.
    pub(super) async fn flush(&self, flush_legs: impl AsyncFnOnce() -> bool) -> Result<(), LogFailed> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let (has_cleared, has_set) = {
            let state = self.state.lock();
            (state.has_cleared, state.has_set)
        };
        if !has_cleared && !has_set {
            return Ok(());
        }
        if has_set && !flush_legs().await {
            let mut state = self.state.lock();
            state.legs_flush_failed = true;
            state.clean.fill(false);
        }
        let mut bytes = disk.bytes.lock().await;
        self.write(disk, &mut bytes).await?;
        if has_cleared {
            self.flush_device(disk).await?;
            self.state.lock().has_cleared = false;
        }
        self.state.lock().has_set = false;
        Ok(())
    }

    async fn write(&self, disk: &Disk, bytes: &mut [u8]) -> Result<(), LogFailed> {
        {
            let state = self.state.lock();
            for (words, word) in bytes[format::BITS_OFFSET..].chunks_mut(8).zip(state.clean.as_raw_slice()) {
                words.copy_from_slice(&word.to_le_bytes()[..words.len()]);
            }
        }
        let data: Arc<[u8]> = (&*bytes).into();
        let write = Bio::write_owned(Sector::ZERO, data).with_tag(TAG).to(disk.device.device());
        run_async(write).await.map_err(|_| self.fail())
    }

    async fn flush_device(&self, disk: &Disk) -> Result<(), LogFailed> {
        let flushed = run_async(Bio::flush().with_tag(TAG).to(disk.device.device())).await;
        self.state.lock().flush_has_failed |= flushed.is_err();
        flushed.map_err(|_| self.fail())
    }

    /// Remembers that the device failed; the first time is an event.
    fn fail(&self) -> LogFailed {
        let is_first = !std::mem::replace(&mut self.state.lock().has_failed, true);
        if is_first {
            self.events.raise();
        }
        LogFailed
    }

    fn warn(&self, disk: &Disk, text: &str) {
        let dev = disk.device.dev();
        self.lines.warn(format_args!("{dev}: {text}"));
    }

    // Status.

    /// The log's part of the status line.
    pub(super) fn info(&self) -> String {
        let Some(disk) = &self.disk else { return "1 core".to_owned() };
        let state = self.state.lock();
        let letter = match (state.flush_has_failed, state.has_failed) {
            (true, _) => 'F',
            (false, true) => 'D',
            (false, false) => 'A',
        };
        format!("3 disk {} {letter}", disk.device.dev())
    }

    /// The log's part of the table line, with a blank behind it.
    pub(super) fn table(&self) -> String {
        let (keyword, more) = match self.sync {
            Sync::Default => ("", 0),
            Sync::Force => ("sync ", 1),
            Sync::Never => ("nosync ", 1),
        };
        let size = self.region_size;
        match &self.disk {
            None => format!("core {} {size} {keyword}", 1 + more),
            Some(disk) => format!("disk {} {} {size} {keyword}", 2 + more, disk.device.dev()),
        }
    }
}

impl Disk {
    fn new(ctr: &Ctr<'_>, device: TableDevice, regions: u64) -> Option<Disk> {
        let block = device.device().limits().logical_block_size.0.max(SECTOR_SIZE);
        let bytes = format::log_bytes(regions).next_multiple_of(block);
        if bytes > device.device().capacity().0.saturating_mul(SECTOR_SIZE) {
            let text = format!("log device {} too small: need {bytes} bytes", device.dev());
            ctr.log(PREFIX).warn(text);
            return None;
        }
        Some(Disk { device, bytes: AsyncMutex::new(vec![0; bytes as usize]) })
    }
}
