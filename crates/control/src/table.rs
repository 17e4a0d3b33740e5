//! Tables: lines of START LEN TYPE PARAMETERS.

mod params;

pub use params::Params;

use crate::targets::TargetLine;
use dmlab_abi::TargetSpec;
use dmlab_units::{NameError, Sector, Sectors, TargetName};
use std::fmt;
use std::str::FromStr;

/// One target of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLine {
    /// First sector of the mapped device that it serves.
    pub start: Sector,
    /// How many sectors it serves.
    pub len: Sectors,
    /// Target type.
    pub target: TargetName,
    /// What the target's constructor gets.
    pub params: Params,
}

impl TableLine {
    /// A line of a target that has a type here.
    pub fn of<T: TargetLine>(start: Sector, len: Sectors, target: &T) -> TableLine {
        TableLine { start, len, target: T::target_name(), params: target.params() }
    }

    /// The bytes for TABLE_LOAD.
    pub fn to_spec(&self) -> TargetSpec {
        TargetSpec {
            start: self.start,
            len: self.len,
            target_type: self.target.as_bytes().to_vec(),
            params: self.params.to_kernel(),
        }
    }

    /// Its words as the table shows them: start, length, type, then the parameters.
    pub fn words(&self) -> Vec<String> {
        let fixed = [self.start.to_string(), self.len.to_string(), self.target.to_string()];
        fixed
            .into_iter()
            .chain(self.params.words().map(|w| String::from_utf8_lossy(w).into_owned()))
            .collect()
    }
}

impl fmt::Display for TableLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

/// What is wrong with the text of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table line {line}: {kind}")]
pub struct TableError {
    /// Number of the line, from 1, blank lines and comments counted.
    pub line: usize,
    /// What is wrong with it.
    pub kind: TableErrorKind,
}

/// What is wrong with one line of a table's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableErrorKind {
    /// Fewer than three words.
    #[error("`{0}` is not START LENGTH TYPE [PARAMETERS…]")]
    TooFewWords(String),
    /// A start or length that is no number.
    #[error("`{0}` is no number of sectors (decimal, below 2^64)")]
    NoNumber(String),
    /// A target type that is none.
    #[error("target type `{0}`: {1}")]
    BadType(String, NameError),
}

/// A table: what is loaded into a mapped device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its lines, in order. Whether they follow on one another is for the kernel to say.
    pub lines: Vec<TableLine>,
}

impl Table {
    /// A table without lines.
    pub fn new() -> Table {
        Table::default()
    }

    /// Appends a target of `len` sectors where the last one ends.
    ///
    /// # Panics
    /// When the end lies beyond 2^64 sectors.
    #[must_use]
    pub fn then<T: TargetLine>(mut self, len: Sectors, target: T) -> Table {
        let line = TableLine::of(self.end(), len, &target);
        self.lines.push(line);
        self
    }

    /// The sector behind the last line: the device's size.
    pub fn end(&self) -> Sector {
        self.lines.last().map_or(Sector::ZERO, |line| line.start + line.len)
    }

    /// The table that a TABLE_LOAD brought, as the kernel will split it: what another program asked for.
    ///
    /// # Errors
    /// A target type that is no name (the kernel answers EINVAL to that).
    pub fn from_specs(specs: &[TargetSpec]) -> Result<Table, NameError> {
        let line = |spec: &TargetSpec| {
            let target = TargetName::new(&spec.target_type)?;
            Ok(TableLine {
                start: spec.start,
                len: spec.len,
                target,
                params: Params::from_kernel(&spec.params),
            })
        };
        Ok(Table { lines: specs.iter().map(line).collect::<Result<_, NameError>>()? })
    }

    /// The bytes for TABLE_LOAD.
    pub fn to_specs(&self) -> Vec<TargetSpec> {
        self.lines.iter().map(TableLine::to_spec).collect()
    }
}

impl FromStr for Table {
    type Err = TableError;

    /// Reads the format of dmsetup: a line for each target, blank lines and those that begin with `#` ignored.
    ///
    /// Words are separated by white space and a backslash stands for itself: libdm doubles it on its way into the
    /// ioctl, where the kernel would take one as a quote (kernel/dm-core.md#splitting-parameters, golden case `core/escape`).
    fn from_str(text: &str) -> Result<Table, TableError> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            lines.push(parse_line(line).map_err(|kind| TableError { line: number + 1, kind })?);
        }
        Ok(Table { lines })
    }
}

fn parse_line(line: &str) -> Result<TableLine, TableErrorKind> {
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_start_matches(is_blank);
        let (word, tail) = rest.split_at(rest.find(is_blank).unwrap_or(rest.len()));
        rest = tail;
        (!word.is_empty()).then_some(word)
    };
    let (Some(start), Some(len), Some(target)) = (word(), word(), word()) else {
        return Err(TableErrorKind::TooFewWords(line.trim().to_owned()));
    };
    let number = |word: &str| {
        // `+8` parses as a Rust integer; in a table it is no number.
        let digits = word.bytes().all(|b| b.is_ascii_digit());
        let parsed = if digits { word.parse().ok() } else { None };
        parsed.ok_or_else(|| TableErrorKind::NoNumber(word.to_owned()))
    };
    Ok(TableLine {
        start: Sector(number(start)?),
        len: Sectors(number(len)?),
        target: TargetName::new(target).map_err(|e| TableErrorKind::BadType(target.to_owned(), e))?,
        params: Params::from_text(rest.as_bytes()),
    })
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

impl fmt::Display for Table {
    /// One line for each target, each with its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests;
