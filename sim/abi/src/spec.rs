//! `struct dm_target_spec`: one line of a table, on its way in (TABLE_LOAD) and out (TABLE_STATUS).
//!
//! ```text
//! 0 sector_start u64   8 length u64   16 status i32   20 next u32   24 target_type[16]   40 parameters, NUL
//! ```
//! `next` means two things: on the way in the distance from this spec to the next, on the way out the distance of
//! the next spec from the first one, written in the last spec too (kernel/dm-core.md#two-meanings-of-next).

use dmlab_units::{Sector, Sectors};

use crate::HEADER_SIZE;
use crate::bytes::{align8, keep, u32_at, u64_at, until_nul};

/// Bytes of `struct dm_target_spec` before its parameter string.
pub const SPEC_SIZE: usize = 40;
const TYPE_AT: usize = 24;
const TYPE_LEN: usize = 16;

/// One target of a table: where it starts, how long it is, its type and its parameters or status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    /// First sector of the mapped device that it serves.
    pub start: Sector,
    /// How many sectors it serves.
    pub len: Sectors,
    /// The target type, without NUL.
    pub target_type: Vec<u8>,
    /// The parameters (load, STATUS_TABLE) or the status, without NUL.
    pub params: Vec<u8>,
}

/// What is wrong with a TABLE_LOAD payload. The text is the kernel's log line without its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// `target_count` is 0.
    #[error("populate_table: no targets specified")]
    NoTargets,
    /// `data_start` points into the header.
    #[error("populate_table: next target spec (offset {0}) overlaps 'struct dm_ioctl'")]
    OverlapsHeader(u32),
    /// `next` points into the spec it belongs to.
    #[error("populate_table: next target spec (offset {0}) overlaps previous target")]
    OverlapsPrevious(u32),
    /// A spec does not fit into the buffer.
    #[error("Target spec extends beyond end of parameters")]
    BeyondEnd,
    /// A spec does not start at a multiple of eight.
    #[error("Next dm_target_spec (offset {0}) is not 8-byte aligned")]
    Unaligned(u32),
    /// Parameters run to the end of the buffer without a NUL.
    #[error("populate_table: target parameters not NUL-terminated")]
    NotTerminated,
}

impl SpecError {
    /// Whether the kernel adds a second line, `unable to find target`, after this one.
    pub fn is_not_found(self) -> bool {
        matches!(self, SpecError::BeyondEnd | SpecError::Unaligned(_))
    }
}

/// Walks the specs of a TABLE_LOAD buffer (header included), checking each as the kernel does just before it uses
/// it: a mistake in the second spec is only found once the first target is built.
pub struct TargetSpecs<'a> {
    buf: &'a [u8],
    at: usize,
    /// `next` of the spec before, or `data_start`.
    next: u32,
    /// Smallest legal `next`: the size of what it must not overlap.
    min: usize,
    left: u32,
    first: bool,
}

impl<'a> TargetSpecs<'a> {
    /// A walk over `count` specs that start at `data_start` of `buf`.
    pub fn new(buf: &'a [u8], data_start: u32, count: u32) -> TargetSpecs<'a> {
        TargetSpecs { buf, at: 0, next: data_start, min: HEADER_SIZE, left: count, first: true }
    }

    fn read_next(&mut self) -> Result<TargetSpec, SpecError> {
        if (self.next as usize) < self.min {
            return Err(if self.first {
                SpecError::OverlapsHeader(self.next)
            } else {
                SpecError::OverlapsPrevious(self.next)
            });
        }
        // `next` counts from the spec before; `buf` cannot exceed 2^30 bytes, so a sum that overflows is beyond it.
        let at = self.at.checked_add(self.next as usize).ok_or(SpecError::BeyondEnd)?;
        if at.checked_add(SPEC_SIZE + 1).is_none_or(|end| end > self.buf.len()) {
            return Err(SpecError::BeyondEnd);
        }
        if !at.is_multiple_of(8) {
            return Err(SpecError::Unaligned(self.next));
        }
        let text = &self.buf[at + SPEC_SIZE..];
        let params_len = text.iter().position(|&b| b == 0).ok_or(SpecError::NotTerminated)?;
        let spec = read_spec(&self.buf[at..], &text[..params_len]).ok_or(SpecError::BeyondEnd)?;
        self.first = false;
        self.next = u32_at(self.buf, at + 20).ok_or(SpecError::BeyondEnd)?;
        self.at = at;
        self.min = SPEC_SIZE + params_len + 1;
        Ok(spec)
    }
}

impl Iterator for TargetSpecs<'_> {
    type Item = Result<TargetSpec, SpecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let spec = self.read_next();
        if spec.is_err() {
            self.left = 0;
        }
        Some(spec)
    }
}

