//! Table lines of the targets that have types here.

use super::Params;
use dmlab_units::{DevT, Sector, Sectors, TargetName};
use std::fmt;

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
    pub right: &'static str,
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

/// `linear DEVICE OFFSET`: a piece of a device, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The device below.
    pub device: Device,
    /// Where on it the piece starts.
    pub offset: Sector,
}

impl Linear {
    /// The sectors of `device` from `offset` on.
    pub fn new(device: impl Into<Device>, offset: Sector) -> Linear {
        Linear { device: device.into(), offset }
    }
}

impl TargetLine for Linear {
    const TYPE: &'static str = "linear";

    fn params(&self) -> Params {
        Params::from_words([self.device.to_string(), self.offset.to_string()])
    }

    fn parse(params: &Params) -> Result<Linear, TargetParamsError> {
        const RIGHT: &str = "linear takes DEVICE OFFSET, the offset in sectors";
        let wrong =
            |found: &str| TargetParamsError { target: Self::TYPE, found: found.to_owned(), right: RIGHT };
        let (Some(device), Some(offset), 2) = (params.word(0), params.word(1), params.len()) else {
            return Err(wrong(&params.to_string()));
        };
        Ok(Linear::new(device, decimal(offset).map(Sector).ok_or_else(|| wrong(offset))?))
    }
}

/// `striped N CHUNK (DEVICE OFFSET)×N`: chunk after chunk on the next of several devices.
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
        Striped {
            chunk,
            stripes: stripes.into_iter().map(|(device, offset)| (device.into(), offset)).collect(),
        }
    }
}

impl TargetLine for Striped {
    const TYPE: &'static str = "striped";

    fn params(&self) -> Params {
        let fixed = [self.stripes.len().to_string(), self.chunk.to_string()];
        let stripes =
            self.stripes.iter().flat_map(|(device, offset)| [device.to_string(), offset.to_string()]);
        Params::from_words(fixed.into_iter().chain(stripes))
    }

    fn parse(params: &Params) -> Result<Striped, TargetParamsError> {
        const RIGHT: &str = "striped takes N CHUNK and N times DEVICE OFFSET, chunk and offsets in sectors";
        let wrong =
            |found: &str| TargetParamsError { target: Self::TYPE, found: found.to_owned(), right: RIGHT };
        let whole = || wrong(&params.to_string());
        let count =
            params.word(0).and_then(decimal).and_then(|n| usize::try_from(n).ok()).ok_or_else(whole)?;
        let chunk = params.word(1).and_then(decimal).ok_or_else(whole)?;
        if count.checked_mul(2).and_then(|n| n.checked_add(2)) != Some(params.len()) {
            return Err(whole());
        }
        let stripe = |i: usize| {
            let (device, offset) = (params.word(2 + 2 * i)?, params.word(3 + 2 * i)?);
            Some((Device::from(device), Sector(decimal(offset)?)))
        };
        let stripes =
            (0..count).map(|i| stripe(i).ok_or_else(|| wrong(params.word(3 + 2 * i).unwrap_or("?"))));
        Ok(Striped { chunk: Sectors(chunk), stripes: stripes.collect::<Result<_, _>>()? })
    }
}

/// `zero`: reads as zeros, forgets what is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zero;

impl TargetLine for Zero {
    const TYPE: &'static str = "zero";

    fn params(&self) -> Params {
        Params::none()
    }

    fn parse(params: &Params) -> Result<Zero, TargetParamsError> {
        if params.is_empty() {
            return Ok(Zero);
        }
        Err(TargetParamsError {
            target: Self::TYPE,
            found: params.to_string(),
            right: "zero takes no parameters",
        })
    }
}

/// `error [DEVICE OFFSET]`: fails every IO. With a device it holds that open and takes its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorTarget {
    /// The device that it holds, and where.
    pub held: Option<(Device, Sector)>,
}

impl TargetLine for ErrorTarget {
    const TYPE: &'static str = "error";

    fn params(&self) -> Params {
        let words = self.held.iter().flat_map(|(device, offset)| [device.to_string(), offset.to_string()]);
        Params::from_words(words)
    }

    /// Any other number of words than two is ignored by the kernel, so it is here (golden case `error-zero/error-args`).
    fn parse(params: &Params) -> Result<ErrorTarget, TargetParamsError> {
        let (Some(device), Some(offset), 2) = (params.word(0), params.word(1), params.len()) else {
            return Ok(ErrorTarget::default());
        };
        let offset = decimal(offset).ok_or_else(|| TargetParamsError {
            target: Self::TYPE,
            found: offset.to_owned(),
            right: "error takes nothing, or DEVICE OFFSET with the offset in sectors",
        })?;
        Ok(ErrorTarget { held: Some((Device::from(device), Sector(offset))) })
    }
}

/// A decimal number without sign that fits 64 bits.
pub(crate) fn decimal(word: &str) -> Option<u64> {
    // `parse` alone would take a `+` in front.
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}
