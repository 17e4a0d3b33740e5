//! `thin`: a device that takes space from a pool when it is written.

use super::{Device, TargetLine, TargetParamsError};
use crate::form::{Argument, Bounds, Form, Item, TargetError, Values};
use crate::status::TargetStatus;
use crate::{Params, decimal};
use dmlab_units::{Sector, Sectors};

/// The largest number of a thin device.
const MAX_ID: u64 = (1 << 24) - 1;

/// The form of its line.
pub(crate) static FORM: Form = Form {
    errors: &[
        TargetError::shape("Invalid argument count"),
        TargetError::of("Error setting origin device", &["EXTERNAL_ORIGIN"])
            .right("another device than POOL"),
        TargetError::lookup("Error opening origin device", &["EXTERNAL_ORIGIN"]),
        TargetError::lookup("Error opening pool device", &["POOL"]),
        TargetError::of("Invalid device id", &["ID"]),
        TargetError::of("Couldn't get pool mapped device", &["POOL"])
            .right("a mapped device: that of a thin-pool"),
        TargetError::of("Couldn't find pool object", &["POOL"])
            .right("a mapped device whose live table is a thin-pool"),
        TargetError::of("Couldn't open thin device, Pool is in fail mode", &["POOL"])
            .right("a pool that works; this one has failed"),
        TargetError::of("Couldn't open thin internal device", &["ID"])
            .right("the number of a thin device that the pool has: the message `create_thin ID` makes one"),
        TargetError::of("Unable to activate thin device while pool is suspended", &["POOL"])
            .right("a pool that runs: resume it first"),
    ],
    status: |words| ThinStatus::parse(words).map(TargetStatus::Thin),
    ..Form::new(
        "thin",
        &[
            Item::One(Argument::device("POOL", "the mapped device of a thin-pool")),
            Item::One(Argument::number(
                "ID",
                "number",
                Bounds::between(0, MAX_ID),
                "the number that the pool knows the device by, 0 to 16777215",
            )),
            Item::Optional(&[Item::One(Argument::device(
                "EXTERNAL_ORIGIN",
                "a device whose bytes show where nothing was written yet",
            ))]),
        ],
    )
};

/// `thin POOL ID [EXTERNAL_ORIGIN]`: a device that takes space from a pool when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thin {
    /// The pool.
    pub pool: Device,
    /// The number that the pool knows it by: below 2^24.
    pub id: u64,
    /// What blocks that were never written show, in place of zeros.
    pub external_origin: Option<Device>,
}

impl Thin {
    /// Device `id` of `pool`.
    pub fn new(pool: impl Into<Device>, id: u64) -> Thin {
        Thin { pool: pool.into(), id, external_origin: None }
    }

    /// What was never written shows the bytes of `origin`.
    #[must_use]
    pub fn with_external_origin(mut self, origin: impl Into<Device>) -> Thin {
        self.external_origin = Some(origin.into());
        self
    }
}

impl TargetLine for Thin {
    const TYPE: &'static str = "thin";

    fn params(&self) -> Params {
        let values = Values::new().with("POOL", &self.pool).with("ID", self.id);
        FORM.write(&values.with_some("EXTERNAL_ORIGIN", self.external_origin.as_ref()))
    }

    fn parse(params: &Params) -> Result<Thin, TargetParamsError> {
        FORM.parse(params, |values| {
            let (pool, id) = (values.device("POOL")?, values.number("ID")?);
            Some(Thin { pool, id, external_origin: values.device("EXTERNAL_ORIGIN") })
        })
    }
}

/// The status of a `thin` device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinStatus {
    /// `Fail`: its pool failed.
    Failed,
    /// `Error`: the status could not be found out.
    Unknown,
    /// It works.
    Working {
        /// How much is mapped.
        mapped: Sectors,
        /// The last sector that is.
        highest: Option<Sector>,
    },
}

impl ThinStatus {
    pub(super) fn parse(words: &[&str]) -> Option<ThinStatus> {
        match words {
            ["Fail"] => Some(ThinStatus::Failed),
            ["Error"] => Some(ThinStatus::Unknown),
            [mapped, highest] => Some(ThinStatus::Working {
                mapped: Sectors(decimal(mapped)?),
                highest: if *highest == "-" { None } else { Some(Sector(decimal(highest)?)) },
            }),
            _ => None,
        }
    }
}
