//! The events of a run on their way into a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use dmlab_driver::Witness;
use dmlab_machine::{Instant, Machine};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use crate::event::{Event, Header};
use crate::file::Writer;

/// After how many calls what was packed goes out: a recorder that is killed loses no more than these. Not by time, for where
/// the packing is cut shows in the bytes, and two recordings of the same run have the same.
const FLUSH_EVERY: u32 = 8;

/// Where events go.
pub(crate) type Out = Box<dyn Write + Send>;

/// A file that loses what it held when the first byte of something else comes, and not before.
struct Replacing {
    file: File,
    is_begun: bool,
}

impl Write for Replacing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_begun && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.is_begun = true;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The file at `path`, for this recorder alone.
pub(crate) fn output(path: &Path) -> io::Result<Out> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    // What cannot be locked, such as a pipe of some kinds, is the user's choice.
    if let Err(rustix::io::Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another recorder writes it"));
    }
    Ok(Box::new(BufWriter::new(Replacing { file, is_begun: false })))
}

/// The callback that gets the first failure to write.
pub(crate) type Complaint = Box<dyn FnOnce(&io::Error) + Send>;

/// Hears whose turn it is and what time, and writes all events down in their order.
pub(crate) struct Log {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Until the machine is there: nothing is written for one that never boots.
    waiting: Option<(Out, Header)>,
    writer: Option<Writer<Out>>,
    /// Whose log and events are looked at.
    machine: Option<Machine>,
    lines_seen: u64,
    uevents_seen: u64,
    /// Calls that ended since the last flush.
    unflushed: u32,
    /// The first failure to write. What comes after it is not written, for it would follow from nothing.
    failed: Option<io::Error>,
    complaint: Option<Complaint>,
}

impl State {
    fn fail(&mut self, error: io::Error) {
        self.writer = None;
        if let Some(complain) = self.complaint.take() {
            complain(&error);
        }
        self.failed.get_or_insert(error);
    }

    fn put(&mut self, event: &Event) {
        let Some(writer) = &mut self.writer else { return };
        if let Err(error) = writer.put(event) {
            self.fail(error);
        }
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.writer.as_mut().map(Writer::flush) {
            self.fail(error);
        }
        self.unflushed = 0;
    }

    /// Writes down what was logged and sent to user space since the last look.
    fn catch_up(&mut self) {
        let Some(machine) = self.machine.clone() else { return };
        for line in machine.klog().since(self.lines_seen) {
            self.lines_seen = line.seq + 1;
            // What programs say there is no part of what the machine does.
            if line.facility == 0 {
                self.put(&Event::log(line.level, &line.text));
            }
        }
        for event in machine.uevents().after(self.uevents_seen) {
            self.uevents_seen = event.seqnum;
            self.put(&Event::Uevent { text: event.to_string() });
        }
    }
}

impl Log {
    pub(crate) fn new(out: Out, header: &Header) -> Log {
        let waiting = Some((out, header.clone()));
        Log { state: Mutex::new(State { waiting, ..State::default() }) }
    }

    pub(crate) fn on_failure(&self, complaint: Complaint) {
        self.state.lock().complaint = Some(complaint);
    }

    /// Begins to write: the header, and what `machine` has logged so far.
    pub(crate) fn watch(&self, machine: &Machine) {
        let mut state = self.state.lock();
        let Some((out, header)) = state.waiting.take() else { return };
        state.machine = Some(machine.clone());
        match Writer::new(out, &header) {
            Ok(writer) => state.writer = Some(writer),
            Err(error) => state.fail(error),
        }
        state.catch_up();
        state.flush();
    }

    pub(crate) fn push(&self, event: &Event) {
        let mut state = self.state.lock();
        if state.writer.is_none() {
            return;
        }
        state.catch_up();
        state.put(event);
        if matches!(event, Event::End { .. }) {
            state.unflushed += 1;
            if state.unflushed >= FLUSH_EVERY {
                state.flush();
            }
        }
    }

    /// Nothing that follows can be recorded, for this reason.
    pub(crate) fn fail(&self, error: io::Error) {
        self.state.lock().fail(error);
    }

    /// Ends it. What comes later is not written.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.push(&Event::Finish);
        let mut state = self.state.lock();
        state.machine = None;
        match (state.failed.take(), state.writer.take()) {
            (Some(error), _) => Err(error),
            (None, Some(writer)) => writer.finish(),
            (None, None) => Ok(()),
        }
    }
}

impl Witness for Log {
    fn clock(&self, now: Instant) {
        self.push(&Event::clock(now));
    }

    fn goes_on(&self, call: u64) {
        self.push(&Event::GoOn { call });
    }
}
