//! Reading parameters word by word.

use dmlab_units::{Sector, Sectors};

use super::targets::{Device, decimal};
use super::{Params, TargetParamsError};

/// The words that are not read yet.
pub(super) struct Reader<'a> {
    params: &'a Params,
    at: usize,
}

/// Reads all parameters of a target.
///
/// # Errors
/// When `read` finds something else, or does not come to their end: then with what would be `right`.
pub(super) fn read<T>(
    target: &'static str,
    params: &Params,
    right: &'static str,
    read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<T, TargetParamsError> {
    let mut reader = Reader { params, at: 0 };
    let found = read(&mut reader).filter(|_| reader.is_at_end());
    found.ok_or_else(|| TargetParamsError { target, found: params.to_string(), right })
}

impl Reader<'_> {
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.params.len()
    }

    pub(super) fn word(&mut self) -> Option<String> {
        let word = self.params.word(self.at)?.to_owned();
        self.at += 1;
        Some(word)
    }

    pub(super) fn words(&mut self, count: usize) -> Option<Vec<String>> {
        // As many as there are at most, whatever the count says.
        if count > self.params.len() - self.at {
            return None;
        }
        (0..count).map(|_| self.word()).collect()
    }

    pub(super) fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(decimal(&self.word()?)?).ok()
    }

    /// A number, and so many words.
    pub(super) fn counted(&mut self) -> Option<Vec<String>> {
        let count = self.number()?;
        self.words(count)
    }

    /// The same, or nothing at all.
    pub(super) fn counted_or_end(&mut self) -> Option<Vec<String>> {
        if self.is_at_end() { Some(Vec::new()) } else { self.counted() }
    }

    pub(super) fn device(&mut self) -> Option<Device> {
        Some(self.word()?.into())
    }

    pub(super) fn sectors(&mut self) -> Option<Sectors> {
        self.number().map(Sectors)
    }

    /// A device and a place on it.
    pub(super) fn place(&mut self) -> Option<(Device, Sector)> {
        Some((self.device()?, Sector(self.number()?)))
    }

    /// So many of them.
    pub(super) fn places(&mut self, count: usize) -> Option<Vec<(Device, Sector)>> {
        if count > self.params.len() {
            return None;
        }
        (0..count).map(|_| self.place()).collect()
    }
}

/// A place as words.
pub(super) fn place_words((device, offset): &(Device, Sector)) -> [String; 2] {
    [device.to_string(), offset.to_string()]
}

/// Words behind their number.
pub(super) fn counted_words(words: &[String]) -> impl Iterator<Item = String> {
    std::iter::once(words.len().to_string()).chain(words.iter().cloned())
}
