//! Exception stores: where copied chunks go, and how that is remembered.
//!
//! A **persistent** store (`P`, `PO`) writes a record for each exception to the COW device, in the order the
//! exceptions were allocated, whatever order their copies end in. Records become durable together: the area is written
//! when nothing allocated is still uncommitted, or when it is full. A **transient** store (`N`) remembers nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use dmlab_block::{Bio, BioFlags, BlkStatus, BlockDevice, Tag, read_bio_async};
use dmlab_dm::kit::TargetLog;
use dmlab_dm::{CtrError, run_all};
use dmlab_runtime::{AsyncMutex, Level, Planted, WaitQueue};
use dmlab_units::{Errno, SECTOR_SIZE, Sector, Sectors};
use parking_lot::Mutex;

use super::area::{Area, PIECE};
use dmlab_formats::snapshot_store::{self as format, Header, Record};

/// An exception is written down before its copy is flushed.
#[doc(hidden)]
pub static EXCEPTION_BEFORE_COPY: Planted =
    Planted::new("an exception is written down before its copy is flushed");

/// Chunk size of a new persistent store that the table leaves open, in sectors.
const DEFAULT_CHUNK: u64 = 32;
/// What the header means.
const HEADER: Tag = Tag::new("exception-header", 0, 0);
/// Largest chunk in sectors (`INT_MAX >> 9`).
const MAX_CHUNK: u64 = (i32::MAX >> 9) as u64;
/// Most pieces of a chunk under way at once.
const PIECES_AT_ONCE: usize = 8;

/// What a persistent store's lines of the kernel log begin with.
pub(super) const PREFIX: &str = "persistent snapshot";
/// What the log says of a store that cannot be one.
const CORRUPT: &str = "Invalid or corrupt snapshot";

/// Which store the table asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StoreKind {
    /// `P`, or `PO` when an overflow is to be shown apart from other ends.
    Persistent { shows_overflow: bool },
    /// `N`.
    #[default]
    Transient,
}

impl StoreKind {
    /// Shows an overflow if `other` would.
    pub(super) fn show_overflow_as(&mut self, other: StoreKind) {
        if let StoreKind::Persistent { shows_overflow } = self {
            *shows_overflow = other == StoreKind::Persistent { shows_overflow: true };
        }
    }

    /// The letters of the table line.
    pub(super) fn letters(self) -> &'static str {
        match self {
            StoreKind::Persistent { shows_overflow: false } => "P",
            StoreKind::Persistent { shows_overflow: true } => "PO",
            StoreKind::Transient => "N",
        }
    }
}

/// An allocated exception: its place on the COW device and its turn to be committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) new: u64,
    turn: u64,
}

impl Slot {
    /// The exception as two words that a bio can carry.
    pub(super) fn to_words(self) -> [u64; 2] {
        [self.turn, self.new]
    }

    /// The inverse of [`Slot::to_words`].
    pub(super) fn from_words(turn: u64, new: u64) -> Slot {
        Slot { new, turn }
    }
}

/// Exceptions that can be merged at once: consecutive both in the origin and in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First chunk of the origin.
    pub(super) old: u64,
    /// First chunk of the store.
    pub(super) new: u64,
    pub(super) count: u64,
}

/// What a persistent store found when it was opened.
pub(super) struct Loaded {
    pub(super) exceptions: BTreeMap<u64, u64>,
    /// The header says that the snapshot is still good.
    pub(super) is_valid: bool,
}

/// Why the records of a persistent store cannot be had.
enum Unreadable {
    Io(BlkStatus),
    /// One of them names a chunk that no device can have.
    NoSuchChunk,
}

impl From<BlkStatus> for Unreadable {
    fn from(status: BlkStatus) -> Unreadable {
        Unreadable::Io(status)
    }
}

pub(super) struct Store {
    kind: StoreKind,
    cow: Arc<BlockDevice>,
    chunk: Sectors,
    alloc: Mutex<Alloc>,
    /// Held while records are written out, so that writes of the area don't overtake each other.
    log: AsyncMutex<Log>,
    committed: WaitQueue,
}

