//! `unstriped`: one stripe of a striped device, taken out again.

use super::{Device, PLACE, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Argument, Bounds, Form, Item, TargetError, Values};
use dmlab_units::{Sector, Sectors};

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Invalid number of arguments"),
        TargetError::of("Invalid stripe count", &["STRIPES"]),
        TargetError::of("Invalid chunk_size", &["CHUNK"]),
        TargetError::of("Invalid stripe number", &["STRIPE"]),
        TargetError::below("Please provide stripe between [0, # of stripes]", "STRIPE", "STRIPES"),
        // Whatever became of it, Linux says EINVAL.
        TargetError::of("Couldn't get striped device", &["DEVICE"])
            .right("a device that can be opened: a path that exists, or MAJOR:MINOR"),
        TargetError::of("Invalid striped device offset", &["OFFSET"]),
        TargetError::length("Target length not divisible by chunk size", &["CHUNK"]),
    ],
    ..Form::new(
        "unstriped",
        &[
            Item::One(Argument::number(
                "STRIPES",
                "number",
                Bounds::between(1, u32::MAX as u64),
                "how many stripes the device has: at least 1",
            )),
            Item::One(Argument::sectors(
                "CHUNK",
                Bounds::between(1, u32::MAX as u64),
                "the size of its chunks in sectors: at least 1",
            )),
            Item::One(Argument::number(
                "STRIPE",
                "number",
                Bounds::between(0, u32::MAX as u64),
                "which of the stripes, as a decimal number; the first is 0",
            )),
            Item::One(Argument::device("DEVICE", "the striped device")),
            Item::One(Argument::offset("OFFSET")),
        ],
    )
};

/// `unstriped STRIPES CHUNK STRIPE DEVICE OFFSET`: one stripe of a striped device, taken out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unstriped {
    /// How many stripes the device has.
    pub stripes: u64,
    /// Length of its chunks.
    pub chunk: Sectors,
    /// Which of the stripes, from 0.
    pub stripe: u64,
    /// The striped device, and where on it the stripes begin.
    pub device: (Device, Sector),
}

impl TargetLine for Unstriped {
    const TYPE: &'static str = "unstriped";

    fn params(&self) -> Params {
        let values = Values::new().with("STRIPES", self.stripes).with("CHUNK", self.chunk);
        FORM.write(&values.with("STRIPE", self.stripe).with_place(PLACE, &self.device))
    }

    fn parse(params: &Params) -> Result<Unstriped, TargetParamsError> {
        FORM.parse(params, |values| {
            Some(Unstriped {
                stripes: values.number("STRIPES")?,
                chunk: values.sectors("CHUNK")?,
                stripe: values.number("STRIPE")?,
                device: values.place(PLACE)?,
            })
        })
    }
}
