//! Forms: the grammar of a target's table line, and what follows from it.
//!
//! One [`Form`] a target says which arguments its line has, what each may be, and which of them each text of its
//! constructor is about. Reading a line, writing one, the explanation of a refusal and the table of arguments in the
//! documentation are made of it, so that they can't disagree.

mod page;
mod reading;
mod values;

pub(crate) use reading::{Flaw, Place, Reading};
pub(crate) use values::Values;

use crate::status::TargetStatus;
use crate::targets::TargetParamsError;
use crate::{Params, TableLine, decimal};
use dmlab_units::Sectors;

/// The grammar of one target's table line.
pub struct Form {
    /// The target type's name.
    pub target: &'static str,
    /// The arguments behind it, in their order.
    pub items: &'static [Item],
    /// The texts of its constructor, and what each is about.
    pub errors: &'static [TargetError],
    /// The messages that it takes.
    pub messages: &'static [Message],
    /// Reads the words of its status line.
    pub(crate) status: fn(&[&str]) -> Option<TargetStatus>,
}

/// A part of a table line.
pub enum Item {
    /// An argument of one word.
    One(Argument),
    /// Arguments that stand there together or not at all; nothing else follows when they are left out.
    Optional(&'static [Item]),
    /// Groups of arguments, as many as the argument `count` said.
    Each {
        /// The argument that says how many there are.
        count: &'static str,
        /// What one of them is called.
        group: &'static str,
        /// The arguments of one.
        items: &'static [Item],
    },
    /// A number of words, and so many words behind it, which are these arguments.
    Counted {
        /// The number.
        count: Argument,
        /// What the words are.
        items: &'static [Item],
    },
    /// Arguments that stand there when the argument `name` is this word.
    When {
        /// The argument that decides.
        name: &'static str,
        /// Its word.
        is: &'static str,
        /// The arguments.
        items: &'static [Item],
    },
    /// Feature words with their arguments, up to the end of the counted words.
    Features(&'static [Feature]),
    /// Any words, up to the end of the counted words.
    Rest(Argument),
    /// Any words, as many as the argument `count` said.
    Times {
        /// The argument that says how many there are.
        count: &'static str,
        /// What each of them is.
        argument: Argument,
    },
}

/// An argument of a table line.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name in the form of the line, in capitals.
    pub name: &'static str,
    /// What kind of word it is.
    pub kind: Kind,
    /// What is right there, as a phrase: `the size of a region in sectors`.
    pub right: &'static str,
}

/// What kind of word an argument is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A path or MAJOR:MINOR.
    Device,
    /// A sector of the device in front of it.
    Offset,
    /// A number of something.
    Number(&'static str, Bounds),
    /// A number of words or groups that follow.
    Count(Bounds),
    /// One of some words.
    Choice(&'static [&'static str]),
    /// One of some words, in capitals or not.
    AnyCase(&'static [&'static str]),
    /// Any word.
    Word,
}

/// Which numbers an argument may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// Which between them.
    pub step: Step,
    /// Whether the length of the table line is the largest as well.
    pub within_line: bool,
}

/// Which numbers within its bounds an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All.
    Any,
    /// The multiples of a number.
    MultipleOf(u64),
    /// The powers of two.
    PowerOfTwo,
}

impl Bounds {
    /// All numbers from `min` to `max`.
    pub const fn between(min: u64, max: u64) -> Bounds {
        Bounds { min, max, step: Step::Any, within_line: false }
    }

    /// All numbers that fit 64 bits.
    pub const ANY: Bounds = Bounds::between(0, u64::MAX);

    /// The powers of two from `min` to `max`.
    pub const fn powers_of_two(min: u64, max: u64) -> Bounds {
        Bounds { min, max, step: Step::PowerOfTwo, within_line: false }
    }

    /// The multiples of `step` from `min` to `max`.
    pub const fn multiples(step: u64, min: u64, max: u64) -> Bounds {
        Bounds { min, max, step: Step::MultipleOf(step), within_line: false }
    }

    /// Those that are no larger than the table line is long.
    pub const fn within_line(mut self) -> Bounds {
        self.within_line = true;
        self
    }

