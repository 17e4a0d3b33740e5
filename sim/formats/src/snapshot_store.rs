//! The exception store of a persistent snapshot (kernel/snapshot.md#the-persistent-store).
//!
//! ```text
//! chunk 0                    header: magic u32 "SnAp", valid u32, version u32 = 1, chunk size u32 in sectors
//! chunk 1 + k * (E + 1)      metadata area k: E records of old chunk u64, new chunk u64;  E = chunk bytes / 16
//! every other chunk          copied data
//! ```
//! Integers are little-endian. There are no checksums. A record whose new chunk is 0 ends the list.

/// `SnAp` as a little-endian number.
pub const MAGIC: u32 = 0x7041_6e53;
/// The only version of the format.
pub const VERSION: u32 = 1;
/// Bytes of the header that mean something.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 16;
/// Chunk of the first metadata area.
pub const FIRST_AREA: u64 = 1;

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`MAGIC`], if it is an exception store.
    pub magic: u32,
    /// Not 0 unless the snapshot was invalidated.
    pub valid: u32,
    /// [`VERSION`].
    pub version: u32,
    /// Chunk size in sectors.
    pub chunk_size: u32,
}

impl Header {
    /// Reads the first bytes of a store.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Header {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Header { magic: word(0), valid: word(4), version: word(8), chunk_size: word(12) }
    }

    /// The header as bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        for (i, word) in [self.magic, self.valid, self.version, self.chunk_size].into_iter().enumerate() {
            bytes[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// One exception: chunk `old` of the origin lives in chunk `new` of the COW device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The chunk of the origin.
    pub old: u64,
    /// The chunk of the COW device; 0 ends the list.
    pub new: u64,
}

impl Record {
    /// Record `index` of an area; `None` beyond its end.
    pub fn decode(area: &[u8], index: usize) -> Option<Record> {
        let bytes = area.get(index * RECORD_BYTES..(index + 1) * RECORD_BYTES)?;
        let (old, new) = bytes.split_at(8);
        Some(Record {
            old: u64::from_le_bytes(old.try_into().ok()?),
            new: u64::from_le_bytes(new.try_into().ok()?),
        })
    }

    /// Writes this as record `index`, which lies inside `area`.
    pub fn encode(&self, area: &mut [u8], index: usize) {
        let at = index * RECORD_BYTES;
        area[at..at + 8].copy_from_slice(&self.old.to_le_bytes());
        area[at + 8..at + 16].copy_from_slice(&self.new.to_le_bytes());
    }
}

/// Records in an area of `chunk_bytes`.
pub fn records_per_area(chunk_bytes: usize) -> usize {
    chunk_bytes / RECORD_BYTES
}

/// Chunk of metadata area `area`.
pub fn area_chunk(area: u64, records: usize) -> u64 {
    FIRST_AREA + area * (records as u64 + 1)
}

/// Whether `chunk` is a metadata area.
pub fn is_area(chunk: u64, records: usize) -> bool {
    chunk % (records as u64 + 1) == FIRST_AREA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_header_as_recorded() {
        let header = Header { magic: MAGIC, valid: 0, version: VERSION, chunk_size: 8 };
        let bytes = [0x53, 0x6e, 0x41, 0x70, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0];
        assert_eq!(header.encode(), bytes);
        assert_eq!(Header::decode(&bytes), header);
    }

    #[test]
    fn areas_stand_between_their_data() {
        let records = records_per_area(4096);
        assert_eq!(records, 256);
        assert_eq!((area_chunk(0, records), area_chunk(1, records)), (1, 258));
        assert!(is_area(258, records) && !is_area(259, records));
        let mut area = [0; 4096];
        Record { old: 5, new: 2 }.encode(&mut area, 1);
        assert_eq!(Record::decode(&area, 1), Some(Record { old: 5, new: 2 }));
        assert_eq!(Record::decode(&area, 256), None);
    }
}
