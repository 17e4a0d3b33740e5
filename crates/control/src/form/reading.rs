//! Reading a table line's parameters by its form, as far as they go.

use super::{Argument, Feature, Item};
use crate::form::Values;
use crate::{Params, decimal};

/// What a form found in a line's parameters.
pub(crate) struct Reading {
    /// The values, without those that could not be read.
    pub(crate) values: Values,
    /// The words, each with the argument that it is.
    pub(crate) places: Vec<Place>,
    /// The first that is wrong with the words' number or form.
    pub(crate) mistake: Option<Mistake>,
}

/// A word of the parameters and what it is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Which word of the parameters.
    pub(crate) word: usize,
    /// The argument, or what a feature word is.
    pub(crate) argument: &'static Argument,
    /// Of which group, and of which of them, from 1.
    pub(crate) group: Option<(&'static str, usize)>,
    /// The feature that it belongs to: its word, or one of its arguments.
    pub(crate) feature: Option<&'static Feature>,
    /// Of a number of words: how many there are.
    pub(crate) follow: Option<usize>,
}

/// A word that a form does not take, or misses.
pub(crate) struct Mistake {
    /// Which word of the parameters, or where it would stand.
    pub(crate) word: usize,
    /// What is wrong.
    pub(crate) flaw: Flaw,
    /// The argument; of surplus words, the last one before them, if there is one.
    pub(crate) argument: Option<&'static Argument>,
    /// Of which group, and of which of them, from 1.
    pub(crate) group: Option<(&'static str, usize)>,
}

/// What is wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is not there.
    Missing,
    /// It is no number, or none of the words that may stand there.
    Bad,
    /// It stands behind the last argument.
    Surplus,
}

impl Place {
    /// The argument's name, and of which group it is.
    pub(crate) fn label(&self) -> String {
        label(self.argument, self.group)
    }
}