    fn top(&self, line: Sectors) -> u64 {
        if self.within_line { self.max.min(line.0) } else { self.max }
    }

    fn allow(&self, number: u64, line: Sectors) -> bool {
        let fits = match self.step {
            Step::Any => true,
            Step::MultipleOf(step) => number.is_multiple_of(step),
            Step::PowerOfTwo => number.is_power_of_two(),
        };
        fits && (self.min..=self.top(line)).contains(&number)
    }

    /// The numbers next to `number` on either side that are allowed.
    fn near(&self, number: u64, line: Sectors) -> Vec<u64> {
        let (below, above) = match self.step {
            Step::Any => (None, None),
            Step::MultipleOf(step) => {
                let below = number / step * step;
                (Some(below), below.checked_add(step))
            }
            Step::PowerOfTwo => (number.checked_ilog2().map(|n| 1 << n), number.checked_next_power_of_two()),
        };
        let mut near: Vec<u64> = [below, above].into_iter().flatten().collect();
        near.retain(|&number| self.allow(number, line));
        near.dedup();
        near
    }
}

impl Argument {
    /// A device.
    pub const fn device(name: &'static str, right: &'static str) -> Argument {
        Argument { name, kind: Kind::Device, right }
    }

    /// A sector of the device in front of it.
    pub const fn offset(name: &'static str) -> Argument {
        let right = "where on its device the target begins, a decimal number of sectors without sign or unit";
        Argument { name, kind: Kind::Offset, right }
    }

    /// A number of sectors.
    pub const fn sectors(name: &'static str, bounds: Bounds, right: &'static str) -> Argument {
        Argument { name, kind: Kind::Number("sectors", bounds), right }
    }

    /// A number of something.
    pub const fn number(
        name: &'static str,
        unit: &'static str,
        bounds: Bounds,
        right: &'static str,
    ) -> Argument {
        Argument { name, kind: Kind::Number(unit, bounds), right }
    }

    /// A number of words or groups that follow.
    pub const fn count(name: &'static str, bounds: Bounds, right: &'static str) -> Argument {
        Argument { name, kind: Kind::Count(bounds), right }
    }

    /// One of some words.
    pub const fn choice(name: &'static str, words: &'static [&'static str], right: &'static str) -> Argument {
        Argument { name, kind: Kind::Choice(words), right }
    }

    /// One of some words, in capitals or not.
    pub const fn choice_any_case(
        name: &'static str,
        words: &'static [&'static str],
        right: &'static str,
    ) -> Argument {
        Argument { name, kind: Kind::AnyCase(words), right }
    }

    /// Any word.
    pub const fn word(name: &'static str, right: &'static str) -> Argument {
        Argument { name, kind: Kind::Word, right }
    }

    /// Whether a word is one that a type can hold: a number is a number.
    fn reads(&self, word: &str) -> bool {
        match self.kind {
            Kind::Offset | Kind::Number(..) | Kind::Count(_) => decimal(word).is_some(),
            Kind::Device | Kind::Choice(_) | Kind::AnyCase(_) | Kind::Word => true,
        }
    }

    /// Whether a word is right as far as that can be said without the devices.
    pub(crate) fn allows(&self, word: &str, line: Sectors) -> bool {
        match self.kind {
            Kind::Number(_, bounds) | Kind::Count(bounds) => {
                decimal(word).is_some_and(|number| bounds.allow(number, line))
            }
            Kind::Offset => decimal(word).is_some(),
            Kind::Choice(words) => words.contains(&word),
            Kind::AnyCase(words) => words.iter().any(|known| known.eq_ignore_ascii_case(word)),
            Kind::Device | Kind::Word => true,
        }
    }