fn read_spec(spec: &[u8], params: &[u8]) -> Option<TargetSpec> {
    Some(TargetSpec {
        start: Sector(u64_at(spec, 0)?),
        len: Sectors(u64_at(spec, 8)?),
        // Nothing ends the field: a type of 16 bytes runs on into the parameters (recorded: `raw/ioctls`). No target has
        // such a name, but the log shows it.
        target_type: until_nul(spec.get(TYPE_AT..)?).to_vec(),
        params: params.to_vec(),
    })
}

fn write_spec(out: &mut Vec<u8>, spec: &TargetSpec, next: u32) {
    out.extend_from_slice(&spec.start.0.to_le_bytes());
    out.extend_from_slice(&spec.len.0.to_le_bytes());
    out.extend_from_slice(&0i32.to_le_bytes());
    out.extend_from_slice(&next.to_le_bytes());
    let mut target_type = [0; TYPE_LEN];
    let len = spec.target_type.len().min(TYPE_LEN - 1);
    target_type[..len].copy_from_slice(&spec.target_type[..len]);
    out.extend_from_slice(&target_type);
    out.extend_from_slice(&spec.params);
    out.push(0);
}

/// The payload of a TABLE_LOAD request: each spec padded so that the next starts at a multiple of eight.
pub fn encode_load_payload(specs: &[TargetSpec]) -> Vec<u8> {
    let mut out = Vec::new();
    for spec in specs {
        let size = align8(SPEC_SIZE + spec.params.len() + 1);
        let end = out.len() + size;
        write_spec(&mut out, spec, size as u32);
        out.resize(end, 0);
    }
    out
}

/// Reads the specs of a TABLE_STATUS or DEV_WAIT reply from its payload (from `data_start` on). Stops early, with
/// what was complete, when the payload ends: a reply that says BUFFER_FULL holds fewer specs than it counts.
pub fn decode_status(payload: &[u8], count: u32) -> Vec<TargetSpec> {
    let mut specs = Vec::new();
    let mut at = 0usize;
    for _ in 0..count {
        let Some(text) = payload.get(at..).and_then(|spec| spec.get(SPEC_SIZE..)) else { break };
        let Some(end) = text.iter().position(|&b| b == 0) else { break };
        let (Some(spec), Some(next)) = (read_spec(&payload[at..], &text[..end]), u32_at(payload, at + 20))
        else {
            break;
        };
        specs.push(spec);
        if (next as usize) <= at {
            break;
        }
        at = next as usize;
    }
    specs
}

/// Writes the payload of a TABLE_STATUS reply into a space of fixed size, with the kernel's rules for what fits.
pub struct StatusWriter<'a> {
    out: Vec<u8>,
    /// The request's own payload: the reply fits into it, and its gaps keep what it held.
    under: &'a [u8],
    used: usize,
}

