//! `error`: fails every IO.

use super::{Device, PLACE, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Argument, Form, Item, TargetError, Values};
use crate::status::TargetStatus;
use dmlab_units::Sector;

/// The form of its line. Any other number of words than two is ignored by the kernel.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::of("Invalid device sector", &["OFFSET"]),
        TargetError::lookup("Device lookup failed", &["DEVICE"]),
    ],
    status: |words| words.is_empty().then_some(TargetStatus::Error),
    ..Form::new(
        "error",
        &[Item::Optional(&[
            Item::One(Argument::device("DEVICE", "a device that it holds open and takes its limits from")),
            Item::One(Argument::offset("OFFSET")),
        ])],
    )
};

/// `error [DEVICE OFFSET]`: fails every IO. With a device it holds that open and takes its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorTarget {
    /// The device that it holds, and where.
    pub held: Option<(Device, Sector)>,
}

impl TargetLine for ErrorTarget {
    const TYPE: &'static str = "error";

    fn params(&self) -> Params {
        let values = Values::new();
        FORM.write(&match &self.held {
            Some(place) => values.with_place(PLACE, place),
            None => values,
        })
    }

    /// Any other number of words than two is ignored by the kernel, so it is here (golden case `error-zero/error-args`).
    fn parse(params: &Params) -> Result<ErrorTarget, TargetParamsError> {
        if params.len() != 2 {
            return Ok(ErrorTarget::default());
        }
        FORM.parse(params, |values| Some(ErrorTarget { held: Some(values.place(PLACE)?) }))
    }
}
