//! Which argument a constructor's text is about: what the target's form says of the text, looked up in the line.

use super::{Fault, Surroundings, devices, multiples, number};
use crate::form::{About, Flaw, Form, Kind, Place, Reading, TargetError, meant};
use crate::form_of;
use crate::table::{Table, TableLine};

/// A line of a target, read by its form.
pub(super) struct Line<'a> {
    /// Its number in the table.
    pub(super) number: usize,
    pub(super) line: &'a TableLine,
    pub(super) reading: Reading,
}

impl Line<'_> {
    /// The word at a place.
    pub(super) fn word(&self, place: &Place) -> String {
        self.line.words().get(3 + place.word).cloned().unwrap_or_default()
    }

    fn is_right(&self, place: &Place) -> bool {
        // An unreadable word is never right.
        self.line.params.word(place.word).is_some_and(|word| place.argument.allows(word, self.line.len))
    }

    /// The fault of what stands at `place`; `right` is empty where the argument itself says what would be.
    pub(super) fn fault(&self, place: &Place, right: &str) -> Fault {
        let label = match place.feature {
            Some(feature) if place.argument.name != "FEATURE" => {
                format!("{} of {}", place.argument.name, feature.name)
            }
            _ => place.label(),
        };
        let right = match right {
            "" => place.argument.right_for(&self.word(place), self.line.len),
            right => right.to_owned(),
        };
        let follow = match (place.argument.kind, place.follow) {
            (Kind::Count(_), Some(1)) => "; 1 word follows".to_owned(),
            (Kind::Count(_), Some(words)) => format!("; {words} words follow"),
            _ => String::new(),
        };
        Fault::word(self.number, 3 + place.word, label.clone(), format!("{label}: {right}{follow}"))
    }

    /// The fault of the words' number or form, if there is one.
    fn shape(&self, form: &Form) -> Option<Fault> {
        let mistake = self.reading.mistake.as_ref()?;
        let takes = form.takes();
        let (from, line) = (3 + mistake.word, self.number);
        Some(match (mistake.flaw, mistake.label()) {
            (Flaw::Missing, Some(label)) => {
                let what = mistake.argument.map_or("", |argument| argument.right);
                let right = format!("{label} is missing: {what}; {takes}");
                // Within counted words there may be others behind the missing one.
                let to = if from < 3 + self.line.params.len() { from + 1 } else { from };
                Fault { line, from, to, argument: Some(label), right }
            }
            (Flaw::Bad, Some(label)) => {
                let place = self.reading.places.iter().find(|place| place.word == mistake.word);
                return Some(
                    place
                        .map_or_else(|| Fault::word(line, from, label, takes), |place| self.fault(place, "")),
                );
            }
            (_, label) => {
                let surplus = self.line.params.words().nth(mistake.word).unwrap_or_default();
                let surplus = String::from_utf8_lossy(surplus).into_owned();
                let right = match label {
                    Some(label) => format!("nothing stands behind {label}: {takes}"),
                    None => takes,
                };
                Fault { line, from, to: 3 + self.line.params.len(), argument: Some(surplus), right }
            }
        })
    }
}

/// How sure it is that a line is the one that was refused.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    /// It has the argument.
    Argument,
    /// What it has there is wrong.
    Wrong,
}

/// Explains what the constructor of a target said about one of its lines.
pub(super) fn by_form(
    form: &'static Form,
    lines: &[(usize, &TableLine)],
    said: &str,
    errno: Option<&str>,
    known: &Surroundings<'_>,
) -> Option<Fault> {
    let read = |&(number, line): &(usize, _)| Line { number, line, reading: form.read_line(line) };
    let lines: Vec<Line<'_>> = lines.iter().map(read).collect();
    let errors = || form.errors.iter().filter(|error| error.text == said);
    let devices = errors().find_map(|error| match error.about {
        About::Lookup(names) => Some(names),
        _ => None,
    });
    let lookup = || {
        let names = devices?;
        devices::lookup(&lines, |place| names.contains(&place.argument.name), errno, known)
    };
    // Of a text that two mistakes share, the errno tells which it was.
    if errno.is_some_and(devices::is_lookup)
        && let Some(fault) = lookup()
    {
        return Some(fault);
    }
    let others = errors().filter(|error| !matches!(error.about, About::Lookup(_)));
    let found = others.into_iter().find_map(|error| {
        let faults = lines.iter().filter_map(|line| about(form, line, error, known));
        // The first line of those that it is most surely.
        faults.reduce(|best, other| if other.0 > best.0 { other } else { best })
    });
    match found {
        Some((Sure::Wrong, fault)) => Some(fault),
        Some((Sure::Argument, fault)) => lookup().or(Some(fault)),
        None => lookup().or_else(|| unknown_text(form, &lines, said, errno, known)),
    }
}

