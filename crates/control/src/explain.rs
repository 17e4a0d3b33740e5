//! Which word of a table the kernel refused, and what would be right.
//!
//! The kernel answers a bad table with an errno and a line in its log. The line names the target type and what its
//! constructor found; the table says which word that must be. Texts: kernel/dm-core.md#adding-a-target,
//! kernel/dm-core.md#queue-limits, kernel/targets.md. Where a text is about no single word, the answer is the form of
//! the target's line.

mod arguments;
mod forms;

use crate::table::{Device, Table, TableLine, decimal};
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
        let fault = fault(table, text, errno, known)?;
        Some(fault.explain(table, line))
    })
}

/// Words at fault: of table line `line`, from word `from` to before word `to` (0 is the start, 3 the first parameter).
struct Fault {
    line: usize,
    from: usize,
    to: usize,
    right: String,
}

impl Fault {
    fn word(line: usize, word: usize, right: impl Into<String>) -> Fault {
        Fault { line, from: word, to: word + 1, right: right.into() }
    }

    fn explain(self, table: &Table, log_line: &str) -> Explanation {
        let words = table.lines[self.line].words();
        let table_line = words.join(" ");
        // Columns in characters, since that is what a terminal shows.
        let before = |n: usize| words.iter().take(n).map(|w| w.chars().count() + 1).sum::<usize>();
        let to = self.to.min(words.len());
        let span = if self.from < to {
            (before(self.from), before(to) - 1)
        } else {
            (before(words.len()), before(words.len()) + 1)
        };
        Explanation { log_line: log_line.to_owned(), table_line, span, right: self.right }
    }
}

/// What a kernel log line says behind `device-mapper: table: M:m: `.
fn table_text(line: &str) -> Option<&str> {
    let rest = line.split_once("device-mapper: table: ")?.1;
    let (device, text) = rest.split_once(": ")?;
    device.contains(':').then_some(text)
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
        return Some(Fault::word(line, 1, "a target has at least one sector"));
    }
    if text == "too large device" {
        let line = table.lines.iter().position(is_too_large)?;
        let right = format!("start and length together end at sector {DEVICE_MAX} at most");
        return Some(Fault { line, from: 0, to: 2, right });
    }
    if let Some(rest) = text.split_once(" too small for target: ") {
        return too_small(table, rest.0, rest.1);
    }
    if let Some((_, rest)) = text.split_once(" not aligned to h/w logical block size ") {
        return unaligned(table, text, rest);
    }
    let (target, said) = text.split_once(": ")?;
    if said == "unknown target type" {
        let line = table.lines.iter().position(|l| l.target.as_bytes() == target.as_bytes())?;
        let types =
            if known.types.is_empty() { String::new() } else { format!(": {}", known.types.join(", ")) };
        let right = match meant(target, known.types) {
            Some(meant) => format!("did you mean {meant}? The kernel's target types{types}"),
            None => format!("one of the kernel's target types{types}"),
        };
        return Some(Fault::word(line, 2, right));
    }
    if said == "Gap in table" {
        return gap(table);
    }
    let of_type = table.lines.iter().enumerate().filter(|(_, l)| l.target.as_bytes() == target.as_bytes());
    let of_type: Vec<(usize, &TableLine)> = of_type.collect();
    match target {
        "linear" => linear(&of_type, said, errno, known),
        "striped" => striped(&of_type, said, errno, known),
        "zero" if said == "No arguments required" => {
            let (at, line) = of_type.iter().find(|(_, l)| !l.params.is_empty())?;
            Some(Fault {
                line: *at,
                from: 3,
                to: 3 + line.params.len(),
                right: "zero takes no parameters".into(),
            })
        }
        "error" if said == "Device lookup failed" => {
            let takers: Vec<_> = of_type.into_iter().filter(|(_, l)| l.params.len() == 2).collect();
            lookup(&takers, |_| vec![0], errno, known)
        }
        _ => arguments::by_argument(&of_type, target, said, errno, known)
            .or_else(|| forms::by_form(&of_type, target, said, errno, known)),
    }
}

/// The target type that was meant by a word which is none: the most alike, if one is alike enough.
fn meant<'a>(word: &str, types: &'a [String]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let likeness = |known: &&String| strsim::normalized_damerau_levenshtein(&word, known);
    let best = types.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.6).then_some(best)
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
            return Some(Fault::word(at, 0, right));
        }
        end = line.start.checked_add(line.len)?;
    }
    None
}

