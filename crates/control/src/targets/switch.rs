//! `switch`: regions of one device on many paths, as messages say.

use super::{Device, TargetLine, TargetParamsError, of_places, places, places_of};
use crate::Params;
use crate::form::{Argument, Bounds, Form, Item, Message, TargetError, Values};
use dmlab_units::{Sector, Sectors};

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::of("Invalid number of paths", &["PATHS"]),
        TargetError::of("Invalid region size", &["REGION_SIZE"]),
        TargetError::of("Invalid number of optional args", &["N_OPTIONS"]),
        TargetError::shape("Incorrect number of path arguments"),
        TargetError::of("Invalid device starting offset", &["OFFSET"]),
        TargetError::of("Cannot allocate region table", &["REGION_SIZE"])
            .right("larger regions, so that there are fewer"),
        TargetError::lookup("Device lookup failed", &["DEVICE"]),
    ],
    messages: &[Message { words: "set_region_mappings MAPPING…", does: "lets regions take other paths" }],
    ..Form::new(
        "switch",
        &[
            Item::One(Argument::count(
                "PATHS",
                Bounds::between(1, 262_141),
                "how many paths there are: at least 1",
            )),
            Item::One(Argument::sectors(
                "REGION_SIZE",
                Bounds::between(1, u32::MAX as u64),
                "the size of a region in sectors: at least 1",
            )),
            Item::One(Argument::count(
                "N_OPTIONS",
                Bounds::between(0, 0),
                "0, since there are no optional arguments yet",
            )),
            Item::Each {
                count: "PATHS",
                group: "PATH",
                items: &[
                    Item::One(Argument::device("DEVICE", "the device of a path")),
                    Item::One(Argument::offset("OFFSET")),
                ],
            },
        ],
    )
};

/// `switch PATHS REGION_SIZE 0 (DEVICE OFFSET)×PATHS`: regions of one device on many paths, as messages say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Length of a region.
    pub region: Sectors,
    /// The paths, and where on them the device begins.
    pub paths: Vec<(Device, Sector)>,
}

impl Switch {
    /// Regions on these paths, in turn at first.
    pub fn new<D: Into<Device>>(region: Sectors, paths: impl IntoIterator<Item = (D, Sector)>) -> Switch {
        Switch { region, paths: places(paths) }
    }
}

impl TargetLine for Switch {
    const TYPE: &'static str = "switch";

    fn params(&self) -> Params {
        let values = Values::new().with("REGION_SIZE", self.region).with("N_OPTIONS", 0);
        FORM.write(&values.with_each("PATH", of_places(&self.paths)))
    }

    fn parse(params: &Params) -> Result<Switch, TargetParamsError> {
        FORM.parse(params, |values| {
            let (region, paths) = (values.sectors("REGION_SIZE")?, places_of(values.each("PATH"))?);
            (values.number::<u64>("N_OPTIONS") == Some(0)).then_some(Switch { region, paths })
        })
    }
}
