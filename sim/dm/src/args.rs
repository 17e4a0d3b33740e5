//! Words and numbers of table lines and messages, read as the kernel reads them.

use dmlab_runtime::{Personality, Quirks};
use dmlab_units::Errno;

use crate::CtrError;

/// Whitespace of the kernel's `isspace`: the C locale's, and 0xA0 of Latin-1.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0xa0)
}

/// Splits parameters or a message into words (kernel/dm-core.md#splitting-parameters).
///
/// A backslash makes the next byte ordinary, whatever it is; one right before the end stands for itself.
pub fn split_args(params: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut bytes = params.iter().copied().peekable();
    loop {
        while bytes.next_if(|&b| is_space(b)).is_some() {}
        if bytes.peek().is_none() {
            return words;
        }
        let mut word = Vec::new();
        while let Some(byte) = bytes.next_if(|&b| !is_space(b)) {
            match (byte, bytes.peek()) {
                (b'\\', Some(&literal)) => {
                    bytes.next();
                    word.push(literal);
                }
                _ => word.push(byte),
            }
        }
        words.push(word);
    }
}

/// A decimal number as a kernel's `sscanf("%llu%c")` reads it: digits only, the whole word. What is larger than 64 bits is
/// taken modulo 2^64 (recorded: `linear/bad-args`), or is the largest number there is
/// ([`Quirks::LARGE_NUMBERS_SATURATE`], recorded: `linear/bad-args` of Linux 7.2).
pub fn scan_u64(word: &[u8], personality: &Personality) -> Option<u64> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let step = |n: u64, digit: u64| n.checked_mul(10)?.checked_add(digit);
    let mut number = 0u64;
    for digit in word.iter().map(|b| u64::from(b - b'0')) {
        number = match step(number, digit) {
            Some(number) => number,
            None if personality.has(Quirks::LARGE_NUMBERS_SATURATE) => return Some(u64::MAX),
            None => number.wrapping_mul(10).wrapping_add(digit),
        };
    }
    Some(number)
}

/// A decimal number as a kernel's `sscanf("%u%c")` reads it: as [`scan_u64`], then its lower 32 bits.
pub fn scan_u32(word: &[u8], personality: &Personality) -> Option<u32> {
    scan_u64(word, personality).map(|n| n as u32)
}

/// A decimal number as `kstrtouint` reads it: an optional `+`, no wrap-around, one newline may follow.
pub fn parse_u32_strict(word: &[u8]) -> Option<u32> {
    parse_u64_strict(word)?.try_into().ok()
}

