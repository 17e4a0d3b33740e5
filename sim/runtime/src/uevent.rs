//! Events that the kernel sends to user space.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the interface's own")]
pub enum UeventAction {
    Add,
    Remove,
    Change,
}

impl fmt::Display for UeventAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UeventAction::Add => "add",
            UeventAction::Remove => "remove",
            UeventAction::Change => "change",
        })
    }
}

/// One event, as it crosses the netlink socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent {
    /// `SEQNUM`; the first event of a machine has 1.
    pub seqnum: u64,
    /// `ACTION`.
    pub action: UeventAction,
    /// `DEVPATH`: `/devices/virtual/block/dm-0`.
    pub devpath: String,
    /// `SUBSYSTEM`.
    pub subsystem: &'static str,
    /// The other variables in their order, without ACTION, DEVPATH, SUBSYSTEM and SEQNUM.
    pub vars: Vec<(&'static str, String)>,
}

impl Uevent {
    /// The value of one of the other variables.
    pub fn var(&self, key: &str) -> Option<&str> {
        self.vars.iter().find(|(k, _)| *k == key).map(|(_, v)| v.as_str())
    }
}

impl fmt::Display for Uevent {
    /// The header and each variable on a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}@{}", self.action, self.devpath)?;
        writeln!(f, "ACTION={}\nDEVPATH={}\nSUBSYSTEM={}", self.action, self.devpath, self.subsystem)?;
        for (key, value) in &self.vars {
            writeln!(f, "{key}={value}")?;
        }
        write!(f, "SEQNUM={}", self.seqnum)
    }
}

type Sink = Arc<dyn Fn(&Uevent) + Send + Sync>;
type Filter = Arc<dyn Fn(&Uevent) -> bool + Send + Sync>;

/// The events of one machine: the last ones, and the subscribers that get each event as it comes.
#[derive(Default)]
pub struct Uevents {
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Uevent>,
    last_seqnum: u64,
    sink: Option<Sink>,
    filter: Option<Filter>,
}

impl Uevents {
    /// Events kept; older ones go.
    pub const CAPACITY: usize = 4096;

    /// Sends an event.
    pub fn send(
        &self,
        action: UeventAction,
        devpath: String,
        subsystem: &'static str,
        vars: Vec<(&'static str, String)>,
    ) {
        let mut ring = self.ring.lock();
        ring.last_seqnum += 1;
        let event = Uevent { seqnum: ring.last_seqnum, action, devpath, subsystem, vars };
        // A lost event has had its number: a listener sees the gap.
        if ring.filter.as_ref().is_some_and(|passes| !passes(&event)) {
            return;
        }
        if let Some(sink) = &ring.sink {
            sink(&event);
        }
        if ring.events.len() == Self::CAPACITY {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
    }

    /// Events after number `seqnum`, as far as they are still kept.
    pub fn after(&self, seqnum: u64) -> Vec<Uevent> {
        let ring = self.ring.lock();
        let skip = ring.events.partition_point(|event| event.seqnum <= seqnum);
        ring.events.iter().skip(skip).cloned().collect()
    }

    /// Number of the last event; 0 when there was none.
    pub fn last_seqnum(&self) -> u64 {
        self.ring.lock().last_seqnum
    }

    /// Asks `passes` of every coming event, and loses those for which it says no. It must neither send nor read any.
    pub fn set_filter(&self, passes: impl Fn(&Uevent) -> bool + Send + Sync + 'static) {
        self.ring.lock().filter = Some(Arc::new(passes));
    }

    /// Hands every coming event to `sink`, in order. It must not send any.
    pub fn set_sink(&self, sink: impl Fn(&Uevent) + Send + Sync + 'static) {
        self.ring.lock().sink = Some(Arc::new(sink));
    }
}
