//! `striped`: spreads chunks over several devices in turn (RAID 0).
//!
//! ```text
//! START LEN striped STRIPES CHUNK (DEVICE OFFSET)...
//! 0 1048576 striped 2 128 /dev/ram0 0 /dev/ram1 0        two stripes, chunks of 64 KiB
//!
//!   chunk of the mapped device   0   1   2   3   4   5 ...
//!   stripe                       0   1   0   1   0   1
//!   row                          0   0   1   1   2   2      sector = OFFSET + row * CHUNK + place in the chunk
//! ```
//!
//! | | |
//! |---|---|
//! | status line | `STRIPES (MAJOR:MINOR)... 1 LETTERS`: one letter a stripe, `A` alive, `D` once it had an error |
//! | table line | `STRIPES CHUNK (MAJOR:MINOR OFFSET)...`, chunk and offsets in sectors |
//! | events | one for each of the first errors of a device (those that leave its count below 15) |
//! | splits | reads and writes at chunks; discards and their kin go to every stripe at once, each its share |
//!
//! Behaviour: kernel/targets.md#striped, recorded cases `striped/*`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dmlab_block::{Bio, BioFlags, BlkStatus, End, QueueLimits};
use dmlab_dm::{
    Constructor, Ctr, CtrError, CtrResult, DeviceRange, Map, Module, OrRefuse, StatusKind, StatusResult,
    TableDevice, TableEvents, Target, TargetFeatures, TargetType, parse_u32_strict,
};
use dmlab_runtime::{Quirks, Runtime};
use dmlab_units::{Bytes, Errno, SECTOR_SIZE, Sector, Sectors};

/// `striped` 1.6.0.
pub static STRIPED: TargetType = TargetType {
    name: "striped",
    version: [1, 6, 0],
    features: TargetFeatures::PASSES_INTEGRITY.union(TargetFeatures::NOWAIT),
    ctr: Constructor::Now(construct),
    module: &Module::DM_MOD,
};

/// Longest discard of all stripes together where their sum has more than 32 bits: 2^32 bytes less a sector.
const BOUNDED_DISCARD: Sectors = Sectors(u32::MAX as u64 >> 9);
/// Errors of a device after which it raises no more events.
const EVENT_ERROR_LIMIT: u32 = 15;

struct Stripe {
    device: TableDevice,
    offset: Sector,
    errors: AtomicU32,
}

struct Striped {
    stripes: Vec<Stripe>,
    chunk: Sectors,
    start: Sector,
    len: Sectors,
    events: TableEvents,
    runtime: Arc<Runtime>,
}

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    if ctr.args.len() < 2 {
        return Err(CtrError::invalid("Not enough arguments"));
    }
    let mut positive = |text| match ctr.args.shift().and_then(|word| parse_u32_strict(&word)) {
        Some(n) if n > 0 => Ok(n),
        _ => Err(CtrError::invalid(text)),
    };
    let count = positive("Invalid stripe count")?;
    let chunk = positive("Invalid chunk_size")?;
    let width = ctr.len.0 / u64::from(count);
    if !ctr.len.0.is_multiple_of(u64::from(count)) {
        return Err(CtrError::invalid("Target length not divisible by number of stripes"));
    }
    if !width.is_multiple_of(u64::from(chunk)) {
        return Err(CtrError::invalid("Target length not divisible by chunk size"));
    }
    if ctr.args.len() as u64 != 2 * u64::from(count) {
        return Err(CtrError::invalid("Not enough destinations specified"));
    }
    let mut stripes = Vec::with_capacity(count as usize);
    while let (Some(device), Some(offset)) = (ctr.args.shift(), ctr.args.shift()) {
        stripes.push(open_stripe(ctr, &device, &offset).or_refuse("Couldn't parse stripe destination")?);
    }
    ctr.settings.max_io_len = Sectors(u64::from(chunk));
    // One clone for each stripe: what the core sends as a whole, each stripe gets as its share.
    ctr.settings.num_flush_bios = count;
    ctr.settings.num_discard_bios = count;
    ctr.settings.num_secure_erase_bios = count;
    ctr.settings.num_write_zeroes_bios = count;
    ctr.settings.flush_bypasses_map = true;
    Ok(Box::new(Striped {
        stripes,
        chunk: Sectors(u64::from(chunk)),
        start: ctr.start,
        len: ctr.len,
        events: ctr.events(),
        runtime: ctr.runtime().clone(),
    }))
}

fn open_stripe(ctr: &mut Ctr<'_>, device: &[u8], offset: &[u8]) -> Result<Stripe, Errno> {
    let offset = ctr.args.scan_u64(offset).ok_or(Errno::EINVAL)?;
    Ok(Stripe { device: ctr.device(device)?, offset: Sector(offset), errors: AtomicU32::new(0) })
}

impl Striped {
    /// Which stripe serves the sector that lies `into` the target, and where in the stripe.
    fn place(&self, into: Sectors) -> (usize, Sectors) {
        let (chunk, rest) = (into.0 / self.chunk.0, into.0 % self.chunk.0);
        let count = self.stripes.len() as u64;
        ((chunk % count) as usize, Sectors(chunk / count * self.chunk.0 + rest))
    }

