//! `linear`: a stretch of a device, as it is.
//!
//! ```text
//! START LEN linear DEVICE OFFSET
//! 0 204800 linear /dev/ram0 2048        100 MiB of ram0, from its first MiB on
//! ```
//!
//! Sector `s` of the mapped device is sector `OFFSET + (s - START)` of `DEVICE`. Several lines one after another make
//! one device of many pieces; that is all that a logical volume without redundancy is.
//!
//! | | |
//! |---|---|
//! | status line | empty |
//! | table line | `MAJOR:MINOR OFFSET`, offset in sectors |
//! | messages | none |
//! | passes on | reads, writes, flushes, discards, secure erases, write zeroes, ioctls |
//!
//! Behaviour: kernel/targets.md#linear, recorded cases `linear/*`.

use std::fmt::Write;
use std::sync::Arc;

use dmlab_block::{Bio, BlockDevice};
use dmlab_dm::{
    Area, Built, Constructor, Ctr, CtrError, Map, StatusKind, TableDevice, Target, TargetFeatures,
    TargetType, parse_u64_wrapping,
};
use dmlab_units::{Sector, Sectors};

/// `linear` 1.4.0.
pub static LINEAR: TargetType = TargetType {
    name: "linear",
    version: [1, 4, 0],
    features: TargetFeatures::PASSES_INTEGRITY
        .union(TargetFeatures::NOWAIT)
        .union(TargetFeatures::ZONED_HM)
        .union(TargetFeatures::PASSES_CRYPTO),
    ctr: Constructor::Now(construct),
};

/// One linear line of a table.
struct Linear {
    device: TableDevice,
    /// First sector of the stretch on `device`.
    offset: Sector,
    /// First sector of the line in the mapped device.
    start: Sector,
    len: Sectors,
}

/// Reads `DEVICE OFFSET`. The offset is looked at before the device is opened (recorded: `linear/bad-args`).
fn construct(ctr: &mut Ctr<'_>) -> Built {
    if ctr.args.len() != 2 {
        return Err(CtrError::invalid("Invalid argument count"));
    }
    let (device, offset) = (ctr.args.shift().unwrap_or_default(), ctr.args.shift().unwrap_or_default());
    let offset = parse_u64_wrapping(&offset).ok_or(CtrError::invalid("Invalid device sector"))?;
    let device = ctr.device(&device).map_err(|errno| CtrError::new(errno, "Device lookup failed"))?;

    // Whatever can be done to a stretch of the device below can be done here: each operation is sent on once.
    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = 1;
    ctr.settings.num_secure_erase_bios = 1;
    ctr.settings.num_write_zeroes_bios = 1;
    ctr.settings.flush_bypasses_map = true;
    Ok(Box::new(Linear { device, offset: Sector(offset), start: ctr.start, len: ctr.len }))
}

impl Target for Linear {
    /// Sends the bio to the device below, moved by the offset. That is the whole target.
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        bio.set_dev(self.device.device());
        // A flush has no place. An offset near 2^64 is refused when the limits are computed, so nothing wraps here
        // but what no device could hold.
        if !bio.is_empty() {
            bio.sector = Sector(self.offset.0.wrapping_add((bio.sector - self.start).0));
        }
        Map::Remapped
    }

    fn status(&self, kind: StatusKind, out: &mut String) {
        let (dev, offset) = (self.device.dev(), self.offset);
        // Writing to a String cannot fail.
        let _ = match kind {
            StatusKind::Info => Ok(()),
            StatusKind::Table => write!(out, "{dev} {offset}"),
            StatusKind::Ima => {
                let [major, minor, patch] = LINEAR.version;
                write!(
                    out,
                    "target_name=linear,target_version={major}.{minor}.{patch},device_name={dev},start={offset};"
                )
            }
        };
    }

    /// Ioctls that the block layer doesn't know go to the device below; freely only if all of it is mapped.
    fn prepare_ioctl(&self) -> Option<(Arc<BlockDevice>, bool)> {
        let device = self.device.device();
        let is_whole = self.offset == Sector::ZERO && self.len == device.capacity();
        Some((device.clone(), is_whole))
    }

    fn devices(&self) -> Option<Vec<Area<'_>>> {
        Some(vec![Area { dev: &self.device, start: self.offset, len: self.len }])
    }
}