struct Alloc {
    next_free: u64,
    next_turn: u64,
    /// Allocated and not yet committed.
    pending: u64,
    /// Every turn below this is durable, or has failed.
    durable: u64,
    area: u64,
    is_valid: bool,
}

struct Log {
    area: Area,
    used: usize,
    next_turn: u64,
    done: BTreeMap<u64, Option<Record>>,
}

/// Checks a chunk size against both devices; the log's words for what is wrong.
pub(super) fn check_chunk(chunk: u64, origin: &BlockDevice, cow: &BlockDevice) -> Result<(), &'static str> {
    let is_multiple = |dev: &BlockDevice| {
        let block = dev.limits().logical_block_size.sectors_floor().0.max(1);
        chunk.is_multiple_of(block)
    };
    if !chunk.is_power_of_two() {
        Err("Chunk size is not a power of 2")
    } else if !is_multiple(origin) || !is_multiple(cow) {
        Err("Chunk size is not a multiple of device blocksize")
    } else if chunk > MAX_CHUNK {
        Err("Chunk size is too high")
    } else {
        Ok(())
    }
}

/// What the chunk that describes an area means.
fn area_tag(area: u64) -> Tag {
    Tag::new("exception-area", 0, area)
}

impl Store {
    fn new(kind: StoreKind, cow: Arc<BlockDevice>, chunk: Sectors) -> Store {
        let next_free = if kind == StoreKind::Transient { 0 } else { format::FIRST_AREA + 1 };
        Store {
            kind,
            cow,
            chunk,
            alloc: Mutex::new(Alloc {
                next_free,
                next_turn: 0,
                pending: 0,
                durable: 0,
                area: 0,
                is_valid: true,
            }),
            log: AsyncMutex::new(Log {
                area: Area::new(chunk),
                used: 0,
                next_turn: 0,
                done: BTreeMap::new(),
            }),
            committed: WaitQueue::default(),
        }
    }

    /// A store that remembers nothing.
    pub(super) fn transient(cow: Arc<BlockDevice>, chunk: Sectors) -> Store {
        Store::new(StoreKind::Transient, cow, chunk)
    }

    /// Opens a persistent store, making a new one where the magic number is 0.
    pub(super) async fn open(
        kind: StoreKind,
        origin: &Arc<BlockDevice>,
        cow: Arc<BlockDevice>,
        asked_chunk: u64,
    ) -> Result<(Store, Loaded), CtrError> {
        let failed = |errno| CtrError::new(errno, "Failed to read snapshot metadata");
        let io_error = |status: BlkStatus| failed(status.errno().unwrap_or(Errno::EIO));
        let log = |level, text: String| {
            TargetLog::new(cow.runtime().clone(), PREFIX).log(level, text);
        };
        let block = cow.limits().logical_block_size.sectors_floor();
        let supposed_chunk = if asked_chunk == 0 { DEFAULT_CHUNK.max(block.0) } else { asked_chunk };
        let store = Store::new(kind, cow.clone(), Sectors(supposed_chunk));
        // All of a chunk, whatever its size will turn out to be (recorded: `snapshot/short-stores`).
        let first = store.read_chunk(0, HEADER).await.map_err(io_error)?;
        let first = first.pieces().next();
        let first = first.as_deref().and_then(<[u8]>::first_chunk);
        let header = first.map(Header::decode).ok_or(failed(Errno::EIO))?;
        if header.magic == 0 {
            let not_written = |what: &str| {
                log(Level::Warning, format!("{what} failed"));
                failed(Errno::EIO)
            };
            store.write_header(true).await.map_err(|_| not_written("write_header"))?;
            store.zero_area(0).await.map_err(|_| not_written("zero_disk_area(0)"))?;
            return Ok((store, Loaded { exceptions: BTreeMap::new(), is_valid: true }));
        }
        if header.magic != format::MAGIC {
            log(Level::Warning, CORRUPT.to_owned());
            return Err(failed(Errno::ENXIO));
        }
        let chunk = u64::from(header.chunk_size);
        if asked_chunk != 0 && asked_chunk != chunk {
            log(
                Level::Warning,
                format!("chunk size {chunk} in device metadata overrides table chunk size of {asked_chunk}."),
            );
        }
        if let Err(text) = check_chunk(chunk, origin, &cow) {
            log(Level::Err, format!("invalid on-disk chunk size {chunk}: {text}."));
            return Err(failed(Errno::EINVAL));
        }
        if header.version != format::VERSION {
            log(Level::Warning, format!("unable to handle snapshot disk version {}", header.version));
            return Err(failed(Errno::EINVAL));
        }
        let store = Store::new(kind, cow.clone(), Sectors(chunk));
        if header.valid == 0 {
            store.alloc.lock().is_valid = false;
            return Ok((store, Loaded { exceptions: BTreeMap::new(), is_valid: false }));
        }
        let exceptions = store.load().await.map_err(|unreadable| match unreadable {
            Unreadable::Io(status) => io_error(status),
            Unreadable::NoSuchChunk => {
                log(Level::Warning, CORRUPT.to_owned());
                failed(Errno::ENXIO)
            }
        })?;
        Ok((store, Loaded { exceptions, is_valid: true }))
    }

