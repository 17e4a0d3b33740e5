//! A recorded run in a file, so that its states can be explored elsewhere.
//!
//! ```text
//! "dmlab crash run 1\n", seed u64, first boundary of interest u64, disks u64, their sizes in sectors u64 each,
//! events u64, then each event:
//!   0 write    disk u64, operation u8, forced u8, sector u64, sectors u64, owner u64, index u64,
//!              length u64 and text of the meaning, bytes unless it is a discard or a write of zeros
//!   1 flush    disk u64
//!   2 mark     length u64 and text
//! ```
//! Integers are little-endian.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use dmlab_block::Op;
use dmlab_faults::power::{Data, Event, Meaning, Recording, Written};
use dmlab_units::{SECTOR_SIZE, Sector, Sectors};

use super::record::CrashRun;

const MAGIC: &[u8] = b"dmlab crash run 1\n";
const OPS: [Op; 3] = [Op::Write, Op::Discard, Op::WriteZeroes];
/// More than any disk that could be recorded in memory.
const DISK_MAX: u64 = 1 << 40;

/// Why a recording cannot be read or written.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for FileError {}

fn encode(run: &CrashRun, out: &mut impl Write) -> io::Result<()> {
    let recording = &run.recording;
    out.write_all(MAGIC)?;
    let mut numbers = vec![run.seed, run.begin as u64, recording.sizes.len() as u64];
    numbers.extend(recording.sizes.iter().map(|size| size.0));
    numbers.push(recording.events.len() as u64);
    put(out, &numbers)?;
    for event in &recording.events {
        match event {
            Event::Write(Written { disk, op, sector, data, meaning, is_forced }) => {
                let op = OPS.iter().position(|known| known == op).unwrap_or(0) as u8;
                out.write_all(&[0])?;
                put(out, &[*disk as u64])?;
                out.write_all(&[op, u8::from(*is_forced)])?;
                put(out, &[sector.0, data.len().0, meaning.owner, meaning.index])?;
                put_text(out, &meaning.what)?;
                if let Data::Bytes(bytes) = data {
                    out.write_all(bytes)?;
                }
            }
            Event::Flush(disk) => {
                out.write_all(&[1])?;
                put(out, &[*disk as u64])?;
            }
            Event::Mark(text) => {
                out.write_all(&[2])?;
                put_text(out, text)?;
            }
        }
    }
    out.flush()
}

fn put(out: &mut impl Write, numbers: &[u64]) -> io::Result<()> {
    numbers.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))
}

fn put_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    put(out, &[text.len() as u64])?;
    out.write_all(text.as_bytes())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("this is no recording that `dmlab crash --save` made, or a damaged one: {what}"),
    )
}

fn number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// So many bytes; memory grows with what is there, not with what the file says.
fn bytes(from: &mut impl Read, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == len { Ok(bytes) } else { Err(bad("it is cut off")) }
}

fn text(from: &mut impl Read) -> io::Result<String> {
    let len = number(from)?;
    String::from_utf8(bytes(from, len)?).map_err(|_| bad("a text is none"))
}

fn decode(from: &mut impl Read) -> io::Result<CrashRun> {
    if bytes(from, MAGIC.len() as u64)? != MAGIC {
        return Err(bad("its first line"));
    }
    let (seed, begin, disks) = (number(from)?, number(from)?, number(from)?);
    let mut recording = Recording::default();
    for _ in 0..disks {
        let size = number(from)?;
        if size > DISK_MAX / SECTOR_SIZE {
            return Err(bad("the size of a disk"));
        }
        recording.sizes.push(Sectors(size));
    }
    let count = number(from)?;
    for _ in 0..count {
        let kind = bytes(from, 1)?[0];
        let event = match kind {
            0 => Event::Write(write(from, &recording.sizes)?),
            1 => Event::Flush(disk(from, &recording.sizes)?),
            2 => Event::Mark(text(from)?.into()),
            _ => return Err(bad("an event")),
        };
        recording.events.push(event);
    }
    let begin = usize::try_from(begin).ok().filter(|begin| *begin <= recording.events.len());
    Ok(CrashRun::new(seed, begin.ok_or_else(|| bad("its beginning"))?, recording))
}

