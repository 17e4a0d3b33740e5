//! IO that was begun and not waited for.

use dmlab_machine::{BlockFile, Machine, write_async};
use dmlab_units::{Errno, Sector};
use std::sync::{Arc, Mutex, PoisonError};

/// A write on its way.
pub struct PendingWrite {
    machine: Machine,
    result: Arc<Mutex<Option<Result<(), Errno>>>>,
}

impl PendingWrite {
    /// Gives the write to a task of the machine, which holds the device open until the write ends.
    pub(crate) fn start(machine: &Machine, file: BlockFile, start: Sector, bytes: &[u8]) -> PendingWrite {
        let result = Arc::new(Mutex::new(None));
        let (slot, data) = (result.clone(), Arc::<[u8]>::from(bytes));
        let task = machine.runtime().spawn("pending write", async move {
            let written = write_async(file.device(), start, data).await;
            let written = written.map_err(|status| status.errno().unwrap_or(Errno::EIO));
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
        });
        task.detach();
        machine.runtime().run_until_idle();
        PendingWrite { machine: machine.clone(), result }
    }

    /// How it ended; `None` while it has not. Runs what is runnable, and lets no time pass.
    pub fn result(&self) -> Option<Result<(), Errno>> {
        self.machine.runtime().run_until_idle();
        *self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
