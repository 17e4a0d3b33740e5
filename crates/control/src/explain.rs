//! Which word of a table the kernel refused, and what would be right.
//!
//! The kernel answers a bad table with an errno and a line in its log. The line names the target type and what its
//! constructor found. Which argument a text is about, and what is right there, the target's form says (`form.rs`); what the
//! table itself finds is here. Texts: kernel/dm-core.md#adding-a-target, kernel/dm-core.md#queue-limits, kernel/targets.md.

mod arguments;
mod devices;

use crate::form::{Form, meant};
use crate::table::{Table, TableLine};
use crate::{decimal, form_of};
use dmlab_units::Sector;
use std::fmt;

/// A refused table explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The kernel's line that it explains.
    pub log_line: String,
    /// The table line at fault, as text.
    pub table_line: String,
    /// First and one past the last character of the words at fault in `table_line`; a missing word is the place
    /// behind the last one.
    pub span: (usize, usize),
    /// The name of the argument at fault, as the form of its target has it: `CHUNK`, `OFFSET of LEG 2`. A word that is too
    /// many is its own name. `None` when nothing more is known than which target refused its line.
    pub argument: Option<String>,
    /// What would be right.
    pub right: String,
}

impl fmt::Display for Explanation {
    /// The log line, the table line with the words at fault underlined, and what would be right.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = self.span;
        writeln!(f, "kernel log: {}", self.log_line)?;
        writeln!(f, "  {}", self.table_line)?;
        writeln!(f, "  {}{}", " ".repeat(from), "^".repeat((to - from).max(1)))?;
        write!(f, "  {}", self.right)
    }
}

/// What is known of the kernel that refused a table; nothing of it is needed.
#[derive(Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// The target types that it has.
    pub types: &'a [String],
    /// Says whether a device argument names a device that it has. Of several devices in a table it tells the one that
    /// could not be opened.
    pub has_device: Option<&'a dyn Fn(&str) -> bool>,
}

/// Explains why the kernel refused `table`, from the lines that it logged about that.
///
/// `None` when no log line is about a word of the table.
pub fn explain(table: &Table, log: &[String], known: &Surroundings<'_>) -> Option<Explanation> {
    log.iter().find_map(|line| {
        let (text, errno) = split_errno(table_text(line)?);
        fault(table, text, errno, known)?.explain(table, line)
    })
}

/// Words at fault: of table line `line`, from word `from` to before word `to` (0 is the start, 3 the first parameter).
struct Fault {
    line: usize,
    from: usize,
    to: usize,
    argument: Option<String>,
    right: String,
}

impl Fault {
    /// A word of a line, by the name of what stands there.
    fn word(line: usize, word: usize, name: impl Into<String>, right: impl Into<String>) -> Fault {
        Fault { line, from: word, to: word + 1, argument: Some(name.into()), right: right.into() }
    }

    fn explain(self, table: &Table, log_line: &str) -> Option<Explanation> {
        let words = table.lines.get(self.line)?.words();
        let table_line = words.join(" ");
        // Columns in characters, since that is what a terminal shows.
        let before = |n: usize| words.iter().take(n).map(|w| w.chars().count() + 1).sum::<usize>();
        let to = self.to.min(words.len());
        let span = if self.from < to {
            (before(self.from), before(to) - 1)
        } else {
            (before(words.len()), before(words.len()) + 1)
        };
        let (log_line, argument) = (log_line.to_owned(), self.argument);
        Some(Explanation { log_line, table_line, span, argument, right: self.right })
    }
}

/// What a kernel log line says behind `device-mapper: table: ` and the device's number, which some texts lack.
fn table_text(line: &str) -> Option<&str> {
    let rest = line.split_once("device-mapper: table: ")?.1;
    match rest.split_once(": ") {
        Some((device, text)) if device.contains(':') => Some(text),
        _ => Some(rest),
    }
}

/// Cuts ` (-EINVAL)` off.
fn split_errno(text: &str) -> (&str, Option<&str>) {
    match text.strip_suffix(')').and_then(|t| t.rsplit_once(" (-")) {
        Some((text, errno)) => (text, Some(errno)),
        None => (text, None),
    }
}

