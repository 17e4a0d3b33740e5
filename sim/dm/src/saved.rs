//! What a device knows that neither its tables tell nor a disk holds: for the same device in a machine that is forked.
//!
//! A machine is forked while its devices stand still: the copies of their disks hold what was written, their tables are
//! loaded anew from their lines, and what messages and bad luck have left in memory ([`Target::save`]) is handed over
//! between load and resume.
//!
//! [`Target::save`]: crate::Target::save

use std::any::{Any, type_name};

use dmlab_abi::Geometry;

use crate::stats::Stats;
use crate::{MappedDevice, Table};

/// What a target knows, as [`Target::save`](crate::Target::save) gives it: a value of a type of the target's own.
pub struct Saved {
    value: Box<dyn Any + Send + Sync>,
    type_name: &'static str,
}

impl Saved {
    /// Saves a value.
    pub fn new<T: Any + Send + Sync>(value: T) -> Saved {
        Saved { value: Box::new(value), type_name: type_name::<T>() }
    }

    /// The value that was saved.
    ///
    /// # Panics
    /// If it has another type: a target restores only what a target of its own type has saved.
    pub fn get<T: Any>(&self) -> &T {
        let found = self.value.downcast_ref();
        found.unwrap_or_else(|| panic!("a {} was saved, not a {}", self.type_name, type_name::<T>()))
    }
}

/// What a mapped device and the targets of its live table know.
pub struct SavedDevice {
    entries: Vec<Option<Saved>>,
    events: [u32; 2],
    geometry: Geometry,
    stats: Stats,
}

impl MappedDevice {
    /// Saves what the device knows, while it stands still.
    pub fn save(&self) -> SavedDevice {
        let table = self.live_table();
        SavedDevice {
            entries: table.iter().flat_map(|table| table.lines()).map(|entry| entry.target.save()).collect(),
            events: self.event_target.numbers(),
            geometry: self.geometry(),
            stats: self.io.stats.copy(),
        }
    }

    /// Takes over the numbers of events, the geometry and the statistics that another device had.
    pub fn restore(&self, saved: &SavedDevice) {
        self.event_target.set_numbers(saved.events);
        *self.disk.geometry.lock() = saved.geometry;
        self.io.stats.become_copy(&saved.stats);
    }
}

impl Table {
    /// Restores in its targets what those of another table with the same lines knew, before it is live.
    pub fn restore(&self, saved: &SavedDevice) {
        for (entry, saved) in self.lines().iter().zip(&saved.entries) {
            if let Some(saved) = saved {
                entry.target.restore(saved);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_had_back() {
        assert_eq!(Saved::new(vec![1u64, 2]).get::<Vec<u64>>(), &[1, 2]);
    }

    #[test]
    #[should_panic = "a u64 was saved, not a u32"]
    fn another_type_is_a_bug() {
        Saved::new(1u64).get::<u32>();
    }
}
