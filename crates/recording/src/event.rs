//! What a recording is made of.

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use dmlab_driver::Time;
use dmlab_kernel_calls::{FileCall, Node};
use dmlab_machine::{Instant, IoFlags, Level, TraceEvent, TracePoint};
use dmlab_units::{Bytes, DevT, Errno, Sector, Sectors};
use serde::{Deserialize, Serialize};

/// Bytes of a page, in which also the contents of a file are looked at: what is zero is left out.
const PAGE: usize = 4096;
/// Most bytes that are not zero in a file that is to be recorded: they are held in memory, more than once.
pub const CONTENTS_MAX: Bytes = Bytes(1 << 30);

/// What a recording begins with: how the machine was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of dmlab that recorded it.
    pub made_by: String,
    /// The command that was recorded, in words.
    pub command: Vec<String>,
    /// The machine's seed.
    pub seed: u64,
    /// Which kernel it was: the name of a [`KernelVersion`](dmlab_machine::KernelVersion).
    pub kernel: String,
    /// The clock that it lived by.
    pub clock: Time,
    /// How many RAM disks it had.
    pub ram_disks: u32,
    /// Their size.
    pub ram_disk_size: Bytes,
    /// Files of the host that were its disks, as they were at the boot.
    pub disks: Vec<Host>,
    /// Parameters of kernel modules.
    pub parameters: Vec<(String, String)>,
    /// What was to go wrong, as the TOML text that was given.
    pub faults: Option<String>,
}

/// A file of the host, with its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Whether it could only be read.
    pub is_read_only: bool,
    /// Its device and inode: two disks may stand on one file.
    pub identity: (u64, u64),
    /// What was in it.
    pub contents: Extents,
}

impl Host {
    /// `file`, as it is.
    ///
    /// # Errors
    /// The system's, and when it holds more than [`CONTENTS_MAX`].
    pub fn read(file: &std::fs::File, is_read_only: bool) -> io::Result<Host> {
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Host { is_read_only, identity, contents: Extents::read(file)? })
    }
}

/// The contents of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extents {
    /// Its size.
    pub len: Bytes,
    /// Each stretch that is not zero, with where it begins.
    pub parts: Vec<(Bytes, Vec<u8>)>,
}

impl Extents {
    /// What is in `file`, whose position moves.
    ///
    /// # Errors
    /// The system's, and when it holds more than [`CONTENTS_MAX`].
    pub fn read(file: &std::fs::File) -> io::Result<Extents> {
        // A block device of the host has its size at its end, not in its attributes.
        let len = match file.metadata()?.len() {
            0 => rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?,
            len => len,
        };
        let mut parts: Vec<(Bytes, Vec<u8>)> = Vec::new();
        let (mut at, mut page, mut held) = (0, [0; PAGE], 0);
        while at < len {
            // Holes need not be looked at, where the file system tells them.
            match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
                Ok(data) => at = data.max(at) / PAGE as u64 * PAGE as u64,
                Err(rustix::io::Errno::NXIO) => break,
                Err(_) => {}
            }
            let page = &mut page[..PAGE.min((len - at) as usize)];
            file.read_exact_at(page, at)?;
            if page.iter().any(|&byte| byte != 0) {
                held += page.len() as u64;
                if held > CONTENTS_MAX.0 {
                    let text =
                        "it holds more than 1 GiB that is not zero, which is the most that is recorded";
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
                }
                match parts.last_mut() {
                    Some((start, bytes)) if start.0 + bytes.len() as u64 == at => {
                        bytes.extend_from_slice(page);
                    }
                    _ => parts.push((Bytes(at), page.to_vec())),
                }
            }
            at += PAGE as u64;
        }
        Ok(Extents { len: Bytes(len), parts })
    }

    /// A file in memory with these contents.
    ///
    /// # Errors
    /// The system's.
    pub fn to_file(&self) -> io::Result<std::fs::File> {
        let memory = rustix::fs::memfd_create("dmlab-replay", rustix::fs::MemfdFlags::CLOEXEC)?;
        let file = std::fs::File::from(memory);
        file.set_len(self.len.0)?;
        for (at, bytes) in &self.parts {
            if at.0.checked_add(bytes.len() as u64).is_none_or(|end| end > self.len.0) {
                let text = "contents of a file lie behind its end";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            file.write_all_at(bytes, at.0)?;
        }
        Ok(file)
    }
}

