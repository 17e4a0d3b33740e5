//! `unstriped`: one stripe of a striped device, taken out again.
//!
//! ```text
//! START LEN unstriped STRIPES CHUNK STRIPE DEVICE OFFSET
//! 0 128 unstriped 2 8 1 /dev/mapper/fast 0        the second disk's share of a device striped over two
//!
//!   chunk of DEVICE              0   1   2   3   4   5 ...
//!   chunk of unstriped 2 8 0     0       1       2
//!   chunk of unstriped 2 8 1         0       1       2
//! ```
//!
//! It is the opposite of `striped`: a RAID 0 made in hardware, or one NVMe drive that is two inside, can be used as the
//! parts that it is made of.
//!
//! | | |
//! |---|---|
//! | status line | none: what the caller's buffer held stays in it, which programs that send zeros read as an empty one |
//! | table line | the five arguments, the device as `MAJOR:MINOR` |
//! | messages, events | none |
//! | passes on | reads and writes; a flush succeeds without reaching the device, all else is not supported |
//! | splits | reads and writes at chunks |
//!
//! Two things are accepted that make little sense, as on Linux: a stripe number equal to the number of stripes, and
//! any number when there is one stripe. Only LEN sectors of the device are checked, not STRIPES times as many: what
//! lies beyond its end fails when it is read.
//!
//! Behaviour: kernel/targets.md#unstriped, recorded cases `switch-unstriped/unstriped*`.

use std::fmt::Write;

use dmlab_block::{Bio, QueueLimits};
use dmlab_dm::{
    Constructor, Ctr, CtrError, CtrResult, DeviceRange, Map, Module, OrRefuse, StatusKind, StatusResult,
    TableDevice, Target, TargetFeatures, TargetType, parse_u32_strict,
};
use dmlab_units::{Sector, Sectors};

/// `unstriped` 1.1.0.
pub static UNSTRIPED: TargetType = TargetType {
    name: "unstriped",
    version: [1, 1, 0],
    features: TargetFeatures::NOWAIT,
    ctr: Constructor::Now(construct),
    module: &Module::named("dm_unstriped"),
};

struct Unstriped {
    device: TableDevice,
    offset: Sector,
    stripes: u32,
    chunk: Sectors,
    /// Which stripe it shows, from 0.
    stripe: u32,
    start: Sector,
    len: Sectors,
}

/// Every refusal is EINVAL, that of the device too.
fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    if ctr.args.len() != 5 {
        return Err(CtrError::invalid("Invalid number of arguments"));
    }
    let [stripes, chunk, stripe, device, offset] =
        std::array::from_fn(|_| ctr.args.shift().unwrap_or_default());
    let positive = |word: &[u8], text| {
        parse_u32_strict(word).filter(|&number| number > 0).ok_or(CtrError::invalid(text))
    };
    let stripes = positive(&stripes, "Invalid stripe count")?;
    let chunk = Sectors(u64::from(positive(&chunk, "Invalid chunk_size")?));
    let stripe = parse_u32_strict(&stripe).or_refuse("Invalid stripe number")?;
    if stripe > stripes && stripes > 1 {
        return Err(CtrError::invalid("Please provide stripe between [0, # of stripes]"));
    }
    let device = ctr.device(&device).map_err(|_| CtrError::invalid("Couldn't get striped device"))?;
    let offset = ctr.args.scan_u64(&offset).or_refuse("Invalid striped device offset")?;
    if !ctr.len.0.is_multiple_of(chunk.0) {
        return Err(CtrError::invalid("Target length not divisible by chunk size"));
    }
    ctr.settings.max_io_len = chunk;
    Ok(Box::new(Unstriped {
        device,
        offset: Sector(offset),
        stripes,
        chunk,
        stripe,
        start: ctr.start,
        len: ctr.len,
    }))
}

/// Where a sector that lies `into` the stripe lies in the striped device. Numbers that no device could hold wrap.
fn place(into: Sectors, stripes: u32, chunk: Sectors, stripe: u32) -> Sectors {
    let others = u64::from(stripes - 1).wrapping_mul(chunk.0);
    let before = u64::from(stripe).wrapping_mul(chunk.0);
    let skipped = others.wrapping_mul(into.0 / chunk.0);
    Sectors(into.0.wrapping_add(skipped).wrapping_add(before))
}

impl Target for Unstriped {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        bio.set_dev(self.device.device());
        let place = place(bio.sector - self.start, self.stripes, self.chunk, self.stripe);
        bio.sector = Sector(self.offset.0.wrapping_add(place.0));
        Map::Remapped
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let Unstriped { chunk, offset, .. } = self;
        // Linux shows both with a sign (recorded: `core/huge-tables`): a table line with 2^31 stripes or more can't be
        // loaded again.
        let (stripes, stripe) = (self.stripes as i32, self.stripe as i32);
        let written = match kind {
            StatusKind::Table => write!(out, "{stripes} {chunk} {stripe} {} {offset}", self.device.dev()),
            StatusKind::Info => return StatusResult::Unwritten,
            StatusKind::Ima => Ok(()),
        };
        written.into()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![DeviceRange::new(&self.device, self.offset, self.len)])
    }

    fn io_hints(&self, limits: &mut QueueLimits) {
        limits.chunk_sectors = self.chunk;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule of `striped`, written down again: which stripe a chunk belongs to, and where there.
    fn striped(sector: u64, stripes: u64, chunk: u64) -> (u64, u64) {
        let (number, rest) = (sector / chunk, sector % chunk);
        (number % stripes, number / stripes * chunk + rest)
    }

    #[test]
    fn every_sector_is_found_where_striped_put_it() {
        for (stripes, chunk) in [(1, 8), (2, 8), (3, 8), (5, 3), (4, 1)] {
            for sector in 0..stripes * chunk * 4 {
                let (stripe, into) = striped(sector, stripes, chunk);
                let found = place(Sectors(into), stripes as u32, Sectors(chunk), stripe as u32);
                assert_eq!(found.0, sector, "{stripes} stripes of {chunk}");
            }
        }
    }
}
