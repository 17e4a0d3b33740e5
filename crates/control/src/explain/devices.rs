//! Which device of a table could not be opened, or is too small.

use super::arguments::Line;
use super::{Fault, Surroundings, number};
use crate::form::{Kind, Place};
use crate::table::{Table, TableLine};
use crate::{Device, decimal, form_of};

/// Whether an errno says that a device could not be opened.
pub(super) fn is_lookup(errno: &str) -> bool {
    matches!(
        errno,
        "ENOENT"
            | "ENODEV"
            | "ENOTBLK"
            | "ENXIO"
            | "EOVERFLOW"
            | "EBUSY"
            | "EACCES"
            | "ENAMETOOLONG"
            | "ENOTDIR"
    )
}

/// A device that could not be opened. Which of several it was the log does not say; the words that cannot be it by
/// their form (the kernel looks up a number and a path in different ways) are left out.
pub(super) fn lookup(
    lines: &[Line<'_>],
    is_one: impl Fn(&Place) -> bool,
    errno: Option<&str>,
    known: &Surroundings<'_>,
) -> Option<Fault> {
    let right = match errno? {
        "ENOENT" => "a path that exists, or MAJOR:MINOR",
        "ENOTBLK" => "a block device; this is another kind of file",
        "ENXIO" | "ENODEV" => "the number of a device that exists; `dmlab ls` and /proc/partitions list them",
        "EOVERFLOW" => "a major number up to 4095 and a minor up to 1048575",
        "EBUSY" => "a device that nobody holds: this one is mounted, claimed, or opened exclusively",
        "EINVAL" => "another device: a table cannot map onto its own device",
        "EACCES" => "a device that may be opened in this mode",
        "ENAMETOOLONG" => "a path of at most 4095 bytes whose names have at most 255",
        "ENOTDIR" => "a path that leads through folders only",
        _ => "a device that can be opened",
    };
    let by_path = matches!(errno?, "ENOENT" | "ENOTBLK" | "ENAMETOOLONG" | "ENOTDIR");
    let by_number = matches!(errno?, "EOVERFLOW");
    let mut candidates = Vec::new();
    for line in lines {
        for place in line.reading.places.iter().filter(|place| is_one(place)) {
            let text = line.word(place);
            let is_number = matches!(Device::from(&*text), Device::Number(_)) || is_large_number(&text);
            if !(by_path && is_number || by_number && !is_large_number(&text)) {
                candidates.push((line, place, text));
            }
        }
    }
    let is_missing = |text: &str| known.has_device.is_some_and(|has| !has(text));
    if is_lookup(errno?) && candidates.iter().any(|(.., text)| is_missing(text)) {
        candidates.retain(|(.., text)| is_missing(text));
        // The kernel opens them in order and stops at the first that it can't.
        candidates.truncate(1);
    }
    if errno? == "ENAMETOOLONG" {
        // A path that is long is longer than those that are not.
        let longest = candidates.iter().map(|(.., text)| text.len()).max()?;
        candidates.retain(|(.., text)| text.len() == longest);
    }
    let (line, place, first) = candidates.first()?;
    let mut fault = line.fault(place, right);
    if candidates.iter().all(|(.., text)| text == first) {
        return Some(fault);
    }
    let names: Vec<&str> = candidates.iter().map(|(.., text)| text.as_str()).collect();
    fault.right = format!(
        "{}: {right}; it is one of {}, in this order the kernel opens them",
        place.argument.name,
        names.join(", ")
    );
    fault.argument = Some(place.argument.name.to_owned());
    let in_line = candidates.iter().filter(|(other, ..)| other.number == line.number);
    fault.to = in_line.map(|(_, place, _)| place.word + 4).max()?;
    Some(fault)
}

/// A place of a line that is an offset.
struct Offset {
    /// Which parameter it is.
    word: usize,
    label: String,
    /// Whether the device in front of it is called as the log calls it.
    is_named: bool,
}

/// The offsets in a line that are `start`.
fn offsets(line: &TableLine, start: u64, device: &str) -> Vec<Offset> {
    let Some(form) = form_of(line.target.as_bytes()) else { return Vec::new() };
    let reading = form.read_line(line);
    let is_offset = |place: &&Place| {
        matches!(place.argument.kind, Kind::Offset) && number(line, place.word) == Some(start)
    };
    let offset = |place: &Place| {
        let before = place.word.checked_sub(1).and_then(|at| line.params.word(at)).unwrap_or_default();
        let is_named = before.rsplit('/').next() == Some(device);
        Offset { word: place.word, label: place.label(), is_named }
    };
    reading.places.iter().filter(is_offset).map(offset).collect()
}

/// The line that takes a piece of `len` sectors from sector `start` of `device` on, and the offset in it that says so.
fn piece(table: &Table, device: &str, start: u64, len: u64) -> Option<(usize, Option<Offset>)> {
    let with_offsets = |(at, line)| (at, offsets(line, start, device));
    let of_len: Vec<_> = table.lines.iter().enumerate().filter(|(_, line)| line.len.0 == len).collect();
    let exact = of_len.iter().copied().map(with_offsets);
    // A device that is cut up has pieces shorter than its line.
    let cut = table.lines.iter().enumerate().filter(|(_, line)| line.len.0 != len).map(with_offsets);
    let all: Vec<_> = exact.chain(cut).collect();
    let named = all.iter().position(|(_, offsets)| offsets.iter().any(|offset| offset.is_named));
    let any = all.iter().position(|(_, offsets)| !offsets.is_empty());
    if let Some(found) = named.or(any) {
        let (at, offsets) = all.into_iter().nth(found)?;
        let named = offsets.iter().position(|offset| offset.is_named).unwrap_or(0);
        return Some((at, offsets.into_iter().nth(named)));
    }
    // A target that takes all of its devices from their beginning has no offsets.
    let (at, _) = of_len.first().copied().or_else(|| table.lines.iter().enumerate().next())?;
    Some((at, None))
}

/// `DEV too small for target: start=S, len=L, dev_size=D`.
pub(super) fn too_small(table: &Table, device: &str, facts: &str) -> Option<Fault> {
    let fact = |name: &str| {
        let value = facts.split(", ").find_map(|f| f.strip_prefix(name)?.strip_prefix('='))?;
        decimal(value)
    };
    let (start, len, size) = (fact("start")?, fact("len")?, fact("dev_size")?);
    let (at, offset) = piece(table, device, start, len)?;
    if start >= size
        && let Some(offset) = offset
    {
        let right = format!("{}: an offset below {size}: {device} has {size} sectors", offset.label);
        return Some(Fault::word(at, 3 + offset.word, offset.label, right));
    }
    let room = size.saturating_sub(start);
    let each = if table.lines[at].len.0 == len { "" } else { " in each piece" };
    let right = format!(
        "LENGTH: {device} has {size} sectors, so from sector {start} on at most {room}{each}; the table needs {len}"
    );
    Some(Fault::word(at, 1, "LENGTH", right))
}

/// `start=S not aligned to h/w logical block size B of DEV`, the same for `len=`.
pub(super) fn unaligned(table: &Table, text: &str, rest: &str) -> Option<Fault> {
    let (block, device) = rest.split_once(" of ").unwrap_or((rest, ""));
    let right = format!("a multiple of {} sectors, the device's logical block", decimal(block)? / 512);
    let value = |name: &str| text.strip_prefix(name).and_then(|t| decimal(t.split(' ').next()?));
    if let Some(start) = value("start=") {
        let (at, offset) = table.lines.iter().enumerate().find_map(|(at, line)| {
            let offsets = offsets(line, start, device);
            let named = offsets.iter().position(|offset| offset.is_named).unwrap_or(0);
            Some((at, offsets.into_iter().nth(named)?))
        })?;
        return Some(Fault::word(at, 3 + offset.word, &*offset.label, format!("{}: {right}", offset.label)));
    }
    let len = value("len=")?;
    let at =
        table.lines.iter().position(|line| line.len.0 == len).or((!table.lines.is_empty()).then_some(0))?;
    Some(Fault::word(at, 1, "LENGTH", format!("LENGTH: {right}")))
}

/// `MAJOR:MINOR` with a number that fits no device number.
fn is_large_number(word: &str) -> bool {
    word.parse::<dmlab_units::DevT>() == Err(dmlab_units::ParseDevTError::TooLarge)
}
