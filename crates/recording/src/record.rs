//! Writing a run down while programs run it.
//!
//! The server of the programs says what they ask: [`Recorder::call`] does it in a turn of its own. What the machine does
//! meanwhile the recorder sees by itself: the trace of bios, the kernel log, the events for user space.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab_driver::{ThreadDriver, Time, Turn, this_call};
use dmlab_machine::faults::{Lines, run_command};
use dmlab_machine::{DeviceBacking, FileBacking, Interrupt, LoopBacking, Machine};
use dmlab_units::{Bytes, Errno};
use parking_lot::Mutex;

use crate::event::{Answer, Backing, Bio, Call, Clock, Ended, Event, Header, Host};
use crate::file::FileError;
use crate::log::{Log, output};

/// A recording that is being written. First the file and the driver, then the machine that the driver drives.
pub struct Recorder {
    driver: Arc<ThreadDriver>,
    log: Arc<Log>,
    machine: Mutex<Option<Machine>>,
    last_call: AtomicU64,
    last_file: AtomicU64,
    last_backing: AtomicU64,
    clients: Mutex<Clients>,
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
        let time = match header.clock {
            Clock::Real => Time::Real,
            Clock::Virtual => Time::Virtual,
        };
        Arc::new(Recorder {
            driver: ThreadDriver::taking_turns(time, log.clone()),
            log,
            machine: Mutex::new(None),
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
        *self.machine.lock() = Some(machine.clone());
        self.log.watch(machine);
        let log = self.log.clone();
        machine.runtime().tracer().start(move |event| log.push(&Event::Bio(Bio::from(event))));
    }

    /// The number of the next file that is opened.
    pub fn next_file(&self) -> u64 {
        self.last_file.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Does `work`, which is the call `what` of `client`, in a turn of its own. Before there is a machine, and in the middle of
    /// another call, it is only done.
    pub fn call<T>(&self, client: u64, what: Call, work: impl FnOnce(&Under<'_>) -> (T, Ended)) -> T {
        let machine = self.machine.lock().clone();
        let runtime = machine.as_ref().map(Machine::runtime);
        let turn = runtime.and_then(|runtime| self.driver.take_turn(runtime));
        let under = match &turn {
            Some(turn) => {
                let call = self.last_call.fetch_add(1, Ordering::Relaxed) + 1;
                let mut clients = self.clients.lock();
                if clients.interrupted.remove(&client) {
                    self.log.push(&Event::Interrupt { client });
                }
                clients.calling.insert(client);
                drop(clients);
                self.log.push(&Event::Begin { call, client, what });
                turn.enter(call);
                Under { recorder: self, call }
            }
            // In the middle of another call: a part of that one.
            None => return work(&Under { recorder: self, call: this_call().unwrap_or(0) }).0,
        };
        let (value, ended) = work(&under);
        self.clients.lock().calling.remove(&client);
        self.log.push(&Event::End { call: under.call, ended });
        drop(turn);
        value
    }

    /// A signal interrupts what `client` waits for, or the client has ended. Where it waits for nothing this is written down with
    /// its next call, if one comes: when the host tells of an end that changes nothing is chance.
    pub fn interrupt(&self, client: u64, interrupt: &Interrupt) {
        self.in_turn(|| {
            let mut clients = self.clients.lock();
            if clients.calling.contains(&client) {
                self.log.push(&Event::Interrupt { client });
            } else {
                clients.interrupted.insert(client);
            }
            interrupt.raise();
        });
    }

    /// `client` takes back what it waits for the clock with, if it still waits: `is_waiting` is asked and `interrupt` raised in one
    /// turn.
    pub fn cancel(&self, client: u64, is_waiting: impl Fn() -> bool, interrupt: &Interrupt) {
        self.in_turn(|| {
            if is_waiting() {
                self.log.push(&Event::Interrupt { client });
                interrupt.raise();
            }
        });
    }

    /// Carries out a command about rules of faults.
    ///
    /// # Errors
    /// As [`run_command`].
    pub fn rules(&self, machine: &Machine, from: u64, command: &[u8]) -> Lines {
        self.in_turn(|| {
            // Asking changes nothing.
            if !command.starts_with(b"list") && !command.starts_with(b"hits") {
                self.log.push(&Event::Rules { command: command.to_vec() });
            }
            run_command(machine.faults(), from, command)
        })
    }

    fn in_turn<T>(&self, work: impl FnOnce() -> T) -> T {
        let machine = self.machine.lock().clone();
        let _turn: Option<Turn<'_>> =
            machine.as_ref().and_then(|machine| self.driver.take_turn(machine.runtime()));
        work()
    }

    /// The programs are done: nothing more is written.
    ///
    /// # Errors
    /// When not all of it could be written.
    pub fn finish(&self) -> io::Result<()> {
        let finished = self.in_turn(|| self.log.finish());
        if let Some(machine) = self.machine.lock().take() {
            machine.runtime().tracer().stop();
        }
        finished
    }
}

/// What is known of the callers.
#[derive(Default)]
struct Clients {
    /// Whose call is under way.
    calling: BTreeSet<u64>,
    /// The clients that were interrupted while no call of theirs was under way.
    interrupted: BTreeSet<u64>,
}

/// A call under way.
pub struct Under<'a> {
    recorder: &'a Recorder,
    call: u64,
}

impl Under<'_> {
    /// The kernel asked the program, and was told.
    pub fn told(&self, answer: Answer) {
        self.recorder.log.push(&Event::Told { call: self.call, answer });
    }

    /// A loop device was put on another device of the machine.
    pub fn on_device(&self, device: &DeviceBacking, mode: u32) {
        let Some(dev) = device.block_device() else { return };
        self.told(Answer::Backing(Ok(Backing::Device { dev: dev.dev(), mode })));
    }

    /// A loop device was put on a file of the host. Returns what is to stand in the file's place, so that its size is noted
    /// whenever it is looked at. `contents` is the same file, opened for reading by itself, if it can be: it is read whole, and
    /// its position moves. A file that is too large for a recording ends the recording.
    pub fn on_file(&self, file: FileBacking, contents: Option<&File>) -> Arc<dyn LoopBacking> {
        let is_read_only = file.is_read_only();
        let log = &self.recorder.log;
        let number = self.recorder.last_backing.fetch_add(1, Ordering::Relaxed) + 1;
        match contents.map(|contents| Host::read(contents, is_read_only)).transpose() {
            Ok(Some(host)) => {
                self.told(Answer::Backing(Ok(Backing::Host { number, host, path: file.path() })))
            }
            // It cannot be read, by the loop device neither.
            Ok(None) => {
                let (len, identity) = (Bytes(file.size().unwrap_or(0)), file.identity());
                let contents = crate::event::Extents { len, parts: Vec::new() };
                let host = Host { is_read_only, identity, contents };
                self.told(Answer::Backing(Ok(Backing::Host { number, host, path: file.path() })));
            }
            Err(error) => {
                let text = format!("{}: {error}", String::from_utf8_lossy(&file.path()));
                log.fail(io::Error::new(error.kind(), text));
            }
        }
        Arc::new(WatchedFile { file, number, log: log.clone() })
    }
}

/// A file of the host whose size others may change meanwhile.
struct WatchedFile {
    file: FileBacking,
    number: u64,
    log: Arc<Log>,
}

impl LoopBacking for WatchedFile {
    fn size(&self) -> Result<u64, Errno> {
        let size = self.file.size();
        self.log.push(&Event::Size { number: self.number, size: size.map(Bytes) });
        size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        self.file.write_at(offset, buf)
    }

    fn sync(&self) -> Result<(), Errno> {
        self.file.sync()
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.file.punch_hole(offset, len)
    }

    fn is_read_only(&self) -> bool {
        self.file.is_read_only()
    }

    fn path(&self) -> Vec<u8> {
        self.file.path()
    }

    fn identity(&self) -> (u64, u64) {
        self.file.identity()
    }
}
