//! The control interface of a machine in this process.

use crate::caller::Insider;
use crate::turns;
use dmlab_control::{Transport, TransportError};
use dmlab_machine::{ControlFile, Machine};
use dmlab_units::Errno;

/// An open control node of a machine in this process.
pub struct InProcess {
    machine: Machine,
    control: ControlFile,
}

impl InProcess {
    /// Opens the control node of `machine`.
    pub fn new(machine: &Machine) -> InProcess {
        InProcess { machine: machine.clone(), control: machine.open_control() }
    }
}

impl Transport for InProcess {
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError> {
        turns::pass();
        Ok(self.control.ioctl(&Insider::new(&self.machine), request, buf))
    }

    fn log_position(&mut self) -> Option<u64> {
        Some(self.machine.klog().next_seq())
    }

    fn log_since(&mut self, position: u64) -> Vec<String> {
        self.machine.klog().since(position).into_iter().map(|line| line.text).collect()
    }
}
