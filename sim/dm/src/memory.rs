//! What a device knows that neither its tables tell nor a disk holds: for the same device in a machine that is forked.
//!
//! A machine is forked while its devices stand still: the copies of their disks hold what was written, their tables are
//! loaded anew from their lines, and what messages and bad luck have left in memory ([`Target::memory`]) is handed over
//! between load and resume.
//!
//! [`Target::memory`]: crate::Target::memory

use std::any::Any;

use dmlab_abi::Geometry;

use crate::stats::Stats;
use crate::{MappedDevice, Table};

/// What a target knows, as [`Target::memory`](crate::Target::memory) gives it.
pub type Memory = Box<dyn Any + Send + Sync>;

/// What a mapped device and the targets of its live table know.
pub struct DeviceMemory {
    lines: Vec<Option<Memory>>,
    events: [u32; 2],
    geometry: Geometry,
    stats: Stats,
}

impl MappedDevice {
    /// What it knows, while it stands still.
    pub fn memory(&self) -> DeviceMemory {
        let table = self.live_table();
        DeviceMemory {
            lines: table.iter().flat_map(|table| table.lines()).map(|line| line.target.memory()).collect(),
            events: self.event_target.numbers(),
            geometry: self.geometry(),
            stats: self.flight.stats.copy(),
        }
    }

    /// Has the numbers of events, the geometry and the statistics that another device had.
    pub fn recall(&self, memory: &DeviceMemory) {
        self.event_target.set_numbers(memory.events);
        *self.disk.geometry.lock() = memory.geometry;
        self.flight.stats.become_copy(&memory.stats);
    }
}

impl Table {
    /// Has its targets know what those of another table with the same lines knew, before it is live.
    pub fn recall(&self, memory: &DeviceMemory) {
        for (line, known) in self.lines().iter().zip(&memory.lines) {
            if let Some(known) = known {
                line.target.recall(&**known);
            }
        }
    }
}
