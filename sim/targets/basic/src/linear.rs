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

use dmlab_block::Bio;
use dmlab_dm::kit::LinearExtent;
use dmlab_dm::{
    Constructor, Ctr, CtrResult, DeviceRange, IoctlRoute, Map, Module, StatusKind, StatusResult, Target,
    TargetFeatures, TargetType,
};

/// `linear` 1.4.0.
pub static LINEAR: TargetType = TargetType {
    name: "linear",
    version: [1, 4, 0],
    features: TargetFeatures::PASSES_INTEGRITY
        .union(TargetFeatures::NOWAIT)
        .union(TargetFeatures::ZONED_HM)
        .union(TargetFeatures::PASSES_CRYPTO),
    ctr: Constructor::Now(construct),
    module: &Module::DM_MOD,
};

/// One linear line of a table.
struct Linear {
    extent: LinearExtent,
}

/// Reads `DEVICE OFFSET`.
fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let [device, offset] = ctr.args.all("Invalid argument count")?;
    let extent = ctr.extent(&device, &offset)?;

    // Whatever can be done to a stretch of the device below can be done here: each operation is sent on once.
    ctr.settings.num_flush_bios = 1;
    ctr.settings.num_discard_bios = 1;
    ctr.settings.num_secure_erase_bios = 1;
    ctr.settings.num_write_zeroes_bios = 1;
    ctr.settings.flush_bypasses_map = true;
    Ok(Box::new(Linear { extent }))
}

impl Target for Linear {
    /// Sends the bio to the device below, moved by the offset. That is the whole target.
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        self.extent.remap(bio);
        Map::Remapped
    }

    fn status<'a>(&'a self, kind: StatusKind, _noflush: bool, out: &'a mut String) -> StatusResult<'a> {
        let (dev, offset) = (self.extent.device.dev(), self.extent.offset);
        let written = match kind {
            StatusKind::Info => Ok(()),
            StatusKind::Table => write!(out, "{dev} {offset}"),
            StatusKind::Ima => write!(out, "device_name={dev},start={offset};"),
        };
        written.into()
    }

    fn route_ioctl(&self) -> IoctlRoute<'_> {
        self.extent.route_ioctl()
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        Some(vec![self.extent.range()])
    }
}
