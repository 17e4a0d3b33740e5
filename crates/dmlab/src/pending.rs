//! IO that was begun and not waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use dmlab_machine::Machine;
use dmlab_units::Errno;

/// IO on its way. Await it in a task of the lab, or ask for its result.
pub struct Pending<T> {
    machine: Machine,
    slot: Arc<Mutex<Slot<T>>>,
}

/// A write on its way.
pub type PendingWrite = Pending<()>;

struct Slot<T> {
    result: Option<Result<T, Errno>>,
    waker: Option<Waker>,
}

impl<T: Send + 'static> Pending<T> {
    /// Gives `io` to a task of the machine.
    pub(crate) fn start(
        machine: &Machine,
        io: impl Future<Output = Result<T, Errno>> + Send + 'static,
    ) -> Pending<T> {
        let slot = Arc::new(Mutex::new(Slot { result: None, waker: None }));
        let done = slot.clone();
        let task = machine.runtime().spawn("lab io", async move {
            let result = io.await;
            let mut slot = lock(&done);
            slot.result = Some(result);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        });
        task.detach();
        machine.runtime().run_until_idle();
        Pending { machine: machine.clone(), slot }
    }
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> std::sync::MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Clone> Pending<T> {
    /// How it ended; `None` while it has not. Runs what is runnable, and lets no time pass.
    pub fn result(&self) -> Option<Result<T, Errno>> {
        self.machine.runtime().run_until_idle();
        lock(&self.slot).result.clone()
    }
}

impl<T> Pending<T> {
    /// Waits for its end; virtual time passes as far as it must.
    ///
    /// # Errors
    /// What the IO ended with; EDEADLK when it can never end.
    pub fn wait(self) -> Result<T, Errno> {
        let machine = self.machine.clone();
        machine.runtime().block_on(self).unwrap_or(Err(Errno::EDEADLK))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Errno>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.slot);
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
