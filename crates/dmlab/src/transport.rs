//! The control interface of a machine in this process.

use crate::caller::Insider;
use crate::turns;
use dmlab_control::{Transport, TransportError};
use dmlab_machine::{ControlFile, Machine};
use dmlab_units::Errno;
use std::io;

/// An open control node of a machine in this process.
pub struct InProcess {
    machine: Machine,
    control: ControlFile,
    is_killed: bool,
}

/// The client was killed by a fault, in the middle of a call or before: no call of it comes back any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("killed by a fault")]
pub struct Killed;

impl InProcess {
    /// Opens the control node of `machine`.
    pub fn new(machine: &Machine) -> InProcess {
        InProcess { machine: machine.clone(), control: machine.open_control(), is_killed: false }
    }
}

impl Transport for InProcess {
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError> {
        turns::pass();
        if !self.is_killed {
            let caller = Insider::new(&self.machine);
            let result = self.control.ioctl(&caller, request, buf);
            self.is_killed = caller.is_killed();
            if !self.is_killed {
                return Ok(result);
            }
        }
        Err(TransportError { what: "the client".to_owned(), source: io::Error::other(Killed) })
    }

    fn log_position(&mut self) -> Option<u64> {
        Some(self.machine.klog().next_seq())
    }

    fn log_since(&mut self, position: u64) -> Vec<String> {
        self.machine.klog().since(position).into_iter().map(|line| line.text).collect()
    }
}
