//! What drives a lab's machine.

use std::sync::Arc;
use std::time::Duration;

use dmlab_driver::{ThreadDriver, Time};
use dmlab_machine::Machine;

use crate::turns::TurnsDriver;

/// What drives a lab's machine: virtual time on the threads of its test, or the wall clock with a thread of its own.
pub(crate) enum LabDriver {
    Turns(Arc<TurnsDriver>),
    Threads(Arc<ThreadDriver>),
}

impl LabDriver {
    /// The clock that the lab lives by.
    pub(crate) fn time(&self) -> Time {
        match self {
            LabDriver::Turns(_) => Time::Virtual,
            LabDriver::Threads(driver) => driver.time(),
        }
    }

    /// Lets `span` of time pass.
    pub(crate) fn advance(&self, machine: &Machine, span: Duration) {
        match self {
            LabDriver::Turns(driver) => driver.virtual_time().advance(machine.runtime(), span),
            LabDriver::Threads(_) => std::thread::sleep(span),
        }
    }

    /// Ends its thread, if it has one.
    pub(crate) fn stop(&self) {
        if let LabDriver::Threads(driver) = self {
            driver.stop();
        }
    }
}