fn label(argument: &Argument, group: Option<(&'static str, usize)>) -> String {
    match group {
        Some((group, number)) => format!("{} of {group} {number}", argument.name),
        None => argument.name.to_owned(),
    }
}

impl Mistake {
    /// The name of the argument that it is about.
    pub(crate) fn label(&self) -> Option<String> {
        Some(label(self.argument?, self.group))
    }

    /// Says what is wrong, if that isn't plain.
    pub(crate) fn says(&self) -> Option<String> {
        let (name, argument) = (self.label()?, self.argument?);
        Some(match self.flaw {
            Flaw::Missing => format!("{name} is missing, {}", argument.right),
            Flaw::Bad => format!("{name} is {}", argument.right),
            Flaw::Surplus => format!("nothing stands behind {name}"),
        })
    }
}

/// What an argument of a feature group is called.
static FEATURE: Argument = Argument::word("FEATURE", "a feature word");

impl Reading {
    pub(super) fn of(items: &'static [Item], params: &Params) -> Reading {
        let reading = Reading { values: Values::new(), places: Vec::new(), mistake: None };
        let mut reader =
            Reader { params, at: 0, end: params.len(), reading, scopes: vec![Values::new()], group: None };
        let whole = reader.items(items);
        if whole && reader.at < reader.end {
            reader.surplus();
        }
        let mut reading = reader.reading;
        reading.values = reader.scopes.swap_remove(0);
        reading
    }

    /// The places of an argument.
    pub(crate) fn of_argument<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Place> {
        self.places.iter().filter(move |place| place.argument.name == name)
    }
}

struct Reader<'a> {
    params: &'a Params,
    at: usize,
    /// Where the words end that may be read now.
    end: usize,
    reading: Reading,
    /// The values of the line, and of the groups that are being read.
    scopes: Vec<Values>,
    group: Option<(&'static str, usize)>,
}

impl Reader<'_> {
    /// Reads `items`; returns whether it got to their end.
    fn items(&mut self, items: &'static [Item]) -> bool {
        items.iter().all(|item| self.item(item))
    }

    fn item(&mut self, item: &'static Item) -> bool {
        match item {
            Item::One(argument) => self.one(argument).is_some(),
            Item::Optional(items) => self.at == self.end || self.items(items),
            Item::Each { count, group, items } => {
                let Some(count) = self.count(count) else { return false };
                let outer = self.group;
                for number in 1..=count {
                    self.group = Some((group, number));
                    self.scopes.push(Values::new());
                    let whole = self.items(items);
                    let values = self.scopes.pop().unwrap_or_default();
                    self.scope().push_group(group, values);
                    if !whole {
                        return false;
                    }
                }
                self.group = outer;
                true
            }
            Item::Counted { count, items } => {
                let Some(word) = self.one(count) else { return false };
                let left = self.end - self.at;
                if let Some(place) = self.reading.places.last_mut() {
                    place.follow = Some(left);
                }
                let Some(count) = decimal(&word).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= left)
                else {
                    // The words behind it are what they are meant to be, if only their number is wrong.
                    self.mistake(Flaw::Bad, Some(count), self.at - 1);
                    self.items(items);
                    return false;
                };
                let end = std::mem::replace(&mut self.end, self.at + count);
                let whole = self.items(items);
                if whole && self.at < self.end {
                    self.surplus();
                }
                let whole = whole && self.at == self.end;
                self.at = self.end;
                self.end = end;
                whole
            }
            Item::When { name, is, items } => {
                let word = self.scopes.iter().rev().find_map(|values| values.word(name));
                word != Some(is) || self.items(items)
            }
            Item::Features(features) => self.features(features),
            Item::Rest(argument) => {
                while self.at < self.end {
                    self.listed(argument);
                }
                true
            }
            Item::Times { count, argument } => {
                let Some(count) = self.count(count) else { return false };
                for _ in 0..count {
                    if self.at == self.end {
                        self.mistake(Flaw::Missing, Some(argument), self.at);
                        return false;
                    }
                    self.listed(argument);
                }
                true
            }
        }
    }

    fn scope(&mut self) -> &mut Values {
        // The line's own are never taken away.
        self.scopes.last_mut().expect("the values of the line")
    }

    /// The number that the argument `name` said.
    fn count(&self, name: &str) -> Option<usize> {
        self.scopes.iter().rev().find_map(|values| values.number(name))
    }

    /// Reads one word; `None` if there is none.
    fn one(&mut self, argument: &'static Argument) -> Option<String> {
        if self.at == self.end {
            self.mistake(Flaw::Missing, Some(argument), self.at);
            return None;
        }
        let word = self.take(argument, None);
        let reads = self.params.word(self.at - 1).is_some() && argument.reads(&word);
        if reads {
            let value = word.clone();
            self.scope().set(argument.name, value);
        } else {
            self.mistake(Flaw::Bad, Some(argument), self.at - 1);
        }
        Some(word)
    }

    fn listed(&mut self, argument: &'static Argument) {
        let word = self.take(argument, None);
        self.scope().push(argument.name, word);
    }

    fn features(&mut self, features: &'static [Feature]) -> bool {
        while self.at < self.end {
            let word = self.take(&FEATURE, None);
            let feature = features.iter().find(|feature| feature.name.eq_ignore_ascii_case(&word));
            if let Some(place) = self.reading.places.last_mut() {
                place.feature = feature;
            }
            self.scope().push(FEATURE.name, word);
            for argument in feature.map_or(&[][..], |feature| feature.arguments) {
                if self.at == self.end {
                    break;
                }
                let word = self.take(argument, feature);
                self.scope().push(FEATURE.name, word);
            }
        }
        true
    }

    fn take(&mut self, argument: &'static Argument, feature: Option<&'static Feature>) -> String {
        let word = self.params.words().nth(self.at).map(|word| String::from_utf8_lossy(word).into_owned());
        let place = Place { word: self.at, argument, group: self.group, feature, follow: None };
        self.reading.places.push(place);
        self.at += 1;
        word.unwrap_or_default()
    }

    fn surplus(&mut self) {
        let last = self.reading.places.last().map(|place| (place.argument, place.group));
        let word = self.at;
        self.mistake(Flaw::Surplus, last.map(|(argument, _)| argument), word);
        if let (Some(mistake), Some((_, group))) = (&mut self.reading.mistake, last)
            && mistake.word == word
        {
            mistake.group = group;
        }
    }

    /// Notes what is wrong, if nothing was before.
    fn mistake(&mut self, flaw: Flaw, argument: Option<&'static Argument>, word: usize) {
        let group = self.group;
        self.reading.mistake.get_or_insert(Mistake { word, flaw, argument, group });
    }
}
