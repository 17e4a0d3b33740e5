//! Reading.

use crate::stream::{Device, Pool, Run, Sink, SinkError};
use dmlab_units::{DataBlock, Sectors, ThinBlock, ThinId};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::collections::HashMap;
use std::io::BufRead;

/// Why XML is no pool.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    /// It is no XML.
    #[error("byte {at}: {source}")]
    Syntax {
        /// Where.
        at: u64,
        /// What is wrong.
        source: quick_xml::Error,
    },
    /// An attribute is missing.
    #[error("byte {at}: <{element}> has no `{attribute}`")]
    Missing {
        /// Where.
        at: u64,
        /// The element.
        element: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// An attribute is no number, or one too large.
    #[error("byte {at}: `{attribute}` is `{value}`, it should be a number up to {max}")]
    Number {
        /// Where.
        at: u64,
        /// The attribute.
        attribute: &'static str,
        /// What it is.
        value: String,
        /// Largest that fits the format.
        max: u64,
    },
    /// An element that may not stand there.
    #[error("byte {at}: <{element}> may not stand {place}")]
    Place {
        /// Where.
        at: u64,
        /// The element.
        element: String,
        /// Inside or outside of what.
        place: &'static str,
    },
    /// A `ref` to a `def` that does not come before it.
    #[error("byte {at}: nothing is defined as `{name}`")]
    Undefined {
        /// Where.
        at: u64,
        /// The name.
        name: String,
    },
    /// The text ends too early.
    #[error("the text ends before </superblock>")]
    Short,
    /// Whoever takes the pool does not.
    #[error("{0}")]
    Sink(SinkError),
}

const BLOCK_MAX: u64 = (1 << 40) - 1;
const TIME_MAX: u64 = (1 << 24) - 1;

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Outside,
    Pool,
    Device,
    Definition,
    Done,
}

impl Place {
    fn text(self) -> &'static str {
        match self {
            Place::Outside => "outside of <superblock>",
            Place::Pool => "in <superblock>",
            Place::Device => "in <device>",
            Place::Definition => "in <def>",
            Place::Done => "after </superblock>",
        }
    }
}

/// Reads XML into `sink`. Attributes that are not known are passed over.
///
/// # Errors
/// What is wrong with it, and where; what the sink says.
pub fn read_xml(input: impl BufRead, sink: &mut dyn Sink) -> Result<(), XmlError> {
    let mut reader = Reader::from_reader(input);
    let mut state =
        State { at: 0, place: Place::Outside, defined: HashMap::new(), name: String::new(), sink };
    let mut buffer = Vec::new();
    loop {
        state.at = reader.buffer_position();
        let event = reader.read_event_into(&mut buffer);
        match event.map_err(|source| XmlError::Syntax { at: state.at, source })? {
            Event::Start(element) => state.begin(&element, false)?,
            Event::Empty(element) => state.begin(&element, true)?,
            Event::End(element) => state.end(element.name().as_ref())?,
            Event::Eof if state.place == Place::Done => return Ok(()),
            Event::Eof => return Err(XmlError::Short),
            _ => {}
        }
        buffer.clear();
    }
}

struct State<'s> {
    at: u64,
    place: Place,
    defined: HashMap<String, Vec<Run>>,
    /// The definition that is being read.
    name: String,
    sink: &'s mut dyn Sink,
}

