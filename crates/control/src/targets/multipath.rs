//! `multipath`: several ways to one disk.

use super::{Device, TargetLine, TargetParamsError};
use crate::Params;
use crate::decimal;
use crate::form::{Argument, Bounds, Feature, Form, Item, Message, TargetError, Values};

use crate::status::TargetStatus;
use dmlab_units::DevT;

/// Most groups, paths of a group, and arguments of a handler, a selector or a path.
const MOST: Bounds = Bounds::between(0, 1024);
const BIOS: &str = "queue_mode bio among the features: a path below takes bios, not requests, and so do RAM disks and mapped devices";
const SELECTORS: &[&str] =
    &["round-robin", "queue-length", "service-time", "historical-service-time", "io-affinity"];

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::of("invalid number of feature args", &["N_FEATURES"]),
        TargetError::unknown_feature("Unrecognised multipath feature request"),
        TargetError::feature_argument("Unknown 'queue_mode' requested", &["queue_mode"], "MODE"),
        TargetError::feature_argument(
            "pg_init_retries must be between 1 and 50",
            &["pg_init_retries"],
            "RETRIES",
        ),
        TargetError::feature_argument(
            "pg_init_delay_msecs must be between 0 and 60000",
            &["pg_init_delay_msecs"],
            "MSECS",
        ),
        TargetError::feature_argument(
            "table load rejected: including non-request-stackable devices",
            &["queue_mode"],
            "MODE",
        )
        .right(BIOS),
        TargetError::feature("table load rejected: including non-request-stackable devices", &["queue_mode"])
            .right(BIOS),
        TargetError::of("invalid number of hardware handler args", &["N_HANDLER"]),
        TargetError::of("error attaching hardware handler", &["HANDLER"])
            .right("a handler that the paths' driver has, or N_HANDLER 0: none"),
        TargetError::of("invalid number of priority groups", &["GROUPS"]),
        TargetError::of("invalid initial priority group number", &["FIRST"]),
        TargetError::of("invalid initial priority group", &["FIRST"])
            .right("the group that is tried first, from 1; 0 only when GROUPS is 0"),
        TargetError::of("priority group count mismatch", &["GROUPS"])
            .right("the number of the groups that follow"),
        TargetError::shape("not enough priority group arguments"),
        TargetError::of("unknown path selector type", &["SELECTOR"]),
        TargetError::of("invalid number of path selector args", &["N_ARGUMENTS"]),
        TargetError::of("path selector constructor failed", &["SELECTOR_ARGUMENT", "SELECTOR"])
            .right("no arguments, which all selectors take"),
        TargetError::of("invalid number of paths", &["PATHS"]),
        TargetError::of("invalid number of selector args", &["PER_PATH"]),
        TargetError::shape("not enough path parameters"),
        TargetError::lookup("error getting device", &["DEVICE"]),
        TargetError::number("round-robin ps: invalid repeat count", "PATH_ARGUMENT"),
        TargetError::number("queue-length ps: invalid repeat count", "PATH_ARGUMENT"),
        TargetError::number("service-time ps: invalid repeat count", "PATH_ARGUMENT"),
        TargetError::number("historical-service-time ps: invalid repeat count", "PATH_ARGUMENT"),
        TargetError::number("service-time ps: invalid relative_throughput value", "PATH_ARGUMENT")
            .right("the path's relative throughput, 0 to 100"),
        TargetError::of("round-robin ps: incorrect number of arguments", &["PER_PATH"])
            .right("0, or 1: a repeat count"),
        TargetError::of("queue-length ps: incorrect number of arguments", &["PER_PATH"])
            .right("0, or 1: a repeat count"),
        TargetError::of("service-time ps: incorrect number of arguments", &["PER_PATH"])
            .right("0 to 2: a repeat count, and a relative throughput"),
        TargetError::of("historical-service-time ps: incorrect number of arguments", &["PER_PATH"])
            .right("0, or 1: a repeat count"),
        TargetError::of("io-affinity ps: invalid number of arguments", &["PER_PATH"])
            .right("1: a mask of CPUs"),
        TargetError::of("io-affinity ps: invalid cpumask", &["PATH_ARGUMENT"])
            .right("a mask of CPUs, in hexadecimal digits"),
        TargetError::of("io-affinity ps: No new/valid CPU mapping found", &["PATH_ARGUMENT"])
            .right("a mask with a CPU that there is and that no path before has"),
    ],
    messages: &[
        Message { words: "fail_path DEVICE", does: "takes a path out of use" },
        Message { words: "reinstate_path DEVICE", does: "takes it into use again" },
        Message { words: "switch_group GROUP", does: "goes on with another group" },
        Message { words: "enable_group GROUP", does: "lets a group be chosen" },
        Message { words: "disable_group GROUP", does: "lets it be passed over" },
        Message { words: "queue_if_no_path", does: "keeps IO that no path takes" },
        Message { words: "fail_if_no_path", does: "fails it" },
    ],
    status: |words| MultipathStatus::parse(words).map(TargetStatus::Multipath),
    ..Form::new(
        "multipath",
        &[
            Item::Counted {
                count: Argument::count(
                    "N_FEATURES",
                    Bounds::between(0, 8),
                    "how many words follow, the features' arguments counted: 0 to 8",
                ),
                items: &[Item::Features(&[
                    Feature {
                        name: "queue_if_no_path",
                        arguments: &[],
                        does: "IO that no path takes waits for one, in place of failing",
                    },
                    Feature {
                        name: "queue_mode",
                        arguments: &[Argument::choice_any_case(
                            "MODE",
                            &["bio", "rq", "mq"],
                            "bio, rq or mq",
                        )],
                        does: "it takes bios, or the requests of a queue, which RAM disks and mapped devices don't have",
                    },
                    Feature {
                        name: "retain_attached_hw_handler",
                        arguments: &[],
                        does: "a handler that a path has already stays",
                    },
                    Feature {
                        name: "pg_init_retries",
                        arguments: &[Argument::number(
                            "RETRIES",
                            "number",
                            Bounds::between(1, 50),
                            "how often a handler tries to wake a group, 1 to 50",
                        )],
                        does: "how often a handler tries",
                    },
                    Feature {
                        name: "pg_init_delay_msecs",
                        arguments: &[Argument::number(
                            "MSECS",
                            "milliseconds",
                            Bounds::between(0, 60_000),
                            "how long a handler waits between them, 0 to 60000",
                        )],
                        does: "how long a handler waits between tries",
                    },
                ])],
            },
            Item::Counted {
                count: Argument::count(
                    "N_HANDLER",
                    MOST,
                    "how many words of a hardware handler follow; 0 for none",
                ),
                items: &[Item::Rest(Argument::word("HANDLER", "a hardware handler and its arguments"))],
            },
            Item::One(Argument::count("GROUPS", MOST, "how many groups of paths follow")),
            Item::One(Argument::number(
                "FIRST",
                "number",
                MOST,
                "the group that is tried first, from 1; 0 when there is none",
            )),
            Item::Each {
                count: "GROUPS",
                group: "GROUP",
                items: &[
                    Item::One(Argument::choice(
                        "SELECTOR",
                        SELECTORS,
                        "what chooses among the paths: round-robin, queue-length, service-time, historical-service-time \
                         or io-affinity",
                    )),
                    Item::Counted {
                        count: Argument::count(
                            "N_ARGUMENTS",
                            MOST,
                            "how many arguments of the selector follow",
                        ),
                        items: &[Item::Rest(Argument::word(
                            "SELECTOR_ARGUMENT",
                            "an argument of the selector",
                        ))],
                    },
                    Item::One(Argument::count(
                        "PATHS",
                        Bounds::between(1, 1024),
                        "how many paths the group has: at least 1",
                    )),
                    Item::One(Argument::count(
                        "PER_PATH",
                        MOST,
                        "how many words stand behind the device of each path",
                    )),
                    Item::Each {
                        count: "PATHS",
                        group: "PATH",
                        items: &[
                            Item::One(Argument::device("DEVICE", "the device of a path")),
                            Item::Times {
                                count: "PER_PATH",
                                argument: Argument::word(
                                    "PATH_ARGUMENT",
                                    "what the selector takes for a path; a repeat count, which is a decimal number, comes first",
                                ),
                            },
                        ],
                    },
                ],
            },
        ],
    )
};

