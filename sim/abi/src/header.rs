//! `struct dm_ioctl` itself, kept as its bytes.
//!
//! The kernel answers in the caller's own struct: unknown flag bits, padding and what stands behind the terminators
//! of name and uuid come back as they were sent. So the bytes are the truth and the fields are views of them.

use dmlab_units::DevT;

use crate::bytes::until_nul;
use crate::{DmFlags, HEADER_MIN, HEADER_SIZE};

/// Bytes of the `name` field with its NUL.
pub const NAME_LEN: usize = 128;
/// Bytes of the `uuid` field with its NUL.
pub const UUID_LEN: usize = 129;

const VERSION: usize = 0;
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const OPEN_COUNT: usize = 24;
const FLAGS: usize = 28;
const EVENT_NR: usize = 32;
const DEV: usize = 40;
const NAME: usize = 48;
const UUID: usize = 176;
const _: () = assert!(UUID + UUID_LEN == HEADER_MIN && HEADER_MIN + 7 == HEADER_SIZE);

/// Why a header cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer bytes than the fixed part.
    #[error("{0} bytes are too few for struct dm_ioctl, which has at least {HEADER_MIN}")]
    Short(usize),
    /// A name that does not fit with its NUL.
    #[error("a name of {0} bytes is too long, at most 127 fit")]
    NameTooLong(usize),
    /// A uuid that does not fit with its NUL.
    #[error("a uuid of {0} bytes is too long, at most 128 fit")]
    UuidTooLong(usize),
}

/// `struct dm_ioctl`: 312 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_SIZE],
}

impl Default for Header {
    fn default() -> Header {
        Header { bytes: [0; HEADER_SIZE] }
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("dm_ioctl")
            .field("version", &self.version())
            .field("data_size", &self.data_size())
            .field("data_start", &self.data_start())
            .field("target_count", &self.target_count())
            .field("open_count", &self.open_count())
            .field("flags", &self.flags())
            .field("event_nr", &self.event_nr())
            .field("dev", &format_args!("{:#x}", self.dev_huge()))
            .field("name", &String::from_utf8_lossy(self.name()))
            .field("uuid", &String::from_utf8_lossy(self.uuid()))
            .finish()
    }
}

impl Header {
    /// A request as a careful program sends it: all zero but the version, the flags and the place of the payload.
    pub fn request(version: [u32; 3], data_size: u32, flags: DmFlags) -> Header {
        let mut header = Header::default();
        header.set_version(version);
        header.set_data_size(data_size);
        header.set_data_start(HEADER_SIZE as u32);
        header.set_flags(flags);
        header
    }

    /// Reads a header from the start of `buf`; 305 bytes are enough, the seven after them count as zero if absent.
    ///
    /// # Errors
    /// [`HeaderError::Short`] when `buf` has fewer.
    pub fn decode(buf: &[u8]) -> Result<Header, HeaderError> {
        if buf.len() < HEADER_MIN {
            return Err(HeaderError::Short(buf.len()));
        }
        let mut header = Header::default();
        let len = buf.len().min(HEADER_SIZE);
        header.bytes[..len].copy_from_slice(&buf[..len]);
        Ok(header)
    }

