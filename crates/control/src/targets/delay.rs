//! `delay`: a device that takes its time.

use super::{Device, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Argument, Bounds, Form, Item, TargetError, Values};
use dmlab_units::Sector;
use std::time::Duration;

const LATER: Bounds = Bounds::between(0, u32::MAX as u64);
/// The names of the arguments of each class of IO.
const CLASSES: [[&str; 3]; 3] = [
    ["DEVICE", "OFFSET", "MS"],
    ["WRITE_DEVICE", "WRITE_OFFSET", "WRITE_MS"],
    ["FLUSH_DEVICE", "FLUSH_OFFSET", "FLUSH_MS"],
];

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Requires exactly 3, 6 or 9 arguments"),
        TargetError::of("Invalid device sector", &["OFFSET", "WRITE_OFFSET", "FLUSH_OFFSET"]),
        TargetError::of("Invalid delay", &["MS", "WRITE_MS", "FLUSH_MS"]),
        TargetError::lookup("Device lookup failed", &["DEVICE", "WRITE_DEVICE", "FLUSH_DEVICE"]),
    ],
    ..Form::new(
        "delay",
        &[
            Item::One(Argument::device("DEVICE", "the device of reads, and of all that has none of its own")),
            Item::One(Argument::offset("OFFSET")),
            Item::One(Argument::number(
                "MS",
                "milliseconds",
                LATER,
                "how much later, a decimal number of milliseconds",
            )),
            Item::Optional(&[
                Item::One(Argument::device("WRITE_DEVICE", "the device of writes and discards")),
                Item::One(Argument::offset("WRITE_OFFSET")),
                Item::One(Argument::number(
                    "WRITE_MS",
                    "milliseconds",
                    LATER,
                    "how much later writes and discards come, a decimal number of milliseconds",
                )),
                Item::Optional(&[
                    Item::One(Argument::device("FLUSH_DEVICE", "the device of flushes")),
                    Item::One(Argument::offset("FLUSH_OFFSET")),
                    Item::One(Argument::number(
                        "FLUSH_MS",
                        "milliseconds",
                        LATER,
                        "how much later flushes come, a decimal number of milliseconds",
                    )),
                ]),
            ]),
        ],
    )
};

/// One class of IO of a [`Delay`]: where it goes, and how much later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delayed {
    /// The device, and where on it the target begins.
    pub device: (Device, Sector),
    /// How much later, in whole milliseconds.
    pub by: Duration,
}

/// `delay DEVICE OFFSET MS [DEVICE OFFSET MS [DEVICE OFFSET MS]]`: a device that takes its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Reads, and all that is not said of the others.
    pub reads: Delayed,
    /// Writes and discards.
    pub writes: Option<Delayed>,
    /// Flushes. Only together with `writes`.
    pub flushes: Option<Delayed>,
}

impl Delay {
    /// Everything comes so much later.
    pub fn new(device: impl Into<Device>, offset: Sector, by: Duration) -> Delay {
        Delay { reads: Delayed { device: (device.into(), offset), by }, writes: None, flushes: None }
    }
}

impl TargetLine for Delay {
    const TYPE: &'static str = "delay";

    fn params(&self) -> Params {
        let classes = [Some(&self.reads), self.writes.as_ref(), self.flushes.as_ref()];
        let classes = CLASSES.into_iter().zip(classes).filter_map(|(names, class)| Some((names, class?)));
        FORM.write(&classes.fold(Values::new(), |values, ([device, offset, by], class)| {
            values.with_place([device, offset], &class.device).with(by, class.by.as_millis())
        }))
    }

    fn parse(params: &Params) -> Result<Delay, TargetParamsError> {
        FORM.parse(params, |values| {
            let class = |[device, offset, by]: [&str; 3]| {
                if values.word(device).is_none() {
                    return Some(None);
                }
                let by = Duration::from_millis(values.number::<u32>(by)?.into());
                Some(Some(Delayed { device: values.place([device, offset])?, by }))
            };
            let [reads, writes, flushes] = CLASSES.map(class);
            Some(Delay { reads: reads??, writes: writes?, flushes: flushes? })
        })
    }
}