/// Paths of a multipath that are as good as each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGroup {
    /// What chooses among them: `round-robin`, `queue-length`, `service-time`, `historical-service-time`, `io-affinity`.
    pub selector: String,
    /// The selector's own arguments.
    pub arguments: Vec<String>,
    /// The paths, each with as many arguments for the selector as the first.
    pub paths: Vec<(Device, Vec<String>)>,
}

impl PathGroup {
    /// Paths that take turns.
    pub fn round_robin<D: Into<Device>>(paths: impl IntoIterator<Item = D>) -> PathGroup {
        PathGroup::new("round-robin", paths)
    }

    /// Paths without arguments of their own.
    pub fn new<D: Into<Device>>(selector: &str, paths: impl IntoIterator<Item = D>) -> PathGroup {
        let paths = paths.into_iter().map(|device| (device.into(), Vec::new())).collect();
        PathGroup { selector: selector.to_owned(), arguments: Vec::new(), paths }
    }

    fn values(&self) -> Values {
        let paths = self.paths.iter().map(|(device, arguments)| {
            Values::new().with("DEVICE", device).with_words("PATH_ARGUMENT", arguments)
        });
        let per_path = self.paths.first().map_or(0, |(_, arguments)| arguments.len());
        let values = Values::new().with("SELECTOR", &self.selector).with("PER_PATH", per_path);
        values.with_words("SELECTOR_ARGUMENT", &self.arguments).with_each("PATH", paths)
    }