/// Explains what the table says of a target's line without naming its type.
pub(super) fn of_table(table: &Table, text: &str) -> Option<Fault> {
    table.lines.iter().enumerate().find_map(|(number, line)| {
        let form = form_of(line.target.as_bytes())?;
        let line = Line { number, line, reading: form.read_line(line) };
        let mut errors = form.errors.iter().filter(|error| error.text == text);
        errors.find_map(|error| about(form, &line, error, &Surroundings::default())).map(|(_, fault)| fault)
    })
}

/// What an error is about in one line.
fn about(
    form: &'static Form,
    line: &Line<'_>,
    error: &TargetError,
    known: &Surroundings<'_>,
) -> Option<(Sure, Fault)> {
    let reading = &line.reading;
    let shape = || line.shape(form).map(|fault| (Sure::Wrong, fault));
    let named = |place: &Place| line.fault(place, error.right);
    match error.about {
        About::Shape => shape(),
        About::Arguments(names) => {
            let places = || names.iter().flat_map(|name| reading.of_argument(name));
            let wrong = places().find(|place| !line.is_right(place));
            let missing = places().find(|place| {
                let is_device = matches!(place.argument.kind, Kind::Device);
                is_device && known.has_device.is_some_and(|has| !has(&line.word(place)))
            });
            if let Some(place) = wrong.or(missing) {
                return Some((Sure::Wrong, named(place)));
            }
            let mistake = reading.mistake.as_ref().and_then(|mistake| mistake.argument);
            if mistake.is_some_and(|argument| names.contains(&argument.name)) {
                return shape();
            }
            let last = names.iter().rev().find_map(|name| reading.of_argument(name).next());
            last.map(|place| (Sure::Argument, named(place))).or_else(shape)
        }
        About::Below(name, count) => {
            let place = reading.of_argument(name).next()?;
            let count = reading.of_argument(count).next().and_then(|place| number(line.line, place.word));
            let last = count.and_then(|count| count.checked_sub(1))?;
            let is_right = number(line.line, place.word).is_some_and(|number| number <= last);
            let right = format!("{}; here 0 to {last}", place.argument.right);
            Some((if is_right { Sure::Argument } else { Sure::Wrong }, line.fault(place, &right)))
        }
        About::NoNumber(name) => {
            let is_number = |place: &&Place| number(line.line, place.word).is_some();
            let wrong = reading.of_argument(name).find(|place| !is_number(place));
            wrong
                .map(|place| (Sure::Wrong, named(place)))
                .or_else(|| reading.of_argument(name).last().map(|place| (Sure::Argument, named(place))))
                .or_else(shape)
        }
        About::Lookup(_) => None,
        About::Length(names) => length(line, names),
        About::UnknownFeature => unknown_feature(form, line).or_else(shape),
        About::Feature(names) => {
            let is_one = |place: &&Place| {
                let name =
                    place.feature.filter(|_| place.argument.name == "FEATURE").map(|feature| feature.name);
                name.is_some_and(|name| names.contains(&name))
            };
            let found = reading.places.iter().rev().find(is_one);
            let found = found.map(|place| (Sure::Wrong, named(place)));
            // A feature that is not there should be: its number of words is at fault.
            let count = || {
                let is_count = |place: &&Place| place.argument.name == "N_FEATURES";
                reading.places.iter().find(is_count).map(|place| (Sure::Argument, named(place)))
            };
            found.or_else(count).or_else(shape)
        }
        About::FeatureArgument(features, name) => {
            feature_argument(form, line, error, features, name).or_else(shape)
        }
    }
}

