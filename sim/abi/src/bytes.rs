//! Little-endian integers at fixed places of a buffer.

/// `u32` at `at`, or `None` when it does not fit inside.
pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(buf.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// `u64` at `at`, or `None` when it does not fit inside.
pub(crate) fn u64_at(buf: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(buf.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The bytes of `buf` up to its first NUL, or all of them.
pub(crate) fn until_nul(buf: &[u8]) -> &[u8] {
    &buf[..buf.iter().position(|&b| b == 0).unwrap_or(buf.len())]
}

/// Lengthens `out` to `end` with what stands there in `under`: gaps of a reply keep what the request's buffer held
/// (recorded: `raw/ioctls`). Zeros where `under` ends.
pub(crate) fn keep(out: &mut Vec<u8>, end: usize, under: &[u8]) {
    let kept = under.get(out.len()..end.min(under.len())).unwrap_or(&[]);
    out.extend_from_slice(kept);
    out.resize(end, 0);
}

/// `n` rounded up to a multiple of eight.
pub(crate) const fn align8(n: usize) -> usize {
    (n + 7) & !7
}
