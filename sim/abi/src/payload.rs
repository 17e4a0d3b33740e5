//! The other payloads: lists of names and versions, dependencies, geometry, strings.

use dmlab_units::DevT;

use crate::HEADER_MIN;
use crate::bytes::{align8, keep, u32_at, u64_at, until_nul};

/// What is wrong with a reply's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A record ends beyond the payload.
    #[error("a record at byte {0} of the reply ends beyond it")]
    Truncated(usize),
}

/// The string at `data_start` of a request (header included): it must start after the fixed part of the header and
/// end with a NUL inside the buffer. `None` otherwise.
pub fn nul_terminated(buf: &[u8], data_start: u32) -> Option<&[u8]> {
    let at = data_start as usize;
    if at < HEADER_MIN {
        return None;
    }
    let text = buf.get(at..)?;
    Some(&text[..text.iter().position(|&b| b == 0)?])
}

/// One device of a LIST_DEVICES reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEntry {
    /// The number of the device.
    pub dev: DevT,
    /// The name of the device.
    pub name: Vec<u8>,
    /// The event number of the device.
    pub event_nr: u32,
    /// Outer `None`: uuids were not asked for. Inner `None`: it has none.
    pub uuid: Option<Option<Vec<u8>>>,
}

const NAME_HAS_UUID: u32 = 1;
const NAME_HAS_NO_UUID: u32 = 2;
const NAME_AT: usize = 12;

/// Writes the payload of a LIST_DEVICES reply, a device at a time.
pub struct NamesWriter<'a> {
    out: Vec<u8>,
    /// The request's own payload: the gaps of the reply keep what it held.
    under: &'a [u8],
    /// Where the entry written last begins.
    last: Option<usize>,
}

