//! The values of a table line's arguments, by their names.

use super::Item;
use crate::Device;
use crate::decimal;
use dmlab_units::{Sector, Sectors};

/// Values by the names of their arguments; those of repeated groups within those of the whole line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    words: Vec<(&'static str, String)>,
    lists: Vec<(&'static str, Vec<String>)>,
    groups: Vec<(&'static str, Vec<Values>)>,
}

/// The name under which the words of a form's features stand.
pub(crate) const FEATURE: &str = "FEATURE";

impl Values {
    pub(crate) fn new() -> Values {
        Values::default()
    }

    /// With a value.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Values {
        self.set(name, value.to_string());
        self
    }

    /// With a value if there is one.
    pub(crate) fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Values {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With the values of a device and an offset on it.
    pub(crate) fn with_place(self, names: [&'static str; 2], place: &(Device, Sector)) -> Values {
        self.with(names[0], &place.0).with(names[1], place.1)
    }

    /// With groups of values.
    pub(crate) fn with_each(
        mut self,
        group: &'static str,
        values: impl IntoIterator<Item = Values>,
    ) -> Values {
        self.groups.push((group, values.into_iter().collect()));
        self
    }

    /// With any number of words.
    pub(crate) fn with_words(mut self, name: &'static str, words: &[String]) -> Values {
        self.lists.push((name, words.to_vec()));
        self
    }

    /// With feature words.
    pub(crate) fn with_features(self, words: &[String]) -> Values {
        self.with_words(FEATURE, words)
    }

    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.words.push((name, value));
    }

    pub(super) fn push(&mut self, name: &'static str, word: String) {
        match self.lists.iter_mut().find(|(list, _)| *list == name) {
            Some((_, list)) => list.push(word),
            None => self.lists.push((name, vec![word])),
        }
    }

    pub(super) fn push_group(&mut self, group: &'static str, values: Values) {
        match self.groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, groups)) => groups.push(values),
            None => self.groups.push((group, vec![values])),
        }
    }

    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        self.words.iter().find(|(known, _)| *known == name).map(|(_, word)| word.as_str())
    }

    pub(crate) fn number<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        T::try_from(decimal(self.word(name)?)?).ok()
    }

    pub(crate) fn device(&self, name: &str) -> Option<Device> {
        self.word(name).map(Device::from)
    }

    pub(crate) fn sectors(&self, name: &str) -> Option<Sectors> {
        self.number(name).map(Sectors)
    }

    /// A device and an offset on it.
    pub(crate) fn place(&self, names: [&str; 2]) -> Option<(Device, Sector)> {
        Some((self.device(names[0])?, Sector(self.number(names[1])?)))
    }

    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        self.list(name).to_vec()
    }

    fn list(&self, name: &str) -> &[String] {
        self.lists.iter().find(|(known, _)| *known == name).map_or(&[], |(_, words)| words)
    }

    pub(crate) fn features(&self) -> Vec<String> {
        self.words(FEATURE)
    }

    pub(crate) fn each(&self, group: &str) -> &[Values] {
        self.groups.iter().find(|(known, _)| *known == group).map_or(&[], |(_, groups)| groups)
    }
}

/// Writes the words of `items`. The last of `scopes` holds their values, those before it what they stand in.
pub(super) fn write(items: &'static [Item], scopes: &[&Values], words: &mut Vec<String>) {
    let Some(values) = scopes.last() else { return };
    for item in items {
        match item {
            Item::One(argument) => {
                let counted =
                    group_of(items, argument.name).map(|group| values.each(group).len().to_string());
                words.extend(values.word(argument.name).map(str::to_owned).or(counted));
            }
            // Words that may be left out are, together with their number.
            Item::Optional([Item::Counted { items, .. }]) => {
                let inner = counted(items, scopes);
                if inner.len() > 1 {
                    words.extend(inner);
                }
            }
            Item::Optional(items) => write(items, scopes, words),
            Item::Each { group, items, .. } => {
                for values in values.each(group) {
                    write(items, &[scopes, &[values]].concat(), words);
                }
            }
            Item::Counted { items, .. } => words.extend(counted(items, scopes)),
            Item::When { name, is, items } => {
                let word = scopes.iter().rev().find_map(|values| values.word(name));
                if word == Some(is) {
                    write(items, scopes, words);
                }
            }
            Item::Features(_) => words.extend(values.features()),
            Item::Rest(argument) | Item::Times { argument, .. } => {
                words.extend(values.list(argument.name).iter().cloned());
            }
        }
    }
}

/// The words of `items` behind their number.
fn counted(items: &'static [Item], scopes: &[&Values]) -> Vec<String> {
    let mut words = Vec::new();
    write(items, scopes, &mut words);
    words.insert(0, words.len().to_string());
    words
}

/// The group that the argument `count` counts.
fn group_of(items: &'static [Item], count: &str) -> Option<&'static str> {
    items.iter().find_map(|item| match item {
        Item::Each { count: name, group, .. } if *name == count => Some(*group),
        _ => None,
    })
}