impl<'a> StatusWriter<'a> {
    /// A reply that takes the place of the request's payload `under`.
    pub fn new(under: &'a [u8]) -> StatusWriter<'a> {
        StatusWriter { out: Vec::new(), under, used: 0 }
    }

    /// Bytes left for the text of the next target, its NUL included; `None` when not even its spec fits.
    pub fn text_room(&self) -> Option<usize> {
        let left = self.under.len().checked_sub(self.out.len())?;
        (left > SPEC_SIZE).then(|| left - SPEC_SIZE)
    }

    /// The text that the request's payload holds where the next target's will stand, up to its NUL: what a target that writes
    /// nothing leaves to be read.
    pub fn text_under(&self) -> &'a [u8] {
        let text = self.under.get(self.out.len() + SPEC_SIZE..).unwrap_or_default();
        text.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// Adds a target. `false` says the buffer is full: what was written before stays a valid prefix.
    ///
    /// The text must leave one spare byte besides its NUL, and the end rounded up to eight must lie inside.
    pub fn push(&mut self, spec: &TargetSpec) -> bool {
        let Some(text_room) = self.text_room() else { return false };
        if spec.params.len() + 1 >= text_room {
            return false;
        }
        let used = self.out.len() + SPEC_SIZE + spec.params.len() + 1;
        let next = align8(used);
        if next > self.under.len() {
            return false;
        }
        write_spec(&mut self.out, spec, next as u32);
        keep(&mut self.out, next, self.under);
        self.used = used;
        true
    }

    /// The payload: up to the NUL of the last text, not padded.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.truncate(self.used);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(start: u64, len: u64, kind: &str, params: &str) -> TargetSpec {
        TargetSpec {
            start: Sector(start),
            len: Sectors(len),
            target_type: kind.into(),
            params: params.into(),
        }
    }

    fn load(specs: &[TargetSpec]) -> Vec<u8> {
        let mut buf = vec![0; HEADER_SIZE];
        buf.extend(encode_load_payload(specs));
        buf
    }

    #[test]
    fn a_load_payload_reads_back() {
        let specs = [spec(0, 8, "linear", "/dev/ram0 0"), spec(8, 8, "zero", "")];
        let buf = load(&specs);
        let read: Vec<_> = TargetSpecs::new(&buf, 312, 2).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, specs);
    }

    #[test]
    fn every_malformed_load_has_its_own_error() {
        let mut buf = load(&[spec(0, 8, "zero", ""), spec(8, 8, "zero", "")]);
        let first = |buf: &[u8], start| TargetSpecs::new(buf, start, 2).find_map(Result::err);
        assert_eq!(first(&buf, 0), Some(SpecError::OverlapsHeader(0)));
        assert_eq!(first(&buf, 305), Some(SpecError::OverlapsHeader(305)));
        assert_eq!(first(&buf, 316), Some(SpecError::Unaligned(316)));
        assert_eq!(first(&buf, buf.len() as u32 - 40), Some(SpecError::BeyondEnd));
        assert_eq!(first(&buf, u32::MAX), Some(SpecError::BeyondEnd));
        buf[312 + 20..312 + 24].copy_from_slice(&8u32.to_le_bytes());
        assert_eq!(first(&buf, 312), Some(SpecError::OverlapsPrevious(8)));
        let unended: Vec<u8> = load(&[spec(0, 8, "linear", "x")])[..312 + 41].to_vec();
        assert_eq!(TargetSpecs::new(&unended, 312, 1).next(), Some(Err(SpecError::NotTerminated)));
    }

    #[test]
    fn a_type_of_sixteen_bytes_runs_on_into_its_parameters() {
        let mut buf = load(&[spec(0, 8, "zero", "zz")]);
        buf[312 + 24..312 + 40].fill(b'a');
        let read = TargetSpecs::new(&buf, 312, 1).next().unwrap().unwrap();
        assert_eq!(read.target_type, b"aaaaaaaaaaaaaaaazz");
        assert_eq!(read.params, b"zz");
    }

    #[test]
    fn a_status_reply_reads_back_and_knows_when_it_is_full() {
        let specs = [spec(0, 8, "linear", "1:0 0"), spec(8, 8, "zero", "")];
        let mut writer = StatusWriter::new(&[0; 1000]);
        assert!(specs.iter().all(|s| writer.push(s)));
        let payload = writer.finish();
        assert_eq!(payload.len(), 48 + 41);
        assert_eq!(decode_status(&payload, 2), specs);
        let mut tight = StatusWriter::new(&[0; 48]);
        assert!(tight.push(&specs[0]));
        assert!(!tight.push(&specs[1]));
        // 46 bytes hold the text and its NUL, but no spare byte.
        assert!(!StatusWriter::new(&[0; 46]).push(&specs[0]));
    }
}