/// What a program asked of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// It opened the control node.
    OpenControl {
        /// The number of the open file, if it comes to be one.
        file: u64,
    },
    /// It opened a block device.
    OpenBlock {
        /// The number of the open file, if it comes to be one.
        file: u64,
        /// The device.
        dev: DevT,
        /// The bits of [`OpenMode`](dmlab_machine::OpenMode).
        mode: u32,
    },
    /// It opened `/dev/loop-control`.
    OpenLoopControl {
        /// The number of the open file.
        file: u64,
    },
    /// The last descriptor of an open file is gone.
    Close {
        /// The file.
        file: u64,
    },
    /// An ioctl. File 0 is a control node that is always open: dmlab's own commands use it.
    Ioctl {
        /// The file.
        file: u64,
        /// The request.
        request: u32,
        /// The argument as a number: an address, or what is meant itself.
        argument: u64,
        /// What could be read at that address.
        sent: Vec<u8>,
        /// How much there may be touched.
        room: Bytes,
    },
    /// A read.
    Read {
        /// The file.
        file: u64,
        /// Where.
        at: Bytes,
        /// How much.
        len: Bytes,
        /// How.
        how: IoFlags,
    },
    /// A write.
    Write {
        /// The file.
        file: u64,
        /// Where.
        at: Bytes,
        /// What.
        data: Vec<u8>,
        /// How.
        how: IoFlags,
    },
    /// `fsync` or `fdatasync`.
    Sync {
        /// The file.
        file: u64,
    },
    /// `fallocate`.
    Fallocate {
        /// The file.
        file: u64,
        /// The mode's bits.
        mode: u32,
        /// From which byte on.
        offset: i64,
        /// How many bytes.
        len: i64,
    },
    /// Sleeps by the machine's virtual clock.
    Sleep {
        /// How long.
        time: Duration,
    },
    /// `sync_file_range` that writes.
    WriteBack {
        /// The file.
        file: u64,
        /// From which byte on.
        start: Bytes,
        /// Up to which.
        end: Bytes,
    },
}

impl Call {
    /// The call that opens `node`, as open file number `file`.
    pub(crate) fn open(file: u64, node: Node) -> Call {
        match node {
            Node::Control => Call::OpenControl { file },
            Node::LoopControl => Call::OpenLoopControl { file },
            Node::Block { dev, mode } => Call::OpenBlock { file, dev, mode: mode.bits() },
        }
    }

    /// The call `lent` on open file number `file`, with a copy of what it brings along.
    pub(crate) fn keep(file: u64, lent: &FileCall<'_>) -> Call {
        match lent {
            FileCall::Read { at, into, how } => {
                Call::Read { file, at: *at, len: Bytes(into.len() as u64), how: without_chance(*how) }
            }
            FileCall::Write { at, from, how } => {
                Call::Write { file, at: *at, data: from.to_vec(), how: without_chance(*how) }
            }
            FileCall::Sync => Call::Sync { file },
            FileCall::WriteBack { range } => {
                Call::WriteBack { file, start: Bytes(range.start), end: Bytes(range.end) }
            }
            FileCall::Fallocate { mode, offset, len } => {
                Call::Fallocate { file, mode: *mode, offset: *offset, len: *len }
            }
            FileCall::Ioctl { request, argument, memory, .. } => {
                let room = Bytes(memory.room() as u64);
                // Where the program keeps its memory is chance, and differs from run to run: what counts is what lies there.
                let argument = if room.0 == 0 { *argument } else { u64::from(*argument != 0) };
                Call::Ioctl { file, request: *request, argument, sent: memory.sent().to_vec(), room }
            }
        }
    }

    /// The open file it is about.
    pub fn file(&self) -> Option<u64> {
        match self {
            Call::OpenControl { file }
            | Call::OpenBlock { file, .. }
            | Call::OpenLoopControl { file }
            | Call::Close { file }
            | Call::Ioctl { file, .. }
            | Call::Read { file, .. }
            | Call::Write { file, .. }
            | Call::Sync { file }
            | Call::WriteBack { file, .. }
            | Call::Fallocate { file, .. } => Some(*file),
            Call::Sleep { .. } => None,
        }
    }
}

/// How a read or write is done, without what is chance and differs from run to run. Only direct IO looks at a buffer's alignment,
/// which is never more than a page: in which page the buffer lies does not count.
fn without_chance(how: IoFlags) -> IoFlags {
    IoFlags { address_bits: if how.is_direct { how.address_bits % PAGE } else { 0 }, ..how }
}

/// What the kernel asked of the program in the middle of a call, and was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Which device a path names.
    Path {
        /// The path, as it stood in a table.
        path: Vec<u8>,
        /// The device, or why there is none.
        dev: Result<DevT, Errno>,
    },
    /// What is behind one of its descriptors, to be put under a loop device.
    Backing(Result<Backing, Errno>),
}

/// What a loop device was put on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    /// A file of the host.
    Host {
        /// Its number among those of the recording.
        number: u64,
        /// The file.
        host: Host,
        /// Its path.
        path: Vec<u8>,
    },
    /// Another device of the machine, opened with these bits of [`OpenMode`](dmlab_machine::OpenMode).
    Device {
        /// Which.
        dev: DevT,
        /// How.
        mode: u32,
    },
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What it returned.
    pub result: Result<i64, Errno>,
    /// What an ioctl wrote to the program's memory, from this byte behind its argument's address on; also when it failed.
    pub written: (u64, Vec<u8>),
    /// CRC-32C of what a read returned.
    pub sum: Option<u32>,
}

