//! Which clock a machine lives by.

use std::fmt;
use std::str::FromStr;

/// Which clock a machine lives by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Time {
    /// The wall clock. Where callers take turns it stands still during each.
    #[default]
    Real,
    /// A clock that stands still, and jumps to the next timer when a caller waits and nothing is runnable.
    Virtual,
}

impl Time {
    /// Both clocks.
    pub const ALL: [Time; 2] = [Time::Real, Time::Virtual];

    /// The name by which users choose the clock.
    pub const fn name(self) -> &'static str {
        match self {
            Time::Real => "real",
            Time::Virtual => "virtual",
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No such clock: what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownTime(String);

impl fmt::Display for UnknownTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Time::ALL.map(Time::name).join(", ");
        write!(f, "`{}` is no clock that a machine can live by: there are {known}", self.0)
    }
}

impl std::error::Error for UnknownTime {}

impl FromStr for Time {
    type Err = UnknownTime;

    fn from_str(text: &str) -> Result<Time, UnknownTime> {
        let found = Time::ALL.into_iter().find(|time| time.name() == text);
        found.ok_or_else(|| UnknownTime(text.to_owned()))
    }
}
