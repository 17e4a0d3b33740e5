//! `log-writes`: a device whose writes are written down on another.

use super::{Device, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Argument, Form, Item, Message, TargetError, Values};

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Invalid argument count"),
        TargetError::lookup("Device lookup failed", &["DEVICE"]),
        TargetError::lookup("Log device lookup failed", &["LOG_DEVICE"]),
    ],
    messages: &[Message {
        words: "mark NAME",
        does: "writes an entry with this name, which a replay can stop at",
    }],
    ..Form::new(
        "log-writes",
        &[
            Item::One(Argument::device("DEVICE", "the device that is written")),
            Item::One(Argument::device("LOG_DEVICE", "the device that its writes are written down on")),
        ],
    )
};

/// `log-writes DEVICE LOG_DEVICE`: a device whose writes are written down on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWrites {
    /// The device.
    pub device: Device,
    /// Where its writes are written down.
    pub log: Device,
}

impl LogWrites {
    /// `device`, with its writes on `log`.
    pub fn new(device: impl Into<Device>, log: impl Into<Device>) -> LogWrites {
        LogWrites { device: device.into(), log: log.into() }
    }
}

impl TargetLine for LogWrites {
    const TYPE: &'static str = "log-writes";

    fn params(&self) -> Params {
        FORM.write(&Values::new().with("DEVICE", &self.device).with("LOG_DEVICE", &self.log))
    }

    fn parse(params: &Params) -> Result<LogWrites, TargetParamsError> {
        FORM.parse(params, |values| {
            Some(LogWrites { device: values.device("DEVICE")?, log: values.device("LOG_DEVICE")? })
        })
    }
}