impl State<'_> {
    fn begin(&mut self, element: &BytesStart<'_>, is_empty: bool) -> Result<(), XmlError> {
        match (self.place, element.name().as_ref()) {
            (Place::Outside, b"superblock") => {
                let pool = self.pool(element)?;
                self.sink.pool(&pool).map_err(XmlError::Sink)?;
                self.place = Place::Pool;
            }
            (Place::Pool, b"device") => {
                let device = self.device(element)?;
                self.sink.device(&device).map_err(XmlError::Sink)?;
                self.place = Place::Device;
            }
            (Place::Pool, b"def") => {
                self.name = self.text(element, "name")?;
                self.defined.insert(self.name.clone(), Vec::new());
                self.place = Place::Definition;
            }
            (Place::Device | Place::Definition, b"single_mapping" | b"range_mapping") => {
                let run = self.run(element)?;
                self.take(run)?;
                // Nothing can stand inside a mapping, so its end tag changes nothing.
                return Ok(());
            }
            (Place::Device | Place::Definition, b"ref") => {
                let name = self.text(element, "name")?;
                let runs = self.defined.get(&name).cloned();
                for run in runs.ok_or(XmlError::Undefined { at: self.at, name })? {
                    self.take(run)?;
                }
                return Ok(());
            }
            (place, name) => {
                let element = String::from_utf8_lossy(name).into_owned();
                return Err(XmlError::Place { at: self.at, element, place: place.text() });
            }
        }
        if is_empty { self.end(element.name().as_ref()) } else { Ok(()) }
    }

    fn take(&mut self, run: Run) -> Result<(), XmlError> {
        if self.place == Place::Device {
            return self.sink.run(&run).map_err(XmlError::Sink);
        }
        self.defined.entry(self.name.clone()).or_default().push(run);
        Ok(())
    }

    fn end(&mut self, name: &[u8]) -> Result<(), XmlError> {
        match (self.place, name) {
            (Place::Device, b"device") => {
                self.place = Place::Pool;
                self.sink.end_device()
            }
            (Place::Definition, b"def") => {
                self.place = Place::Pool;
                Ok(())
            }
            (Place::Pool, b"superblock") => {
                self.place = Place::Done;
                self.sink.end_pool()
            }
            _ => Ok(()),
        }
        .map_err(XmlError::Sink)
    }

    fn pool(&self, element: &BytesStart<'_>) -> Result<Pool, XmlError> {
        let [time, transaction, block_size, nr_blocks, flags, version] = self.numbers(
            element,
            [
                ("time", u64::from(u32::MAX)),
                ("transaction", u64::MAX),
                ("data_block_size", u64::from(u32::MAX)),
                ("nr_data_blocks", BLOCK_MAX + 1),
                ("flags", u64::from(u32::MAX)),
                ("version", u64::from(u32::MAX)),
            ],
        )?;
        Ok(Pool {
            time: self.needed(element, "time", time)? as u32,
            transaction: self.needed(element, "transaction", transaction)?,
            // Very old dumps have neither.
            flags: flags.unwrap_or(0) as u32,
            version: version.unwrap_or(u64::from(dmlab_formats::thin::THIN_VERSION)) as u32,
            data_block_size: Sectors(self.needed(element, "data_block_size", block_size)?),
            nr_data_blocks: self.needed(element, "nr_data_blocks", nr_blocks)?,
        })
    }

    fn device(&self, element: &BytesStart<'_>) -> Result<Device, XmlError> {
        let [id, mapped, transaction, creation, snap] = self.numbers(
            element,
            [
                ("dev_id", TIME_MAX),
                ("mapped_blocks", u64::MAX),
                ("transaction", u64::MAX),
                ("creation_time", u64::from(u32::MAX)),
                ("snap_time", u64::from(u32::MAX)),
            ],
        )?;
        Ok(Device {
            id: ThinId(self.needed(element, "dev_id", id)?),
            mapped_blocks: self.needed(element, "mapped_blocks", mapped)?,
            transaction: self.needed(element, "transaction", transaction)?,
            creation_time: self.needed(element, "creation_time", creation)? as u32,
            snap_time: self.needed(element, "snap_time", snap)? as u32,
        })
    }

    fn run(&self, element: &BytesStart<'_>) -> Result<Run, XmlError> {
        let is_single = element.name().as_ref() == b"single_mapping";
        let (begin, data) =
            if is_single { ("origin_block", "data_block") } else { ("origin_begin", "data_begin") };
        let wanted = [(begin, u64::MAX), (data, BLOCK_MAX), ("time", TIME_MAX), ("length", BLOCK_MAX)];
        let [begin_at, data_at, time, length] = self.numbers(element, wanted)?;
        Ok(Run {
            begin: ThinBlock(self.needed(element, begin, begin_at)?),
            data: DataBlock(self.needed(element, data, data_at)?),
            length: if is_single { 1 } else { self.needed(element, "length", length)? },
            time: self.needed(element, "time", time)? as u32,
        })
    }

    fn needed(
        &self,
        element: &BytesStart<'_>,
        attribute: &'static str,
        value: Option<u64>,
    ) -> Result<u64, XmlError> {
        value.ok_or_else(|| XmlError::Missing {
            at: self.at,
            element: String::from_utf8_lossy(element.name().as_ref()).into_owned(),
            attribute,
        })
    }

    /// The numbers that an element's attributes are, in one pass over it.
    fn numbers<const N: usize>(
        &self,
        element: &BytesStart<'_>,
        wanted: [(&'static str, u64); N],
    ) -> Result<[Option<u64>; N], XmlError> {
        let mut values = [None; N];
        for attribute in element.attributes().with_checks(false) {
            let attribute = attribute.map_err(|e| XmlError::Syntax { at: self.at, source: e.into() })?;
            let known = wanted.iter().position(|(name, _)| name.as_bytes() == attribute.key.as_ref());
            let Some(known) = known else { continue };
            let (name, max) = wanted[known];
            let number = number(&attribute.value).filter(|&number| number <= max);
            values[known] = Some(number.ok_or_else(|| XmlError::Number {
                at: self.at,
                attribute: name,
                value: String::from_utf8_lossy(&attribute.value).into_owned(),
                max,
            })?);
        }
        Ok(values)
    }

    fn text(&self, element: &BytesStart<'_>, name: &'static str) -> Result<String, XmlError> {
        let found =
            element.attributes().with_checks(false).flatten().find(|a| a.key.as_ref() == name.as_bytes());
        let value = found.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned());
        value.ok_or_else(|| XmlError::Missing {
            at: self.at,
            element: String::from_utf8_lossy(element.name().as_ref()).into_owned(),
            attribute: name,
        })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
