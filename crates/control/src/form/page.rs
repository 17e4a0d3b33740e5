//! What a form shows: the line as a text, and the tables of its documentation.

use super::{Argument, Bounds, Feature, Form, Item, Kind, Step};

impl Form {
    /// The arguments of a table line: `DEVICE OFFSET`.
    pub fn usage(&self) -> String {
        usage(self.items)
    }

    /// The text of the documentation that follows from the form: the line, its arguments, features and messages.
    pub fn page(&self) -> String {
        let usage = match self.usage() {
            usage if usage.is_empty() => usage,
            usage => format!(" {usage}"),
        };
        let mut text = format!("    START LEN {}{usage}\n", self.target);
        let mut rows = Vec::new();
        arguments(self.items, &mut rows);
        if !rows.is_empty() {
            text += "\n| Argument | Kind | What is right |\n|---|---|---|\n";
            for argument in rows {
                text += &format!("| `{}` | {} | {} |\n", argument.name, kind(argument), cell(argument.right));
            }
        }
        let features = self.features();
        if !features.is_empty() {
            text += "\n| Feature | What it does |\n|---|---|\n";
            for feature in features {
                text += &format!("| `{}` | {} |\n", feature.usage(), cell(feature.does));
            }
        }
        if !self.messages.is_empty() {
            text += "\n| Message | What it does |\n|---|---|\n";
            for message in self.messages {
                text += &format!("| `{}` | {} |\n", message.words, cell(message.does));
            }
        }
        text
    }

    /// `page` with the part between this form's marks written anew; `None` if it has no such marks.
    pub fn write_into(&self, page: &str) -> Option<String> {
        let (begin, end) = self.marks();
        let start = page.find(&begin)? + begin.len();
        let stop = start + page[start..].find(&end)?;
        Some(format!("{}\n\n{}\n{}", &page[..start], self.page(), &page[stop..]))
    }

    /// The marks in a page between which [`Form::page`] stands.
    pub fn marks(&self) -> (String, String) {
        let target = self.target;
        (format!("<!-- form of {target}: written from its source -->"), format!("<!-- end of {target} -->"))
    }
}

impl Feature {
    /// The feature's word and the names of its arguments.
    pub fn usage(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| argument.name);
        std::iter::once(self.name).chain(arguments).collect::<Vec<_>>().join(" ")
    }
}

/// A text as a table's cell takes it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn usage(items: &'static [Item]) -> String {
    let parts = items.iter().map(|item| match item {
        Item::One(Argument { kind: Kind::Choice(words) | Kind::AnyCase(words), .. }) if words.len() < 4 => {
            words.join("|")
        }
        Item::One(argument) => argument.name.to_owned(),
        Item::Optional(items) => format!("[{}]", usage(items)),
        Item::Each { count, items, .. } => format!("({})×{count}", usage(items)),
        Item::Counted { count, items } => format!("{} {}", count.name, usage(items)),
        Item::When { items, .. } => format!("[{}]", usage(items)),
        Item::Features(_) => "FEATURE…".to_owned(),
        Item::Rest(argument) => format!("{}…", argument.name),
        Item::Times { count, argument } => format!("{}×{count}", argument.name),
    });
    parts.collect::<Vec<_>>().join(" ")
}

fn arguments(items: &'static [Item], rows: &mut Vec<&'static Argument>) {
    for item in items {
        match item {
            Item::One(argument) | Item::Rest(argument) | Item::Times { argument, .. } => rows.push(argument),
            Item::Counted { count, items } => {
                rows.push(count);
                arguments(items, rows);
            }
            Item::Optional(items) | Item::Each { items, .. } | Item::When { items, .. } => {
                arguments(items, rows);
            }
            Item::Features(features) => {
                rows.extend(features.iter().flat_map(|feature| feature.arguments));
            }
        }
    }
    // Features share arguments.
    let mut seen = Vec::new();
    rows.retain(|argument| {
        let is_new = !seen.contains(&argument.name);
        seen.push(argument.name);
        is_new
    });
}

fn kind(argument: &Argument) -> String {
    match argument.kind {
        Kind::Device => "device".to_owned(),
        Kind::Offset => "sector".to_owned(),
        Kind::Number(unit, bounds) => format!("{unit}{}", range(bounds)),
        Kind::Count(bounds) => format!("count{}", range(bounds)),
        Kind::Choice(words) | Kind::AnyCase(words) => {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Word => "word".to_owned(),
    }
}

fn range(bounds: Bounds) -> String {
    let limits = match (bounds.min, bounds.max) {
        (0, u64::MAX) => String::new(),
        (min, u64::MAX) => format!(", from {min}"),
        (min, max) if min == max => format!(", {min}"),
        (min, max) => format!(", {min} to {max}"),
    };
    let step = match bounds.step {
        Step::Any => String::new(),
        Step::MultipleOf(step) => format!(", in steps of {step}"),
        Step::PowerOfTwo => ", a power of two".to_owned(),
    };
    format!("{limits}{step}")
}