    /// Reads areas until one is not full.
    async fn load(&self) -> Result<BTreeMap<u64, u64>, Unreadable> {
        let mut exceptions = BTreeMap::new();
        let mut highest = format::FIRST_AREA;
        let mut log = self.log.lock().await;
        for area in 0.. {
            let chunk = format::area_chunk(area, self.records());
            let kept = self.read_chunk(chunk, area_tag(area)).await?;
            let mut used = 0;
            while let Some(record) = kept.record(used).filter(|record| record.new != 0) {
                if !self.can_be(record.new) {
                    return Err(Unreadable::NoSuchChunk);
                }
                highest = highest.max(record.new);
                exceptions.insert(record.old, record.new);
                used += 1;
            }
            if used < self.records() {
                log.area = kept;
                log.used = used;
                let mut alloc = self.alloc.lock();
                alloc.area = area;
                alloc.next_free = self.skip_area(highest + 1);
                break;
            }
        }
        Ok(exceptions)
    }

    pub(super) fn chunk(&self) -> Sectors {
        self.chunk
    }

    /// Whether it remembers nothing.
    pub(super) fn is_transient(&self) -> bool {
        self.kind == StoreKind::Transient
    }

    /// The chunk that the next exception gets.
    pub(super) fn next_free(&self) -> u64 {
        self.alloc.lock().next_free
    }

    /// Sets the next free chunk.
    pub(super) fn set_next_free(&self, chunk: u64) {
        self.alloc.lock().next_free = chunk;
    }

    fn records(&self) -> usize {
        format::records_per_area((self.chunk.0 * SECTOR_SIZE) as usize)
    }

    /// First sector of a chunk of the COW device.
    pub(super) fn sector(&self, chunk: u64) -> Sector {
        Sector(chunk.saturating_mul(self.chunk.0))
    }

    /// Whether a chunk can be one of the COW device's, and others follow it, without its sectors having no number.
    /// It may well lie beyond the end of the device: IO on it fails then.
    fn can_be(&self, chunk: u64) -> bool {
        chunk < u64::MAX / self.chunk.0 - 4
    }

    fn skip_area(&self, chunk: u64) -> u64 {
        if format::is_area(chunk, self.records()) { chunk + 1 } else { chunk }
    }

    /// A place for one more exception, or `None` when the COW device is full.
    pub(super) fn allocate(&self) -> Option<Slot> {
        let mut alloc = self.alloc.lock();
        let new = alloc.next_free;
        let end = (new + 1).checked_mul(self.chunk.0)?;
        if end > self.cow.capacity().0 {
            return None;
        }
        alloc.next_free = match self.kind {
            StoreKind::Transient => new + 1,
            StoreKind::Persistent { .. } => self.skip_area(new + 1),
        };
        let turn = alloc.next_turn;
        alloc.next_turn += 1;
        alloc.pending += 1;
        Some(Slot { new, turn })
    }

