//! Parameters of a table line: words.

use std::fmt;

/// The words that a target's constructor gets. A word is never empty; it may hold any byte but NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    words: Vec<Vec<u8>>,
}

impl Params {
    /// No words.
    pub fn none() -> Params {
        Params::default()
    }

    /// These words. Empty ones are left out, and a NUL ends a word: neither can reach a constructor.
    pub fn from_words<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Params {
        let cut = |word: W| word.as_ref().split(|&b| b == 0).next().unwrap_or_default().to_vec();
        Params { words: words.into_iter().map(cut).filter(|word| !word.is_empty()).collect() }
    }

    /// The words of a table's text as dmsetup writes and prints it: split at white space, nothing quoted.
    pub fn from_text(text: &[u8]) -> Params {
        Params::from_words(text.split(|&b| matches!(b, b' ' | b'\t'..=b'\r')))
    }

    /// The words of a parameter string as the kernel splits it: a backslash takes the byte behind it literally
    /// (kernel/dm-core.md#splitting-parameters).
    pub fn from_kernel(text: &[u8]) -> Params {
        let mut words = Vec::new();
        let mut word: Option<Vec<u8>> = None;
        let mut bytes = text.iter().copied().take_while(|&b| b != 0).peekable();
        while let Some(byte) = bytes.next() {
            if is_kernel_space(byte) {
                words.extend(word.take());
                continue;
            }
            // A backslash at the very end stands for itself.
            let literal = if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte };
            word.get_or_insert_default().push(literal);
        }
        words.extend(word);
        Params { words }
    }

    /// The parameter string for the ioctl, so that the kernel splits it into exactly these words.
    ///
    /// Backslashes are doubled, as libdm does. White space inside a word is quoted as well, which libdm can't: a
    /// device path with a blank works from here.
    pub fn to_kernel(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for word in &self.words {
            if !out.is_empty() {
                out.push(b' ');
            }
            for &byte in word {
                if byte == b'\\' || is_kernel_space(byte) {
                    out.push(b'\\');
                }
                out.push(byte);
            }
        }
        out
    }

    /// The words.
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.words.iter().map(Vec::as_slice)
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Word `at` as text, if it is there and UTF-8.
    pub fn word(&self, at: usize) -> Option<&str> {
        std::str::from_utf8(self.words.get(at)?).ok()
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        f.write_str(&words.join(" "))
    }
}

/// White space of the kernel's character table, which is Latin-1: its no-break space counts.
fn is_kernel_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0)
}