fn linear(
    lines: &[(usize, &TableLine)],
    said: &str,
    errno: Option<&str>,
    known: &Surroundings<'_>,
) -> Option<Fault> {
    match said {
        "Invalid argument count" => {
            let (at, line) = lines.iter().find(|(_, l)| l.params.len() != 2)?;
            let right = "linear takes two parameters: DEVICE OFFSET, the offset in sectors";
            Some(Fault {
                line: *at,
                from: 3 + line.params.len().min(2),
                to: 3 + line.params.len(),
                right: right.into(),
            })
        }
        "Invalid device sector" => {
            let (at, _) = lines.iter().find(|(_, l)| !l.params.word(1).is_some_and(is_number))?;
            Some(Fault::word(*at, 4, "the offset is a decimal number of sectors, without sign or unit"))
        }
        "Device lookup failed" => lookup(lines, |_| vec![0], errno, known),
        _ => None,
    }
}

fn striped(
    lines: &[(usize, &TableLine)],
    said: &str,
    errno: Option<&str>,
    known: &Surroundings<'_>,
) -> Option<Fault> {
    let number = |line: &TableLine, at: usize| line.params.word(at).and_then(decimal);
    let find =
        |wrong: &dyn Fn(&TableLine) -> bool| lines.iter().find(|(_, line)| wrong(line)).map(|(at, _)| *at);
    match said {
        "Not enough arguments" => {
            let line = find(&|l| l.params.len() < 2)?;
            Some(Fault {
                line,
                from: usize::MAX,
                to: 0,
                right: "striped takes N CHUNK and N times DEVICE OFFSET".into(),
            })
        }
        "Invalid stripe count" => {
            let line = find(&|l| number(l, 0).is_none_or(|n| n == 0))?;
            Some(Fault::word(line, 3, "the number of stripes is a decimal number above 0"))
        }
        "Invalid chunk_size" => {
            let line = find(&|l| number(l, 1).is_none_or(|n| n == 0))?;
            Some(Fault::word(line, 4, "the chunk size is a decimal number of sectors above 0"))
        }
        "Target length not divisible by number of stripes" => {
            let line = find(&|l| number(l, 0).is_some_and(|n| n > 0 && l.len.0 % n != 0))?;
            let (len, n) = (
                lines.iter().find(|(at, _)| *at == line)?.1.len.0,
                number(lines.iter().find(|(at, _)| *at == line)?.1, 0)?,
            );
            Some(Fault::word(line, 1, format!("a multiple of {n} stripes: {}", multiples(len, n))))
        }
        "Target length not divisible by chunk size" => {
            let wrong = |l: &TableLine| match (number(l, 0), number(l, 1)) {
                (Some(n), Some(chunk)) if n > 0 && chunk > 0 => !(l.len.0 / n).is_multiple_of(chunk),
                _ => false,
            };
            let line = find(&wrong)?;
            let of = lines.iter().find(|(at, _)| *at == line)?.1;
            let row = number(of, 0)?.checked_mul(number(of, 1)?)?;
            let right =
                format!("a multiple of stripes × chunk = {row} sectors: {}", multiples(of.len.0, row));
            Some(Fault::word(line, 1, right))
        }
        "Not enough destinations specified" => {
            let wants =
                |l: &TableLine| number(l, 0).and_then(|n| n.checked_mul(2)).and_then(|n| n.checked_add(2));
            let line = find(&|l| wants(l) != Some(l.params.len() as u64))?;
            let of = lines.iter().find(|(at, _)| *at == line)?.1;
            let (n, given) = (number(of, 0)?, of.params.len());
            let right = format!(
                "{n} stripes take {n} times DEVICE OFFSET; here are {} words",
                given.saturating_sub(2)
            );
            let wanted = usize::try_from(wants(of)?).unwrap_or(usize::MAX).min(given);
            Some(Fault { line, from: 3 + wanted, to: 3 + given, right })
        }
        "Couldn't parse stripe destination" if errno == Some("EINVAL") => {
            let bad = |l: &TableLine| {
                (3..l.params.len()).step_by(2).find(|&i| !l.params.word(i).is_some_and(is_number))
            };
            let (at, word) = lines.iter().find_map(|(at, l)| Some((*at, bad(l)?)))?;
            Some(Fault::word(at, 3 + word, "the offset is a decimal number of sectors, without sign or unit"))
        }
        "Couldn't parse stripe destination" => {
            lookup(lines, |l| (2..l.params.len()).step_by(2).collect(), errno, known)
        }
        _ => None,
    }
}