/// A decimal number as `kstrtoull` reads it: an overflow of 64 bits is an error.
pub fn parse_u64_strict(word: &[u8]) -> Option<u64> {
    let word = word.strip_prefix(b"+").unwrap_or(word);
    let word = word.strip_suffix(b"\n").unwrap_or(word);
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The words of a constructor that have not been read yet.
#[derive(Clone, Debug)]
pub struct Args {
    words: std::collections::VecDeque<Vec<u8>>,
    personality: &'static Personality,
}

impl Args {
    /// All words of a parameter string.
    pub fn new(words: Vec<Vec<u8>>, personality: &'static Personality) -> Args {
        Args { words: words.into(), personality }
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The next word (`dm_shift_arg`).
    pub fn shift(&mut self) -> Option<Vec<u8>> {
        self.words.pop_front()
    }

    /// The next `N` words.
    ///
    /// # Errors
    /// EINVAL with `text` when fewer are left.
    pub fn take<const N: usize>(&mut self, text: &'static str) -> Result<[Vec<u8>; N], CtrError> {
        if self.words.len() < N {
            return Err(CtrError::invalid(text));
        }
        Ok(std::array::from_fn(|_| self.words.pop_front().unwrap_or_default()))
    }

    /// All words that are left, which must be `N`.
    ///
    /// # Errors
    /// EINVAL with `text` when they are fewer or more.
    pub fn all<const N: usize>(&mut self, text: &'static str) -> Result<[Vec<u8>; N], CtrError> {
        if self.words.len() != N {
            return Err(CtrError::invalid(text));
        }
        self.take(text)
    }

    /// A number in a word, as this kernel's `sscanf` reads it ([`scan_u64`]).
    pub fn scan_u64(&self, word: &[u8]) -> Option<u64> {
        scan_u64(word, self.personality)
    }

    /// The lower 32 bits of a number in a word, as this kernel's `sscanf` reads it ([`scan_u32`]).
    pub fn scan_u32(&self, word: &[u8]) -> Option<u32> {
        scan_u32(word, self.personality)
    }

    /// The next word, left in its place.
    pub fn peek(&self) -> Option<&[u8]> {
        self.words.front().map(Vec::as_slice)
    }

    /// The next word as a number from `min` to `max` (`dm_read_arg`).
    ///
    /// # Errors
    /// EINVAL with `text` when it is missing, no number, or out of range (after wrapping modulo 2^32).
    pub fn number(&mut self, min: u32, max: u32, text: &'static str) -> Result<u32, CtrError> {
        let error = CtrError::new(Errno::EINVAL, text);
        let word = self.shift().ok_or(error)?;
        let value = scan_u32(&word, self.personality).ok_or(error)?;
        if (min..=max).contains(&value) { Ok(value) } else { Err(error) }
    }

    /// The next word as the number of words that follow it (`dm_read_arg_group`).
    ///
    /// # Errors
    /// As [`Args::number`], and when fewer words are left.
    pub fn group(&mut self, min: u32, max: u32, text: &'static str) -> Result<u32, CtrError> {
        let count = self.number(min, max, text)?;
        if count as usize > self.words.len() {
            return Err(CtrError::new(Errno::EINVAL, text));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(params: &[u8]) -> Vec<String> {
        split_args(params).into_iter().map(|w| String::from_utf8(w).unwrap()).collect()
    }

    #[test]
    fn words_as_recorded() {
        assert_eq!(words(b"\t/dev/r\\am0\n 8  "), ["/dev/ram0", "8"]);
        assert_eq!(words(b"8\\"), ["8\\"]);
        assert_eq!(words(b"my\\ aux \\\\"), ["my aux", "\\"]);
        assert_eq!(words(b""), [""; 0]);
        assert_eq!(split_args(b"a\xa0b"), [b"a", b"b"]);
    }

    #[test]
    fn numbers_wrap_or_not() {
        let reference = Personality::REFERENCE;
        assert_eq!(scan_u64(b"18446744073709551617", reference), Some(1));
        assert_eq!(scan_u64(b"99999999999999999999999", reference), Some(200_376_420_520_689_663));
        assert_eq!(scan_u32(b"4294967296", reference), Some(0));
        for bad in [&b"-1"[..], b"+5", b"5x", b"", b"0x10"] {
            assert_eq!(scan_u64(bad, reference), None);
        }
        // As Linux 7.2 reads them: 64 bits at most, and of those the lower 32.
        let saturates = Personality { quirks: Quirks::LARGE_NUMBERS_SATURATE, ..*Personality::REFERENCE };
        assert_eq!(scan_u64(b"18446744073709551616", &saturates), Some(u64::MAX));
        assert_eq!(scan_u32(b"18446744073709551617", &saturates), Some(u32::MAX));
        assert_eq!(scan_u32(b"4294967297", &saturates), Some(1));
        assert_eq!(scan_u64(b"18446744073709551616x", &saturates), None);
        assert_eq!(parse_u32_strict(b"+5"), Some(5));
        assert_eq!(parse_u32_strict(b"4294967296"), None);
    }

    #[test]
    fn groups_count_what_follows() {
        let args = |text: &str| Args::new(split_args(text.as_bytes()), Personality::REFERENCE);
        assert_eq!(args("2 a b").group(0, 5, "bad").unwrap(), 2);
        assert!(args("3 a b").group(0, 5, "bad").is_err());
        assert!(args("7").number(0, 5, "bad").is_err());
        assert!(args("").number(0, 5, "bad").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_split_into_words_without_blanks_at_their_ends(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for word in split_args(&bytes) {
                prop_assert!(!word.is_empty());
            }
        }
    }
}
