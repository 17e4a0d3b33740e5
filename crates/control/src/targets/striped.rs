//! `striped`: chunk after chunk on the next of several devices.

use super::{Device, TargetLine, TargetParamsError, of_places, places, places_of};
use crate::Params;
use crate::form::{Argument, Bounds, Form, Item, TargetError, Values};
use crate::status::TargetStatus;
use dmlab_units::{DevT, Sector, Sectors};

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Not enough arguments"),
        TargetError::of("Invalid stripe count", &["STRIPES"]),
        TargetError::of("Invalid chunk_size", &["CHUNK"]),
        TargetError::length("Target length not divisible by number of stripes", &["STRIPES"]),
        TargetError::length("Target length not divisible by chunk size", &["STRIPES", "CHUNK"]),
        TargetError::shape("Not enough destinations specified"),
        TargetError::lookup("Couldn't parse stripe destination", &["DEVICE"]),
        TargetError::of("Couldn't parse stripe destination", &["OFFSET"]),
    ],
    status: |words| StripedStatus::parse(words).map(TargetStatus::Striped),
    ..Form::new(
        "striped",
        &[
            Item::One(Argument::count(
                "STRIPES",
                Bounds::between(1, u32::MAX as u64),
                "the number of stripes, a decimal number above 0",
            )),
            Item::One(Argument::sectors(
                "CHUNK",
                Bounds::between(1, u32::MAX as u64),
                "the chunk size, a decimal number of sectors above 0",
            )),
            Item::Each {
                count: "STRIPES",
                group: "STRIPE",
                items: &[
                    Item::One(Argument::device("DEVICE", "the device of a stripe")),
                    Item::One(Argument::offset("OFFSET")),
                ],
            },
        ],
    )
};

/// `striped STRIPES CHUNK (DEVICE OFFSET)×STRIPES`: chunk after chunk on the next of several devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Striped {
    /// Length of a chunk.
    pub chunk: Sectors,
    /// Each stripe's device and where its part starts there.
    pub stripes: Vec<(Device, Sector)>,
}

impl Striped {
    /// Chunks of `chunk` sectors over these devices in turn.
    pub fn new<D: Into<Device>>(chunk: Sectors, stripes: impl IntoIterator<Item = (D, Sector)>) -> Striped {
        Striped { chunk, stripes: places(stripes) }
    }
}

impl TargetLine for Striped {
    const TYPE: &'static str = "striped";

    fn params(&self) -> Params {
        FORM.write(&Values::new().with("CHUNK", self.chunk).with_each("STRIPE", of_places(&self.stripes)))
    }

    fn parse(params: &Params) -> Result<Striped, TargetParamsError> {
        FORM.parse(params, |values| {
            let stripes = places_of(values.each("STRIPE")).filter(|stripes| !stripes.is_empty())?;
            Some(Striped { chunk: values.sectors("CHUNK")?, stripes })
        })
    }
}

/// Health of the stripes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripedStatus {
    /// Each stripe's device, and whether no IO to that device has failed since the table was loaded.
    pub stripes: Vec<(DevT, bool)>,
}

impl StripedStatus {
    /// Reads `N (MAJ:MIN)×N 1 LETTERS`, `A` for a stripe without errors, `D` for one with.
    fn parse(words: &[&str]) -> Option<StripedStatus> {
        let (count, rest) = words.split_first()?;
        let count: usize = count.parse().ok()?;
        let [devices @ .., groups, letters] = rest else { return None };
        if *groups != "1" || devices.len() != count || letters.len() != count {
            return None;
        }
        let stripes = devices.iter().zip(letters.chars());
        let stripes = stripes.map(|(dev, letter)| match letter {
            'A' => Some((dev.parse().ok()?, true)),
            'D' => Some((dev.parse().ok()?, false)),
            _ => None,
        });
        Some(StripedStatus { stripes: stripes.collect::<Option<_>>()? })
    }
}
