//! Sectors and bytes: where on a device, and how much of it.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// log2 of the sector size.
pub const SECTOR_SHIFT: u32 = 9;
/// Bytes in a sector. The block layer counts in units of 512 bytes whatever the disk's own block size is.
pub const SECTOR_SIZE: u64 = 1 << SECTOR_SHIFT;

/// A place on a device: the number of sectors before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sector(pub u64);

/// A length in sectors of 512 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sectors(pub u64);

/// A length or an offset in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Bytes(pub u64);

impl Sector {
    /// The first sector of every device.
    pub const ZERO: Sector = Sector(0);

    /// Byte offset of this sector, or `None` past 2^64 bytes.
    pub fn to_bytes(self) -> Option<Bytes> {
        self.0.checked_mul(SECTOR_SIZE).map(Bytes)
    }

    /// This place moved on by `len`, or `None` on overflow.
    pub fn checked_add(self, len: Sectors) -> Option<Sector> {
        self.0.checked_add(len.0).map(Sector)
    }

    /// The distance back to `earlier`, or `None` when `earlier` lies behind this sector.
    pub fn checked_since(self, earlier: Sector) -> Option<Sectors> {
        self.0.checked_sub(earlier.0).map(Sectors)
    }
}

impl Sectors {
    /// No sectors.
    pub const ZERO: Sectors = Sectors(0);

    /// This length in bytes, or `None` past 2^64 bytes.
    pub fn to_bytes(self) -> Option<Bytes> {
        self.0.checked_mul(SECTOR_SIZE).map(Bytes)
    }

    /// The shorter of two lengths.
    pub fn min(self, other: Sectors) -> Sectors {
        Sectors(self.0.min(other.0))
    }

    /// Whether there is nothing here.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Bytes {
    /// No bytes.
    pub const ZERO: Bytes = Bytes(0);

    /// `n` KiB.
    pub const fn kib(n: u64) -> Bytes {
        Bytes(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Bytes {
        Bytes(n << 20)
    }

    /// `n` GiB.
    pub const fn gib(n: u64) -> Bytes {
        Bytes(n << 30)
    }

    /// This length in whole sectors; what is left over is dropped.
    pub fn sectors_floor(self) -> Sectors {
        Sectors(self.0 >> SECTOR_SHIFT)
    }

    /// This length in sectors, or `None` when it is not a whole number of them.
    pub fn sectors_exact(self) -> Option<Sectors> {
        self.0.is_multiple_of(SECTOR_SIZE).then(|| self.sectors_floor())
    }
}

impl Add<Sectors> for Sector {
    type Output = Sector;
    fn add(self, len: Sectors) -> Sector {
        Sector(self.0 + len.0)
    }
}

impl AddAssign<Sectors> for Sector {
    fn add_assign(&mut self, len: Sectors) {
        self.0 += len.0;
    }
}

impl Sub<Sectors> for Sector {
    type Output = Sector;
    fn sub(self, len: Sectors) -> Sector {
        Sector(self.0 - len.0)
    }
}

impl Sub<Sector> for Sector {
    type Output = Sectors;
    fn sub(self, earlier: Sector) -> Sectors {
        Sectors(self.0 - earlier.0)
    }
}

impl Add for Sectors {
    type Output = Sectors;
    fn add(self, other: Sectors) -> Sectors {
        Sectors(self.0 + other.0)
    }
}

impl AddAssign for Sectors {
    fn add_assign(&mut self, other: Sectors) {
        self.0 += other.0;
    }
}

impl Sub for Sectors {
    type Output = Sectors;
    fn sub(self, other: Sectors) -> Sectors {
        Sectors(self.0 - other.0)
    }
}

impl SubAssign for Sectors {
    fn sub_assign(&mut self, other: Sectors) {
        self.0 -= other.0;
    }
}

impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0 + other.0)
    }
}

impl Sub for Bytes {
    type Output = Bytes;
    fn sub(self, other: Bytes) -> Bytes {
        Bytes(self.0 - other.0)
    }
}

impl fmt::Display for Sector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Bytes {
    /// In the largest binary unit that divides it: `64 KiB`, `3 GiB`, `513 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self.0 {
            0 => (0, "B"),
            n if n.is_multiple_of(1 << 40) => (n >> 40, "TiB"),
            n if n.is_multiple_of(1 << 30) => (n >> 30, "GiB"),
            n if n.is_multiple_of(1 << 20) => (n >> 20, "MiB"),
            n if n.is_multiple_of(1 << 10) => (n >> 10, "KiB"),
            n => (n, "B"),
        };
        write!(f, "{count} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_lengths() {
        assert_eq!(Sector(8) + Sectors(3), Sector(11));
        assert_eq!(Sector(11) - Sector(8), Sectors(3));
        assert_eq!(Sector(u64::MAX).checked_add(Sectors(1)), None);
        assert_eq!(Sector(3).checked_since(Sector(4)), None);
        assert_eq!(Sectors(u64::MAX).to_bytes(), None);
        assert_eq!(Bytes(1023).sectors_floor(), Sectors(1));
        assert_eq!(Bytes(1023).sectors_exact(), None);
        assert_eq!(Bytes(1024).sectors_exact(), Some(Sectors(2)));
    }

    #[test]
    fn bytes_read_in_the_largest_exact_unit() {
        assert_eq!(Bytes::mib(256).to_string(), "256 MiB");
        assert_eq!(Bytes(513).to_string(), "513 B");
        assert_eq!(Bytes::ZERO.to_string(), "0 B");
    }
}