impl Ended {
    /// A call that brought nothing but its result.
    pub fn with(result: Result<i64, Errno>) -> Ended {
        Ended { result, written: (0, Vec::new()), sum: None }
    }

    /// The end of a sleep that had so much time left.
    pub(crate) fn slept(left: Result<Duration, Errno>) -> Ended {
        Ended::with(left.map(|left| i64::try_from(left.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The end of `call`, which returned `result`, with what it left in the program's memory.
    pub(crate) fn of(call: &FileCall<'_>, result: Result<i64, Errno>) -> Ended {
        let mut ended = Ended::with(result);
        match (call, result) {
            (FileCall::Ioctl { memory, .. }, _) => {
                let (begin, written) = memory.written();
                ended.written = (begin as u64, written.to_vec());
            }
            (FileCall::Read { into, .. }, Ok(got)) => {
                let got = usize::try_from(got).unwrap_or(0).min(into.len());
                ended.sum = Some(crc32c::crc32c(&into[..got]));
            }
            _ => {}
        }
        ended
    }
}

/// A bio, seen on its way: a [`TraceEvent`] without its time, which the events before it tell, and with text of its own, since a
/// trace's texts are the program's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of TraceEvent")]
pub struct Bio {
    pub dev: DevT,
    pub point: TracePoint,
    pub op: String,
    pub sector: Sector,
    pub len: Sectors,
    pub sum: Option<u32>,
}

impl From<&TraceEvent> for Bio {
    fn from(event: &TraceEvent) -> Bio {
        Bio {
            dev: event.dev,
            point: event.point,
            op: event.op.to_owned(),
            sector: event.sector,
            len: event.len,
            sum: event.sum,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    // What comes from outside.
    /// A client began a call, and has its turn until the call ends or waits.
    Begin {
        /// The call's number.
        call: u64,
        /// The client: a thread of a program, or its end that closes a file. It is in one call at a time.
        client: u64,
        /// The call.
        what: Call,
    },
    /// The kernel asked, and was told.
    Told {
        /// In which call.
        call: u64,
        /// What.
        answer: Answer,
    },
    /// The size of a file under a loop device was looked at.
    Size {
        /// The file's number.
        number: u64,
        /// The size, or why it cannot be told.
        size: Result<Bytes, Errno>,
    },
    /// A call that waited goes on.
    GoOn {
        /// Which.
        call: u64,
    },
    /// A signal interrupts what a client waits for.
    Interrupt {
        /// The client.
        client: u64,
    },
    /// The clock moved.
    Clock {
        /// To so long after the boot.
        since_boot: Duration,
    },
    /// A command about rules of faults, its words with NUL between.
    Rules {
        /// The command.
        command: Vec<u8>,
    },
    // What the machine made of it.
    /// A call ended.
    End {
        /// Which.
        call: u64,
        /// How.
        ended: Ended,
    },
    /// A bio passed.
    Bio(Bio),
    /// A line of the kernel log.
    Log {
        /// Its syslog priority.
        level: u8,
        /// Its text.
        text: String,
    },
    /// An event for user space, a variable a line.
    Uevent {
        /// Its text.
        text: String,
    },
    /// The programs are done.
    Finish,
}

impl Event {
    /// Whether it is what the machine does, and not what is done to it. What it asks is what it does.
    pub fn is_outcome(&self) -> bool {
        match self {
            Event::End { .. }
            | Event::Bio(_)
            | Event::Log { .. }
            | Event::Uevent { .. }
            | Event::Told { .. }
            | Event::Size { .. } => true,
            Event::Begin { .. }
            | Event::GoOn { .. }
            | Event::Interrupt { .. }
            | Event::Clock { .. }
            | Event::Rules { .. }
            | Event::Finish => false,
        }
    }

    /// A line of the kernel log.
    pub(crate) fn log(level: Level, text: &str) -> Event {
        Event::Log { level: level as u8, text: text.to_owned() }
    }

    /// A movement of the clock.
    pub(crate) fn clock(now: Instant) -> Event {
        Event::Clock { since_boot: Duration::from_nanos(now.as_nanos()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_zero_comes_back() {
        let file = Extents { len: Bytes(3 * PAGE as u64 + 5), parts: Vec::new() }.to_file().unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(&[7; 10], 2 * PAGE as u64 - 5).unwrap();
        file.write_all_at(b"end", 3 * PAGE as u64 + 2).unwrap();
        let contents = Extents::read(&file).unwrap();
        assert_eq!(contents.len, Bytes(3 * PAGE as u64 + 5));
        assert_eq!(contents.parts.len(), 1, "all four pages hold something");
        assert_eq!(Extents::read(&contents.to_file().unwrap()).unwrap(), contents);
        let sparse = Extents { len: Bytes(1 << 40), parts: vec![(Bytes(1 << 39), vec![1; 4096])] };
        assert_eq!(Extents::read(&sparse.to_file().unwrap()).unwrap(), sparse);
        let beyond = Extents { len: Bytes(10), parts: vec![(Bytes(8), vec![1; 3])] };
        assert!(beyond.to_file().is_err());
    }
}
