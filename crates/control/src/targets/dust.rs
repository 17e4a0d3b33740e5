//! `dust`: a device that gets bad blocks by messages, and loses them when they are written.

use super::{Device, PLACE, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Argument, Bounds, Form, Item, Message, TargetError, Values};
use dmlab_units::{Bytes, Sector};

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Invalid argument count"),
        TargetError::of("Invalid device offset sector", &["OFFSET"]),
        TargetError::of("Invalid block size parameter", &["BLOCK_SIZE"]),
        TargetError::of("Block size must be at least 512", &["BLOCK_SIZE"]),
        TargetError::of("Block size must be a power of 2", &["BLOCK_SIZE"]),
        TargetError::of("Block size is too large", &["BLOCK_SIZE"])
            .right("a block no longer than the device"),
        TargetError::lookup("Device lookup failed", &["DEVICE"]),
    ],
    messages: &[
        Message {
            words: "addbadblock BLOCK [COUNT]",
            does: "makes a block bad; with COUNT, it takes so many failing writes before one heals it",
        },
        Message { words: "removebadblock BLOCK", does: "makes a block good again" },
        Message { words: "queryblock BLOCK", does: "says whether a block is bad" },
        Message { words: "countbadblocks", does: "says how many are" },
        Message { words: "listbadblocks", does: "lists them" },
        Message { words: "clearbadblocks", does: "makes all good" },
        Message { words: "enable", does: "lets reads of bad blocks fail, which a new device does not" },
        Message { words: "disable", does: "lets them succeed" },
        Message {
            words: "quiet",
            does: "stops, or starts again, the lines in the kernel log about single blocks",
        },
    ],
    ..Form::new(
        "dust",
        &[
            Item::One(Argument::device("DEVICE", "the device")),
            Item::One(Argument::offset("OFFSET")),
            Item::One(Argument::number(
                "BLOCK_SIZE",
                "bytes",
                Bounds::powers_of_two(512, 1 << 30),
                "the size of a block in bytes: a power of two, 512 at least",
            )),
        ],
    )
};

/// `dust DEVICE OFFSET BLOCK_SIZE`: a device that gets bad blocks by messages, and loses them when they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dust {
    /// The device, and where on it the target begins.
    pub device: (Device, Sector),
    /// Size of a block: a power of two, 512 at least.
    pub block: Bytes,
}

impl Dust {
    /// A device without bad blocks yet.
    pub fn new(device: impl Into<Device>, offset: Sector, block: Bytes) -> Dust {
        Dust { device: (device.into(), offset), block }
    }
}

impl TargetLine for Dust {
    const TYPE: &'static str = "dust";

    fn params(&self) -> Params {
        FORM.write(&Values::new().with_place(PLACE, &self.device).with("BLOCK_SIZE", self.block.0))
    }

    fn parse(params: &Params) -> Result<Dust, TargetParamsError> {
        FORM.parse(params, |values| {
            Some(Dust { device: values.place(PLACE)?, block: Bytes(values.number("BLOCK_SIZE")?) })
        })
    }
}
