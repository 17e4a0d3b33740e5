//! Writing a run down while programs run it.
//!
//! Whoever serves the programs says what they ask: [`Recorder::begin`] takes the turn, [`Under::end`] gives it back. What the
//! machine does meanwhile the recorder sees by itself: the trace of bios, the kernel log, the events for user space.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dmlab_driver::{ThreadDriver, Time, Turn, Witness, this_call};
use dmlab_machine::faults::{Lines, run_command};
use dmlab_machine::{DeviceBacking, FileBacking, Instant, Interrupt, LoopBacking, Machine};
use dmlab_units::Errno;
use parking_lot::Mutex;

use crate::event::{Answer, Backing, Bio, Call, Clock, Ended, Event, Extents, Header, Host};
use crate::file::{FileError, Writer};

/// Hears whose turn it is and what time, and writes all events down in their order.
struct Log {
    state: Mutex<Option<State>>,
}

struct State {
    writer: Writer<Box<dyn Write + Send>>,
    /// Whose log and events are looked at: there from the boot on.
    machine: Option<Machine>,
    lines_seen: u64,
    uevents_seen: u64,
    /// The first failure to write. What comes after it is not written, for it would follow from nothing.
    failed: Option<io::Error>,
}

impl State {
    fn put(&mut self, event: &Event) {
        if self.failed.is_none()
            && let Err(error) = self.writer.put(event)
        {
            self.failed = Some(error);
        }
    }

    /// Writes down what was logged and sent to user space since the last look.
    fn catch_up(&mut self) {
        let Some(machine) = self.machine.clone() else { return };
        for line in machine.klog().since(self.lines_seen) {
            self.lines_seen = line.seq + 1;
            self.put(&Event::log(line.level, &line.text));
        }
        for event in machine.uevents().after(self.uevents_seen) {
            self.uevents_seen = event.seqnum;
            self.put(&Event::Uevent { text: event.to_string() });
        }
    }
}

impl Log {
    fn push(&self, event: &Event) {
        if let Some(state) = &mut *self.state.lock() {
            state.catch_up();
            state.put(event);
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

/// A recording that is being written. First the file and the driver, then the machine that the driver drives.
pub struct Recorder {
    driver: Arc<ThreadDriver>,
    log: Arc<Log>,
    machine: Mutex<Option<Machine>>,
    last_call: AtomicU64,
    last_file: AtomicU64,
    last_backing: AtomicU64,
}

impl Recorder {
    /// Begins a recording in the file at `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: &Path, header: &Header) -> Result<Arc<Recorder>, FileError> {
        let begun = File::create(path).and_then(|file| Recorder::begin(BufWriter::new(file), header));
        begun.map_err(|error| FileError::new(path, error))
    }

    /// Begins a recording that goes to `out`.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(out: impl Write + Send + 'static, header: &Header) -> io::Result<Arc<Recorder>> {
        let writer = Writer::new(Box::new(out) as Box<dyn Write + Send>, header)?;
        let state = State { writer, machine: None, lines_seen: 0, uevents_seen: 0, failed: None };
        let log = Arc::new(Log { state: Mutex::new(Some(state)) });
        let time = match header.clock {
            Clock::Real => Time::Real,
            Clock::Virtual => Time::Virtual,
        };
        Ok(Arc::new(Recorder {
            driver: ThreadDriver::taking_turns(time, log.clone()),
            log,
            machine: Mutex::new(None),
            last_call: AtomicU64::new(0),
            last_file: AtomicU64::new(0),
            last_backing: AtomicU64::new(0),
        }))
    }

    /// What drives the machine that is to be recorded.
    pub fn driver(&self) -> &Arc<ThreadDriver> {
        &self.driver
    }

    /// From here on what `machine` does is written down. It has been booted as the header says, and nothing more.
    pub fn watch(&self, machine: &Machine) {
        *self.machine.lock() = Some(machine.clone());
        if let Some(state) = &mut *self.log.state.lock() {
            state.machine = Some(machine.clone());
            state.catch_up();
        }
        let log = self.log.clone();
        machine.runtime().tracer().start(move |event| log.push(&Event::Bio(Bio::from(event))));
    }

    /// The number of the next file that is opened.
    pub fn next_file(&self) -> u64 {
        self.last_file.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Does `work`, which is the call `what` of `client`, in a turn of its own.
    pub fn call<T>(&self, client: u64, what: Call, work: impl FnOnce(&Under<'_>) -> (T, Ended)) -> T {
        let machine = self.machine.lock().clone();
        let runtime = machine.as_ref().map(Machine::runtime);
        let turn = runtime.and_then(|runtime| self.driver.take_turn(runtime));
        let under = match &turn {
            Some(turn) => {
                let call = self.last_call.fetch_add(1, Ordering::Relaxed) + 1;
                self.log.push(&Event::Begin { call, client, what });
                turn.enter(call);
                Under { recorder: self, call }
            }
            // In the middle of another call: a part of that one.
            None => return work(&Under { recorder: self, call: this_call().unwrap_or(0) }).0,
        };
        let (value, ended) = work(&under);
        self.log.push(&Event::End { call: under.call, ended });
        drop(turn);
        value
    }

    /// A signal interrupts what `client` waits for.
    pub fn interrupt(&self, client: u64, interrupt: &Interrupt) {
        self.in_turn(|| {
            self.log.push(&Event::Interrupt { client });
            interrupt.raise();
        });
    }

    /// Carries out a command about rules of faults.
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
        let state = self.in_turn(|| {
            self.log.push(&Event::Finish);
            self.log.state.lock().take()
        });
        if let Some(machine) = self.machine.lock().take() {
            machine.runtime().tracer().stop();
        }
        let Some(state) = state else { return Ok(()) };
        match state.failed {
            Some(error) => Err(error),
            None => state.writer.finish(),
        }
    }
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

    /// A loop device was put on a file of the host: what is to stand in the file's place, so that its size is noted whenever
    /// it is looked at. The file is read whole.
    ///
    /// # Errors
    /// EIO when it cannot be read.
    pub fn on_file(
        &self,
        file: File,
        path: Vec<u8>,
        is_read_only: bool,
    ) -> Result<Arc<dyn LoopBacking>, Errno> {
        let contents = Extents::read(&file).map_err(|_| Errno::EIO)?;
        let number = self.recorder.last_backing.fetch_add(1, Ordering::Relaxed) + 1;
        let file = FileBacking::new(file, path.clone(), is_read_only);
        let host = Host { is_read_only, contents };
        let identity = file.identity();
        self.told(Answer::Backing(Ok(Backing::Host { number, host, path, identity })));
        Ok(Arc::new(WatchedFile { file, number, log: self.recorder.log.clone() }))
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
        self.log.push(&Event::Size { number: self.number, size });
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
