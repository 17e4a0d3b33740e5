//! `mirror`: the same data on several devices.

use super::{Device, TargetLine, TargetParamsError, Usage, of_places, places, places_of};
use crate::Params;
use crate::form::{Argument, Bounds, Feature, Form, Item, TargetError, Values};
use crate::status::TargetStatus;
use dmlab_units::{DevT, Sector, Sectors};

const MAX_LEGS: u64 = 9;

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::of("Insufficient mirror log arguments", &["N_LOG"]),
        TargetError::of("Invalid mirror log argument count", &["N_LOG"]),
        // The log itself says more, in a line of its own.
        TargetError::of("Error creating mirror dirty log", &["LOG", "SYNC", "REGION_SIZE", "LOG_DEVICE"]),
        TargetError::of("Invalid number of mirrors", &["LEGS"]),
        TargetError::shape("Too few mirror arguments"),
        TargetError::of("Invalid offset", &["OFFSET"]),
        TargetError::lookup("Device lookup failure", &["DEVICE"]),
        TargetError::of("Invalid number of features", &["N_FEATURES"]),
        TargetError::of("Not enough arguments to support feature count", &["N_FEATURES"]),
        TargetError::unknown_feature("Unrecognised feature requested"),
        TargetError::feature("keep_log feature requires the handle_errors feature", &["keep_log"])
            .right("keep_log together with handle_errors"),
        TargetError::shape("Too many mirror arguments"),
    ],
    status: |words| MirrorStatus::parse(words).map(TargetStatus::Mirror),
    ..Form::new(
        "mirror",
        &[
            Item::One(Argument::choice(
                "LOG",
                &["core", "disk"],
                "the kind of log, core (in memory) or disk",
            )),
            Item::Counted {
                count: Argument::count(
                    "N_LOG",
                    Bounds::between(1, 3),
                    "how many words the log takes: 1 to 2 for core, 2 to 3 for disk",
                ),
                items: &[
                    Item::When {
                        name: "LOG",
                        is: "disk",
                        items: &[Item::One(Argument::device(
                            "LOG_DEVICE",
                            "the device of the log, which can be opened and has room for a bit for each region",
                        ))],
                    },
                    Item::One(Argument::sectors(
                        "REGION_SIZE",
                        Bounds::powers_of_two(2, 1 << 31).within_line(),
                        "the size of a region in sectors: a power of two, 2 at least and no more than the line's length",
                    )),
                    Item::Optional(&[Item::One(Argument::choice(
                        "SYNC",
                        &["sync", "nosync"],
                        "sync: the legs are copied at first, or nosync: they are taken to be the same",
                    ))]),
                ],
            },
            Item::One(Argument::count(
                "LEGS",
                Bounds::between(2, MAX_LEGS),
                "how many legs there are: 2 to 9",
            )),
            Item::Each {
                count: "LEGS",
                group: "LEG",
                items: &[
                    Item::One(Argument::device("DEVICE", "the device of a leg")),
                    Item::One(Argument::offset("OFFSET")),
                ],
            },
            Item::Optional(&[Item::Counted {
                count: Argument::count("N_FEATURES", Bounds::between(0, 2), "how many feature words follow"),
                items: &[Item::Features(&[
                    Feature {
                        name: "handle_errors",
                        arguments: &[],
                        does: "failures are reported, and writes that a leg did not take are held until somebody has acted",
                    },
                    Feature {
                        name: "keep_log",
                        arguments: &[],
                        does: "beside handle_errors: writes that a leg did not take succeed, and the log remembers them",
                    },
                ])],
            }]),
        ],
    )
};

/// What a mirror takes its legs to be when it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirrorSync {
    /// What its log knows: a log in memory knows nothing, so they are copied.
    #[default]
    AsKnown,
    /// The legs differ: they are copied (`sync`).
    Copied,
    /// The legs hold the same already (`nosync`).
    Same,
}

/// `mirror core|disk N [LOG_DEVICE] REGION_SIZE [sync|nosync] LEGS (DEVICE OFFSET)×LEGS [N_FEATURES FEATURE…]`: the same data
/// on several devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where it writes down which regions are clean; in memory only without one.
    pub log: Option<Device>,
    /// Length of a region: a power of two.
    pub region: Sectors,
    /// What the legs are taken to be.
    pub sync: MirrorSync,
    /// The devices, and where on them it begins.
    pub legs: Vec<(Device, Sector)>,
    /// `handle_errors`, `keep_log`.
    pub features: Vec<String>,
}

