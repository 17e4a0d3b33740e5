//! `snapshot-origin`: a device whose writes its snapshots hear of.

use super::{Device, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Argument, Form, Item, TargetError, Values};

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("origin: incorrect number of arguments"),
        TargetError::lookup("Cannot get target device", &["DEVICE"]),
    ],
    ..Form::new("snapshot-origin", &[Item::One(Argument::device("DEVICE", "the device that has snapshots"))])
};

/// `snapshot-origin DEVICE`: a device whose writes its snapshots hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOrigin {
    /// The device.
    pub device: Device,
}

impl SnapshotOrigin {
    /// The way to `device` past its snapshots.
    pub fn new(device: impl Into<Device>) -> SnapshotOrigin {
        SnapshotOrigin { device: device.into() }
    }
}

impl TargetLine for SnapshotOrigin {
    const TYPE: &'static str = "snapshot-origin";

    fn params(&self) -> Params {
        FORM.write(&Values::new().with("DEVICE", &self.device))
    }

    fn parse(params: &Params) -> Result<SnapshotOrigin, TargetParamsError> {
        FORM.parse(params, |values| Some(SnapshotOrigin { device: values.device("DEVICE")? }))
    }
}
