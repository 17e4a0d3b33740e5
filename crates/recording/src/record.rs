//! Writing a run down while programs run it.
//!
//! A [`RecordedKernel`] stands between the fronts and the machine, and does each call in a turn of its own. What the machine does
//! meanwhile the recorder sees by itself: the trace of bios, the kernel log, the events for user space.

mod kernel;
mod program;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dmlab_driver::{ThreadDriver, Turn, this_call};
use dmlab_machine::Machine;
use parking_lot::Mutex;

use crate::event::{Answer, Bio, Call, Ended, Event, Header};
use crate::file::FileError;
use crate::log::{Log, output};

pub use kernel::RecordedKernel;

/// A recording that is being written. First the file and the driver, then the machine that the driver drives.
pub struct Recorder {
    driver: Arc<ThreadDriver>,
    log: Arc<Log>,
    /// There is a machine, and its programs are not done.
    is_watching: AtomicBool,
    last_call: AtomicU64,
    last_file: AtomicU64,
    last_backing: AtomicU64,
    clients: Mutex<Clients>,
}

/// What is known of the callers.
#[derive(Default)]
struct Clients {
    /// The clients with a call under way.
    calling: BTreeSet<u64>,
    /// The clients that were interrupted while no call of theirs was under way.
    interrupted: BTreeSet<u64>,
}

impl Recorder {
    /// A recording in the file at `path`. What the file held is there until [`Recorder::watch`].
    ///
    /// # Errors
    /// The system's, and when another recorder writes the file.
    pub fn create(path: &Path, header: &Header) -> Result<Arc<Recorder>, FileError> {
        let out = output(path).map_err(|error| FileError::new(path, error))?;
        Ok(Recorder::begin(out, header))
    }

    /// A recording that goes to `out`.
    pub fn begin(out: Box<dyn Write + Send>, header: &Header) -> Arc<Recorder> {
        let log = Arc::new(Log::new(out, header));
        Arc::new(Recorder {
            driver: ThreadDriver::taking_turns(header.clock, log.clone()),
            log,
            is_watching: AtomicBool::new(false),
            last_call: AtomicU64::new(0),
            last_file: AtomicU64::new(0),
            last_backing: AtomicU64::new(0),
            clients: Mutex::default(),
        })
    }

    /// Calls `complain` at the first failure to write, after which nothing is written any more. The programs go on.
    pub fn on_failure(&self, complain: impl FnOnce(&io::Error) + Send + 'static) {
        self.log.on_failure(Box::new(complain));
    }

    /// What drives the machine that is to be recorded.
    pub fn driver(&self) -> &Arc<ThreadDriver> {
        &self.driver
    }

    /// From here on what `machine` does is written down. It has been booted as the header says, and nothing more.
    pub fn watch(&self, machine: &Machine) {
        self.log.watch(machine);
        let log = self.log.clone();
        machine.runtime().tracer().start(move |event| log.push(&Event::Bio(Bio::from(event))));
        self.is_watching.store(true, Ordering::Release);
    }

    /// The number of the next file that is opened.
    fn next_file(&self) -> u64 {
        self.last_file.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A call of `client` begins, in a turn of its own; `what` is asked for the call when it has the turn. Where nothing is
    /// watched, and in the middle of another call, of which this one is a part, nothing is written down.
    fn begin_call<'a>(&'a self, machine: &'a Machine, client: u64, what: impl FnOnce() -> Call) -> Under<'a> {
        let Some(turn) = self.turn(machine) else {
            return Under { recorder: self, client, call: this_call().unwrap_or(0), turn: None };
        };
        let call = self.last_call.fetch_add(1, Ordering::Relaxed) + 1;
        let mut clients = self.clients.lock();
        if clients.interrupted.remove(&client) {
            self.log.push(&Event::Interrupt { client });
        }
        clients.calling.insert(client);
        drop(clients);
        self.log.push(&Event::Begin { call, client, what: what() });
        turn.enter(call);
        Under { recorder: self, client, call, turn: Some(turn) }
    }

    /// The turn, if there is something to be written down in it. Not in the middle of a call, which has it already.
    fn turn<'a>(&'a self, machine: &'a Machine) -> Option<Turn<'a>> {
        let is_watching = self.is_watching.load(Ordering::Acquire);
        is_watching.then(|| self.driver.take_turn(machine.runtime())).flatten()
    }

    /// The programs are done: nothing more is written.
    fn finish(&self, machine: &Machine) -> io::Result<()> {
        let turn = self.turn(machine);
        let finished = self.log.finish();
        drop(turn);
        if self.is_watching.swap(false, Ordering::AcqRel) {
            machine.runtime().tracer().stop();
        }
        finished
    }
}

/// A call under way.
struct Under<'a> {
    recorder: &'a Recorder,
    client: u64,
    call: u64,
    /// `None`: it is not written down.
    turn: Option<Turn<'a>>,
}

impl Under<'_> {
    /// The kernel asked the program, and was told.
    fn told(&self, answer: Answer) {
        self.recorder.log.push(&Event::Told { call: self.call, answer });
    }

    /// The call is over.
    fn end(self, ended: impl FnOnce() -> Ended) {
        if self.turn.is_some() {
            self.recorder.clients.lock().calling.remove(&self.client);
            self.recorder.log.push(&Event::End { call: self.call, ended: ended() });
        }
    }
}
