//! `zero`: reads as zeros, forgets what is written.

use super::{TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Form, TargetError, Values};
use crate::status::TargetStatus;

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[TargetError::shape("No arguments required")],
    status: |words| words.is_empty().then_some(TargetStatus::Zero),
    ..Form::new("zero", &[])
};

/// `zero`: reads as zeros, forgets what is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zero;

impl TargetLine for Zero {
    const TYPE: &'static str = "zero";

    fn params(&self) -> Params {
        FORM.write(&Values::new())
    }

    fn parse(params: &Params) -> Result<Zero, TargetParamsError> {
        FORM.parse(params, |_| Some(Zero))
    }
}
