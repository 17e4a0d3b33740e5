//! What all channels of a server share.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use parking_lot::{Condvar, Mutex};

use super::files::Files;
use super::mirror::Mirror;
use super::semaphores::Semaphores;
use super::timers::Timers;
use crate::driver::ThreadDriver;
use dmlab_kernel_calls::{Kernel, KernelFile};
use dmlab_view::View;

pub(crate) struct Shared {
    pub(crate) view: View,
    pub(crate) files: Arc<Files>,
    pub(crate) mirror: Mirror,
    /// An open control node for requests of dmlab's own commands.
    pub(crate) control: OnceLock<Box<dyn KernelFile>>,
    pub(crate) on_refused_load: Option<super::OnRefusedLoad>,
    pub(crate) timers: Arc<Timers>,
    pub(crate) semaphores: Arc<Semaphores>,
    pub(crate) driver: Arc<ThreadDriver>,
    /// The kernel that calls of programs go to.
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) stopping: AtomicBool,
    pub(crate) stopped: (Mutex<bool>, Condvar),
    /// The process that asked for the end; 0 for none.
    pub(crate) halted_by: AtomicI32,
}

impl Shared {
    pub(crate) fn dmlabs_control(&self) -> &dyn KernelFile {
        &**self.control.get_or_init(|| self.kernel.own_control())
    }

    /// Ends the server.
    pub(crate) fn halt(&self) {
        self.stopping.store(true, Ordering::Release);
        *self.stopped.0.lock() = true;
        self.stopped.1.notify_all();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
