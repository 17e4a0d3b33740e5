//! `snapshot`: a device as it was, with what changed since on another.

use super::{Device, TargetLine, TargetParamsError, Usage};
use crate::form::{Argument, Bounds, Feature, Form, Item, TargetError, Values};
use crate::status::TargetStatus;
use crate::{Params, decimal};
use dmlab_units::Sectors;

/// The arguments of a snapshot, and of the merge of one.
pub(super) static ITEMS: &[Item] = &[
    Item::One(Argument::device("ORIGIN", "the device whose past it shows")),
    Item::One(Argument::device("COW", "the device that keeps what changed, another than ORIGIN")),
    Item::One(Argument::choice_any_case(
        "STORE",
        &["P", "PO", "N"],
        "the kind of store: P (persistent), PO (persistent, tells an overflow) or N (transient)",
    )),
    Item::One(Argument::sectors(
        "CHUNK",
        Bounds::powers_of_two(1, 1 << 21),
        "the size of a chunk in sectors: a power of two and whole logical blocks of both devices",
    )),
    Item::Optional(&[Item::Counted {
        count: Argument::count("N_FEATURES", Bounds::between(0, 2), "how many feature words follow, 0 to 2"),
        items: &[Item::Features(&[
            Feature {
                name: "discard_zeroes_cow",
                arguments: &[],
                does: "a discard of whole chunks zeroes them in the store",
            },
            Feature {
                name: "discard_passdown_origin",
                arguments: &[],
                does: "beside discard_zeroes_cow: a discard reaches the origin as well, past its other snapshots",
            },
        ])],
    }]),
];

/// The texts of their constructor, which is one.
pub(super) static ERRORS: &[TargetError] = &[
    TargetError::shape("requires 4 or more arguments"),
    TargetError::of("Invalid number of feature arguments", &["N_FEATURES"]),
    TargetError::unknown_feature("Unrecognised feature requested"),
    TargetError::feature(
        "discard_passdown_origin feature depends on discard_zeroes_cow",
        &["discard_passdown_origin"],
    )
    .right("discard_passdown_origin together with discard_zeroes_cow"),
    TargetError::lookup("Cannot get origin device", &["ORIGIN"]),
    TargetError::lookup("Cannot get COW device", &["COW"]),
    TargetError::of("COW device cannot be the same as origin device", &["COW"]).right("another device than ORIGIN"),
    TargetError::of("Couldn't create exception store", &["STORE", "CHUNK"]),
    TargetError::of("Chunk size not set", &["CHUNK"])
        .right("a transient store has no default: a power of two, in sectors"),
    TargetError::of("Failed to read snapshot metadata", &["COW"])
        .right("a device with a snapshot's store, or with zeros in its first chunk for a new one, and no shorter than that chunk"),
    TargetError::of("Snapshot cow pairing for exception table handover failed", &["COW"])
        .right("a device that no snapshot uses, but for the suspended one of the same ORIGIN that this table takes over from"),
    TargetError::of("Snapshot exception store does not support snapshot-merge.", &["STORE"])
        .right("a persistent store, P or PO: a transient one cannot be merged"),
    TargetError::of("A snapshot is already merging.", &["ORIGIN"]).right("an origin of which no other snapshot is being merged"),
];

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: ERRORS,
    status: |words| SnapshotStatus::parse(words).map(TargetStatus::Snapshot),
    ..Form::new("snapshot", ITEMS)
};

/// `snapshot ORIGIN COW P|PO|N CHUNK [N_FEATURES FEATURE…]`: a device as it was, with what changed since on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The device whose past it shows.
    pub origin: Device,
    /// Where what changed is kept.
    pub cow: Device,
    /// `P` persistent, `PO` persistent and able to show that it overflowed, `N` gone with the device.
    pub store: String,
    /// Length of a chunk: a power of two.
    pub chunk: Sectors,
    /// `discard_zeroes_cow`, `discard_passdown_origin`.
    pub features: Vec<String>,
}

impl Snapshot {
    /// A persistent snapshot.
    pub fn persistent(origin: impl Into<Device>, cow: impl Into<Device>, chunk: Sectors) -> Snapshot {
        let store = "P".to_owned();
        Snapshot { origin: origin.into(), cow: cow.into(), store, chunk, features: Vec::new() }
    }

    /// One that is gone when it is removed.
    pub fn transient(origin: impl Into<Device>, cow: impl Into<Device>, chunk: Sectors) -> Snapshot {
        Snapshot { store: "N".to_owned(), ..Snapshot::persistent(origin, cow, chunk) }
    }

    pub(super) fn to_params(&self, form: &'static Form) -> Params {
        let values = Values::new().with("ORIGIN", &self.origin).with("COW", &self.cow);
        let values = values.with("STORE", &self.store).with("CHUNK", self.chunk);
        form.write(&values.with_features(&self.features))
    }

    pub(super) fn of_values(values: &Values) -> Option<Snapshot> {
        Some(Snapshot {
            origin: values.device("ORIGIN")?,
            cow: values.device("COW")?,
            store: values.word("STORE")?.to_owned(),
            chunk: values.sectors("CHUNK")?,
            features: values.features(),
        })
    }
}

impl TargetLine for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn params(&self) -> Params {
        self.to_params(&FORM)
    }

    fn parse(params: &Params) -> Result<Snapshot, TargetParamsError> {
        FORM.parse(params, Snapshot::of_values)
    }
}

/// The status of a `snapshot` or `snapshot-merge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotStatus {
    /// `Invalid`: it lost track of its origin, and every IO to it fails.
    Invalid,
    /// `Overflow`: a store that can tell (`PO`) is full.
    Overflow,
    /// `Merge failed`.
    MergeFailed,
    /// It works.
    Working {
        /// Of the copy-on-write device.
        cow: Usage<Sectors>,
        /// Of that, for the store's own use.
        metadata: Sectors,
    },
}

impl SnapshotStatus {
    pub(super) fn parse(words: &[&str]) -> Option<SnapshotStatus> {
        match words {
            ["Invalid"] => Some(SnapshotStatus::Invalid),
            ["Overflow"] => Some(SnapshotStatus::Overflow),
            ["Merge", "failed"] => Some(SnapshotStatus::MergeFailed),
            [cow, metadata] => {
                let Usage { used, total } = Usage::parse(cow)?;
                let cow = Usage { used: Sectors(used), total: Sectors(total) };
                Some(SnapshotStatus::Working { cow, metadata: Sectors(decimal(metadata)?) })
            }
            _ => None,
        }
    }
}
