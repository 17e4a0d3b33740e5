//! `error`: fails everything.
//!
//! ```text
//! START LEN error [DEVICE OFFSET]
//! 0 8 error        eight bad sectors
//! ```
//!
//! It marks a hole that must not be used, and it takes the place of a table that is to be torn down under its users
//! (`dmsetup wipe_table`, `remove --force`): being a wildcard, it may replace even a target that nothing else may.
//! With a device it inherits that device's queue limits, but not those of discards, and uses it for nothing else. Any
//! number of words but none or two is ignored (recorded: `error-zero/error-args`), and status and table line are always
//! empty.
//!
//! Behaviour: kernel/targets.md#error.

use dmlab_block::{Bio, QueueLimits};
use dmlab_dm::{
    Constructor, Ctr, CtrResult, DeviceRange, Map, Module, OrRefuse, QueueType, TableDevice, Target,
    TargetFeatures, TargetType,
};
use dmlab_runtime::Quirks;
use dmlab_units::{Bytes, SECTOR_SIZE, Sector, Sectors};

/// `error` 1.7.0.
pub static ERROR: TargetType = TargetType {
    name: "error",
    version: [1, 7, 0],
    features: TargetFeatures::WILDCARD
        .union(TargetFeatures::ZONED_HM)
        .union(TargetFeatures::PASSES_INTEGRITY),
    ctr: Constructor::Now(construct),
    module: &Module::DM_MOD,
};

struct Failing {
    /// The device whose limits it inherits, and from where on.
    model: Option<(TableDevice, Sector)>,
    len: Sectors,
}

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    let ignores_arguments = ctr.runtime().has(Quirks::ERROR_IGNORES_ARGUMENTS);
    if !ignores_arguments {
        // A discard comes as far as `map`, to fail there like everything else.
        ctr.settings.num_discard_bios = 1;
        ctr.settings.discards_supported = true;
    }
    // It fails requests as well as bios, so it can take the place of a request-based multipath.
    ctr.settings.queue_type = QueueType::Either;
    let mut model = None;
    if ctr.args.len() == 2 && !ignores_arguments {
        let (device, offset) = (ctr.args.shift().unwrap_or_default(), ctr.args.shift().unwrap_or_default());
        let offset = ctr.args.scan_u64(&offset).or_refuse("Invalid device sector")?;
        let device = ctr.device(&device).or_refuse("Device lookup failed")?;
        model = Some((device, Sector(offset)));
    }
    Ok(Box::new(Failing { model, len: ctr.len }))
}

impl Target for Failing {
    fn map(&self, _bio: &mut Bio<'_>) -> Map {
        Map::Kill
    }

    fn devices(&self) -> Option<Vec<DeviceRange>> {
        let range = |(dev, start): &(TableDevice, Sector)| DeviceRange::new(dev, *start, self.len);
        Some(self.model.iter().map(range).collect())
    }

    /// Sets the limits of discards to the highest: a discard of any length can fail here, whatever the device takes
    /// (recorded: `error-zero/limits-below`).
    fn io_hints(&self, limits: &mut QueueLimits) {
        limits.discard_granularity = Bytes(SECTOR_SIZE);
        limits.max_hw_discard_sectors = Sectors(u64::from(u32::MAX));
        limits.max_discard_sectors = Sectors(u64::from(u32::MAX));
    }
}