impl<'a> NamesWriter<'a> {
    /// A reply that takes the place of the request's payload `under`.
    pub fn new(under: &'a [u8]) -> NamesWriter<'a> {
        NamesWriter { out: Vec::new(), under, last: None }
    }

    /// Adds a device. `uuid` as in [`NameEntry`].
    pub fn push(&mut self, dev: DevT, name: &[u8], event_nr: u32, uuid: Option<Option<&[u8]>>) {
        let out = &mut self.out;
        let at = out.len();
        if let Some(last) = self.last.replace(at) {
            out[last + 8..last + NAME_AT].copy_from_slice(&((at - last) as u32).to_le_bytes());
        }
        out.extend_from_slice(&dev.to_huge().to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(name);
        out.push(0);
        let tail = align8(out.len());
        keep(out, tail, self.under);
        out.extend_from_slice(&event_nr.to_le_bytes());
        let flags = match uuid {
            None => 0,
            Some(None) => NAME_HAS_NO_UUID,
            Some(Some(_)) => NAME_HAS_UUID,
        };
        out.extend_from_slice(&flags.to_le_bytes());
        if let Some(Some(uuid)) = uuid {
            out.extend_from_slice(uuid);
            out.push(0);
        }
        let end = align8(out.len());
        keep(out, end, self.under);
    }

    /// The payload. It is as long as it must be, whatever the request has room for.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// The payload of a LIST_DEVICES reply, with zeros between its fields.
pub fn encode_names(entries: &[NameEntry]) -> Vec<u8> {
    let mut writer = NamesWriter::new(&[]);
    for entry in entries {
        writer.push(entry.dev, &entry.name, entry.event_nr, entry.uuid.as_ref().map(Option::as_deref));
    }
    writer.finish()
}

/// Reads the payload of a LIST_DEVICES reply.
///
/// # Errors
/// [`PayloadError::Truncated`].
pub fn decode_names(payload: &[u8]) -> Result<Vec<NameEntry>, PayloadError> {
    let mut entries = Vec::new();
    let mut at = 0usize;
    while at < payload.len() {
        let cut = PayloadError::Truncated(at);
        let dev = u64_at(payload, at).ok_or(cut)?;
        if dev == 0 {
            break;
        }
        let next = u32_at(payload, at + 8).ok_or(cut)? as usize;
        let name = until_nul(payload.get(at + NAME_AT..).ok_or(cut)?).to_vec();
        let tail = align8(at + NAME_AT + name.len() + 1);
        let event_nr = u32_at(payload, tail).ok_or(cut)?;
        let uuid = match u32_at(payload, tail + 4).ok_or(cut)? {
            flags if flags & NAME_HAS_UUID != 0 => {
                Some(Some(until_nul(payload.get(tail + 8..).ok_or(cut)?).to_vec()))
            }
            flags if flags & NAME_HAS_NO_UUID != 0 => Some(None),
            _ => None,
        };
        entries.push(NameEntry { dev: DevT::from_huge(dev), name, event_nr, uuid });
        if next == 0 {
            break;
        }
        at = at.checked_add(next).ok_or(cut)?;
    }
    Ok(entries)
}

/// One target type of a LIST_VERSIONS reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetVersion {
    /// The name of the target type.
    pub name: Vec<u8>,
    /// The version triple of the target type.
    pub version: [u32; 3],
}

const VERSION_NAME_AT: usize = 16;

/// Bytes that the kernel demands, and reports, for a list of versions: seven bytes of slack for each record,
/// whatever its alignment needs (kernel/dm-core.md#list_versions).
pub fn versions_len(versions: &[TargetVersion]) -> usize {
    versions.iter().map(|v| VERSION_NAME_AT + v.name.len() + 1 + 7).sum()
}

/// The payload of a LIST_VERSIONS reply: [`versions_len`] bytes, with zeros between its fields.
pub fn encode_versions(versions: &[TargetVersion]) -> Vec<u8> {
    encode_versions_over(versions, &[])
}

/// The payload of a LIST_VERSIONS reply; bytes between its fields stay as they stood in the request's payload `under`.
pub fn encode_versions_over(versions: &[TargetVersion], under: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(versions_len(versions));
    for (i, version) in versions.iter().enumerate() {
        let size = align8(VERSION_NAME_AT + version.name.len() + 1);
        let next = if i + 1 == versions.len() { 0 } else { size as u32 };
        let end = out.len() + size;
        out.extend_from_slice(&next.to_le_bytes());
        for part in version.version {
            out.extend_from_slice(&part.to_le_bytes());
        }
        out.extend_from_slice(&version.name);
        out.push(0);
        keep(&mut out, end, under);
    }
    keep(&mut out, versions_len(versions), under);
    out
}

/// Reads the payload of a LIST_VERSIONS reply.
///
/// # Errors
/// [`PayloadError::Truncated`].
pub fn decode_versions(payload: &[u8]) -> Result<Vec<TargetVersion>, PayloadError> {
    let mut versions = Vec::new();
    let mut at = 0usize;
    while at < payload.len() {
        let cut = PayloadError::Truncated(at);
        let next = u32_at(payload, at).ok_or(cut)? as usize;
        let part = |i: usize| u32_at(payload, at + 4 + 4 * i).ok_or(cut);
        let version = [part(0)?, part(1)?, part(2)?];
        let name = until_nul(payload.get(at + VERSION_NAME_AT..).ok_or(cut)?).to_vec();
        versions.push(TargetVersion { name, version });
        if next == 0 {
            break;
        }
        at = at.checked_add(next).ok_or(cut)?;
    }
    Ok(versions)
}

/// The payload of a TABLE_DEPS reply. `pad` is the word that the kernel leaves as the request had it.
pub fn encode_deps(devs: &[DevT], pad: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + 8 * devs.len());
    out.extend_from_slice(&(devs.len() as u32).to_le_bytes());
    out.extend_from_slice(&pad.to_le_bytes());
    for dev in devs {
        out.extend_from_slice(&dev.to_huge().to_le_bytes());
    }
    out
}

/// Reads the payload of a TABLE_DEPS reply.
///
/// # Errors
/// [`PayloadError::Truncated`].
pub fn decode_deps(payload: &[u8]) -> Result<Vec<DevT>, PayloadError> {
    let count = u32_at(payload, 0).ok_or(PayloadError::Truncated(0))? as usize;
    (0..count)
        .map(|i| {
            let at = i.checked_mul(8).and_then(|n| n.checked_add(8)).ok_or(PayloadError::Truncated(0))?;
            u64_at(payload, at).map(DevT::from_huge).ok_or(PayloadError::Truncated(at))
        })
        .collect()
}

/// What DEV_SET_GEOMETRY stores and HDIO_GETGEO returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads.
    pub heads: u8,
    /// Sectors in a track.
    pub sectors: u8,
    /// First sector of the device on its disk.
    pub start: u64,
}

/// What is wrong with a geometry string. The text is the kernel's log line without its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Not exactly four numbers.
    #[error("Unable to interpret geometry settings.")]
    Unreadable,
    /// A number beyond its field.
    #[error("Geometry exceeds range limits.")]
    TooLarge,
}

