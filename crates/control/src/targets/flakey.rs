//! `flakey`: a device that fails for some seconds again and again.

use super::{Device, PLACE, TargetLine, TargetParamsError};
use crate::Params;
use crate::form::{Argument, Bounds, Feature, Form, Item, TargetError, Values};
use dmlab_units::Sector;
use std::time::Duration;

const SECONDS: Bounds = Bounds::between(0, u32::MAX as u64);
/// A random corruption's chance, of which this is certainty.
const CERTAIN: u64 = 1_000_000_000;
const CHANCE: Argument = Argument::number(
    "CHANCE",
    "parts of 1000000000",
    Bounds::between(0, CERTAIN),
    "the chance that a bio is corrupted: 0 to 1000000000, which is always",
);
const FAILS: &str = "one of drop_writes and error_writes";
const FIXED_WRITES: &str = "corrupt_bio_byte with the direction r, or without drop_writes and error_writes";

static FEATURES: &[Feature] = &[
    Feature { name: "error_reads", arguments: &[], does: "reads fail while it is down" },
    Feature { name: "error_writes", arguments: &[], does: "writes fail while it is down" },
    Feature {
        name: "drop_writes",
        arguments: &[],
        does: "writes succeed and are forgotten while it is down",
    },
    Feature {
        name: "corrupt_bio_byte",
        arguments: &[
            Argument::number(
                "BYTE",
                "number",
                Bounds::between(1, u32::MAX as u64),
                "which byte of a bio is corrupted; the first is 1",
            ),
            Argument::choice("DIRECTION", &["r", "w"], "r for reads, w for writes"),
            Argument::number("VALUE", "byte", Bounds::between(0, 255), "the byte's new value, 0 to 255"),
            Argument::number(
                "FLAGS",
                "number",
                Bounds::between(0, u32::MAX as u64),
                "the flags that a bio must have, as a decimal number; 0 for any bio",
            ),
        ],
        does: "a byte of each bio of one direction has another value while it is down",
    },
    Feature {
        name: "random_read_corrupt",
        arguments: &[CHANCE],
        does: "a random byte of a read becomes a random one, with this chance",
    },
    Feature {
        name: "random_write_corrupt",
        arguments: &[CHANCE],
        does: "a random byte of a write becomes a random one, with this chance",
    },
];

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Invalid argument count"),
        TargetError::of("Invalid device sector", &["OFFSET"]),
        // Linux says "up" for both.
        TargetError::of("Invalid up interval", &["UP", "DOWN"]),
        TargetError::of("Invalid down interval", &["DOWN"]),
        TargetError::of("Total (up + down) interval is zero", &["DOWN"])
            .right("seconds that the device is down; UP and DOWN are not both 0"),
        TargetError::of("Interval overflow", &["DOWN"])
            .right("fewer seconds: UP and DOWN together stay below 2^32"),
        TargetError::of("Invalid number of feature args", &["N_FEATURES"]),
        TargetError::of("Insufficient feature arguments", &["N_FEATURES"])
            .right("the number of all words that follow, the features' arguments counted"),
        TargetError::unknown_feature("Unrecognised flakey feature requested"),
        TargetError::feature("Feature error_reads duplicated", &["error_reads"]).right("each feature once"),
        TargetError::feature("Feature drop_writes duplicated", &["drop_writes"]).right("each feature once"),
        TargetError::feature("Feature error_writes duplicated", &["error_writes"]).right("each feature once"),
        TargetError::feature("Feature drop_writes conflicts with feature error_writes", &["drop_writes"])
            .right(FAILS),
        TargetError::feature("Feature error_writes conflicts with feature drop_writes", &["error_writes"])
            .right(FAILS),
        TargetError::feature("Feature corrupt_bio_byte requires parameters", &["corrupt_bio_byte"])
            .right("corrupt_bio_byte BYTE r|w VALUE FLAGS, all counted by N_FEATURES"),
        TargetError::feature_argument("Invalid corrupt bio byte", &["corrupt_bio_byte"], "BYTE"),
        TargetError::feature_argument(
            "Invalid corrupt bio direction (r or w)",
            &["corrupt_bio_byte"],
            "DIRECTION",
        ),
        TargetError::feature_argument(
            "Invalid corrupt value to write into bio byte (0-255)",
            &["corrupt_bio_byte"],
            "VALUE",
        ),
        TargetError::feature_argument("Invalid corrupt bio flags mask", &["corrupt_bio_byte"], "FLAGS"),
        TargetError::feature("Feature random_read_corrupt requires a parameter", &["random_read_corrupt"])
            .right("random_read_corrupt CHANCE, both counted by N_FEATURES"),
        TargetError::feature("Feature random_write_corrupt requires a parameter", &["random_write_corrupt"])
            .right("random_write_corrupt CHANCE, both counted by N_FEATURES"),
        TargetError::feature_argument(
            "Invalid random corrupt argument",
            &["random_read_corrupt", "random_write_corrupt"],
            "CHANCE",
        ),
        TargetError::feature_argument(
            "drop_writes is incompatible with corrupt_bio_byte with the WRITE flag set",
            &["corrupt_bio_byte"],
            "DIRECTION",
        )
        .right(FIXED_WRITES),
        TargetError::feature_argument(
            "error_writes is incompatible with corrupt_bio_byte with the WRITE flag set",
            &["corrupt_bio_byte"],
            "DIRECTION",
        )
        .right(FIXED_WRITES),
        // What newer kernels say.
        TargetError::feature("Feature corrupt_bio_byte duplicated", &["corrupt_bio_byte"]).right("each feature once"),
        TargetError::feature("Feature random_read_corrupt duplicated", &["random_read_corrupt"])
            .right("each feature once"),
        TargetError::feature("Feature random_write_corrupt duplicated", &["random_write_corrupt"])
            .right("each feature once"),
        TargetError::feature("Feature corrupt_bio_byte requires 4 parameters", &["corrupt_bio_byte"])
            .right("corrupt_bio_byte BYTE r|w VALUE FLAGS, all counted by N_FEATURES"),
        TargetError::feature(
            "error_reads is incompatible with random_read_corrupt or corrupt_bio_byte with the READ flag set",
            &["error_reads"],
        )
        .right("error_reads without random_read_corrupt, and without corrupt_bio_byte of the direction r"),
        TargetError::feature(
            "drop_writes is incompatible with random_write_corrupt or corrupt_bio_byte with the WRITE flag set",
            &["drop_writes"],
        )
        .right("drop_writes without random_write_corrupt, and without corrupt_bio_byte of the direction w"),
        TargetError::feature(
            "error_writes is incompatible with random_write_corrupt or corrupt_bio_byte with the WRITE flag set",
            &["error_writes"],
        )
        .right("error_writes without random_write_corrupt, and without corrupt_bio_byte of the direction w"),
        TargetError::lookup("Device lookup failed", &["DEVICE"]),
    ],
    ..Form::new(
        "flakey",
        &[
            Item::One(Argument::device("DEVICE", "the device")),
            Item::One(Argument::offset("OFFSET")),
            Item::One(Argument::number(
                "UP",
                "seconds",
                SECONDS,
                "how long it works, a decimal number of seconds",
            )),
            Item::One(Argument::number(
                "DOWN",
                "seconds",
                SECONDS,
                "how long it then fails, a decimal number of seconds",
            )),
            Item::Optional(&[Item::Counted {
                count: Argument::count(
                    "N_FEATURES",
                    Bounds::between(0, 11),
                    "how many words follow, the features' arguments counted: 0 to 11",
                ),
                items: &[Item::Features(FEATURES)],
            }]),
        ],
    )
};

