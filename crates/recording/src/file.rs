//! A recording as a file.
//!
//! ```text
//! "dmlab recording 2\n", then a gzip stream of: the header, and each event
//! ```
//! Header and events are in [postcard's wire format](https://postcard.jamesmunns.com/wire-format), each behind its length in
//! bytes as a little-endian u32. A recording that was cut off in the middle of a run can be read as far as it goes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Event, Header};

/// No clock runs longer: 146 years. Nearer to the end of what can be counted, timers would no longer wait.
const TIME_MAX: Duration = Duration::from_nanos(1 << 62);
/// More RAM disks than this no machine is booted with.
const RAM_DISKS_MAX: u32 = 1 << 16;
/// A file's first line. What follows is packed.
pub const MAGIC: &[u8] = b"dmlab recording 2\n";
/// What that line begins with; the number of the format follows.
const FORMAT: &[u8] = b"dmlab recording ";

/// The number of the format in a file's first line.
fn shown_format(line: &[u8]) -> String {
    let number = line.strip_prefix(FORMAT).unwrap_or_default();
    String::from_utf8_lossy(number).trim_end().to_owned()
}

/// Why a recording cannot be read or written.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    error: io::Error,
}

impl FileError {
    pub(crate) fn new(path: &Path, error: io::Error) -> FileError {
        FileError { path: path.to_owned(), error }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for FileError {}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the recording is damaged or cut off: {what}"))
}

/// What a packed file that ends too soon says, in words of what was read.
fn in_words(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        bad("it ends in the middle of an event")
    } else {
        error
    }
}

/// Writes a recording as it comes about.
pub(crate) struct Writer<W: Write> {
    out: GzEncoder<W>,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(mut out: W, header: &Header) -> io::Result<Writer<W>> {
        out.write_all(MAGIC)?;
        let mut writer = Writer { out: GzEncoder::new(out, Compression::fast()), buffer: Vec::new() };
        writer.put(header)?;
        Ok(writer)
    }

    pub(crate) fn put(&mut self, what: &impl Serialize) -> io::Result<()> {
        self.buffer.clear();
        postcard::to_io(what, &mut self.buffer).map_err(|error| io::Error::other(error.to_string()))?;
        let len = u32::try_from(self.buffer.len()).map_err(|_| io::Error::other("an event of over 4 GiB"))?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&self.buffer)
    }

    /// Lets what was put be read, should nothing follow.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.out.finish()?.flush()
    }
}

/// Reads a recording, an event at a time.
pub struct Reader<R: BufRead> {
    from: GzDecoder<R>,
    header: Header,
    is_over: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// The system's, and when this is no recording.
    pub fn new(mut from: R) -> io::Result<Reader<R>> {
        let mut magic = Vec::new();
        from.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic != MAGIC && magic.starts_with(FORMAT) {
            let (theirs, ours) = (shown_format(&magic), shown_format(MAGIC));
            let text =
                format!("the recording has format {theirs}, and this dmlab reads format {ours}: record anew");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if magic != MAGIC {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "this is no recording: its first line is not that of a file which `dmlab record` wrote",
            ));
        }
        let mut from = GzDecoder::new(from);
        let header: Header = get(&mut from)?.ok_or_else(|| bad("it ends at its beginning"))?;
        if header.ram_disks > RAM_DISKS_MAX {
            return Err(bad(&format!("{} RAM disks", header.ram_disks)));
        }
        Ok(Reader { from, header, is_over: false })
    }

    /// How the machine was made.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// The system's, and when the rest is damaged or missing.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        if self.is_over {
            return Ok(None);
        }
        let event = get(&mut self.from)?;
        if let Some(Event::Clock { since_boot }) = event
            && since_boot > TIME_MAX
        {
            return Err(bad(&format!("a time of {since_boot:?}")));
        }
        self.is_over = event.is_none();
        Ok(event)
    }
}

/// The next value; `None` where nothing more comes.
fn get<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = Vec::new();
    from.by_ref().take(4).read_to_end(&mut len).map_err(in_words)?;
    if len.is_empty() {
        return Ok(None);
    }
    let len = u32::from_le_bytes(len.try_into().map_err(|_| bad("it ends in the middle of an event"))?);
    // Memory grows with what is there, not with what the file says.
    let mut bytes = Vec::new();
    from.by_ref().take(u64::from(len)).read_to_end(&mut bytes).map_err(in_words)?;
    if bytes.len() != len as usize {
        return Err(bad("it ends in the middle of an event"));
    }
    match postcard::take_from_bytes(&bytes) {
        Ok((value, [])) => Ok(Some(value)),
        Ok(_) => Err(bad("an event is longer than it should be")),
        Err(error) => Err(bad(&format!("an event ({error})"))),
    }
}

/// A whole recording in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// How the machine was made.
    pub header: Header,
    /// What happened.
    pub events: Vec<Event>,
    /// Why the end is missing, if it is: the recorder was killed, say.
    pub cut_off: Option<String>,
}

