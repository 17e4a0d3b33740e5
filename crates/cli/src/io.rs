//! Sectors of a device, read and written from the command line to see where bytes went.

use crate::kernel::{Disk, Failure, Meant, Where, block_device};
use clap::{Args, Subcommand};
use dmlab_units::SECTOR_SIZE;
use std::fmt::Write as _;
use std::io::{Read, Write as _};

/// Sectors moved at a time, so that a large range needs little memory.
const CHUNK_SECTORS: u64 = 2048;

/// Read, write or show sectors of a device.
#[derive(Args)]
pub(crate) struct Io {
    #[command(flatten)]
    kernel: Where,
    #[command(subcommand)]
    command: IoCommand,
}

#[derive(Subcommand)]
enum IoCommand {
    /// Show sectors in hex and text; lines that repeat are one `*`.
    Dump {
        /// A mapped device's name, a node below /dev, or MAJOR:MINOR.
        device: String,
        /// START, or START+LENGTH, in sectors of 512 bytes.
        #[arg(default_value = "0+1")]
        range: Range,
    },
    /// Copy sectors to stdout.
    Read {
        /// A mapped device's name, a node below /dev, or MAJOR:MINOR.
        device: String,
        /// START, or START+LENGTH, in sectors of 512 bytes.
        range: Range,
    },
    /// Write a text, or stdin, from a sector on; the last sector is filled up with zeros.
    Write {
        /// A mapped device's name, a node below /dev, or MAJOR:MINOR.
        device: String,
        /// The first sector to write.
        start: u64,
        /// The text; stdin if none is given.
        text: Option<String>,
    },
}

/// A range of sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u64,
    len: u64,
}

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let (start, len) = text.split_once('+').unwrap_or((text, "1"));
        let number = |word: &str| {
            word.parse().map_err(|_| format!("`{word}` is no number of sectors; write START+LENGTH"))
        };
        Ok(Range { start: number(start)?, len: number(len)? })
    }
}

impl Io {
    pub(crate) fn run(&self, meant: &Meant) -> Result<(), Failure> {
        let mut dm = self.kernel.open(meant)?;
        let mut out = std::io::stdout().lock();
        match &self.command {
            IoCommand::Dump { device, range } | IoCommand::Read { device, range } => {
                let disk = block_device(&mut dm, device)?;
                check(&disk, *range)?;
                let is_dump = matches!(self.command, IoCommand::Dump { .. });
                let mut dump = Dump::default();
                for start in (range.start..range.start + range.len).step_by(CHUNK_SECTORS as usize) {
                    let len = CHUNK_SECTORS.min(range.start + range.len - start);
                    let mut buf = vec![0; (len * SECTOR_SIZE) as usize];
                    dm.transport().read(&disk, start * SECTOR_SIZE, &mut buf)?;
                    if is_dump {
                        out.write_all(dump.lines(start * SECTOR_SIZE, &buf).as_bytes())?;
                    } else {
                        out.write_all(&buf)?;
                    }
                }
            }
            IoCommand::Write { device, start, text } => {
                let disk = block_device(&mut dm, device)?;
                let mut bytes = Vec::new();
                match text {
                    Some(text) => bytes.extend_from_slice(text.as_bytes()),
                    None => _ = std::io::stdin().read_to_end(&mut bytes)?,
                }
                let len = (bytes.len() as u64).div_ceil(SECTOR_SIZE);
                bytes.resize((len * SECTOR_SIZE) as usize, 0);
                check(&disk, Range { start: *start, len })?;
                dm.transport().write(&disk, start * SECTOR_SIZE, &bytes)?;
            }
        }
        Ok(())
    }
}

fn check(disk: &Disk, range: Range) -> Result<(), Failure> {
    let end = range.start.checked_add(range.len).filter(|end| *end <= disk.len.0);
    if end.is_none() {
        let Range { start, len } = range;
        return Err(format!("sectors {start}+{len} lie beyond {}, which has {}", disk.name, disk.len).into());
    }
    Ok(())
}

/// A hex dump in pieces.
#[derive(Default)]
pub(crate) struct Dump {
    last: Option<[u8; 16]>,
    starred: bool,
}

impl Dump {
    /// The lines of `bytes`, which lie at byte `at` of the device.
    pub(crate) fn lines(&mut self, at: u64, bytes: &[u8]) -> String {
        let mut text = String::new();
        for (i, row) in bytes.chunks_exact(16).enumerate() {
            let row: [u8; 16] = row.try_into().expect("chunks of 16");
            if self.last == Some(row) {
                if !self.starred {
                    text.push_str("*\n");
                }
                self.starred = true;
                continue;
            }
            (self.last, self.starred) = (Some(row), false);
            let hex: Vec<String> = row
                .chunks(8)
                .map(|half| half.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "))
                .collect();
            let shown: String =
                row.iter().map(|&b| if (0x20..0x7f).contains(&b) { char::from(b) } else { '.' }).collect();
            let byte = at + 16 * i as u64;
            let _ = writeln!(
                text,
                "{:>8}+{:<3} {}  |{shown}|",
                byte / SECTOR_SIZE,
                byte % SECTOR_SIZE,
                hex.join("  ")
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!("8+3".parse(), Ok(Range { start: 8, len: 3 }));
        assert_eq!("8".parse(), Ok(Range { start: 8, len: 1 }));
        assert!("8+x".parse::<Range>().is_err() && "".parse::<Range>().is_err());
    }

    #[test]
    fn a_dump_tells_sector_and_byte() {
        let mut bytes = vec![0; 512];
        bytes[16..21].copy_from_slice(b"hello");
        let text = Dump::default().lines(512 * 7, &bytes);
        let want = "       7+0   00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
       7+16  68 65 6c 6c 6f 00 00 00  00 00 00 00 00 00 00 00  |hello...........|
       7+32  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
";
        assert_eq!(text, want);
    }
}