/// `flakey DEVICE OFFSET UP DOWN [N_FEATURES FEATURE…]`: a device that fails for some seconds again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flakey {
    /// The device, and where on it the target begins.
    pub device: (Device, Sector),
    /// How long it works, in whole seconds.
    pub up: Duration,
    /// How long it then fails.
    pub down: Duration,
    /// What it does then, word for word: `drop_writes`, `corrupt_bio_byte`, `32`…; errors for everything if there are none.
    pub features: Vec<String>,
}

impl Flakey {
    /// A device that works and then fails everything.
    pub fn new(device: impl Into<Device>, offset: Sector, up: Duration, down: Duration) -> Flakey {
        Flakey { device: (device.into(), offset), up, down, features: Vec::new() }
    }

    /// One more feature with its arguments.
    pub fn feature(mut self, words: &str) -> Flakey {
        self.features.extend(words.split_whitespace().map(str::to_owned));
        self
    }
}

impl TargetLine for Flakey {
    const TYPE: &'static str = "flakey";

    fn params(&self) -> Params {
        let values = Values::new().with_place(PLACE, &self.device).with_features(&self.features);
        FORM.write(&values.with("UP", self.up.as_secs()).with("DOWN", self.down.as_secs()))
    }

    fn parse(params: &Params) -> Result<Flakey, TargetParamsError> {
        FORM.parse(params, |values| {
            let seconds = |name| Some(Duration::from_secs(values.number::<u32>(name)?.into()));
            let (up, down) = (seconds("UP")?, seconds("DOWN")?);
            Some(Flakey { device: values.place(PLACE)?, up, down, features: values.features() })
        })
    }
}
