//! `ebs`: smaller blocks than the disk has.

use super::{Device, PLACE, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Argument, Bounds, Form, Item, TargetError, Values};
use dmlab_units::{Sector, Sectors};

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Invalid argument count"),
        TargetError::of("Invalid device offset sector", &["OFFSET"]),
        TargetError::of("Invalid emulated block size", &["EMULATED"]),
        TargetError::of("Invalid underlying block size", &["UNDERLYING"]),
        TargetError::of("Invalid retrieved underlying block size", &["DEVICE"])
            .right("a device whose logical blocks are a power of two, or give UNDERLYING"),
        TargetError::of("Device offset must be multiple of underlying block size", &["OFFSET"])
            .right("an offset that is a multiple of the underlying block"),
        TargetError::lookup("Device lookup failed", &["DEVICE"]),
    ],
    ..Form::new(
        "ebs",
        &[
            Item::One(Argument::device("DEVICE", "the device")),
            Item::One(Argument::offset("OFFSET")),
            Item::One(Argument::sectors(
                "EMULATED",
                Bounds::powers_of_two(1, 8),
                "the size of the blocks that it shows, in sectors: a power of two, 8 at most",
            )),
            Item::Optional(&[Item::One(Argument::sectors(
                "UNDERLYING",
                Bounds::powers_of_two(1, u16::MAX as u64),
                "the size of the device's blocks in sectors: a power of two; what the device says if it is left out",
            ))]),
        ],
    )
};

/// `ebs DEVICE OFFSET EMULATED [UNDERLYING]`: smaller blocks than the disk has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ebs {
    /// The device, and where on it the target begins.
    pub device: (Device, Sector),
    /// Length of its blocks.
    pub emulated: Sectors,
    /// Length of the device's blocks; what the device says if it is left out.
    pub underlying: Option<Sectors>,
}

impl TargetLine for Ebs {
    const TYPE: &'static str = "ebs";

    fn params(&self) -> Params {
        let values = Values::new().with_place(PLACE, &self.device).with("EMULATED", self.emulated);
        FORM.write(&values.with_some("UNDERLYING", self.underlying))
    }

    fn parse(params: &Params) -> Result<Ebs, TargetParamsError> {
        FORM.parse(params, |values| {
            let (device, emulated) = (values.place(PLACE)?, values.sectors("EMULATED")?);
            Some(Ebs { device, emulated, underlying: values.sectors("UNDERLYING") })
        })
    }
}
