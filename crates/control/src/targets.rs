//! What user space knows of each target type: its parameters, its status, its messages and its form, one file a target.

mod delay;
mod dust;
mod ebs;
mod error;
mod flakey;
mod linear;
mod log_writes;
mod mirror;
mod multipath;
mod snapshot;
mod snapshot_merge;
mod snapshot_origin;
mod striped;
mod switch;
mod thin;
mod thin_pool;
mod unstriped;
mod zero;

pub use delay::{Delay, Delayed};
pub use dust::Dust;
pub use ebs::Ebs;
pub use error::ErrorTarget;
pub use flakey::Flakey;
pub use linear::Linear;
pub use log_writes::LogWrites;
pub use mirror::{Mirror, MirrorHealth, MirrorStatus, MirrorSync};
pub use multipath::{Multipath, MultipathStatus, PathGroup, PathGroupState, PathGroupStatus, PathStatus};
pub use snapshot::{Snapshot, SnapshotStatus};
pub use snapshot_merge::SnapshotMerge;
pub use snapshot_origin::SnapshotOrigin;
pub use striped::{Striped, StripedStatus};
pub use switch::Switch;
pub use thin::{Thin, ThinStatus};
pub use thin_pool::{PoolMode, PoolStatus, ThinPool, Usage};
pub use unstriped::Unstriped;
pub use zero::Zero;

use crate::Params;
use crate::form::{Form, Values};
use dmlab_units::{DevT, Sector, TargetName};
use std::fmt;

/// The forms of all target types that are known here.
pub static FORMS: &[&Form] = &[
    &linear::FORM,
    &striped::FORM,
    &zero::FORM,
    &error::FORM,
    &delay::FORM,
    &flakey::FORM,
    &log_writes::FORM,
    &switch::FORM,
    &unstriped::FORM,
    &dust::FORM,
    &ebs::FORM,
    &multipath::FORM,
    &mirror::FORM,
    &snapshot::FORM,
    &snapshot_origin::FORM,
    &snapshot_merge::FORM,
    &thin_pool::FORM,
    &thin::FORM,
];

/// The form of a target type.
pub fn form_of(target: &[u8]) -> Option<&'static Form> {
    FORMS.iter().copied().find(|form| form.target.as_bytes() == target)
}

/// A device argument of a table line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// `MAJOR:MINOR`.
    Number(DevT),
    /// A path, looked up by the kernel.
    Path(String),
}

impl From<&str> for Device {
    fn from(text: &str) -> Device {
        text.parse().map_or_else(|_| Device::Path(text.to_owned()), Device::Number)
    }
}

impl From<String> for Device {
    fn from(text: String) -> Device {
        Device::from(text.as_str())
    }
}

impl From<DevT> for Device {
    fn from(dev: DevT) -> Device {
        Device::Number(dev)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Number(dev) => dev.fmt(f),
            Device::Path(path) => f.write_str(path),
        }
    }
}

/// Why parameters are not those of a target: what stands there, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target} {found}: {right}")]
pub struct TargetParamsError {
    /// The target type.
    pub target: &'static str,
    /// The parameters, or the one at fault.
    pub found: String,
    /// What would be right.
    pub right: String,
}

/// A target whose parameters have a type.
pub trait TargetLine: Sized {
    /// The target type's name.
    const TYPE: &'static str;

    /// The parameters as words.
    fn params(&self) -> Params;

    /// Reads the parameters of a table line.
    ///
    /// # Errors
    /// What is wrong with them. More is wrong than the kernel minds: a path that does not exist parses.
    fn parse(params: &Params) -> Result<Self, TargetParamsError>;

    /// [`TargetLine::TYPE`] as a checked name.
    fn target_name() -> TargetName {
        TargetName::new(Self::TYPE).expect("a constant of this crate, shorter than 16 bytes")
    }
}

/// The names of a device and the offset on it, where a target has one of each.
const PLACE: [&str; 2] = ["DEVICE", "OFFSET"];

/// Groups of a device and an offset.
fn of_places(places: &[(Device, Sector)]) -> impl Iterator<Item = Values> {
    places.iter().map(|place| Values::new().with_place(PLACE, place))
}

/// The devices and offsets of groups.
fn places_of(groups: &[Values]) -> Option<Vec<(Device, Sector)>> {
    groups.iter().map(|group| group.place(PLACE)).collect()
}

/// Devices with places on them.
fn places<D: Into<Device>>(places: impl IntoIterator<Item = (D, Sector)>) -> Vec<(Device, Sector)> {
    places.into_iter().map(|(device, offset)| (device.into(), offset)).collect()
}

#[cfg(test)]
mod tests;