    /// Makes an exception durable once its data are on the COW device; `old` is `None` when they could not be put
    /// there. Returns whether it is remembered.
    pub(super) async fn commit(&self, slot: Slot, old: Option<u64>) -> bool {
        if self.kind == StoreKind::Transient {
            self.alloc.lock().pending -= 1;
            return old.is_some();
        }
        {
            let mut log = self.log.lock().await;
            log.done.insert(slot.turn, old.map(|old| Record { old, new: slot.new }));
            self.commit_in_order(&mut log).await;
        }
        self.committed.until(|| self.alloc.lock().durable > slot.turn).await;
        old.is_some() && self.alloc.lock().is_valid
    }

    /// Appends the records whose turn has come, and writes the area when it is time.
    async fn commit_in_order(&self, log: &mut Log) {
        loop {
            let turn = log.next_turn;
            let Some(record) = log.done.remove(&turn) else { return };
            log.next_turn += 1;
            match record {
                Some(record) => {
                    let at = log.used;
                    log.area.set(at, record);
                    log.used += 1;
                }
                None => self.alloc.lock().is_valid = false,
            }
            let is_idle = {
                let mut alloc = self.alloc.lock();
                alloc.pending -= 1;
                alloc.pending == 0
            };
            let is_full = log.used == self.records();
            if is_idle || is_full {
                self.write_out(log, is_full).await;
                self.alloc.lock().durable = log.next_turn;
                self.committed.wake_all();
            }
        }
    }

    async fn write_out(&self, log: &mut Log, is_full: bool) {
        let (area, is_valid) = {
            let alloc = self.alloc.lock();
            (alloc.area, alloc.is_valid)
        };
        if is_valid {
            // The next area must read as empty before this one can be found full.
            let mut result = Ok(());
            if is_full {
                result = self.zero_area(area + 1).await;
            }
            if result.is_ok() {
                result = self.write_area(area, &log.area).await;
            }
            if result.is_err() {
                self.alloc.lock().is_valid = false;
            }
        }
        // What an invalid store is still given has to go somewhere, too.
        if is_full {
            self.alloc.lock().area = area + 1;
            log.used = 0;
            log.area.clear_from(0);
        }
    }

    async fn read_chunk(&self, chunk: u64, tag: Tag) -> Result<Area, BlkStatus> {
        let mut bytes = Area::new(self.chunk);
        let mut sector = self.sector(chunk);
        let pieces = bytes.pieces().len();
        for number in 0..pieces {
            let bio = Bio::read_owned(sector, self.chunk.min(PIECE)).with_tag(tag).to(&self.cow);
            bytes.fill(number, read_bio_async(bio).await?);
            sector += PIECE;
        }
        Ok(bytes)
    }

    async fn write_area(&self, area: u64, bytes: &Area) -> Result<(), BlkStatus> {
        let chunk = format::area_chunk(area, self.records());
        let copies = match self.cow.runtime().has_planted(&EXCEPTION_BEFORE_COPY) {
            true => BioFlags::empty(),
            false => BioFlags::PREFLUSH,
        };
        self.write_chunk(chunk, bytes.pieces(), area_tag(area), copies | BioFlags::FUA).await
    }

    async fn zero_area(&self, area: u64) -> Result<(), BlkStatus> {
        let chunk = format::area_chunk(area, self.records());
        self.write_chunk(chunk, Area::new(self.chunk).pieces(), area_tag(area), BioFlags::empty()).await
    }

    async fn write_header(&self, is_valid: bool) -> Result<(), BlkStatus> {
        let header = Header {
            magic: format::MAGIC,
            valid: u32::from(is_valid),
            version: format::VERSION,
            chunk_size: self.chunk.0 as u32,
        };
        let mut bytes = Area::new(self.chunk);
        let mut first = vec![0; (self.chunk.min(PIECE).0 * SECTOR_SIZE) as usize];
        first[..format::HEADER_BYTES].copy_from_slice(&header.encode());
        bytes.fill(0, first.into());
        self.write_chunk(0, bytes.pieces(), HEADER, BioFlags::empty()).await
    }