fn disk(from: &mut impl Read, sizes: &[Sectors]) -> io::Result<usize> {
    let disk = number(from)?;
    usize::try_from(disk).ok().filter(|disk| *disk < sizes.len()).ok_or_else(|| bad("a disk's number"))
}

fn write(from: &mut impl Read, sizes: &[Sectors]) -> io::Result<Written> {
    let disk = disk(from, sizes)?;
    let how = bytes(from, 2)?;
    if how[1] > 1 {
        return Err(bad("whether a write is forced"));
    }
    let op = *OPS.get(usize::from(how[0])).ok_or_else(|| bad("an operation"))?;
    let (sector, sectors, owner, index) = (number(from)?, number(from)?, number(from)?, number(from)?);
    let what = text(from)?;
    if sector.checked_add(sectors).is_none_or(|end| end > sizes[disk].0) {
        return Err(bad("a write behind the end of its disk"));
    }
    let data = match op {
        Op::Write => Data::Bytes(bytes(from, sectors * SECTOR_SIZE)?.into()),
        _ => Data::Zeros(Sectors(sectors)),
    };
    let meaning = Meaning { what: Cow::Owned(what), owner, index };
    Ok(Written { disk, op, sector: Sector(sector), data, meaning, is_forced: how[1] == 1 })
}

/// A sum over all that passes.
struct Sum(u32);

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = crc32c::crc32c_append(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A number that tells recordings apart.
pub(super) fn fingerprint(run: &CrashRun) -> String {
    let mut sum = Sum(0);
    encode(run, &mut sum).expect("a sum takes everything");
    format!("{:08x}-{}", sum.0, run.recording.events.len())
}

/// Writes a run to a file.
pub(super) fn save(run: &CrashRun, path: &Path) -> Result<(), FileError> {
    let saved = File::create(path).and_then(|file| encode(run, &mut BufWriter::new(file)));
    saved.map_err(|error| FileError { path: path.to_owned(), error })
}

/// Reads a run from a file.
pub(super) fn load(path: &Path) -> Result<CrashRun, FileError> {
    let loaded = File::open(path).and_then(|file| decode(&mut BufReader::new(file)));
    loaded.map_err(|error| FileError { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> CrashRun {
        let meaning = Meaning { what: "superblock".into(), owner: 0, index: 7 };
        let written = Written {
            disk: 1,
            op: Op::Write,
            sector: Sector(3),
            data: Data::Bytes(vec![5; 1024].into()),
            meaning,
            is_forced: true,
        };
        let discard = Written {
            disk: 0,
            op: Op::Discard,
            sector: Sector(0),
            data: Data::Zeros(Sectors(8)),
            meaning: Meaning::default(),
            is_forced: false,
        };
        let events =
            vec![Event::Write(written), Event::Mark("é".into()), Event::Write(discard), Event::Flush(1)];
        CrashRun::new(9, 1, Recording { sizes: vec![Sectors(8), Sectors(16)], events })
    }

    #[test]
    fn a_run_comes_back_from_its_bytes() {
        let mut bytes = Vec::new();
        encode(&run(), &mut bytes).unwrap();
        let again = decode(&mut &bytes[..]).unwrap();
        assert_eq!((again.seed, again.begin, &again.recording), (9, 1, &run().recording));
        assert_eq!(fingerprint(&again), fingerprint(&run()));
        // Cut off anywhere and damaged anywhere, it is refused or is another run; it never panics.
        for at in 0..bytes.len() {
            assert!(decode(&mut &bytes[..at]).is_err(), "cut at {at}");
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x81;
            if let Ok(other) = decode(&mut &damaged[..]) {
                assert_ne!(fingerprint(&other), fingerprint(&run()), "damaged at {at}");
            }
        }
    }
}
