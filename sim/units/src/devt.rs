//! Device numbers: major and minor.

use std::fmt;
use std::str::FromStr;

/// A device number, as Linux keeps it inside: 12 bits of major, 20 bits of minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "(u32, u32)", into = "(u32, u32)"))]
pub struct DevT {
    major: u32,
    minor: u32,
}

impl From<(u32, u32)> for DevT {
    /// As [`DevT::new`].
    fn from((major, minor): (u32, u32)) -> DevT {
        DevT::new(major, minor)
    }
}

impl From<DevT> for (u32, u32) {
    fn from(dev: DevT) -> (u32, u32) {
        (dev.major, dev.minor)
    }
}

/// Why a `MAJOR:MINOR` string names no device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseDevTError {
    /// Not two decimal numbers with a colon between them (the caller then tries the string as a path).
    NotANumber,
    /// Two numbers, but not in 12 and 20 bits (EOVERFLOW on Linux; kernel/dm-core.md#opening-devices).
    TooLarge,
}

impl DevT {
    /// Bits of the minor number.
    pub const MINOR_BITS: u32 = 20;
    /// Largest major number.
    pub const MAJOR_MAX: u32 = 0xfff;
    /// Largest minor number.
    pub const MINOR_MAX: u32 = (1 << Self::MINOR_BITS) - 1;

    /// The device number `major:minor`; bits beyond 12 and 20 are cut off, as the kernel's `MKDEV` users rely on.
    pub const fn new(major: u32, minor: u32) -> DevT {
        DevT { major: major & Self::MAJOR_MAX, minor: minor & Self::MINOR_MAX }
    }

    /// Which driver.
    pub const fn major(self) -> u32 {
        self.major
    }

    /// Which of the driver's devices.
    pub const fn minor(self) -> u32 {
        self.minor
    }

    /// The encoding of `stat` and of `struct dm_ioctl`: low minor byte, 12 bits of major, the rest of the minor.
    pub const fn to_huge(self) -> u64 {
        ((self.minor & 0xff) | (self.major << 8)) as u64 | (((self.minor & !0xff) as u64) << 12)
    }

    /// The inverse of [`DevT::to_huge`]; bits that encode nothing are ignored.
    pub const fn from_huge(dev: u64) -> DevT {
        DevT::new(((dev & 0xfff00) >> 8) as u32, ((dev & 0xff) | ((dev >> 12) & 0xfff00)) as u32)
    }
}

impl fmt::Display for DevT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DevT {
    type Err = ParseDevTError;

    /// Reads `MAJOR:MINOR`, decimal, the whole string. Each number is taken modulo 2^32, as the kernel's scan does.
    fn from_str(s: &str) -> Result<DevT, ParseDevTError> {
        let (major, minor) = s.split_once(':').ok_or(ParseDevTError::NotANumber)?;
        let (major, minor) = (decimal_u32(major)?, decimal_u32(minor)?);
        if major > Self::MAJOR_MAX || minor > Self::MINOR_MAX {
            return Err(ParseDevTError::TooLarge);
        }
        Ok(DevT { major, minor })
    }
}

fn decimal_u32(digits: &str) -> Result<u32, ParseDevTError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseDevTError::NotANumber);
    }
    Ok(digits.bytes().fold(0u32, |n, b| n.wrapping_mul(10).wrapping_add(u32::from(b - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_encoding_as_recorded() {
        assert_eq!(DevT::new(254, 1).to_huge(), 0xfe01);
        for dev in [DevT::new(1, 0), DevT::new(254, 300), DevT::new(0xfff, DevT::MINOR_MAX)] {
            assert_eq!(DevT::from_huge(dev.to_huge()), dev);
        }
    }

    #[test]
    fn parses_whole_strings_only() {
        assert_eq!("1:0".parse(), Ok(DevT::new(1, 0)));
        assert_eq!("5000:1".parse::<DevT>(), Err(ParseDevTError::TooLarge));
        for path in ["1:0x", "/dev/ram0", "1", ":", "1:", "-1:0", ""] {
            assert_eq!(path.parse::<DevT>(), Err(ParseDevTError::NotANumber), "{path}");
        }
    }
}
