//! A recorded run once more, in process, up to where it comes out otherwise.
//!
//! Each call of the recording that is under way has a thread here, but only one thread runs at any time: the recording says
//! which. What comes from outside is done to the machine as it was; what the machine makes of it is laid beside what it made
//! of it then.

mod lanes;
mod world;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Weak};

use dmlab_driver::settle;
use dmlab_machine::faults::{read_rules, run_command};
use dmlab_machine::{BootError, BootOptions, Disk, DiskKind, Instant, Machine, Runtime, UnknownKernel};
use parking_lot::Mutex;

use crate::event::{Bio, Event, Host};
use crate::file::Recording;
use crate::show;
use lanes::{LaneDriver, Lanes, Step};
use world::World;

/// What is to be other than it was.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Another seed.
    pub seed: Option<u64>,
    /// Other rules of faults, as TOML text, in place of those that were there at the boot.
    pub faults: Option<String>,
    /// Parameters of kernel modules, on top of the recorded ones.
    pub parameters: Vec<(String, String)>,
}

/// Why a run cannot be replayed at all.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The machine does not boot as recorded.
    #[error("the recorded machine does not boot: {0}")]
    Boot(BootError),
    /// A file that was one of its disks cannot be made again.
    #[error("the contents of a recorded file cannot be restored: {0}")]
    Disk(std::io::Error),
    /// The rules of faults are none.
    #[error("the rules of faults: {0}")]
    Faults(String),
    /// The kernel that was recorded is none that there is.
    #[error("the recorded machine: {0}")]
    Kernel(UnknownKernel),
    /// The host has no room for a thread.
    #[error("a client cannot have a thread: {0}")]
    Thread(std::io::Error),
}

/// The first difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// How many events of the recording had happened as recorded.
    pub at: usize,
    /// What time it was.
    pub time: Instant,
    /// What the recording has next; `None` when it has nothing more here.
    pub recorded: Option<Event>,
    /// What happened instead; `None` when nothing more did.
    pub here: Option<Event>,
    /// The events before, as lines to read, and then both sides.
    lines: Vec<String>,
}

impl fmt::Display for Divergence {
    /// Some lines that both have, then `-` what was recorded and `+` what happened instead.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

/// What became of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Calls that ended as recorded.
    pub calls: usize,
    /// Sightings of bios.
    pub bios: usize,
    /// Lines of the kernel log.
    pub lines: usize,
    /// Events for user space.
    pub uevents: usize,
    /// The first difference, where there is one; the replay ends there.
    pub divergence: Option<Divergence>,
}

/// How many events before a difference are shown.
const BEFORE: usize = 12;

/// Replays a run. `progress` hears how many events of it have happened.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(
    recording: &Recording,
    changes: &Changes,
    mut progress: impl FnMut(usize),
) -> Result<Replayed, ReplayError> {
    let driver = LaneDriver::new();
    let (machine, disks) = boot(recording, changes, driver.clone())?;
    let seen = Seen::watch(&machine);
    let world = Arc::new(World::new(&machine, recording, disks, seen.clone()));
    let mut run = Run {
        recording,
        seen,
        lanes: Lanes::default(),
        world,
        driver,
        machine,
        replayed: Replayed::default(),
    };
    for at in 0..recording.events.len() {
        progress(at);
        run.step(at)?;
        if run.replayed.divergence.is_some() {
            break;
        }
    }
    run.end();
    Ok(run.replayed)
}

/// The machine, and the files that its disks stand on.
fn boot(
    recording: &Recording,
    changes: &Changes,
    driver: Arc<LaneDriver>,
) -> Result<(Machine, Vec<Arc<File>>), ReplayError> {
    let header = &recording.header;
    let mut files = Vec::new();
    let mut disk = |host: &Host| -> std::io::Result<Disk> {
        let file = host.contents.to_file()?;
        files.push(Arc::new(file.try_clone()?));
        Ok(Disk { kind: DiskKind::File(file), read_only: host.is_read_only })
    };
    let kernel = header.kernel.parse().map_err(ReplayError::Kernel)?;
    let disks = header.disks.iter().map(&mut disk).collect::<Result<_, _>>().map_err(ReplayError::Disk)?;
    let machine = Machine::boot(BootOptions {
        seed: changes.seed.unwrap_or(header.seed),
        kernel,
        ram_disks: header.ram_disks,
        ram_disk_size: header.ram_disk_size,
        disks,
        driver,
        parameters: header.parameters.iter().chain(&changes.parameters).cloned().collect(),
        ..BootOptions::default()
    })
    .map_err(ReplayError::Boot)?;
    if let Some(text) = changes.faults.as_ref().or(header.faults.as_ref()) {
        let rules = read_rules(text, machine.faults().meanings())
            .map_err(|error| ReplayError::Faults(error.to_string()))?;
        machine.faults().add_all(rules).map_err(|error| ReplayError::Faults(error.to_string()))?;
    }
    Ok((machine, files))
}

/// What the machine has done and the replay has not compared yet.
#[derive(Clone)]
struct Seen {
    /// Not the machine, parts of which hold this.
    runtime: Weak<Runtime>,
    state: Arc<Mutex<SeenState>>,
}

#[derive(Default)]
struct SeenState {
    events: VecDeque<Event>,
    lines_seen: u64,
    uevents_seen: u64,
}