impl Recording {
    /// Reads a recording from `from`. What can be read before damage is kept.
    ///
    /// # Errors
    /// The system's, and when not even the beginning can be read.
    pub fn read(from: impl BufRead) -> io::Result<Recording> {
        let mut reader = Reader::new(from)?;
        let mut events = Vec::new();
        let cut_off = loop {
            match reader.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) if events.last() == Some(&Event::Finish) => break None,
                Ok(None) => break Some("the run was not over".to_owned()),
                Err(error) => break Some(error.to_string()),
            }
        };
        Ok(Recording { header: reader.header, events, cut_off })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Recording::read`].
    pub fn load(path: &Path) -> Result<Recording, FileError> {
        let loaded = File::open(path).and_then(|file| Recording::read(BufReader::new(file)));
        loaded.map_err(|error| FileError::new(path, error))
    }

    /// Writes it.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut writer = Writer::new(to, &self.header)?;
        self.events.iter().try_for_each(|event| writer.put(event))?;
        writer.finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::{Answer, Backing, Bio, Call, Ended, Extents, Host};
    use dmlab_driver::Time;
    use dmlab_machine::{IoFlags, TracePoint};
    use dmlab_units::{Bytes, DevT, Errno, Sector, Sectors};

    pub(crate) fn header() -> Header {
        Header {
            made_by: "0".into(),
            command: vec!["sh".into()],
            seed: 3,
            kernel: "7.2".to_owned(),
            clock: Time::Virtual,
            ram_disks: 2,
            ram_disk_size: Bytes::mib(1),
            disks: vec![Host {
                is_read_only: true,
                identity: (1, 2),
                contents: Extents { len: Bytes(4096), parts: vec![(Bytes(0), vec![1; 4096])] },
            }],
            parameters: vec![("a.b".into(), "1".into())],
            faults: None,
        }
    }

    fn recording() -> Recording {
        let dev = DevT::new(1, 0);
        let bio = |point| {
            let (op, sector, len) = ("W".to_owned(), Sector(0), Sectors(1));
            Event::Bio(Bio { dev, point, op, sector, len, sum: Some(7) })
        };
        let events = vec![
            Event::Begin { call: 1, client: 1, what: Call::OpenBlock { file: 1, dev, mode: 3 } },
            Event::End { call: 1, ended: Ended::with(Ok(0)) },
            Event::Begin {
                call: 2,
                client: 1,
                what: Call::Write { file: 1, at: Bytes(0), data: vec![9; 512], how: IoFlags::default() },
            },
            Event::Begin {
                call: 3,
                client: 1,
                what: Call::Read {
                    file: 1,
                    at: Bytes(512),
                    len: Bytes(1024),
                    how: IoFlags {
                        is_direct: true,
                        is_nowait: false,
                        is_dsync: true,
                        address_bits: 0xe00,
                        length_bits: 1024,
                    },
                },
            },
            Event::Told {
                call: 2,
                answer: Answer::Path { path: b"/dev/x".to_vec(), dev: Err(Errno::ENOENT) },
            },
            Event::Told { call: 2, answer: Answer::Backing(Ok(Backing::Device { dev, mode: 1 })) },
            Event::Size { number: 1, size: Ok(Bytes(5)) },
            bio(TracePoint::Queue),
            bio(TracePoint::Remap { to: dev, to_sector: Sector(300) }),
            bio(TracePoint::Split),
            bio(TracePoint::Defer),
            bio(TracePoint::Complete { errno: 5 }),
            Event::Log { level: 6, text: "line".into() },
            Event::Clock { since_boot: Duration::from_secs(1000) },
            Event::Finish,
        ];
        Recording { header: header(), events, cut_off: None }
    }

    #[test]
    fn a_recording_comes_back_from_its_bytes() {
        let mut bytes = Vec::new();
        recording().write(&mut bytes).unwrap();
        assert_eq!(Recording::read(&bytes[..]).unwrap(), recording());
        // Cut off anywhere it is read as far as it goes; damaged anywhere it is refused, cut off, or another.
        for at in 0..bytes.len() {
            if let Ok(cut) = Recording::read(&bytes[..at]) {
                assert!(cut.cut_off.is_some(), "cut at {at}");
                assert!(recording().events.starts_with(&cut.events), "cut at {at}");
            }
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x81;
            let _ = Recording::read(&damaged[..]);
        }
    }

    /// Recordings outlive the types that they are made of: whoever changes these bytes changes the number of the format.
    #[test]
    fn the_bytes_of_a_recording_are_those_of_its_format() {
        let mut bytes = Vec::new();
        recording().write(&mut bytes).unwrap();
        let mut unpacked = Vec::new();
        GzDecoder::new(&bytes[MAGIC.len()..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!((unpacked.len(), crc32c::crc32c(&unpacked)), (4841, 2_929_246_554));
    }

    #[test]
    fn a_recording_of_another_format_is_told_from_a_file_that_is_none() {
        let said = |bytes: &[u8]| Recording::read(bytes).unwrap_err().to_string();
        assert_eq!(
            said(b"dmlab recording 1\nrest"),
            "the recording has format 1, and this dmlab reads format 2: record anew"
        );
        assert!(said(b"#!/bin/sh\n").starts_with("this is no recording"));
        assert!(said(b"").starts_with("this is no recording"));
    }
}