    /// What would be right in place of `word`.
    pub(crate) fn right_for(&self, word: &str, line: Sectors) -> String {
        if self.allows(word, line) {
            return self.right.to_owned();
        }
        let near = match self.kind {
            Kind::Number(_, bounds) | Kind::Count(bounds) => {
                let near = decimal(word).map(|number| bounds.near(number, line)).unwrap_or_default();
                let near: Vec<String> = near.iter().map(u64::to_string).collect();
                (!near.is_empty()).then(|| format!(": {}", near.join(" or ")))
            }
            Kind::Choice(words) | Kind::AnyCase(words) => {
                meant(word, words.iter().copied()).map(|near| format!("; did you mean {near}?"))
            }
            Kind::Device | Kind::Offset | Kind::Word => None,
        };
        format!("{}{}", self.right, near.unwrap_or_default())
    }
}

/// A feature word, with what stands behind it.
pub struct Feature {
    /// The word.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: &'static [Argument],
    /// What the target does with it, as a clause: `blocks are not zeroed when they are taken`.
    pub does: &'static str,
}

/// A message that a target takes.
pub struct Message {
    /// Its words, arguments in capitals.
    pub words: &'static str,
    /// What the target does, as a clause: `makes an empty thin device`.
    pub does: &'static str,
}

impl Message {
    /// The word that it begins with.
    fn name(&self) -> &'static str {
        self.words.split(' ').next().unwrap_or_default()
    }
}

/// A text of a constructor.
pub struct TargetError {
    /// What it says in the kernel log, behind the type's name.
    pub text: &'static str,
    /// What of the line it is about.
    pub about: About,
    /// What would be right, where the argument itself does not say so; empty otherwise.
    pub right: &'static str,
}

/// What of a table line a constructor's text is about.
pub enum About {
    /// How many words there are.
    Shape,
    /// The first of these arguments that is not right; the last of them if all are, as far as their words tell.
    Arguments(&'static [&'static str]),
    /// The first argument: it is not below the second, which is a number of things that count from 0.
    Below(&'static str, &'static str),
    /// The first word of this argument that is no number; the last of its words if all are.
    NoNumber(&'static str),
    /// One of these devices could not be opened.
    Lookup(&'static [&'static str]),
    /// The length of the line: no multiple of the product of these arguments.
    Length(&'static [&'static str]),
    /// A feature word that there is not.
    UnknownFeature,
    /// The last of these feature words.
    Feature(&'static [&'static str]),
    /// An argument of a feature.
    FeatureArgument(&'static [&'static str], &'static str),
}

impl TargetError {
    /// A text about the number of words.
    pub const fn shape(text: &'static str) -> TargetError {
        TargetError { text, about: About::Shape, right: "" }
    }

