//! The disk log of a mirror (kernel/mirror.md#the-mirrors-log-on-disk).
//!
//! ```text
//! byte 0      magic u32 "rRiM"
//! byte 4      version u32 = 2
//! byte 8      number of regions u64
//! byte 16     whatever was on the device, kept
//! byte 1024   a bit for each region, 1 = clean; padded with zeros to a multiple of 8 bytes
//! ```
//! Integers are little-endian.

/// `rRiM` as a little-endian number.
pub const MAGIC: u32 = 0x4d69_5272;
/// The version that is written; version 1 is the same.
pub const VERSION: u32 = 2;
/// Bytes of the header that mean something.
pub const HEADER_BYTES: usize = 16;
/// Where the bits begin.
pub const BITS_OFFSET: usize = 1024;

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`MAGIC`], if it is a mirror's log.
    pub magic: u32,
    /// [`VERSION`], or 1.
    pub version: u32,
    /// How many regions the bits are of.
    pub regions: u64,
}

impl Header {
    /// Reads the first bytes of a log.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Header {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let regions = u64::from(word(8)) | u64::from(word(12)) << 32;
        Header { magic: word(0), version: word(4), regions }
    }

    /// The header as bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.magic.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.version.to_le_bytes());
        bytes[8..].copy_from_slice(&self.regions.to_le_bytes());
        bytes
    }
}

/// Bytes of header and bits, without what rounds them up to the device's block.
pub fn log_bytes(regions: u64) -> u64 {
    BITS_OFFSET as u64 + 8 * regions.div_ceil(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_as_recorded() {
        let header = Header { magic: MAGIC, version: VERSION, regions: 32 };
        let bytes = [0x72, 0x52, 0x69, 0x4d, 2, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(header.encode(), bytes);
        assert_eq!(Header::decode(&bytes), header);
        assert_eq!([1, 64, 65].map(log_bytes), [1032, 1032, 1040]);
    }
}
