//! Words and numbers of table lines and messages, read as the kernel reads them.

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

fn decimal_wrapping(word: &[u8]) -> Option<u64> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0u64, |n, b| n.wrapping_mul(10).wrapping_add(u64::from(b - b'0'))))
}

/// A decimal number as `sscanf("%llu%c")` reads it: digits only, the whole word, **modulo 2^64** (recorded:
/// `linear/random-tables`, where an offset of 18446744073709551617 is 1).
pub fn parse_u64_wrapping(word: &[u8]) -> Option<u64> {
    decimal_wrapping(word)
}

/// A decimal number as `sscanf("%u%c")` reads it: digits only, the whole word, modulo 2^32.
pub fn parse_u32_wrapping(word: &[u8]) -> Option<u32> {
    decimal_wrapping(word).map(|n| n as u32)
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
}

impl Args {
    /// All words of a parameter string.
    pub fn new(words: Vec<Vec<u8>>) -> Args {
        Args { words: words.into() }
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
        let value = parse_u32_wrapping(&word).ok_or(error)?;
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
        assert_eq!(parse_u64_wrapping(b"18446744073709551617"), Some(1));
        assert_eq!(parse_u32_wrapping(b"4294967296"), Some(0));
        for bad in [&b"-1"[..], b"+5", b"5x", b"", b"0x10"] {
            assert_eq!(parse_u64_wrapping(bad), None);
        }
        assert_eq!(parse_u32_strict(b"+5"), Some(5));
        assert_eq!(parse_u32_strict(b"4294967296"), None);
    }

    #[test]
    fn groups_count_what_follows() {
        let args = |text: &str| Args::new(split_args(text.as_bytes()));
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
