//! `linear`: a piece of a device, as it is.

use super::{Device, PLACE, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Argument, Form, Item, TargetError, Values};
use crate::status::TargetStatus;
use dmlab_units::Sector;

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Invalid argument count"),
        TargetError::of("Invalid device sector", &["OFFSET"]),
        TargetError::lookup("Device lookup failed", &["DEVICE"]),
    ],
    status: |words| words.is_empty().then_some(TargetStatus::Linear),
    ..Form::new(
        "linear",
        &[
            Item::One(Argument::device("DEVICE", "the device that it is a piece of")),
            Item::One(Argument::offset("OFFSET")),
        ],
    )
};

/// `linear DEVICE OFFSET`: a piece of a device, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The device below.
    pub device: Device,
    /// Where on it the piece starts.
    pub offset: Sector,
}

impl Linear {
    /// The sectors of `device` from `offset` on.
    pub fn new(device: impl Into<Device>, offset: Sector) -> Linear {
        Linear { device: device.into(), offset }
    }
}

impl TargetLine for Linear {
    const TYPE: &'static str = "linear";

    fn params(&self) -> Params {
        FORM.write(&Values::new().with("DEVICE", &self.device).with("OFFSET", self.offset))
    }

    fn parse(params: &Params) -> Result<Linear, TargetParamsError> {
        FORM.parse(params, |values| {
            let (device, offset) = values.place(PLACE)?;
            Some(Linear { device, offset })
        })
    }
}