impl Seen {
    fn watch(machine: &Machine) -> Seen {
        let seen = Seen { runtime: Arc::downgrade(machine.runtime()), state: Arc::default() };
        let sink = seen.clone();
        machine.runtime().tracer().start(move |event| sink.push(Event::Bio(Bio::from(event))));
        seen
    }

    fn push(&self, event: Event) {
        let mut state = self.state.lock();
        state.catch_up(&self.runtime);
        state.events.push_back(event);
    }

    fn next(&self) -> Option<Event> {
        let mut state = self.state.lock();
        state.catch_up(&self.runtime);
        state.events.pop_front()
    }
}

impl SeenState {
    fn catch_up(&mut self, runtime: &Weak<Runtime>) {
        let Some(runtime) = runtime.upgrade() else { return };
        for line in runtime.klog().since(self.lines_seen) {
            self.lines_seen = line.seq + 1;
            // What programs say there is no part of what the machine does.
            if line.facility == 0 {
                self.events.push_back(Event::log(line.level, &line.text));
            }
        }
        for event in runtime.uevents().after(self.uevents_seen) {
            self.uevents_seen = event.seqnum;
            self.events.push_back(Event::Uevent { text: event.to_string() });
        }
    }
}

/// A replay under way.
struct Run<'a> {
    recording: &'a Recording,
    machine: Machine,
    driver: Arc<LaneDriver>,
    lanes: Lanes,
    world: Arc<World>,
    seen: Seen,
    replayed: Replayed,
}

impl Run<'_> {
    /// Lets one event happen, or looks whether it did.
    fn step(&mut self, at: usize) -> Result<(), ReplayError> {
        let event = &self.recording.events[at];
        if event.is_outcome() {
            let here = self.seen.next();
            if here.as_ref() != Some(event) {
                self.diverge(at, Some(event), here);
                return Ok(());
            }
            match event {
                Event::End { .. } => self.replayed.calls += 1,
                Event::Bio(_) => self.replayed.bios += 1,
                Event::Log { .. } => self.replayed.lines += 1,
                Event::Uevent { .. } => self.replayed.uevents += 1,
                _ => {}
            }
            return Ok(());
        }
        // What the machine does of itself is over before something happens to it.
        if let Some(here) = self.seen.next() {
            self.diverge(at, None, Some(here));
            return Ok(());
        }
        match event {
            Event::Begin { call, client, what } => {
                let (world, seen) = (self.world.clone(), self.seen.clone());
                let (call, client, what) = (*call, *client, what.clone());
                let work = move || {
                    let ended = world.perform(call, client, &what);
                    seen.push(Event::End { call, ended });
                };
                self.lanes.begin(call, Box::new(work)).map_err(ReplayError::Thread)?;
            }
            Event::GoOn { call } => match self.lanes.go_on(*call) {
                Step::Went => {}
                Step::StillWaits | Step::NoCall => {
                    self.diverge(at, Some(event), None);
                    return Ok(());
                }
            },
            Event::Interrupt { client } => self.world.interrupt(*client).raise(),
            Event::Clock { since_boot } => {
                let nanos = u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX);
                self.driver.set(Instant::from_nanos(nanos));
            }
            Event::Rules { command } => {
                // Its answer, a refusal as well, was for the caller.
                let _ = run_command(self.machine.faults(), 0, command);
            }
            _ => {}
        }
        settle(self.machine.runtime(), self.machine.runtime().now());
        Ok(())
    }

    fn diverge(&mut self, at: usize, recorded: Option<&Event>, here: Option<Event>) {
        let mut lines: Vec<String> = Vec::new();
        let mut show = show::Lines::default();
        for (index, event) in self.recording.events[..at].iter().enumerate() {
            // All of them, for what files are called; only the last are kept.
            let shown = show.lines(event);
            if index + BEFORE >= at {
                lines.extend(shown.into_iter().map(|line| format!("  {line}")));
            }
        }
        let mut beside = show.clone();
        let (old, new) = match (recorded, &here) {
            (Some(Event::End { ended: old, call }), Some(Event::End { ended: new, call: other }))
                if call == other =>
            {
                show.both_ends(*call, old, new)
            }
            _ => (
                recorded.map_or_else(|| vec!["(nothing)".to_owned()], |event| show.lines(event)),
                here.as_ref().map_or_else(|| vec![self.nothing(recorded)], |event| beside.lines(event)),
            ),
        };
        lines.extend(old.into_iter().map(|line| format!("- {line}")));
        lines.extend(new.into_iter().map(|line| format!("+ {line}")));
        let time = self.machine.runtime().now();
        self.replayed.divergence = Some(Divergence { at, time, recorded: recorded.cloned(), here, lines });
    }

    /// What there is to say where nothing happened.
    fn nothing(&self, recorded: Option<&Event>) -> String {
        let call = match recorded {
            Some(Event::End { call, .. } | Event::GoOn { call }) => *call,
            _ => return "(nothing)".to_owned(),
        };
        if self.lanes.waits(call) { format!("(call {call} still waits)") } else { "(nothing)".to_owned() }
    }

    /// Ends all waits.
    fn end(&mut self) {
        self.machine.runtime().tracer().stop();
        self.lanes.end();
    }
}