    /// A text about one of these arguments.
    pub const fn of(text: &'static str, arguments: &'static [&'static str]) -> TargetError {
        TargetError { text, about: About::Arguments(arguments), right: "" }
    }

    /// A text about an argument that is not below another one.
    pub const fn below(text: &'static str, argument: &'static str, count: &'static str) -> TargetError {
        TargetError { text, about: About::Below(argument, count), right: "" }
    }

    /// A text about a word of this argument, which is no number.
    pub const fn number(text: &'static str, argument: &'static str) -> TargetError {
        TargetError { text, about: About::NoNumber(argument), right: "" }
    }

    /// A text about a device that could not be opened.
    pub const fn lookup(text: &'static str, devices: &'static [&'static str]) -> TargetError {
        TargetError { text, about: About::Lookup(devices), right: "" }
    }

    /// A text about the line's length.
    pub const fn length(text: &'static str, arguments: &'static [&'static str]) -> TargetError {
        TargetError { text, about: About::Length(arguments), right: "" }
    }

    /// A text about feature words.
    pub const fn feature(text: &'static str, features: &'static [&'static str]) -> TargetError {
        TargetError { text, about: About::Feature(features), right: "" }
    }

    /// A text about a feature word that there is not.
    pub const fn unknown_feature(text: &'static str) -> TargetError {
        TargetError { text, about: About::UnknownFeature, right: "" }
    }

    /// A text about a feature's argument.
    pub const fn feature_argument(
        text: &'static str,
        features: &'static [&'static str],
        argument: &'static str,
    ) -> TargetError {
        TargetError { text, about: About::FeatureArgument(features, argument), right: "" }
    }

    /// With what would be right.
    pub const fn right(mut self, right: &'static str) -> TargetError {
        self.right = right;
        self
    }
}

impl Form {
    /// A form without texts and messages whose status says nothing.
    pub(crate) const fn new(target: &'static str, items: &'static [Item]) -> Form {
        Form { target, items, errors: &[], messages: &[], status: |_| None }
    }

    /// Reads a table line's parameters as far as they go.
    pub(crate) fn read(&self, params: &Params) -> Reading {
        Reading::of(self.items, params)
    }

    /// The values of parameters that are as the form says.
    ///
    /// # Errors
    /// The first argument that is missing, or no number, or too many.
    fn values(&self, params: &Params) -> Result<Values, TargetParamsError> {
        let reading = self.read(params);
        match reading.mistake {
            None => Ok(reading.values),
            Some(mistake) => {
                let found = match mistake.flaw {
                    Flaw::Bad => params.word(mistake.word).unwrap_or_default().to_owned(),
                    Flaw::Missing | Flaw::Surplus => params.to_string(),
                };
                Err(self.wrong(found, mistake.says()))
            }
        }
    }

    /// Reads parameters that are as the form says into a type.
    ///
    /// # Errors
    /// The first argument that is wrong, or all of them where the type cannot hold them.
    pub(crate) fn parse<T>(
        &self,
        params: &Params,
        read: impl FnOnce(&Values) -> Option<T>,
    ) -> Result<T, TargetParamsError> {
        read(&self.values(params)?).ok_or_else(|| self.wrong(params.to_string(), None))
    }

    /// The error of parameters in which `found` is wrong.
    fn wrong(&self, found: String, what: Option<String>) -> TargetParamsError {
        let what = what.map(|what| format!("{what}; ")).unwrap_or_default();
        TargetParamsError { target: self.target, found, right: format!("{what}{}", self.takes()) }
    }

    /// `linear takes DEVICE OFFSET`.
    pub(crate) fn takes(&self) -> String {
        match self.usage() {
            usage if usage.is_empty() => format!("{} takes no arguments", self.target),
            usage => format!("{} takes {usage}", self.target),
        }
    }

    /// The parameters that have these values.
    pub(crate) fn write(&self, values: &Values) -> Params {
        let mut words = Vec::new();
        values::write(self.items, &[values], &mut words);
        Params::from_words(words)
    }

    /// The feature words that there are.
    pub(crate) fn features(&self) -> Vec<&'static Feature> {
        fn of(items: &'static [Item], found: &mut Vec<&'static Feature>) {
            for item in items {
                match item {
                    Item::Features(features) => found.extend(features.iter()),
                    Item::Optional(items)
                    | Item::Each { items, .. }
                    | Item::Counted { items, .. }
                    | Item::When { items, .. } => of(items, found),
                    Item::One(_) | Item::Rest(_) | Item::Times { .. } => {}
                }
            }
        }
        let mut found = Vec::new();
        of(self.items, &mut found);
        found
    }

    /// What would be right in place of a message that the target has refused.
    pub fn explain_message(&self, message: &str) -> String {
        let target = self.target;
        if self.messages.is_empty() {
            return format!("{target} takes no messages");
        }
        let word = message.split_ascii_whitespace().next().unwrap_or_default();
        if let Some(known) = self.messages.iter().find(|known| known.name().eq_ignore_ascii_case(word)) {
            return format!("{target} takes {}: {}", known.words, known.does);
        }
        let near = meant(word, self.messages.iter().map(Message::name));
        let near = near.map(|near| format!("did you mean {near}? ")).unwrap_or_default();
        let all: Vec<&str> = self.messages.iter().map(|known| known.words).collect();
        format!("{near}{target} takes {}", all.join(", "))
    }

    /// Reads a line of this target.
    pub(crate) fn read_line(&self, line: &TableLine) -> Reading {
        self.read(&line.params)
    }
}

/// The word among `known` that was meant by one which is none of them: the most alike, if one is alike enough.
pub(crate) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(&word, known);
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.6).then_some(best)
}

#[cfg(test)]
mod tests;