/// An argument of some features: one that is wrong, any, or the feature that lacks it.
fn feature_argument(
    form: &'static Form,
    line: &Line<'_>,
    error: &TargetError,
    features: &[&str],
    name: &str,
) -> Option<(Sure, Fault)> {
    let is_one = |place: &&Place| {
        place.argument.name == name && place.feature.is_some_and(|feature| features.contains(&feature.name))
    };
    let all = || line.reading.places.iter().filter(is_one);
    let wrong =
        all().find(|place| !line.is_right(place)).map(|place| (Sure::Wrong, line.fault(place, error.right)));
    let feature = || {
        let feature = form.features().into_iter().find(|feature| features.contains(&feature.name))?;
        let place = line.reading.places.iter().rev().find(|place| {
            place.argument.name == "FEATURE" && place.feature.is_some_and(|f| f.name == feature.name)
        })?;
        let right = format!("{}, all counted in front of the features", feature.usage());
        Some((Sure::Argument, line.fault(place, &right)))
    };
    let any = || all().next().map(|place| (Sure::Argument, line.fault(place, error.right)));
    wrong.or_else(any).or_else(feature)
}

/// The length of a line that is not whole multiples of the product of some arguments.
fn length(line: &Line<'_>, names: &[&str]) -> Option<(Sure, Fault)> {
    let factors = names.iter().map(|name| {
        let place = line.reading.of_argument(name).next()?;
        number(line.line, place.word)
    });
    let step = factors.collect::<Option<Vec<u64>>>()?.into_iter().try_fold(1u64, u64::checked_mul)?;
    if step == 0 {
        return None;
    }
    let len = line.line.len.0;
    let sure = if len.is_multiple_of(step) { Sure::Argument } else { Sure::Wrong };
    let right = format!(
        "LENGTH: a multiple of {}{step} sectors: {}",
        if names.len() > 1 { format!("{} = ", names.join(" × ")) } else { format!("{} = ", names[0]) },
        multiples(len, step)
    );
    Some((sure, Fault::word(line.number, 1, "LENGTH", right)))
}

/// A feature that the target does not have, or one whose argument is not counted.
fn unknown_feature(form: &'static Form, line: &Line<'_>) -> Option<(Sure, Fault)> {
    let features = form.features();
    let is_unknown = |place: &&Place| place.argument.name == "FEATURE" && place.feature.is_none();
    let unknown = line.reading.places.iter().find(is_unknown);
    // A feature whose argument is not among the counted words is none either.
    let bare = || line.reading.places.iter().rev().find(|place| place.argument.name == "FEATURE");
    let place = unknown.or_else(bare)?;
    let word = line.word(place);
    let right = match place.feature {
        Some(feature) if !feature.arguments.is_empty() => {
            format!("{}, all counted in front of the features", feature.usage())
        }
        _ => {
            let near = meant(&word, features.iter().map(|feature| feature.name));
            let near = near.map(|near| format!("did you mean {near}? ")).unwrap_or_default();
            let all: Vec<String> = features.iter().map(|feature| feature.usage()).collect();
            format!("{near}The features are {}", all.join(", "))
        }
    };
    Some((Sure::Wrong, line.fault(place, &right)))
}

/// What can be said of a text that the form does not have: which device could not be opened, which word its line lacks, or
/// how the line looks.
fn unknown_text(
    form: &'static Form,
    lines: &[Line<'_>],
    said: &str,
    errno: Option<&str>,
    known: &Surroundings<'_>,
) -> Option<Fault> {
    let is_device = |place: &Place| matches!(place.argument.kind, Kind::Device);
    if errno.is_some_and(devices::is_lookup)
        && let Some(fault) = devices::lookup(lines, is_device, errno, known)
    {
        return Some(fault);
    }
    if let Some(fault) = lines.iter().find_map(|line| line.shape(form)) {
        return Some(fault);
    }
    let wrong = lines.iter().find_map(|line| {
        let place = line.reading.places.iter().find(|place| !line.is_right(place))?;
        Some(line.fault(place, ""))
    });
    if wrong.is_some() {
        return wrong;
    }
    let line = lines.first()?;
    let right = format!("{}; the kernel says \"{said}\"", form.takes());
    let to = 3 + line.line.params.len();
    Some(Fault { line: line.number, from: 3, to, argument: None, right })
}