impl Mirror {
    /// A mirror whose log is in memory.
    pub fn new<D: Into<Device>>(region: Sectors, legs: impl IntoIterator<Item = (D, Sector)>) -> Mirror {
        let legs = places(legs);
        Mirror { log: None, region, sync: MirrorSync::AsKnown, legs, features: Vec::new() }
    }

    /// Keeps its log on this device.
    pub fn log(mut self, device: impl Into<Device>) -> Mirror {
        self.log = Some(device.into());
        self
    }

    /// Takes the legs to be the same (`nosync`).
    pub fn in_sync(mut self) -> Mirror {
        self.sync = MirrorSync::Same;
        self
    }

    /// One more feature word.
    pub fn feature(mut self, word: &str) -> Mirror {
        self.features.push(word.to_owned());
        self
    }
}

impl TargetLine for Mirror {
    const TYPE: &'static str = "mirror";

    fn params(&self) -> Params {
        let sync = match self.sync {
            MirrorSync::AsKnown => None,
            MirrorSync::Copied => Some("sync"),
            MirrorSync::Same => Some("nosync"),
        };
        let kind = if self.log.is_some() { "disk" } else { "core" };
        let values = Values::new().with("LOG", kind).with_some("LOG_DEVICE", self.log.as_ref());
        let values = values.with("REGION_SIZE", self.region).with_some("SYNC", sync);
        FORM.write(&values.with_each("LEG", of_places(&self.legs)).with_features(&self.features))
    }

    fn parse(params: &Params) -> Result<Mirror, TargetParamsError> {
        FORM.parse(params, |values| {
            let log = match values.word("LOG")? {
                "core" => None,
                "disk" => Some(values.device("LOG_DEVICE")?),
                _ => return None,
            };
            let sync = match values.word("SYNC") {
                None => MirrorSync::AsKnown,
                Some("sync") => MirrorSync::Copied,
                Some("nosync") => MirrorSync::Same,
                Some(_) => return None,
            };
            let (region, legs) = (values.sectors("REGION_SIZE")?, places_of(values.each("LEG"))?);
            Some(Mirror { log, region, sync, legs, features: values.features() })
        })
    }
}

/// The worst that a device of a mirror has done since its legs were last in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorHealth {
    /// Nothing (`A`).
    Alive,
    /// It failed a read (`R`).
    ReadFailed,
    /// It failed while it was copied (`S`).
    SyncFailed,
    /// It failed a write (`D`).
    WriteFailed,
    /// It failed a flush (`F`).
    FlushFailed,
    /// It did something that has no letter of its own (`U`).
    Unknown,
}

impl MirrorHealth {
    fn of(letter: char) -> Option<MirrorHealth> {
        Some(match letter {
            'A' => MirrorHealth::Alive,
            'R' => MirrorHealth::ReadFailed,
            'S' => MirrorHealth::SyncFailed,
            'D' => MirrorHealth::WriteFailed,
            'F' => MirrorHealth::FlushFailed,
            'U' => MirrorHealth::Unknown,
            _ => return None,
        })
    }
}

/// The status of a `mirror`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorStatus {
    /// The legs.
    pub legs: Vec<(DevT, MirrorHealth)>,
    /// How many of the regions are in sync.
    pub regions: Usage,
    /// The device of the log, if it is on one.
    pub log: Option<(DevT, MirrorHealth)>,
}

impl MirrorStatus {
    /// Reads `LEGS (MAJ:MIN)×LEGS SYNCED/REGIONS 1 LETTERS`, and `1 core` or `3 disk MAJ:MIN LETTER`.
    pub(super) fn parse(words: &[&str]) -> Option<MirrorStatus> {
        let (count, rest) = words.split_first()?;
        let (devices, rest) = rest.split_at_checked(count.parse().ok()?)?;
        let [regions, "1", letters, log @ ..] = rest else { return None };
        if letters.len() != devices.len() {
            return None;
        }
        let legs = devices.iter().zip(letters.chars());
        let legs = legs.map(|(dev, letter)| Some((dev.parse().ok()?, MirrorHealth::of(letter)?)));
        let log = match log {
            ["1", "core"] => None,
            ["3", "disk", dev, letter] => {
                Some((dev.parse().ok()?, MirrorHealth::of(letter.chars().next()?)?))
            }
            _ => return None,
        };
        Some(MirrorStatus { legs: legs.collect::<Option<_>>()?, regions: Usage::parse(regions)?, log })
    }
}