impl Geometry {
    /// Reads `cylinders heads sectors start`, decimal.
    ///
    /// # Errors
    /// The two lines that the kernel logs.
    pub fn parse(text: &[u8]) -> Result<Geometry, GeometryError> {
        let text = std::str::from_utf8(text).map_err(|_| GeometryError::Unreadable)?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [cylinders, heads, sectors, start] = words[..] else { return Err(GeometryError::Unreadable) };
        // Nothing may follow the last number, not even a blank; numbers wrap at 64 bits as the kernel's scan does.
        if text.ends_with(|c: char| c.is_ascii_whitespace()) {
            return Err(GeometryError::Unreadable);
        }
        let number = |word: &str| -> Result<u64, GeometryError> {
            if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
                return Err(GeometryError::Unreadable);
            }
            Ok(word.bytes().fold(0u64, |n, b| n.wrapping_mul(10).wrapping_add(u64::from(b - b'0'))))
        };
        let (cylinders, heads, sectors, start) =
            (number(cylinders)?, number(heads)?, number(sectors)?, number(start)?);
        Ok(Geometry {
            cylinders: cylinders.try_into().map_err(|_| GeometryError::TooLarge)?,
            heads: heads.try_into().map_err(|_| GeometryError::TooLarge)?,
            sectors: sectors.try_into().map_err(|_| GeometryError::TooLarge)?,
            start,
        })
    }

    /// Sectors that cylinders, heads and sectors span together.
    pub fn capacity(&self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_recorded() {
        let entry = |minor, name: &str, uuid: Option<&str>| NameEntry {
            dev: DevT::new(254, minor),
            name: name.into(),
            event_nr: 0,
            uuid: Some(uuid.map(Into::into)),
        };
        let entries = [entry(1, "a2", Some("U-a2")), entry(0, "b1", None), entry(2, "c", Some("LVM-x"))];
        let bytes = encode_names(&entries);
        assert_eq!(bytes.len(), 400 - 312);
        assert_eq!(bytes[..12], [1, 0xfe, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0]);
        assert_eq!(&bytes[12..16], b"a2\0\0");
        assert_eq!(bytes[16..24], [0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(&bytes[24..32], b"U-a2\0\0\0\0");
        assert_eq!(bytes[40..44], [0x18, 0, 0, 0]);
        assert_eq!(decode_names(&bytes).unwrap(), entries);
    }

    #[test]
    fn gaps_keep_what_the_request_held() {
        let names = |under: &[u8]| {
            let mut writer = NamesWriter::new(under);
            writer.push(DevT::new(254, 0), b"r", 0, None);
            writer.finish()
        };
        let bytes = names(&[0xa5; 100]);
        assert_eq!(bytes[12..16], *b"r\0\xa5\xa5");
        assert_eq!(bytes.len(), 24);
        // A shorter request leaves zeros where it holds nothing.
        assert_eq!(names(&[0xa5; 15])[12..16], *b"r\0\xa5\0");
        let linear = TargetVersion { name: b"linear".to_vec(), version: [1, 4, 0] };
        let bytes = encode_versions_over(&[linear], &[0xa5; 100]);
        assert_eq!(bytes[16..], *b"linear\0\xa5\xa5\xa5\xa5\xa5\xa5\xa5");
    }

    #[test]
    fn versions_report_their_slack() {
        let versions = [TargetVersion { name: b"linear".to_vec(), version: [1, 4, 0] }];
        let bytes = encode_versions(&versions);
        assert_eq!(312 + bytes.len(), 342);
        assert_eq!(decode_versions(&bytes).unwrap(), versions);
    }

    #[test]
    fn deps_read_back_and_never_trust_their_count() {
        let devs = [DevT::new(1, 1), DevT::new(1, 0)];
        assert_eq!(decode_deps(&encode_deps(&devs, 7)).unwrap(), devs);
        assert!(decode_deps(&[0xff; 16]).is_err());
        assert!(decode_deps(&[]).is_err());
    }

    #[test]
    fn geometry_takes_four_numbers() {
        assert_eq!(
            Geometry::parse(b"10 20 30 40"),
            Ok(Geometry { cylinders: 10, heads: 20, sectors: 30, start: 40 })
        );
        assert_eq!(Geometry::parse(b"x y z 0"), Err(GeometryError::Unreadable));
        assert_eq!(Geometry::parse(b"1 2 3 4 5"), Err(GeometryError::Unreadable));
        assert_eq!(Geometry::parse(b"65536 1 1 0"), Err(GeometryError::TooLarge));
    }

    #[test]
    fn strings_must_end_inside() {
        let mut buf = vec![b'x'; 320];
        assert_eq!(nul_terminated(&buf, 312), None);
        buf[315] = 0;
        assert_eq!(nul_terminated(&buf, 312), Some(&b"xxx"[..]));
        assert_eq!(nul_terminated(&buf, 304), None);
        assert_eq!(nul_terminated(&buf, 400), None);
    }
}