    /// All 312 bytes.
    pub fn as_bytes(&self) -> &[u8; HEADER_SIZE] {
        &self.bytes
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes inside the header"))
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Interface version: the caller's on the way in, the kernel's on the way out.
    pub fn version(&self) -> [u32; 3] {
        [self.u32(VERSION), self.u32(VERSION + 4), self.u32(VERSION + 8)]
    }

    /// Sets the version.
    pub fn set_version(&mut self, version: [u32; 3]) {
        for (i, part) in version.into_iter().enumerate() {
            self.put_u32(VERSION + 4 * i, part);
        }
    }

    /// Bytes of the whole buffer (in) or of the reply (out).
    pub fn data_size(&self) -> u32 {
        self.u32(DATA_SIZE)
    }

    /// Sets `data_size`, in bytes.
    pub fn set_data_size(&mut self, bytes: u32) {
        self.put_u32(DATA_SIZE, bytes);
    }

    /// Offset of the payload from the start of the struct, in bytes.
    pub fn data_start(&self) -> u32 {
        self.u32(DATA_START)
    }

    /// Sets `data_start`, in bytes.
    pub fn set_data_start(&mut self, bytes: u32) {
        self.put_u32(DATA_START, bytes);
    }

    /// Number of target specs (TABLE_LOAD) or of targets in the table.
    pub fn target_count(&self) -> u32 {
        self.u32(TARGET_COUNT)
    }

    /// Sets `target_count`.
    pub fn set_target_count(&mut self, count: u32) {
        self.put_u32(TARGET_COUNT, count);
    }

    /// How many have the device open.
    pub fn open_count(&self) -> i32 {
        self.u32(OPEN_COUNT) as i32
    }

    /// Sets `open_count`.
    pub fn set_open_count(&mut self, count: i32) {
        self.put_u32(OPEN_COUNT, count as u32);
    }

    /// Flags, unknown ones included.
    pub fn flags(&self) -> DmFlags {
        DmFlags::from_bits_retain(self.u32(FLAGS))
    }

    /// Sets all flags.
    pub fn set_flags(&mut self, flags: DmFlags) {
        self.put_u32(FLAGS, flags.bits());
    }

    /// Sets or clears some flags and leaves the others.
    pub fn set_flag(&mut self, flag: DmFlags, on: bool) {
        let mut flags = self.flags();
        flags.set(flag, on);
        self.set_flags(flags);
    }

    /// Event number of the device; on the way in also the udev cookie.
    pub fn event_nr(&self) -> u32 {
        self.u32(EVENT_NR)
    }

    /// Sets `event_nr`.
    pub fn set_event_nr(&mut self, event_nr: u32) {
        self.put_u32(EVENT_NR, event_nr);
    }

    /// The `dev` field as it stands, in the huge encoding; 0 says "none".
    pub fn dev_huge(&self) -> u64 {
        u64::from_le_bytes(self.bytes[DEV..DEV + 8].try_into().expect("eight bytes inside the header"))
    }

    /// The device number, or `None` when the field is 0.
    pub fn dev(&self) -> Option<DevT> {
        (self.dev_huge() != 0).then(|| DevT::from_huge(self.dev_huge()))
    }

    /// Sets `dev`; `None` writes 0.
    pub fn set_dev(&mut self, dev: Option<DevT>) {
        self.set_dev_huge(dev.map_or(0, DevT::to_huge));
    }

    /// Sets `dev` as it stands, also to a number that is no device's.
    pub fn set_dev_huge(&mut self, dev: u64) {
        self.bytes[DEV..DEV + 8].copy_from_slice(&dev.to_le_bytes());
    }

    /// The name up to its NUL; empty when none was given.
    pub fn name(&self) -> &[u8] {
        until_nul(&self.bytes[NAME..NAME + NAME_LEN])
    }

    /// The uuid up to its NUL; empty when none was given.
    pub fn uuid(&self) -> &[u8] {
        until_nul(&self.bytes[UUID..UUID + UUID_LEN])
    }

    /// Writes a name and its NUL; what stood behind them stays, as in the kernel.
    ///
    /// # Errors
    /// [`HeaderError::NameTooLong`].
    pub fn set_name(&mut self, name: &[u8]) -> Result<(), HeaderError> {
        if name.len() >= NAME_LEN {
            return Err(HeaderError::NameTooLong(name.len()));
        }
        self.bytes[NAME..NAME + name.len()].copy_from_slice(name);
        self.bytes[NAME + name.len()] = 0;
        Ok(())
    }

    /// Writes a uuid and its NUL; what stood behind them stays.
    ///
    /// # Errors
    /// [`HeaderError::UuidTooLong`].
    pub fn set_uuid(&mut self, uuid: &[u8]) -> Result<(), HeaderError> {
        if uuid.len() >= UUID_LEN {
            return Err(HeaderError::UuidTooLong(uuid.len()));
        }
        self.bytes[UUID..UUID + uuid.len()].copy_from_slice(uuid);
        self.bytes[UUID + uuid.len()] = 0;
        Ok(())
    }

    /// Ends name and uuid with a NUL in the last byte of their fields: over-long input is cut to 127 and 128 bytes.
    pub fn terminate_strings(&mut self) {
        self.bytes[NAME + NAME_LEN - 1] = 0;
        self.bytes[UUID + UUID_LEN - 1] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_struct_has_them() {
        let mut header = Header::request([4, 0, 0], 16384, DmFlags::EXISTS | DmFlags::READONLY);
        header.set_dev(Some(DevT::new(254, 1)));
        header.set_name(b"a").unwrap();
        header.set_uuid(b"U-a").unwrap();
        header.set_target_count(2);
        header.set_open_count(-1);
        header.set_event_nr(0x0061_0000);
        let b = header.as_bytes();
        assert_eq!(b[..4], [4, 0, 0, 0]);
        assert_eq!(b[12..16], 16384u32.to_le_bytes());
        assert_eq!(b[16..20], 312u32.to_le_bytes());
        assert_eq!(b[20..24], 2u32.to_le_bytes());
        assert_eq!(b[24..28], [0xff; 4]);
        assert_eq!(b[28..32], 5u32.to_le_bytes());
        assert_eq!(b[32..36], [0, 0, 0x61, 0]);
        assert_eq!(b[40..48], 0xfe01u64.to_le_bytes());
        assert_eq!(&b[48..50], b"a\0");
        assert_eq!(&b[176..180], b"U-a\0");
        assert_eq!(Header::decode(b).unwrap(), header);
        assert_eq!(Header::decode(&b[..304]), Err(HeaderError::Short(304)));
    }

    #[test]
    fn what_stands_behind_a_terminator_stays() {
        let mut header = Header::decode(&[b'x'; HEADER_SIZE]).unwrap();
        header.set_name(b"ab").unwrap();
        assert_eq!(&header.as_bytes()[48..52], b"ab\0x");
        assert_eq!(header.uuid().len(), UUID_LEN);
        header.terminate_strings();
        assert_eq!(header.uuid().len(), UUID_LEN - 1);
        assert_eq!(header.set_name(&[b'a'; 128]), Err(HeaderError::NameTooLong(128)));
    }
}
