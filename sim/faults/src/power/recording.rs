//! The log of a run, as values.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use dmlab_block::{Op, Tag};
use dmlab_units::{SECTOR_SIZE, Sector, Sectors};
use parking_lot::{Mutex, MutexGuard};

/// What a write means to its writer: the bio's [`Tag`], which a recording in a file keeps too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// The kind: `superblock`, `btree_node`; empty when the writer did not say.
    pub what: Cow<'static, str>,
    /// The owner: a thin device's id, a tree's root.
    pub owner: u64,
    /// Which.
    pub index: u64,
}

impl From<Tag> for Meaning {
    fn from(tag: Tag) -> Meaning {
        Meaning { what: Cow::Borrowed(tag.what), owner: tag.owner, index: tag.index }
    }
}

/// What a write puts there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Whole sectors.
    Bytes(Arc<[u8]>),
    /// Zeros: a discard or a write of zeros.
    Zeros(Sectors),
}

impl Data {
    /// How many sectors.
    pub fn len(&self) -> Sectors {
        match self {
            Data::Bytes(bytes) => Sectors(bytes.len() as u64 / SECTOR_SIZE),
            Data::Zeros(len) => *len,
        }
    }

    /// Whether it is no sector at all.
    pub fn is_empty(&self) -> bool {
        self.len().is_zero()
    }
}

/// A write, as a disk was told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Which of the recorded disks, from 0.
    pub disk: usize,
    /// Write, discard or write of zeros.
    pub op: Op,
    /// Where it begins.
    pub sector: Sector,
    /// What is there afterwards.
    pub data: Data,
    /// What it means.
    pub meaning: Meaning,
    /// Durable before it ended (FUA).
    pub is_forced: bool,
}

impl Written {
    /// The sector after its last.
    pub fn end(&self) -> Sector {
        Sector(self.sector.0.saturating_add(self.data.len().0))
    }

    /// Whether both touch a sector.
    pub fn overlaps(&self, other: &Written) -> bool {
        self.disk == other.disk && self.sector < other.end() && other.sector < self.end()
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meaning { what, owner, index } = &self.meaning;
        match (&**what, self.op) {
            ("", Op::Write) => f.write_str("write")?,
            ("", Op::Discard) => f.write_str("discard")?,
            ("", _) => f.write_str("write of zeros")?,
            (what, _) => {
                write!(f, "{what} {index}")?;
                if *owner != 0 {
                    write!(f, " of {owner}")?;
                }
            }
        }
        write!(f, " on disk {}, sector {}+{}", self.disk, self.sector, self.data.len())?;
        if self.is_forced { f.write_str(", forced") } else { Ok(()) }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A disk took a write.
    Write(Written),
    /// A flush of this disk ended.
    Flush(usize),
    /// The workload says where it is.
    Mark(Arc<str>),
}

/// Everything that happened to some disks, in order. They began as zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// How large the disks are.
    pub sizes: Vec<Sectors>,
    /// What happened.
    pub events: Vec<Event>,
}

impl Recording {
    /// How many marks there are among the first `boundary` events.
    pub fn marks_before(&self, boundary: usize) -> usize {
        self.marks(boundary).count()
    }

    /// The marks among the first `boundary` events.
    pub fn marks(&self, boundary: usize) -> impl Iterator<Item = &str> {
        self.events[..boundary.min(self.events.len())].iter().filter_map(|event| match event {
            Event::Mark(text) => Some(&**text),
            Event::Write(_) | Event::Flush(_) => None,
        })
    }
}

/// Where recorded disks write down what they are told. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    recording: Arc<Mutex<Recording>>,
}

impl Recorder {
    /// An empty one, of no disks.
    pub fn new() -> Recorder {
        Recorder::default()
    }

    /// Writes down where the workload is. Returns how many events there are now.
    pub fn mark(&self, text: &str) -> usize {
        let mut recording = self.lock();
        recording.events.push(Event::Mark(text.into()));
        recording.events.len()
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.lock().events.len()
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was recorded so far; what comes later begins a recording of its own, which would lack this one's writes. So it
    /// is taken at the end.
    pub fn take(&self) -> Recording {
        std::mem::take(&mut self.lock())
    }

    /// The recording, locked, to add to: the holder of the lock decides what comes before what.
    pub(super) fn lock(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock()
    }
}