fn fault(table: &Table, text: &str, errno: Option<&str>, known: &Surroundings<'_>) -> Option<Fault> {
    if text == "zero-length target" {
        let line = table.lines.iter().position(|l| l.len.is_zero())?;
        return Some(Fault::word(line, 1, "LENGTH", "a target has at least one sector"));
    }
    if text == "too large device" {
        let line = table.lines.iter().position(is_too_large)?;
        let right = format!("start and length together end at sector {DEVICE_MAX} at most");
        return Some(Fault { line, from: 0, to: 2, argument: Some("LENGTH".to_owned()), right });
    }
    if let Some((device, facts)) = text.split_once(" too small for target: ") {
        return devices::too_small(table, device, facts);
    }
    if let Some((_, rest)) = text.split_once(" not aligned to h/w logical block size ") {
        return devices::unaligned(table, text, rest);
    }
    let alone =
        text.strip_prefix("target type ").and_then(|text| text.strip_suffix(" must appear alone in table"));
    if let Some(target) = alone {
        return alone_in_table(table, target);
    }
    if let Some(fault) = arguments::of_table(table, text).or_else(|| of_requests(table, text)) {
        return Some(fault);
    }
    let (target, said) = text.split_once(": ")?;
    match said {
        "unknown target type" => unknown_type(table, target, known),
        "Gap in table" => gap(table),
        "singleton target type must appear alone in table"
        | "immutable target type cannot be mixed with other target types" => alone_in_table(table, target),
        "target type may not be included in a read-only table" => {
            let line = of_type(table, target).next()?.0;
            Some(Fault::word(line, 2, "TYPE", format!("{target} in a table that is not read-only")))
        }
        _ => {
            let form: &'static Form = form_of(target.as_bytes())?;
            let lines: Vec<_> = of_type(table, target).collect();
            arguments::by_form(form, &lines, said, errno, known)
        }
    }
}

/// The lines of one target type, each with its number.
fn of_type<'a>(table: &'a Table, target: &'a str) -> impl Iterator<Item = (usize, &'a TableLine)> {
    table.lines.iter().enumerate().filter(move |(_, line)| line.target.as_bytes() == target.as_bytes())
}

fn unknown_type(table: &Table, target: &str, known: &Surroundings<'_>) -> Option<Fault> {
    let line = of_type(table, target).next()?.0;
    let types = if known.types.is_empty() { String::new() } else { format!(": {}", known.types.join(", ")) };
    let right = match meant(target, known.types.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant}? The kernel's target types{types}"),
        None => format!("one of the kernel's target types{types}"),
    };
    Some(Fault::word(line, 2, "TYPE", right))
}

/// A type that stands in no table with another line.
fn alone_in_table(table: &Table, target: &str) -> Option<Fault> {
    let line = of_type(table, target).next()?.0;
    Some(Fault::word(line, 2, "TYPE", format!("a table whose only line is that of {target}")))
}

/// What the table says of a device that has taken requests, not bios, since its first table.
fn of_requests(table: &Table, text: &str) -> Option<Fault> {
    let (line, right) = match text {
        "request-based DM doesn't support multiple targets" => {
            (1, "no second line: this device takes requests, and such a device has one target")
        }
        "table load rejected: immutable target is required" => {
            (0, "a target that takes requests, as that of the device's first table does")
        }
        _ => return None,
    };
    (line < table.lines.len()).then(|| Fault::word(line, 2, "TYPE", right))
}

/// Largest end of a device in sectors (LLONG_MAX >> 9).
const DEVICE_MAX: u64 = (i64::MAX as u64) >> 9;

fn is_too_large(line: &TableLine) -> bool {
    line.start.checked_add(line.len).is_none_or(|end| end > Sector(DEVICE_MAX))
}

fn gap(table: &Table) -> Option<Fault> {
    let mut end = Sector::ZERO;
    for (at, line) in table.lines.iter().enumerate() {
        if line.start != end {
            let right = match at {
                0 => "the first line starts at sector 0".to_owned(),
                _ => format!("this line starts at sector {end}, where the one before it ends"),
            };
            return Some(Fault::word(at, 0, "START", right));
        }
        end = line.start.checked_add(line.len)?;
    }
    None
}

/// The multiples of `step` on either side of `n`, for a hint.
fn multiples(n: u64, step: u64) -> String {
    let below = n / step * step;
    match (below, below.checked_add(step)) {
        (0, Some(above)) => format!("{above}"),
        (below, Some(above)) => format!("{below} or {above}"),
        (below, None) => format!("{below}"),
    }
}

/// The number that a word is.
fn number(line: &TableLine, parameter: usize) -> Option<u64> {
    line.params.word(parameter).and_then(decimal)
}

#[cfg(test)]
mod tests;
