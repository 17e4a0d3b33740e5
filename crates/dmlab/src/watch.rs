//! What happened, as values; and waiting for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dmlab_machine::{Instant, TraceEvent, Uevent};
use sha2::{Digest, Sha256};

use dmlab_driver::Time;

use crate::{Error, Lab};

/// What a fingerprint looks at in one piece.
const PAGE: usize = 4096;
const ZEROS: [u8; PAGE] = [0; PAGE];

/// A wait that ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it did not happen within {0:?}")]
pub struct TimedOut(pub Duration);

/// The bios that passed since it was made, until it is dropped. A lab has one at a time: a new one takes over.
pub struct Trace {
    lab: dmlab_machine::Machine,
    events: Arc<Mutex<Vec<TraceEvent>>>,
}

impl Trace {
    /// What was seen so far: which bio came to which device, where targets sent it, how it ended.
    pub fn events(&self) -> Vec<TraceEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The events as lines, as blktrace would print them: `1.000000 1:0 Q W 8 + 8`.
    pub fn lines(&self) -> Vec<String> {
        self.events().iter().map(ToString::to_string).collect()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.lab.runtime().tracer().stop();
    }
}

impl Lab {
    /// Time since boot.
    pub fn now(&self) -> Instant {
        self.machine().runtime().now()
    }

    /// Watches the bios that pass from here on.
    ///
    /// ```
    /// # use dmlab::{Lab, units::Sector};
    /// let lab = Lab::new(1);
    /// lab.create("a", "0 64 linear /dev/ram0 100")?;
    /// let trace = lab.trace();
    /// lab.write("/dev/mapper/a", Sector(8), &[0; 512])?;
    /// assert_eq!(trace.lines()[..2], ["0.000000 254:0 Q W 8 + 1", "0.000000 254:0 A W 8 + 1 -> 1:0 108"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn trace(&self) -> Trace {
        let events = Arc::<Mutex<Vec<TraceEvent>>>::default();
        let sink = events.clone();
        self.machine().runtime().tracer().start(move |event| {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
        });
        Trace { lab: self.machine().clone(), events }
    }

    /// Events sent to user space from the boot on (the last 4,096 of them).
    pub fn uevents(&self) -> Vec<Uevent> {
        self.settle();
        self.machine().uevents().after(0)
    }

    /// Lets time pass until `is_so`, at most `limit`; virtual time passes from timer to timer.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn wait_until(&self, limit: Duration, mut is_so: impl FnMut(&Lab) -> bool) -> Result<(), TimedOut> {
        let end = self.now() + limit;
        loop {
            self.settle();
            if is_so(self) {
                return Ok(());
            }
            let now = self.now();
            if now >= end {
                return Err(TimedOut(limit));
            }
            let left = end.saturating_since(now);
            let step = match self.driver.time() {
                Time::Real => Duration::from_millis(1),
                Time::Virtual => {
                    let next = self.machine().runtime().next_timer();
                    next.map_or(left, |due| due.saturating_since(now))
                }
            };
            self.advance(step.min(left));
        }
    }

    /// Lets time pass until a device's event number is past `seen`; the new number.
    ///
    /// # Errors
    /// ENXIO when there is no such device; ETIMEDOUT when nothing came within `limit`.
    pub fn wait_event(&self, name: &str, seen: u32, limit: Duration) -> Result<u32, Error> {
        let number = |lab: &Lab| lab.info(name).map(|info| info.event_nr);
        number(self)?;
        self.wait_until(limit, |lab| number(lab).map_or(true, |now| now != seen))
            .map_err(|TimedOut(_)| Error::from(dmlab_units::Errno::ETIMEDOUT).seen_in(self))?;
        number(self)
    }

    /// One number for all that can be seen of this lab: its kernel log with time stamps, its uevents, its clock and every byte
    /// of its disks in memory. Two runs of one seed give the same.
    pub fn fingerprint(&self) -> Fingerprint {
        self.settle();
        let mut hash = Sha256::new();
        hash.update(self.now().as_nanos().to_le_bytes());
        for line in self.machine().klog().since(0) {
            hash.update(format!("{:?} {:?} {}\n", line.time, line.level, line.text));
        }
        for event in self.machine().uevents().after(0) {
            hash.update(format!("{event:?}\n"));
        }
        for block in self.machine().registry().all() {
            let Some(memory) = block.ops().memory() else { continue };
            hash.update(format!("{}\n", block.dev()));
            memory.each_chunk(|at, bytes| {
                for (page, bytes) in (0u64..).zip(bytes.chunks(PAGE)) {
                    // Whether memory holds zeros or nothing at all makes no difference.
                    if bytes != &ZEROS[..bytes.len()] {
                        hash.update((at + page * PAGE as u64).to_le_bytes());
                        hash.update(bytes);
                    }
                }
            });
        }
        Fingerprint(hash.finalize().into())
    }
}

/// What [`Lab::fingerprint`] gives: 256 bits, shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
