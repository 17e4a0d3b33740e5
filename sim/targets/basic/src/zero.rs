//! `zero`: reads as zeros, forgets what is written.
//!
//! ```text
//! START LEN zero
//! 0 2147483648 zero        a terabyte of nothing
//! ```
//!
//! Good for the untouched part of a huge sparse device, with a `snapshot` above that keeps what is written.
//! It stands on no device, so it takes its queue limits from none and has no status.
//!
//! Behaviour: kernel/targets.md#zero, recorded cases `error-zero/*`.

use dmlab_block::{Bio, BioFlags, BlkStatus, Op};
use dmlab_dm::{Constructor, Ctr, CtrError, CtrResult, Map, Module, Target, TargetFeatures, TargetType};
use dmlab_runtime::Quirks;

/// `zero` 1.2.0.
pub static ZERO: TargetType = TargetType {
    name: "zero",
    version: [1, 2, 0],
    features: TargetFeatures::NOWAIT,
    ctr: Constructor::Now(construct),
    module: &Module::DM_MOD,
};

struct Zero;

fn construct(ctr: &mut Ctr<'_>) -> CtrResult {
    if !ctr.args.is_empty() {
        return Err(CtrError::invalid("No arguments required"));
    }
    if !ctr.runtime().has(Quirks::ZERO_REFUSES_DISCARDS) {
        // A discard has nothing to free, and says so at once.
        ctr.settings.num_discard_bios = 1;
        ctr.settings.discards_supported = true;
    }
    Ok(Box::new(Zero))
}

impl Target for Zero {
    fn map(&self, bio: &mut Bio<'_>) -> Map {
        match bio.op {
            // Zeros need no reading ahead.
            Op::Read if bio.flags.contains(BioFlags::RAHEAD) => Map::Kill,
            Op::Read => {
                if let Some(bytes) = bio.bytes_mut() {
                    bytes.fill(0);
                }
                Map::Done(BlkStatus::Ok)
            }
            Op::Write | Op::Discard => Map::Done(BlkStatus::Ok),
            Op::Flush | Op::SecureErase | Op::WriteZeroes => Map::Kill,
        }
    }
}