    /// Where in stripe `index` a range that begins or ends `into` the target begins or ends: the place itself if this
    /// stripe serves it, else the border of the nearest chunk that it does serve.
    fn border(&self, into: Sectors, index: usize) -> Sectors {
        let (stripe, place) = self.place(into);
        if stripe == index {
            return place;
        }
        let row_start = Sectors(place.0 / self.chunk.0 * self.chunk.0);
        if index < stripe { row_start + self.chunk } else { row_start }
    }

    /// Narrows one clone of a discard to the part that lies on its stripe.
    fn map_share(&self, bio: &mut Bio<'_>) -> Map {
        let index = bio.clone_nr as usize;
        let into = bio.sector - self.start;
        let (begin, end) = (self.border(into, index), self.border(into + bio.len(), index));
        if begin >= end {
            return Map::Done(BlkStatus::Ok);
        }
        bio.set_range(self.stripes[index].offset + begin, end - begin);
        self.send(bio, index)
    }

    /// The longest discard of the device when its stripes take `each`: whole chunks of each stripe, all at once
    /// (recorded: `differ/found/striped-discards`).
    fn longest_discard(&self, each: Sectors) -> Sectors {
        // What the devices below take at most has 32 bits.
        let whole = each.0.min(u64::from(u32::MAX)) / self.chunk.0 * self.chunk.0;
        let all = whole * self.stripes.len() as u64;
        if u32::try_from(all).is_ok() { Sectors(all) } else { BOUNDED_DISCARD }
    }

    /// Sends a bio to a stripe's device; `end_io` is told which stripe it was.
    fn send(&self, bio: &mut Bio<'_>, index: usize) -> Map {
        bio.set_dev(self.stripes[index].device.device());
        Map::RemappedAndHear(index as u64)
    }

    fn width(&self) -> Sectors {
        Sectors(self.len.0 / self.stripes.len() as u64)
    }
}

impl Target for Striped {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        if bio.op.is_range() {
            return self.map_share(bio);
        }
        if bio.is_empty() {
            return self.send(bio, bio.clone_nr as usize);
        }
        let (index, place) = self.place(bio.sector - self.start);
        bio.sector = Sector(self.stripes[index].offset.0.wrapping_add(place.0));
        self.send(bio, index)
    }

    /// Counts an error against every stripe on the device that failed. The event is queued, not raised here: its
    /// handlers may look at the table.
    fn end_io(&self, bio: &mut Bio<'_>, stripe: u64, status: BlkStatus) -> End {
        if status.is_ok() || status == BlkStatus::NotSupp || bio.flags.contains(BioFlags::RAHEAD) {
            return End::Done(status);
        }
        let failed = self.stripes[stripe as usize].device.dev();
        for stripe in self.stripes.iter().filter(|stripe| stripe.device.dev() == failed) {
            if stripe.errors.fetch_add(1, Ordering::Relaxed) + 1 < EVENT_ERROR_LIMIT {
                let events = self.events.clone();
                self.runtime.spawn("dm-stripe-event", async move { events.raise() }).detach();
            }
        }
        End::Done(status)
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let count = self.stripes.len();
        let chunk = self.chunk;
        let is_alive = |stripe: &Stripe| stripe.errors.load(Ordering::Relaxed) == 0;
        let letters: String = self.stripes.iter().map(|s| if is_alive(s) { 'A' } else { 'D' }).collect();
        let written = match kind {
            StatusKind::Info => {
                let devices: String = self.stripes.iter().map(|s| format!("{} ", s.device.dev())).collect();
                write!(out, "{count} {devices}1 {letters}")
            }
            StatusKind::Table => {
                let places: String =
                    self.stripes.iter().map(|s| format!(" {} {}", s.device.dev(), s.offset)).collect();
                write!(out, "{count} {chunk}{places}")
            }
            StatusKind::Ima => {
                let stripes: String = (self.stripes.iter().zip(letters.chars()).enumerate())
                    .map(|(i, (s, letter))| {
                        let (dev, offset) = (s.device.dev(), s.offset);
                        format!(
                            ",stripe_{i}_device_name={dev},stripe_{i}_physical_start={offset},stripe_{i}_status={letter}"
                        )
                    })
                    .collect();
                write!(out, "stripes={count},chunk_size={chunk}{stripes};")
            }
        };
        written.into()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        let len = self.width();
        Some(self.stripes.iter().map(|s| DeviceRange::new(&s.device, s.offset, len)).collect())
    }

    fn io_hints(&self, limits: &mut QueueLimits) {
        if !self.runtime.has(Quirks::STRIPED_CHUNKS_HIDDEN) {
            limits.chunk_sectors = self.chunk;
        }
        if self.runtime.has(Quirks::STRIPED_DISCARD_SUMMED) {
            for longest in [&mut limits.max_hw_discard_sectors, &mut limits.max_discard_sectors] {
                *longest = self.longest_discard(*longest);
            }
        }
        let chunk_bytes = self.chunk.0 * SECTOR_SIZE;
        let row_bytes = chunk_bytes * self.stripes.len() as u64;
        // Hints are 32 bits wide; a row that doesn't fit gives none.
        if u32::try_from(row_bytes).is_ok() {
            limits.io_min = Bytes(chunk_bytes);
            limits.io_opt = Bytes(row_bytes);
        }
    }
}