    /// Writes a whole chunk. Whatever fails is an IO error.
    async fn write_chunk(
        &self,
        chunk: u64,
        mut pieces: impl Iterator<Item = Arc<[u8]>>,
        tag: Tag,
        flags: BioFlags,
    ) -> Result<(), BlkStatus> {
        let mut sector = self.sector(chunk);
        loop {
            let write = |bytes| {
                let bio = Bio::write_owned(sector, bytes).with_tag(tag).with_flags(flags).to(&self.cow);
                sector += PIECE;
                bio
            };
            let bios: Vec<_> = pieces.by_ref().take(PIECES_AT_ONCE).map(write).collect();
            if bios.is_empty() {
                return Ok(());
            }
            if run_all(bios).await != 0 {
                return Err(BlkStatus::IoErr);
            }
        }
    }

    // Merging takes exceptions out again, the last first.

    /// Whether exceptions can be taken out: not of a store that remembers nothing.
    pub(super) fn can_merge(&self) -> bool {
        self.kind != StoreKind::Transient
    }

    /// The longest run of exceptions at the end of what is left of the store, within one area; `None` when none is.
    pub(super) async fn last_run(&self) -> Result<Option<Run>, BlkStatus> {
        let mut log = self.log.lock().await;
        if log.used == 0 {
            let Some(area) = self.alloc.lock().area.checked_sub(1) else { return Ok(None) };
            let chunk = format::area_chunk(area, self.records());
            log.area = self.read_chunk(chunk, area_tag(area)).await?;
            log.used = self.records();
            self.alloc.lock().area = area;
        }
        let record = |index: usize| log.area.record(index);
        let Some(last) = record(log.used - 1) else { return Ok(None) };
        // An area that was read again may have been changed behind the store since it was loaded.
        if !self.can_be(last.new) {
            return Err(BlkStatus::IoErr);
        }
        let mut run = Run { old: last.old, new: last.new, count: 1 };
        for index in (0..log.used - 1).rev() {
            match record(index) {
                Some(Record { old, new })
                    if old.checked_add(1) == Some(run.old) && new.checked_add(1) == Some(run.new) =>
                {
                    run = Run { old, new, count: run.count + 1 };
                }
                _ => break,
            }
        }
        Ok(Some(run))
    }

    /// Removes the last `count` exceptions of the area, durably.
    pub(super) async fn forget_last(&self, count: u64) -> Result<(), BlkStatus> {
        let mut log = self.log.lock().await;
        let left = log.used - count as usize;
        // Only what is durable is forgotten: a merge that goes on later must not find records that were zeroed in
        // memory alone.
        let mut bytes = log.area.clone();
        bytes.clear_from(left);
        let area = self.alloc.lock().area;
        self.write_area(area, &bytes).await?;
        (log.area, log.used) = (bytes, left);
        self.alloc.lock().next_free = format::area_chunk(area, self.records()) + left as u64 + 1;
        Ok(())
    }

    /// Forgets everything for good, on disk too.
    pub(super) async fn drop_snapshot(&self) {
        self.alloc.lock().is_valid = false;
        if self.kind != StoreKind::Transient && self.write_header(false).await.is_err() {
            TargetLog::new(self.cow.runtime().clone(), PREFIX).warn("write header failed");
        }
    }

    /// Sectors allocated, in all, and of those for metadata.
    pub(super) fn usage(&self) -> (Sectors, Sectors, Sectors) {
        let alloc = self.alloc.lock();
        let metadata = match self.kind {
            StoreKind::Transient => 0,
            StoreKind::Persistent { .. } => (alloc.area + 2) * self.chunk.0,
        };
        (Sectors(alloc.next_free * self.chunk.0), self.cow.capacity(), Sectors(metadata))
    }
}