/// A device that could not be opened. Which of several it was the log does not say; the words that cannot be it by
/// their form (the kernel looks up a number and a path in different ways) are left out.
fn lookup(
    lines: &[(usize, &TableLine)],
    words: impl Fn(&TableLine) -> Vec<usize>,
    errno: Option<&str>,
    known: &Surroundings<'_>,
) -> Option<Fault> {
    let right = match errno? {
        "ENOENT" => "a path that exists, or MAJOR:MINOR",
        "ENOTBLK" => "a block device; this is another kind of file",
        "ENXIO" => "the number of a device that exists; `dmlab ls` and /proc/partitions list them",
        "EOVERFLOW" => "a major number up to 4095 and a minor up to 1048575",
        "EBUSY" => "a device that nobody holds: this one is mounted, claimed, or opened exclusively",
        "EINVAL" => "another device: a table cannot map onto its own device",
        "EACCES" => "a device that may be opened in this mode",
        _ => "a device that can be opened",
    };
    let by_path = matches!(errno?, "ENOENT" | "ENOTBLK");
    let by_number = matches!(errno?, "EOVERFLOW");
    let mut candidates = Vec::new();
    for (at, line) in lines {
        for word in words(line) {
            let text = line.params.word(word).unwrap_or_default();
            let is_number = matches!(Device::from(text), Device::Number(_)) || is_large_number(text);
            if !(by_path && is_number || by_number && !is_large_number(text)) {
                candidates.push((*at, word, text.to_owned()));
            }
        }
    }
    let is_missing = |text: &str| known.has_device.is_some_and(|has| !has(text));
    if matches!(errno?, "ENOENT" | "ENOTBLK" | "ENXIO")
        && candidates.iter().any(|(.., text)| is_missing(text))
    {
        candidates.retain(|(.., text)| is_missing(text));
        // The kernel opens them in order and stops at the first that it can't.
        candidates.truncate(1);
    }
    let (at, word, first) = candidates.first()?.clone();
    if candidates.iter().all(|(.., text)| *text == first) {
        return Some(Fault::word(at, 3 + word, right));
    }
    let names: Vec<&str> = candidates.iter().map(|(.., text)| text.as_str()).collect();
    let right = format!("{right}; it is one of {}, in this order the kernel opens them", names.join(", "));
    let to = candidates.iter().filter(|(line, ..)| *line == at).map(|(_, w, _)| w + 4).max()?;
    Some(Fault { line: at, from: 3 + word, to, right })
}

/// `DEV too small for target: start=S, len=L, dev_size=D`.
fn too_small(table: &Table, device: &str, facts: &str) -> Option<Fault> {
    let fact = |name: &str| {
        let value = facts.split(", ").find_map(|f| f.strip_prefix(name)?.strip_prefix('='))?;
        decimal(value)
    };
    let (start, len, size) = (fact("start")?, fact("len")?, fact("dev_size")?);
    let (at, word) =
        table.lines.iter().enumerate().find_map(|(at, line)| Some((at, offset_word(line, start, len)?)))?;
    let stripes = len.checked_div(table.lines[at].len.0).is_none_or(|n| n == 0);
    if start >= size {
        return Some(Fault::word(
            at,
            3 + word,
            format!("an offset below {size}: {device} has {size} sectors"),
        ));
    }
    let room = size - start;
    let each = if stripes { " in each stripe" } else { "" };
    let right = format!(
        "{device} has {size} sectors, so from sector {start} on at most {room}{each}; the table needs {len}"
    );
    Some(Fault::word(at, 1, right))
}

/// The parameter of `line` that is the offset `start` of a piece of `len` sectors.
fn offset_word(line: &TableLine, start: u64, len: u64) -> Option<usize> {
    let is_start = |at: usize| line.params.word(at).and_then(decimal) == Some(start);
    match line.target.as_bytes() {
        b"linear" | b"error" if line.len.0 == len && is_start(1) => Some(1),
        b"striped" => {
            let stripes = line.params.word(0).and_then(decimal).filter(|n| *n > 0)?;
            if line.len.0 / stripes != len {
                return None;
            }
            (3..line.params.len()).step_by(2).find(|&at| is_start(at))
        }
        // Elsewhere an offset stands behind its device as well.
        _ if line.len.0 == len => (1..line.params.len()).find(|&at| is_start(at)),
        _ => None,
    }
}

/// `start=S not aligned to h/w logical block size B of DEV`, the same for `len=`.
fn unaligned(table: &Table, text: &str, rest: &str) -> Option<Fault> {
    let block = decimal(rest.split(' ').next()?)? / 512;
    let right = format!("a multiple of {block} sectors, the device's logical block");
    if let Some(start) = text.strip_prefix("start=").and_then(|t| decimal(t.split(' ').next()?)) {
        let of = |line: &TableLine| {
            (1..line.params.len()).find(|&at| line.params.word(at).and_then(decimal) == Some(start))
        };
        let (at, word) = table.lines.iter().enumerate().find_map(|(at, line)| Some((at, of(line)?)))?;
        return Some(Fault::word(at, 3 + word, right));
    }
    let len = text.strip_prefix("len=").and_then(|t| decimal(t.split(' ').next()?))?;
    let at = table.lines.iter().position(|line| line.len.0 == len)?;
    Some(Fault::word(at, 1, right))
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

/// What the kernel's number scan takes: decimal digits, any number of them (it wraps).
fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

/// `MAJOR:MINOR` with a number that fits no device number.
fn is_large_number(word: &str) -> bool {
    word.parse::<dmlab_units::DevT>() == Err(dmlab_units::ParseDevTError::TooLarge)
}

#[cfg(test)]
mod tests;