    fn of(values: &Values) -> Option<PathGroup> {
        let path = |path: &Values| Some((path.device("DEVICE")?, path.words("PATH_ARGUMENT")));
        Some(PathGroup {
            selector: values.word("SELECTOR")?.to_owned(),
            arguments: values.words("SELECTOR_ARGUMENT"),
            paths: values.each("PATH").iter().map(path).collect::<Option<_>>()?,
        })
    }
}

/// `multipath N_FEATURES FEATURE… N_HANDLER HANDLER… GROUPS FIRST GROUP…`: several ways to one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipath {
    /// `queue_if_no_path`, `queue_mode`, `bio`…, each word for itself.
    pub features: Vec<String>,
    /// A hardware handler and its arguments.
    pub handler: Vec<String>,
    /// The group to be tried first, from 1; 0 if there is none.
    pub first: u64,
    /// The groups, the best first.
    pub groups: Vec<PathGroup>,
}

impl Multipath {
    /// These groups, taking bios: what RAM disks and mapped devices can do.
    pub fn of_bios(groups: impl IntoIterator<Item = PathGroup>) -> Multipath {
        let groups: Vec<PathGroup> = groups.into_iter().collect();
        let features = ["queue_mode", "bio"].map(str::to_owned).into();
        Multipath { features, handler: Vec::new(), first: u64::from(!groups.is_empty()), groups }
    }

    /// One more feature word.
    pub fn feature(mut self, word: &str) -> Multipath {
        self.features.push(word.to_owned());
        self
    }

    /// The paths of all groups, each once.
    pub fn paths(&self) -> Vec<&Device> {
        let mut paths: Vec<&Device> = Vec::new();
        for (device, _) in self.groups.iter().flat_map(|group| &group.paths) {
            if !paths.contains(&device) {
                paths.push(device);
            }
        }
        paths
    }
}

impl TargetLine for Multipath {
    const TYPE: &'static str = "multipath";

    fn params(&self) -> Params {
        let values = Values::new().with_features(&self.features).with_words("HANDLER", &self.handler);
        FORM.write(
            &values.with("FIRST", self.first).with_each("GROUP", self.groups.iter().map(PathGroup::values)),
        )
    }

    fn parse(params: &Params) -> Result<Multipath, TargetParamsError> {
        FORM.parse(params, |values| {
            Some(Multipath {
                features: values.features(),
                handler: values.words("HANDLER"),
                first: values.number("FIRST")?,
                groups: values.each("GROUP").iter().map(PathGroup::of).collect::<Option<_>>()?,
            })
        })
    }
}

/// The status of a `multipath`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipathStatus {
    /// Whether IO waits for a path, or for a handler that wakes one.
    pub queues_io: bool,
    /// The group in use or the next one, from 1; 0 if there is none.
    pub group: u64,
    /// The groups.
    pub groups: Vec<PathGroupStatus>,
}

/// The state of a group of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGroupStatus {
    /// What it is: in use, enabled or disabled.
    pub state: PathGroupState,
    /// Its paths.
    pub paths: Vec<PathStatus>,
}

/// Whether a group of paths is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathGroupState {
    /// It is (`A`).
    Active,
    /// It may be (`E`).
    Enabled,
    /// It is passed over (`D`).
    Disabled,
}

/// The state of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// Its device.
    pub device: DevT,
    /// Whether it works, as far as is known.
    pub is_active: bool,
    /// How often it has failed.
    pub failures: u64,
}

impl MultipathStatus {
    /// Reads `2 QUEUES PG_INIT N HANDLER×N GROUPS GROUP`, and for each group its letter, `N ARGUMENT×N`, `PATHS PER_PATH` and for
    /// each path its device, its letter, its failures and `PER_PATH` words of the selector.
    fn parse(words: &[&str]) -> Option<MultipathStatus> {
        let mut words = words.iter().copied();
        let number = |words: &mut dyn Iterator<Item = &str>| decimal(words.next()?);
        let skip = |words: &mut dyn Iterator<Item = &str>| {
            let count = decimal(words.next()?)?;
            (0..count).try_for_each(|_| words.next().map(drop))
        };
        let ("2", queues_io) = (words.next()?, number(&mut words)? > 0) else { return None };
        words.next()?;
        skip(&mut words)?;
        let (count, group) = (number(&mut words)?, number(&mut words)?);
        let mut groups = Vec::new();
        for _ in 0..count {
            let state = match words.next()? {
                "A" => PathGroupState::Active,
                "E" => PathGroupState::Enabled,
                "D" => PathGroupState::Disabled,
                _ => return None,
            };
            skip(&mut words)?;
            let (count, per_path) = (number(&mut words)?, number(&mut words)?);
            let mut paths = Vec::new();
            for _ in 0..count {
                let device = words.next()?.parse().ok()?;
                let is_active = match words.next()? {
                    "A" => true,
                    "F" => false,
                    _ => return None,
                };
                paths.push(PathStatus { device, is_active, failures: number(&mut words)? });
                (0..per_path).try_for_each(|_| words.next().map(drop))?;
            }
            groups.push(PathGroupStatus { state, paths });
        }
        words.next().is_none().then_some(MultipathStatus { queues_io, group, groups })
    }
}
